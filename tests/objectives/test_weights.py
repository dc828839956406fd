"""Weights of the error of x0: published values, and errors of other predictions by their definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.objectives import weights
from diffusion_jax.processes import edm, flow, vp_cosine, vp_linear

T = np.array([0.1, 0.5, 0.9])


@pytest.mark.parametrize(
    ("sigma", "expected"), [(0.002, 250004.0), (0.1, 104.0), (0.5, 8.0), (1.0, 5.0), (80.0, 4.00015625)]
)
def test_lambda_of_edm(x64, sigma, expected):
    process = edm()
    np.testing.assert_allclose(weights.edm(process)(process.time(jnp.asarray(sigma))), expected, rtol=1e-9)


@pytest.mark.parametrize("process", [vp_linear(), flow()], ids=["vp", "flow"])
def test_an_error_of_the_clean_data_is_an_error_of_noise_velocity_and_slope(x64, process):
    """x_t = alpha x0 + sigma eps stays what it is, so a wrong x0 goes with a wrong eps."""
    alpha, sigma = process.alpha(T), process.sigma(T)
    wrong = 0.7
    noise = -alpha / sigma * wrong
    np.testing.assert_allclose(weights.eps(process)(T) * wrong**2, noise**2, rtol=1e-12)
    np.testing.assert_allclose(
        weights.v(process)(T) * wrong**2, (alpha * noise - sigma * wrong) ** 2, rtol=1e-12
    )

    def path(t, x0, eps):
        return process.alpha(t) * x0 + process.sigma(t) * eps

    slope = jax.vmap(jax.grad(path), (0, None, 0))(jnp.asarray(T), wrong, noise)
    np.testing.assert_allclose(weights.slope(process)(T) * wrong**2, slope**2, rtol=1e-12)


def test_flow_matching_weighs_by_the_level_squared(x64):
    np.testing.assert_allclose(weights.slope(flow())(T), [100.0, 4.0, 1 / 0.81], rtol=1e-12)


def test_min_snr_cuts_at_gamma_and_the_soft_one_joins_both_ends(x64):
    process = vp_cosine()
    low, even, high = (process.time(jnp.asarray(r)) for r in (1e-3, 1.0, 1e3))
    for weight, between in ((weights.min_snr, 1.0), (weights.soft_min_snr, 5 / 6)):
        at = weight(process, gamma=5.0)
        np.testing.assert_allclose([at(low), at(high) * 1e6, at(even)], [5.0, 1.0, between], rtol=1e-4)


@pytest.mark.parametrize("name", ["edm", "min_snr", "soft_min_snr"])
def test_impossible_numbers_are_refused(name):
    with pytest.raises(ValueError, match="positive"):
        getattr(weights, name)(edm(), -1.0)
