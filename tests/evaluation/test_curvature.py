"""Curvature and Jacobian of the generative ODE against closed forms of normal laws."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.evaluation.curvature import bend, ode_curvature, steepness
from diffusion_jax.levels import expand
from diffusion_jax.processes import edm
from diffusion_jax.sampling.heun import heun
from diffusion_jax.types import Bound

PROCESS = edm(20.0)


def normal(mean, std):
    """x0_hat of independent normal entries."""

    def denoiser(x, t):
        variance = expand(PROCESS.sigma(jnp.reshape(t, (1, 1))), x) ** 2
        std_2 = jnp.asarray(std).reshape(1, 1, -1) ** 2
        return (std_2 * x + variance * jnp.asarray(mean).reshape(1, 1, -1)) / (std_2 + variance)

    return denoiser


def test_the_curves_of_an_isotropic_normal_are_straight(key, x64):
    x = jax.random.normal(key, (50, 1, 2))
    for t in (0.9, 0.1, 0.001):
        found = bend(PROCESS, normal([1.0, -2.0], [0.3, 0.3]), x, jnp.asarray(t))
        np.testing.assert_allclose(found, 0, atol=1e-8)


def test_the_curvature_of_an_elongated_normal(key, x64):
    """x_i(sigma) = c_i sqrt(s_i^2 + sigma^2): the curvature of a plane curve, |x' y'' - y' x''|/|v|^3."""
    std, sigma = np.array([0.5, 2.0]), 1.5
    x = jax.random.normal(key, (20, 1, 2))
    total = np.sqrt(std**2 + sigma**2)
    constant = np.asarray(x[:, 0]) / total
    first, second = constant * sigma / total, constant * std**2 / total**3
    wanted = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]) / (first**2).sum(1) ** 1.5
    found = bend(PROCESS, normal([0.0, 0.0], std), x, PROCESS.time(jnp.asarray(sigma)))
    np.testing.assert_allclose(found, wanted, rtol=1e-7)


def test_the_jacobian_of_a_normal(key, x64):
    """dx/dsigma = sigma x/(s^2 + sigma^2): diagonal."""
    std, sigma = np.array([0.5, 2.0]), 1.5
    x = jax.random.normal(key, (200_000, 1, 2))
    found = steepness(key, PROCESS, normal([0.0, 0.0], std), x, PROCESS.time(jnp.asarray(sigma)))
    wanted = ((sigma / (std**2 + sigma**2)) ** 2).sum()
    np.testing.assert_allclose(found.mean(), wanted, rtol=0.02)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="count must be at least 1"):
        ode_curvature(None, None, count=0)


def test_levels_outside_the_interval_do_not_count(key):
    def of_one_normal(conditions):
        return Bound(PROCESS, normal([1.0, -2.0], [0.3, 0.3]))

    data = SimpleNamespace(info=SimpleNamespace(shape=(1, 2), classes=None))
    grid = PROCESS.time(jnp.asarray([20.0, 5.0, 1.0, 0.1, 0.0]))
    metrics = ode_curvature(heun(PROCESS), grid, count=20, low=0.5, high=6.0)(
        of_one_normal, data, key
    ).metrics
    assert {name for name in metrics if name.startswith("curvature@")} == {"curvature@5", "curvature@1"}
    assert metrics["curvature"] < 1e-3
    with pytest.raises(ValueError, match="no level with 30 <= sigma/alpha"):
        ode_curvature(heun(PROCESS), grid, count=20, low=30.0)(of_one_normal, data, key)
