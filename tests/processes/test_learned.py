"""Learned schedules: what stays fixed, where training starts, and inverting them."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.objectives.base import prior_kl
from diffusion_jax.processes import learned_beta, vdm, vp_cosine
from diffusion_jax.processes.learned import learned_fields

pytestmark = pytest.mark.usefixtures("x64")

STEPS = 12


def test_betas_start_log_snr_linear():
    process = learned_beta(STEPS, beta_1=1e-4, alpha_bar_end=1e-3)
    log_snr = np.asarray(process.log_snr(jnp.arange(1, STEPS + 1) / STEPS))
    np.testing.assert_allclose(np.diff(log_snr), np.diff(log_snr).mean(), rtol=1e-4)
    np.testing.assert_allclose(process.sigma(jnp.array(1 / STEPS)) ** 2, 1e-4, rtol=1e-9)
    np.testing.assert_allclose(process.alpha(jnp.array(1.0)) ** 2, 1e-3, rtol=1e-4)


def test_beta_1_stays_whatever_is_learned(key):
    process = learned_beta(STEPS, beta_1=1e-3)
    moved = dataclasses.replace(process, raw=10 * jax.random.normal(key, process.raw.shape))
    np.testing.assert_allclose(moved.sigma(jnp.array(1 / STEPS)) ** 2, 1e-3, rtol=1e-9)
    sigma = np.asarray(jax.jit(lambda p, t: p.sigma(t))(moved, jnp.linspace(0, 1, 5 * STEPS + 1)))
    assert (np.diff(sigma) >= 0).all()
    gradient = jax.jit(jax.grad(lambda p: p.sigma(jnp.array(1 / STEPS))))(process)
    np.testing.assert_array_equal(gradient.raw, 0.0)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_gradients_of_betas_are_finite(scale, key):
    process = learned_beta(STEPS)
    raw = scale * jax.random.normal(key, process.raw.shape)

    def total(raw):
        law = dataclasses.replace(process, raw=raw)
        t, s = jnp.array([1.0, 0.5, 0.02]), jnp.array([0.9, 0.4, 0.01])
        posterior = law.posterior(jnp.ones((3, 1)), jnp.ones((3, 1)), t, s)
        return law.marginal(jnp.ones((3, 1)), t).entropy().sum() + posterior.mean.sum()

    gradient = jax.jit(jax.grad(total))(raw)
    assert np.isfinite(gradient).all()
    assert (gradient != 0).any()


def test_the_fields_that_are_trained_are_the_leaves():
    assert learned_fields(vp_cosine()) == {}
    for process in (learned_beta(STEPS), vdm(hidden=4)):
        fields = learned_fields(process)
        assert {id(x) for x in jax.tree.leaves(fields)} == {id(x) for x in jax.tree.leaves(process)}


def wild_vdm(key, hidden=6):
    """Inner weights of any sign and size."""
    process = vdm(-8.0, 6.0, hidden)
    leaves, shape = jax.tree.flatten(process.inner)
    keys = jax.random.split(key, len(leaves))
    inner = [3 * jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves)]
    return dataclasses.replace(process, inner=jax.tree.unflatten(shape, inner))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_vdm_is_monotone_between_its_ends_for_any_inner_weights(seed):
    process = wild_vdm(jax.random.key(seed))
    t = jnp.linspace(1e-12, 1, 201)
    ratio, back = jax.jit(lambda p, t: (p.sigma(t) / p.alpha(t), p.time(p.ratio(t))))(process, t)
    gamma = 2 * np.log(ratio)
    assert (np.diff(gamma) > 0).all()
    np.testing.assert_allclose(gamma[[0, -1]], [-8.0, 6.0], atol=1e-8)
    np.testing.assert_allclose(back[1:-1], t[1:-1], rtol=1e-9)


def test_vdm_starts_about_linear():
    t = np.linspace(0.001, 1, 50)
    gamma = -vdm().log_snr(jnp.asarray(t))
    np.testing.assert_allclose(gamma, -13.3 + 20.3 * t, atol=0.01 * 20.3)


def test_vdm_knows_the_papers_ends():
    process = vdm(gamma_max=5.0, hidden=4)
    np.testing.assert_allclose(process.sigma(jnp.array(1e-12)) ** 2, 1.6745e-6, rtol=3e-5)
    np.testing.assert_allclose(process.alpha(jnp.array(1.0)) ** 2, 6.6929e-3, rtol=1e-5)
    x0 = jnp.full((1, 1, 1), math.sqrt(0.25))
    np.testing.assert_allclose(prior_kl(process, x0) / math.log(2), 1.22e-3, rtol=5e-3)


def test_vdm_jumps_from_clean_to_its_first_noise():
    process = vdm(hidden=4)
    assert process.sigma(jnp.array(0.0)) == 0
    assert process.alpha(jnp.array(0.0)) == 1
    assert process.log_snr(jnp.array(0.0)) == jnp.inf
    assert process.time(jnp.array(1e-6)) < 1e-9


def test_impossible_schedules_are_refused():
    for make, message in (
        (lambda: learned_beta(1), "at least 2 steps, got 1"),
        (lambda: learned_beta(10, beta_1=0.0), "0 < beta_1 < 1"),
        (lambda: learned_beta(10, beta_1=0.5, alpha_bar_end=0.6), "alpha_bar_end < 1 - beta_1"),
        (lambda: vdm(1.0, -1.0), "gamma_min < gamma_max"),
        (lambda: vdm(hidden=0), "hidden >= 1"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
