"""Discrete latents: relaxed draws, what learns from what, an exact mixture, where latents come from."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax import preconditioning
from diffusion_jax.levels import lognormal, per_sample, per_token, with_clean
from diffusion_jax.networks.encoder import perceptron
from diffusion_jax.networks.latents import latent_tokens
from diffusion_jax.networks.mlp import mlp
from diffusion_jax.networks.prior import autoregressive
from diffusion_jax.networks.transformer import transformer
from diffusion_jax.objectives import weights
from diffusion_jax.objectives.denoising import denoising
from diffusion_jax.objectives.latent import latent, relaxed
from diffusion_jax.objectives.latent_parts import with_null
from diffusion_jax.processes import edm
from diffusion_jax.types import Bound, Loss, Objective, Variables

M, K = 2, 3
TOKENS = latent_tokens(M, K, width=8, depth=0, heads=1)
ENCODER = perceptron(M, K, 8, 1)
PRIOR = autoregressive(M, K, 8, 1, 2)


def denoiser(network, levels=None):
    process = edm()
    levels = per_sample(lognormal(process)) if levels is None else levels
    return denoising(network, process, preconditioning.edm, levels, weights.edm)


def plain():
    return denoiser(mlp(8, 1, latents=TOKENS))


@functools.cache
def case(**arguments):
    """(objective, variables, batch) of a small model with a prior."""
    objective = latent(plain(), ENCODER, PRIOR, **arguments)
    x = jax.random.normal(jax.random.key(1), (6, 2, 3))
    batch = {"x": x, "mask": jnp.ones((6, 2))}
    like = jax.eval_shape(objective.init, jax.random.key(0), batch)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.4, leaf.shape), leaf.dtype), like.params)
    state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like.state)
    return objective, Variables(params, state), batch


def shown():
    """An objective that only reports the latents it is given: value, metric and bound are made of them."""

    def loss(variables, key, batch):
        z = batch["latents"]
        metrics = {"null": z[:, 0, -1:], "largest": z.max((1, 2), keepdims=True)[:, 0]}
        value = (z[..., :-1] * jnp.arange(z.shape[-1] - 1.0)[None, None]).sum((1, 2))[:, None]
        return Loss(value, jnp.ones_like(value), metrics, variables.state)

    def bind(variables, key, batch):
        z = batch["latents"]
        return Bound(denoiser=lambda x, t: jnp.broadcast_to(z.sum(1)[:, None, None], x.shape) + 0.0 * x)

    return Objective(lambda key, batch: Variables({"latents": jnp.zeros(())}, {}), loss, bind)


class Fixed(nn.Module):
    """An encoder with the same logits for all samples."""

    logits: tuple

    @nn.compact
    def __call__(self, x, conditions=None, train=False):
        logits = self.param("logits", lambda key: jnp.array(self.logits))
        return jnp.broadcast_to(logits[None], (x.shape[0], *logits.shape))


@pytest.mark.parametrize("hard", [False, True])
def test_draws_follow_the_softmax_of_the_logits(hard, key):
    logits = jnp.broadcast_to(jnp.log(jnp.array([0.2, 0.5, 0.3]))[None], (20_000, 3))
    z = relaxed(key, logits, 0.7, hard)
    np.testing.assert_allclose(z.sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.bincount(z.argmax(-1)) / 20_000, [0.2, 0.5, 0.3], atol=0.015)
    assert (jnp.sort(z)[:, :2] == 0).all() == hard


def test_gradients_of_hard_draws_are_those_of_soft_ones_and_in_the_limit_the_laws(key):
    """For a linear loss both gradients agree exactly; as tau -> 0 their mean is that of E[c_z]."""
    logits, cost = jnp.array([0.3, -0.4, 0.8]), jnp.array([1.0, -2.0, 0.5])

    def mean(logits, temperature, hard):
        many = jnp.broadcast_to(logits[None], (200_000, 3))
        return (relaxed(key, many, temperature, hard) @ cost).mean()

    gradient = jax.jit(jax.grad(mean), static_argnums=2)
    hard, soft = (gradient(logits, 0.1, one) for one in (True, False))
    np.testing.assert_allclose(hard, soft, rtol=1e-4, atol=1e-6)
    exact = jax.grad(lambda logits: jax.nn.softmax(logits) @ cost)(logits)
    np.testing.assert_allclose(soft, exact, atol=0.03)
    assert jnp.abs(gradient(logits, 2.0, False) - exact).max() > 0.05


def test_codes_that_a_sample_has_not_are_never_drawn(key):
    logits = jnp.broadcast_to(jnp.array([0.0, -jnp.inf, 1.0])[None, None], (200, 2, 3))
    assert (relaxed(key, logits, 1.0, False)[..., 1] == 0).all()
    gradient = jax.grad(lambda logits: (relaxed(key, logits, 1.0, True) ** 2).sum())(logits)
    assert jnp.isfinite(gradient).all()


def test_all_latents_of_a_sample_are_dropped_together(key):
    z = jax.nn.softmax(jax.random.normal(key, (2, M, K)))
    given = with_null(z, jnp.array([False, True]))
    np.testing.assert_array_equal(given[0], jnp.pad(z[0], ((0, 0), (0, 1))))
    np.testing.assert_array_equal(given[1], jax.nn.one_hot(jnp.full(M, K), K + 1))
    objective = latent(shown(), Fixed(((0.0, 1.0),)), dropout=0.25)
    batch = {"x": jnp.zeros((20_000, 1, 1))}
    loss = objective.loss(objective.init(key, batch), key, batch)
    assert abs(loss.metrics["null"].mean() - 0.25) < 0.015


def test_the_temperature_falls_as_asked(key):
    """The largest weight of the soft draws of two equal codes, 1/2 (1 + E tanh(|L|/(2 tau))), L logistic."""
    objective = latent(
        shown(), Fixed(((0.0, 0.0),)), final_temperature=0.01, decay_steps=2, temperature=1.0, dropout=0.0
    )
    batch = {"x": jnp.zeros((20_000, 1, 1))}
    variables, largest = objective.init(key, batch), []
    for step in range(4):
        loss = objective.loss(variables, jax.random.fold_in(key, step), batch)
        largest.append(float(loss.metrics["largest"].mean()))
        variables = variables._replace(state=loss.state)
    logistic = np.random.default_rng(0).logistic(size=200_000)
    wanted = [0.5 + 0.5 * np.tanh(np.abs(logistic) / (2 * tau)).mean() for tau in (1.0, 0.1, 0.01, 0.01)]
    np.testing.assert_allclose(largest, wanted, atol=0.005)
    assert variables.state["latents"]["step"] == 4


class Mixture(nn.Module):
    """The exact denoiser of modes +-MEAN, standard deviation STD, under EDM: knowing the mode, or not."""

    mean: float
    std: float

    @nn.compact
    def __call__(self, x, noise, conditions=None, train=False):
        self.param("latents", nn.initializers.zeros, ())
        sigma = jnp.exp(4 * noise)[..., None]
        total = self.std**2 + sigma**2
        x = x * jnp.sqrt(1 + sigma**2)
        z = jnp.asarray(conditions["latents"])[:, :1]
        either = jnp.tanh(self.mean * x / total)
        sign = z[..., :1] - z[..., 1:2] + z[..., 2:] * either
        return (self.std**2 * x + sigma**2 * self.mean * sign) / total


class Nearest(nn.Module):
    """Tells the modes apart by their sign."""

    @nn.compact
    def __call__(self, x, conditions=None, train=False):
        scale = self.param("scale", lambda key: jnp.float32(1e3))
        return scale * jnp.stack([x[:, 0], -x[:, 0]], axis=-1)


@pytest.mark.parametrize("dropout", [0.0, 1.0])
def test_the_loss_of_a_mixture_whose_best_latent_is_the_mode(dropout, key):
    """Posterior variances at sigma = 1: s^2 sigma^2/(s^2 + sigma^2) given the mode, more without."""
    mean, std, process = 2.0, 0.2, edm()
    levels = lambda key, shape: jnp.full((1, 1), process.time(jnp.asarray(1.0)))  # noqa: E731
    inner = denoising(Mixture(mean, std), process, preconditioning.x0, levels, weights.x0)
    objective = latent(inner, Nearest(), dropout=dropout)
    sign_key, key = jax.random.split(key)
    sign = jnp.where(jax.random.bernoulli(sign_key, 0.5, (100_000, 1, 1)), 1.0, -1.0)
    x = mean * sign + std * jax.random.normal(key, sign.shape)
    variables = objective.init(key, {"x": x[:2]})
    loss = objective.loss(variables, key, {"x": x})
    within = std**2 / (std**2 + 1)
    y = np.linspace(-9, 9, 20_001)
    density = np.exp(-((y - mean) ** 2) / (2 * (std**2 + 1)))
    between = (mean / (std**2 + 1)) ** 2 * (density / np.cosh(mean * y / (std**2 + 1)) ** 2).sum()
    wanted = within + dropout * between / density.sum()
    np.testing.assert_allclose(loss.value.mean(), wanted, rtol=0.02)
    assert loss.metrics["entropy"].max() < 1e-3


def test_the_prior_learns_the_codes_and_the_encoder_does_not_hear_of_it(key):
    """With stop: the loss is the prior's surprise alone. Beside: the sum, the surprise giving no gradient."""
    objective, variables, batch = case()
    stopped = latent(plain(), ENCODER, PRIOR, stop=True)
    alone = latent(plain(), ENCODER)
    bound = objective.bind(variables, key, {})
    codes = bound.latents.extract(key, batch["x"], {})
    np.testing.assert_array_equal(codes, bound.latents.logits(batch["x"], {}).argmax(-1))

    def reduced(objective):
        def value(params):
            loss = objective.loss(variables._replace(params=params), key, batch)
            return (loss.value * loss.weight).sum() / jnp.broadcast_to(loss.weight, (6, 2)).sum(), loss

        return jax.jit(jax.value_and_grad(value, has_aux=True))(variables.params)

    (_, late), last = reduced(stopped)
    np.testing.assert_allclose(late.value[:, 0], -bound.latents.log_prob(codes, {}), rtol=1e-4)
    for name in ("network", "encoder"):
        assert all((leaf == 0).all() for leaf in jax.tree.leaves(last[name])), name
    (_, beside), both = reduced(objective)
    (_, first), without = reduced(alone)
    np.testing.assert_allclose(beside.value, first.value + late.value, rtol=1e-4)
    for name in ("network", "encoder"):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), both[name], without[name])
        assert any((leaf != 0).any() for leaf in jax.tree.leaves(without[name]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), both["prior"], last["prior"])


def test_clean_tokens_carry_the_priors_loss_alone(key):
    levels = with_clean(per_token(lognormal(edm())), 0.5)
    objective = latent(denoiser(mlp(8, 1, latents=TOKENS), levels), ENCODER, PRIOR)
    _, variables, batch = case()
    loss = objective.loss(variables, key, batch)
    clean = np.asarray(loss.metrics["denoising"] == 0)
    assert 0 < clean.sum() < clean.size
    surprise = jnp.broadcast_to(loss.metrics["prior"], clean.shape)
    np.testing.assert_allclose(loss.value[clean], surprise[clean], rtol=1e-6)
    np.testing.assert_array_equal(loss.weight, 1)


def test_latents_come_from_the_prior_or_are_taken(key):
    objective, variables, batch = case()
    x, bound = batch["x"], objective.bind(variables, key, {})
    inner = plain()

    def denoised(bound):
        return bound.denoiser(x, 0.1)

    def taken(latents):
        return denoised(inner.bind(variables._replace(state={"network": {}}), key, {"latents": latents}))

    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(6))
    drawn = bound.latents.sample(keys, {})
    assert len(np.unique(drawn, axis=0)) > 1
    wanted = taken(drawn)
    for how in ({}, {"seed": jnp.arange(6)}, {"x": x}, {"latents": drawn}):
        np.testing.assert_allclose(
            denoised(objective.bind(variables, key, how)), wanted, rtol=1e-5, atol=1e-6
        )
    np.testing.assert_allclose(denoised(objective.bind(variables, keys, {})), wanted, rtol=1e-5, atol=1e-6)
    turned = denoised(objective.bind(variables, key, {"seed": jnp.arange(6)[::-1]}))
    np.testing.assert_allclose(turned, taken(drawn[::-1]), rtol=1e-5, atol=1e-6)
    null = denoised(objective.bind(variables, key, {"latents": jnp.full((6, M), -1)}))
    np.testing.assert_allclose(null, taken(with_null(jnp.zeros((6, M, K)), jnp.ones(6, bool))), rtol=1e-5)
    assert jnp.abs(null - wanted).max() > 1e-3


def test_a_roll_out_keeps_the_latents_it_began_with(key):
    network = transformer(8, 1, 2, causal=True, positions=2, latents=TOKENS)
    objective = latent(denoiser(network), ENCODER, PRIOR)
    x = jax.random.normal(key, (3, 2, 2))
    like = jax.eval_shape(objective.init, key, {"x": x})
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.4, leaf.shape), leaf.dtype), like.params)
    variables = Variables(params, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like.state))
    bound = objective.bind(variables, key, {})
    memory = bound.memory.init(3)
    assert all(leaf.shape[0] == 3 for leaf in jax.tree.leaves(memory))
    memory = bound.memory.update(memory, {}, x[:, :1], 0.0)
    out = bound.memory.denoiser(memory, {})(x[:, 1:], 0.1)
    whole = bound.denoiser(x, jnp.broadcast_to(jnp.array([[0.0, 0.1]]), (3, 2)))
    np.testing.assert_allclose(out, whole[:, 1:], rtol=1e-4, atol=1e-5)


def test_a_run_without_latents_is_gone_on_from(key):
    """All of its variables have their place here, and give the same denoiser whatever the latents."""
    _, variables, batch = case()
    objective, before = case()[0], denoiser(mlp(8, 1)).init(key, batch)
    fresh = objective.init(key, batch)

    def paths(tree):
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        return {jax.tree_util.keystr(path): leaf.shape for path, leaf in leaves}

    assert paths(before).items() <= paths(fresh).items()
    trained = {name: variables.params["network"][name] for name in before.params["network"]}
    params = {**fresh.params, "network": {**fresh.params["network"], **trained}}
    bound = objective.bind(fresh._replace(params=params), key, {"latents": jnp.full((6, M), 1)})
    old = denoiser(mlp(8, 1)).bind(before._replace(params={"network": trained}), key, {})
    found, wanted = bound.denoiser(batch["x"], 0.1), old.denoiser(batch["x"], 0.1)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_what_does_not_fit_is_refused(key):
    _, variables, batch = case()
    for inner, encoder, prior, message in [
        (denoiser(mlp(8, 1)), ENCODER, None, "network takes none"),
        (denoiser(Blind()), ENCODER, None, "network of the objective takes no latents"),
        (plain(), perceptron(M, K + 1, 8, 1), None, "2 latents of 3 codes and a null one"),
        (plain(), ENCODER, autoregressive(M, K + 1, 8, 1, 2), "prior is of another codebook"),
    ]:
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(latent(inner, encoder, prior).init, key, batch)
    alone = latent(plain(), ENCODER)
    with pytest.raises(ValueError, match="the latents of training are the encoder's"):
        alone.loss(variables, key, {**batch, "latents": jnp.zeros((6, M), int)})
    with pytest.raises(ValueError, match="trained without a prior"):
        alone.bind(variables, key, {}).denoiser(batch["x"], 0.1)
    with pytest.raises(ValueError, match=r"latents must lie in 0..2, or be -1 for null; got .* 3..3"):
        alone.bind(variables, key, {"latents": np.full((6, M), K)}).denoiser(batch["x"], 0.1)
    for arguments, message in [
        ({"temperature": 0.0}, "temperatures must be positive"),
        ({"final_temperature": 0.1}, "needs final_temperature and decay_steps > 0"),
        ({"dropout": 1.1}, r"dropout is a share in \[0, 1\], got 1.1"),
        ({"stop": True}, "only the prior learns"),
    ]:
        with pytest.raises(ValueError, match=message):
            latent(plain(), ENCODER, **arguments)


class Blind(nn.Module):
    """A network that does not look at its conditions."""

    @nn.compact
    def __call__(self, x, noise, conditions=None, train=False):
        return nn.Dense(x.shape[-1])(x)
