"""Restart: exact on the way up, Heun on the way down, and what it costs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.processes import edm, flow, vp_2015, vp_linear
from diffusion_jax.processes.binomial import binomial
from diffusion_jax.sampling.grids import karras_grid, restart_grid
from diffusion_jax.sampling.heun import heun
from diffusion_jax.sampling.loop import advance, counted, sample
from diffusion_jax.sampling.restart import restart

IMAGENET_623 = [
    (10, 3, 19.35, 40.79),
    (10, 3, 1.09, 1.92),
    (7, 6, 0.59, 1.09),
    (7, 6, 0.30, 0.59),
    (7, 25, 0.06, 0.30),
]
IMAGENET_203 = [
    (4, 1, 19.35, 40.79),
    (4, 1, 1.09, 1.92),
    (4, 5, 0.59, 1.09),
    (4, 5, 0.30, 0.59),
    (6, 6, 0.06, 0.30),
]


@pytest.mark.parametrize(
    ("steps", "intervals", "evaluations"),
    [
        (36, IMAGENET_623, 623),
        (36, IMAGENET_203, 203),
        (18, [(3, 2, 0.06, 0.30)], 43),
        (20, [(9, 30, 0.06, 0.20)], 519),
    ],
)
def test_evaluations_of_the_published_settings(steps, intervals, evaluations, key):
    process = edm()
    denoiser, count = counted(lambda x, t: jnp.zeros_like(x))
    times = restart_grid(process, steps, intervals)
    sample(key, denoiser, restart(process), jnp.ones((1, 1, 1)), times).block_until_ready()
    assert count() == evaluations


@pytest.mark.parametrize("process", [edm(8.0), vp_linear(), flow()], ids=lambda p: type(p).__name__)
def test_rising_is_the_forward_process(process, x64):
    """Affine in x and in the noise: from the marginal at t it leads to the marginal at s, for nothing."""
    t, s = jnp.array([[0.0, 0.3, 0.9]]), jnp.array([[0.5, 0.8, 1.0]])

    def risen(x, noise):
        denoiser, count = counted(lambda x, t: x)
        sampler = restart(process, draw=lambda key, x: jnp.full_like(x, noise))
        state = sampler.init(jnp.full((1, 3, 1), x), t)
        end = advance(sampler)(jax.random.key(0), denoiser, state, t, s).x[..., 0]
        assert count() == 0
        return end

    kept, std = risen(1.0, 0.0), risen(0.0, 1.0)
    np.testing.assert_allclose(kept * process.alpha(t), process.alpha(s), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose((kept * process.sigma(t)) ** 2 + std**2, process.sigma(s) ** 2, rtol=1e-10)


def test_tokens_rise_fall_and_stay_in_one_step(key, oracles, x64):
    process = edm(8.0)
    denoiser = oracles.gaussian(process, 0.3, 0.5)
    x = jax.random.normal(key, (2, 3, 2))
    times = jnp.array([[0.5, 0.8, 0.4], [0.9, 0.2, 0.4]])[:, None, :]
    end = sample(key, denoiser, restart(process, noise=2.0), x, times)
    np.testing.assert_array_equal(end[:, 2], x[:, 2])
    down = sample(key, denoiser, heun(process), x, jnp.array([0.8, 0.2]))
    np.testing.assert_allclose(end[:, 1], down[:, 1], rtol=1e-12)
    added = jax.random.normal(jax.random.fold_in(key, 0), x.shape)[:, 0]
    np.testing.assert_allclose(end[:, 0] - x[:, 0], 2.0 * 8.0 * np.sqrt(0.9**2 - 0.5**2) * added, rtol=1e-10)


def test_errors_made_above_are_forgotten(key, oracles):
    """From a start in a narrow heap at 5 instead of the prior's N(0, 10^2), to data N(0, 0.5^2)."""
    process = edm(10.0)
    denoiser = oracles.gaussian(process, 0.0, 0.5)
    x = 5.0 + jax.random.normal(jax.random.fold_in(key, 1), (4000, 1, 1))
    plain = sample(key, denoiser, heun(process), x, karras_grid(process, 18))
    again = sample(key, denoiser, restart(process), x, restart_grid(process, 18, [(10, 2, 0.5, 8.0)]))
    assert abs(plain.mean() - 0.25) < 0.02
    assert plain.std() < 0.06
    assert abs(again.mean()) < 4 * 0.5 / np.sqrt(4000) + 0.01
    assert abs(again.std() - 0.5) < 4 * 0.5 / np.sqrt(8000) + 0.01


def test_only_restart_takes_rising_levels(key):
    times = restart_grid(edm(), 18, [(3, 2, 0.06, 0.3)])
    with pytest.raises(ValueError, match="must not rise; it does after entry 14 .*`restart`"):
        sample(key, lambda x, t: x, heun(edm()), jnp.ones((1, 1, 1)), times)
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
        sample(key, lambda x, t: x, restart(edm()), jnp.ones((1, 1, 1)), 1.1 * times)


def test_it_needs_a_flow():
    with pytest.raises(TypeError, match="restart needs a Gaussian process"):
        restart(binomial())
    with pytest.raises(ValueError, match="restart integrates over t"):
        restart(vp_2015())
