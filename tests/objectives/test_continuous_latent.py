"""Continuous latents: the divergence, an exact linear case, what learns from what, where they come from."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from diffusion_jax import preconditioning
from diffusion_jax.levels import lognormal, per_sample
from diffusion_jax.networks.encoder import perceptron
from diffusion_jax.networks.latents import latent_tokens
from diffusion_jax.networks.mlp import mlp
from diffusion_jax.objectives import weights
from diffusion_jax.objectives.continuous_latent import continuous_latent, divergence, gaussian
from diffusion_jax.objectives.denoising import denoising
from diffusion_jax.processes import edm
from diffusion_jax.sampling.grids import linear_grid
from diffusion_jax.sampling.heun import heun
from diffusion_jax.sampling.latent_prior import diffused
from diffusion_jax.types import Variables

M, K = 2, 3
ENCODER = perceptron(M, 2 * K, 8, 1)


def denoiser(network):
    process = edm()
    return denoising(
        network, process, preconditioning.edm, per_sample(lognormal(process)), weights.edm, per_dimension=True
    )


def plain():
    return denoiser(mlp(8, 1, latents=latent_tokens(M, K, width=8, depth=0, heads=1)))


def prior(features=K):
    return diffused(M, features, denoiser(mlp(8, 1, joint=True)), heun, linear_grid(2))


@functools.cache
def case():
    """(objective, variables, batch) of a small model with a prior."""
    objective = continuous_latent(plain(), ENCODER, prior(), kl_weight=0.3)
    batch = {"x": jax.random.normal(jax.random.key(1), (4, 2, 3)), "mask": jnp.ones((4, 2))}
    like = jax.eval_shape(objective.init, jax.random.key(0), batch)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.4, leaf.shape), leaf.dtype), like.params)
    state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like.state)
    return objective, Variables(params, state), batch


def test_the_divergence_of_known_laws():
    """KL(N(1, 1) || N(0, 1)) = 1/2 each, 0 for the normal law itself, and another by Monte Carlo."""
    np.testing.assert_allclose(divergence(gaussian(jnp.zeros((4, 2, 6)))), 0, atol=1e-6)
    one = jnp.concatenate([jnp.ones((4, 2, 3)), jnp.zeros((4, 2, 3))], axis=-1)
    np.testing.assert_allclose(divergence(gaussian(one)), 3, rtol=1e-6)
    law = gaussian(jnp.array([[[0.7, -0.2, 1.5, -1.0]]]))
    mean, std = np.asarray(law.mean)[0, 0], np.asarray(law.std)[0, 0]
    z = mean + std * np.random.default_rng(0).standard_normal((400_000, 2))
    gap = stats.norm.logpdf(z, mean, std) - stats.norm.logpdf(z)
    np.testing.assert_allclose(divergence(law)[0], gap.sum(1).mean(), rtol=0.01)
    np.testing.assert_allclose(np.exp(std * np.log(2)), 1 + np.exp([1.5, -1.0]), rtol=1e-5)
    assert np.isfinite(divergence(gaussian(jnp.full((1, 1, 2), -1e3)))).all()


class Copy(nn.Module):
    """q(z | x0) = N(x0, s^2), s where log(1 + e^r)/log 2 = s."""

    std: float

    @nn.compact
    def __call__(self, x, conditions=None, train=False):
        raw = self.param("raw", lambda key: jnp.log(jnp.expm1(jnp.float32(self.std) * np.log(2))))
        return jnp.concatenate([x, jnp.full_like(x, raw)], axis=-1)


class Both(nn.Module):
    """E[x0 | x_t, z] of normal x0 under EDM, z = x0 + s eps; null z says nothing."""

    std: float

    @nn.compact
    def __call__(self, x, noise, conditions=None, train=False):
        self.param("latents", nn.initializers.zeros, ())
        variance = jnp.exp(8 * noise)[..., None]
        z = conditions["latents"]
        precision = (1 - z[..., 1:]) / self.std**2
        x = x * jnp.sqrt(1 + variance)
        return (x / variance + z[..., :1] * precision) / (1 + 1 / variance + precision)


@pytest.mark.parametrize("dropout", [0.0, 0.25, 1.0])
def test_the_loss_of_a_linear_case(dropout, key):
    """At sigma = 1: posterior variances 1/(1 + 1 + 1/s^2) with z and 1/2 without; and the mean divergence."""
    std, process = 0.5, edm()
    levels = lambda key, shape: jnp.full((1, 1), process.time(jnp.asarray(1.0)))  # noqa: E731
    inner = denoising(Both(std), process, preconditioning.x0, levels, weights.x0)
    objective = continuous_latent(inner, Copy(std), kl_weight=0.1, dropout=dropout)
    x = jax.random.normal(key, (100_000, 1, 1))
    loss = objective.loss(objective.init(key, {"x": x[:2]}), key, {"x": x})
    kl = 0.5 * (std**2 + 1 - 1) - np.log(std)
    np.testing.assert_allclose(loss.metrics["kl"].mean(), kl, rtol=0.02)
    wanted = (1 - dropout) / (2 + 1 / std**2) + dropout / 2
    np.testing.assert_allclose(loss.metrics["denoising"].mean(), wanted, rtol=0.02)
    np.testing.assert_allclose(loss.value.mean(), wanted + 0.1 * kl, rtol=0.02)


def test_the_prior_learns_z_and_the_encoder_does_not_hear_of_it(key):
    """With stop: the loss is the prior's alone. Beside: the sum, the prior's giving the rest no gradient."""
    objective, variables, batch = case()
    stopped = continuous_latent(plain(), ENCODER, prior(), stop=True)
    alone = continuous_latent(plain(), ENCODER, kl_weight=0.3)

    def reduced(params, objective):
        loss = objective.loss(variables._replace(params=params), key, batch)
        return jnp.broadcast_to(loss.value, (4, 2)).mean(), loss

    @jax.jit
    def all_of(params):
        return [
            jax.value_and_grad(functools.partial(reduced, objective=one), has_aux=True)(params)
            for one in (stopped, objective, alone)
        ]

    ((_, late), last), ((_, beside), both), ((_, first), without) = all_of(variables.params)
    assert jax.tree.structure(late.state) == jax.tree.structure(variables.state)
    assert jax.tree.structure(beside.state) == jax.tree.structure(variables.state)
    np.testing.assert_allclose(late.value, late.metrics["prior"])
    np.testing.assert_allclose(beside.value, first.value + late.value, rtol=1e-4)
    for name in ("network", "encoder"):
        assert all((leaf == 0).all() for leaf in jax.tree.leaves(last[name])), name
        assert any((leaf != 0).any() for leaf in jax.tree.leaves(without[name])), name
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), both[name], without[name])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), both["prior"], last["prior"])
    assert any((leaf != 0).any() for leaf in jax.tree.leaves(last["prior"]))


def test_latents_come_from_the_prior_or_are_taken(key):
    objective, variables, batch = case()
    bound = objective.bind(variables, key, {})

    def denoised(key, given):
        return objective.bind(variables, key, given).denoiser(batch["x"], 0.1)

    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(4))
    drawn = bound.latents.sample(keys, {})
    assert drawn.shape == (4, M, K + 1)
    assert (drawn[..., -1] == 0).all()
    assert jnp.abs(drawn[0] - drawn[1]).max() > 1e-3
    wanted = denoised(key, {"latents": drawn})
    np.testing.assert_allclose(bound.denoiser(batch["x"], 0.1), wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(denoised(keys, {}), wanted, rtol=1e-4, atol=1e-5)
    turned = denoised(key, {"seed": jnp.arange(4)[::-1]})
    np.testing.assert_allclose(turned, denoised(key, {"latents": drawn[::-1]}), rtol=1e-4, atol=1e-5)
    flag = jnp.zeros((4, M, K + 1)).at[..., -1].set(1.0)
    null = denoised(key, {"latents": flag})
    np.testing.assert_allclose(denoised(key, {"latents": jnp.full((4, M), -1)}), null, rtol=1e-5)
    assert jnp.abs(null - wanted).max() > 1e-3


def test_what_the_encoder_gives_are_draws_of_its_law(key):
    objective = continuous_latent(denoiser(Both(0.5)), Copy(0.5))
    x = jnp.full((50_000, 1, 1), 2.0)
    z = objective.bind(objective.init(key, {"x": x[:1]}), key, {}).latents.extract(key, x, {})
    assert z.shape == (50_000, 1, 2)
    np.testing.assert_allclose([z[..., 0].mean(), z[..., 0].std(), z[..., 1].max()], [2, 0.5, 0], atol=0.01)


def test_a_run_without_latents_is_gone_on_from(key):
    """All of its variables have their place here, and give the same denoiser whatever the latents."""
    objective, variables, batch = case()
    before, fresh = denoiser(mlp(8, 1)).init(key, batch), objective.init(key, batch)
    trained = {name: variables.params["network"][name] for name in before.params["network"]}
    params = {**fresh.params, "network": {**fresh.params["network"], **trained}}
    z = jax.random.normal(key, (4, M, K + 1))
    bound = objective.bind(fresh._replace(params=params), key, {"latents": z})
    old = denoiser(mlp(8, 1)).bind(before._replace(params={"network": trained}), key, {})
    found, wanted = bound.denoiser(batch["x"], 0.1), old.denoiser(batch["x"], 0.1)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_what_does_not_fit_is_refused(key):
    objective, variables, batch = case()
    for inner, encoder, law, message in [
        (denoiser(mlp(8, 1)), ENCODER, None, "network takes none"),
        (plain(), perceptron(M, 5, 8, 1), None, "codes must be twice the features of a latent, got codes=5"),
        (plain(), perceptron(M, 4, 8, 1), None, "2 latents of 3 codes and a null one"),
        (plain(), ENCODER, prior(4), "prior is over 2 latents of 4 features; got latents of 2 x 3"),
    ]:
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(continuous_latent(inner, encoder, law).init, key, batch)
    alone = continuous_latent(plain(), ENCODER)
    with pytest.raises(ValueError, match="the latents of training are the encoder's"):
        alone.loss(variables, key, {**batch, "latents": jnp.zeros((4, M, K + 1))})
    with pytest.raises(ValueError, match="trained without a prior"):
        alone.bind(variables, key, {}).denoiser(batch["x"], 0.1)
    with pytest.raises(ValueError, match="latents of this model are continuous.* codes up to 2"):
        alone.bind(variables, key, {"latents": np.full((4, M), 2)})
    traced = jax.jit(lambda z: alone.bind(variables, key, {"latents": z}).denoiser(batch["x"], 0.1))
    assert jnp.isnan(traced(jnp.full((4, M), 2))).all()
    for arguments in ({"temperature": 0.5}, {"top_p": 0.9}):
        with pytest.raises(ValueError, match="temperature and top_p belong to discrete ones"):
            objective.bind(variables, key, {}).latents.sample(jax.random.split(key, 4), {}, **arguments)
    for arguments, message in [
        ({"kl_weight": -1.0}, "kl_weight must not be negative, got -1.0"),
        ({"dropout": 1.1}, r"dropout is a share in \[0, 1\], got 1.1"),
        ({"stop": True}, "only the prior learns"),
    ]:
        with pytest.raises(ValueError, match=message):
            continuous_latent(plain(), ENCODER, **arguments)
