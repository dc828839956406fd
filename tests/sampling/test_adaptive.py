"""The adaptive solver: as exact as it is asked to be, from level 1 to 0 in one step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.processes import edm, flow, ve, vp_2015, vp_linear
from diffusion_jax.processes.binomial import binomial
from diffusion_jax.sampling.adaptive import adaptive
from diffusion_jax.sampling.grids import linear_grid
from diffusion_jax.sampling.loop import counted, sample


@pytest.mark.parametrize("process", [vp_linear(), flow()], ids=lambda p: type(p).__name__)
def test_tolerances_buy_accuracy_with_evaluations(process, x64, oracles):
    """Data N(0, 0.6^2): x over the marginal's standard deviation is constant along the ODE."""
    times = jnp.array([1.0, process.time(jnp.asarray(0.05))])
    width = jnp.sqrt((process.alpha(times) * 0.6) ** 2 + process.sigma(times) ** 2)
    x = jnp.linspace(-2.0, 2.0, 7).reshape(7, 1, 1)
    errors, costs = [], []
    for tolerance in (1e-3, 1e-9):
        denoiser, count = counted(oracles.gaussian(process, 0.0, 0.6))
        sampler = adaptive(process, rtol=tolerance, atol=tolerance)
        end = sample(jax.random.key(0), denoiser, sampler, x * width[0], times)
        errors.append(abs(end / width[1] - x).max())
        costs.append(count())
    assert errors[1] < 1e-6 < errors[0] < 1e-1
    assert costs[0] < costs[1]


def test_single_precision_down_to_the_smallest_levels(key, oracles):
    """In `ve` a ratio of 0.002 is the level 4e-10."""
    process = ve()
    x = process.prior((4000, 1, 1)).sample(key)
    end = sample(key, oracles.gaussian(process, 0.3, 0.5), adaptive(process), x, linear_grid(1))
    assert abs(end.mean() - 0.3) < 4 * 0.5 / np.sqrt(4000) + 0.002
    assert abs(end.std() - 0.5) < 4 * 0.5 / np.sqrt(8000) + 0.002


def test_too_few_steps_are_an_error(key, oracles):
    process = edm()
    sampler = adaptive(process, max_steps=2)
    with pytest.raises(RuntimeError, match="max"):
        sample(key, oracles.gaussian(process, 0.3, 0.5), sampler, jnp.ones((1, 1, 1)), linear_grid(1))


def test_wrong_settings_are_refused():
    with pytest.raises(TypeError, match="adaptive needs a Gaussian process"):
        adaptive(binomial())
    with pytest.raises(ValueError, match="adaptive integrates over t"):
        adaptive(vp_2015())
    for wrong in ({"rtol": 0.0}, {"atol": -1.0}, {"sigma_min": 0.0}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be positive"):
            adaptive(edm(), **wrong)
