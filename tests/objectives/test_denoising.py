"""Denoising score matching: the loss of a known denoiser in closed form, its options, what is refused."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffusion_jax import preconditioning
from diffusion_jax.build import build
from diffusion_jax.levels import lognormal, per_sample, per_token, vp_uniform, with_clean
from diffusion_jax.objectives import weights
from diffusion_jax.objectives.denoising import denoising
from diffusion_jax.processes import binomial, edm, learned_beta, vp_linear

SPREAD = 0.5
COUNT = 50_000


class Silent(nn.Module):
    """F = bias: a network that, at its start, says nothing."""

    @nn.compact
    def __call__(self, x, noise, conditions=None, train=False):
        return jnp.broadcast_to(self.param("bias", nn.initializers.zeros, ()), x.shape)


class Labelled(nn.Module):
    """F = the label that the network is shown, or the sum of its augmentation label."""

    key: str = "label"

    @nn.compact
    def __call__(self, x, noise, conditions=None, train=False):
        self.param("unused", nn.initializers.zeros, ())
        shown = conditions[self.key].reshape(x.shape[0], -1).sum(1)
        return jnp.broadcast_to(shown.astype(x.dtype)[:, None, None], x.shape)


def objective(**changes):
    arguments = {
        "network": Silent(),
        "process": edm(),
        "coefficients": partial(preconditioning.edm, sigma_data=SPREAD),
        "levels": per_sample(lognormal(edm())),
        "weight": partial(weights.edm, sigma_data=SPREAD),
    }
    return denoising(**(arguments | changes))


def loss_of(objective, batch, key, jit=jax.jit):
    return jit(objective.loss)(objective.init(key, batch), key, batch)


@pytest.fixture
def batch(key):
    return {"x": SPREAD * jax.random.normal(key, (COUNT, 1, 3))}


def test_an_untrained_network_loses_one_per_dimension_at_every_level(batch, key):
    """EDM, appendix B.6: lambda makes the error of the best linear denoiser 1 for data of std sigma_data."""
    loss = loss_of(objective(), batch, key)
    assert loss.value.shape == (COUNT, 1)
    np.testing.assert_allclose(loss.value.mean(), 3.0, rtol=0.02)
    each = loss_of(objective(per_dimension=True), batch, key)
    np.testing.assert_allclose(each.value, loss.value / 3, rtol=1e-6)


def test_the_variance_preserving_loss_is_the_error_of_the_noise(batch, key):
    """With F = 0 as the noise that is predicted, the error is the noise itself, of variance 1."""
    for process in (vp_linear(), edm(152.0)):
        levels = vp_uniform(process)
        one = objective(process=process, coefficients=preconditioning.vp, levels=levels, weight=weights.eps)
        np.testing.assert_allclose(loss_of(one, batch, key).value.mean(), 3.0, rtol=0.02)


def test_clean_tokens_carry_no_loss(key):
    x = jax.random.normal(key, (64, 4, 2))
    levels = with_clean(per_token(lognormal(edm())), 0.5)
    loss = loss_of(objective(levels=levels), {"x": x, "mask": jnp.ones((64, 4))}, key)
    clean = loss.weight == 0
    assert 0.4 < clean.mean() < 0.6
    assert (loss.value[clean] == 0).all()
    assert (loss.value[~clean] > 0).all()


class Sum(nn.Module):
    """F = the sum over all tokens of what the network sees, and of their noise labels."""

    @nn.compact
    def __call__(self, x, noise, conditions=None, train=False):
        self.param("unused", nn.initializers.zeros, ())
        seen = x.sum(1, keepdims=True) + jnp.broadcast_to(noise, x.shape[:2]).sum(1)[:, None, None]
        return jnp.broadcast_to(seen, x.shape)


@pytest.mark.parametrize("missing", [True, False])
def test_sequences_end_where_their_mask_does(missing, key):
    """What is in the padding changes no loss, where it is missing; the losses there count nothing anyway."""
    mask = jnp.arange(4)[None] < jnp.array([[4], [2], [3]])
    x = jax.random.normal(key, (3, 4, 2))
    one = objective(network=Sum(), levels=per_token(lognormal(edm())), missing=missing)
    losses = [
        loss_of(one, {"x": x + far * (1 - mask[..., None]), "mask": mask.astype(jnp.float32)}, key)
        for far in (0.0, 7.0)
    ]
    for loss in losses:
        np.testing.assert_array_equal(loss.weight, mask)
    first, second = (np.asarray(loss.value) for loss in losses)
    np.testing.assert_array_equal(first[0], second[0])
    assert (first[1:][mask[1:]] == second[1:][mask[1:]]).all() == missing
    whole = {"x": x, "mask": jnp.ones((3, 4))}
    plain = loss_of(objective(network=Sum(), levels=per_token(lognormal(edm()))), whole, key)
    np.testing.assert_array_equal(loss_of(one, whole, key).value, plain.value)


@pytest.mark.parametrize("weight", [weights.edm, weights.eps, weights.fused_snr])
def test_the_loss_beside_clean_tokens_is_zero_there_and_fused_weights_know_of_them(weight, key):
    """Data 0 and F = 0 as the noise: the error of x0 is x_t/alpha, whatever the weight."""
    process, t = vp_linear(), jnp.array([[0.0, 0.5, 0.0, 0.5, 0.9]])
    one = objective(process=process, coefficients=preconditioning.eps, levels=lambda *_: t, weight=weight)
    loss = loss_of(one, {"x": jnp.zeros((2000, 5, 1))}, key)
    np.testing.assert_array_equal(loss.weight, np.broadcast_to([[0.0, 1.0, 0.0, 1.0, 1.0]], (2000, 5)))
    np.testing.assert_array_equal(loss.value[:, [0, 2]], 0.0)
    factor = weight(process)(t) * process.ratio(t) ** 2
    np.testing.assert_allclose(loss.value.mean(0)[jnp.array([1, 3, 4])], factor[0, [1, 3, 4]], rtol=0.12)


def test_the_config_gives_fused_weights_the_error_they_are_of(key):
    x = jnp.ones((100, 2, 1))
    spec = {
        "name": "denoising",
        "network": Silent(),
        "process": "vp_cosine",
        "coefficients": "x0",
        "levels": {"name": "with_clean", "levels": "uniform", "share": 0.0},
        "weight": {"name": "fused_snr", "decay": 0.0, "weight": "v"},
    }
    plain = build("objective", spec | {"weight": "min_snr"})
    fused = build("objective", spec)
    values = [loss_of(one, {"x": x}, key).value for one in (fused, plain)]
    np.testing.assert_allclose(*values, rtol=1e-4)


def test_per_token_levels_make_the_loss_of_independent_tokens(key):
    """A frame is denoised at its own level: with F = 0 the loss is 1 a dimension whatever the neighbours'."""
    x = SPREAD * jax.random.normal(key, (8_000, 4, 3))
    loss = loss_of(objective(levels=per_token(lognormal(edm()))), {"x": x}, key)
    assert loss.value.shape == (8_000, 4)
    np.testing.assert_allclose(loss.value.mean(0), 3.0, rtol=0.06)


def test_the_learned_uncertainty_is_the_log_of_the_error(key):
    """Data twice as wide as assumed: the error at each level is known, and u must find its logarithm."""
    x = 2 * SPREAD * jax.random.normal(key, (2048, 1, 8))
    batch, process = {"x": x}, edm()
    one = objective(per_dimension=True, uncertainty=64, levels=lognormal(process, -0.5, 1.0))
    variables = one.init(key, batch)
    params, optimizer = variables.params, optax.adam(0.02)

    @jax.jit
    def step(carry, key):
        params, state = carry

        def value(params):
            loss = one.loss(variables._replace(params=params), key, batch)
            return loss.value.mean(), loss.metrics["mse"].mean()

        grads, mse = jax.grad(value, has_aux=True)(params)
        updates, state = optimizer.update(grads, state)
        params = optax.apply_updates(params, updates)
        params["network"] = variables.params["network"]
        return (params, state), mse

    carry = params, optimizer.init(params)
    (params, _), _ = jax.lax.scan(step, carry, jax.random.split(key, 300))
    for ratio in (0.3, 0.6, 1.2):
        t = process.time(jnp.full((2048, 1), ratio))
        fixed = objective(per_dimension=True, levels=lambda key, shape, t=t: t)
        error = fixed.loss(fixed.init(key, batch), key, batch).value.mean()
        whole = objective(per_dimension=True, uncertainty=64, levels=lambda key, shape, t=t: t)
        loss = whole.loss(variables._replace(params=params), key, batch)
        np.testing.assert_allclose(loss.metrics["mse"].mean(), error, rtol=1e-5)
        # at the optimum, e^-u error + u = 1 + log error
        np.testing.assert_allclose(loss.value.mean(), 1 + jnp.log(error), atol=0.03)


def test_labels_are_hidden_from_a_share_of_the_samples(key):
    batch = {"x": jnp.zeros((4000, 1, 1)), "label": jnp.full((4000,), 7)}
    at = partial(preconditioning.x0)
    shown = objective(network=Labelled(), coefficients=at, weight=weights.x0, unlabelled=0.25)
    values, counts = np.unique(loss_of(shown, batch, key).value, return_counts=True)
    np.testing.assert_array_equal(values, [1.0, 49.0])
    assert abs(counts[0] / 4000 - 0.25) < 0.03


def test_the_network_is_told_of_the_augmentation(key):
    def shift(key, x):
        return x + 1, jnp.full((x.shape[0], 9), 2.0)

    batch = {"x": jnp.zeros((4, 1, 1)), "augment": jnp.zeros((4, 9))}
    one = objective(
        network=Labelled("augment"),
        coefficients=preconditioning.x0,
        weight=weights.x0,
        augmentation=shift,
    )
    np.testing.assert_allclose(loss_of(one, batch, key).value, (18.0 - 1.0) ** 2)


def test_the_config_leaves_the_process_of_the_levels_to_the_objective(key):
    spec = {
        "name": "denoising",
        "network": Silent(),
        "process": {"name": "edm", "sigma_max": 20.0},
        "coefficients": "edm",
        "weight": "edm",
        "levels": {"name": "per_token", "levels": {"name": "lognormal", "mean": 10.0}},
    }
    built = build("objective", spec)
    x = SPREAD * jax.random.normal(key, (512, 2, 3))
    # all levels are clipped to 1, where sigma is this process's 20 and the denoiser says 0
    value = built.loss(built.init(key, {"x": x}), key, {"x": x}).value
    np.testing.assert_allclose(value.mean(), 3.0, rtol=0.1)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"process": binomial()}, TypeError, "Gaussian"),
        ({"process": learned_beta(8)}, TypeError, "without learned fields"),
        ({"unlabelled": 1.5}, ValueError, "share"),
        ({"uncertainty": -1}, ValueError, "features"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, error, words):
    with pytest.raises(error, match=words):
        objective(**changes)


def test_hiding_labels_needs_labels(batch, key):
    one = objective(unlabelled=0.1)
    with pytest.raises(ValueError, match="label"):
        one.loss(one.init(key, batch), key, batch)
