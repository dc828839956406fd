"""Reverse variances: between the entropy bounds of 2015, and exact where the truth is normal."""

import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.laws import Normal
from diffusion_jax.processes import edm, large, learned, small, vp_2015, vp_cosine, vp_linear
from diffusion_jax.processes.variances import spread

pytestmark = pytest.mark.usefixtures("x64")

X = np.zeros((2, 3))
T, S = np.array([0.5, 0.9]), np.array([0.4, 0.3])


def test_the_entropy_bounds_of_2015_are_the_two_fixed_variances():
    """H(X_t|X_s) + H(X_s|X_0) - H(X_t|X_0) <= H(X_s|X_t) <= H(X_t|X_s), of the process's own laws.

    alpha^2 = 1 - t, so that the kernel from s to t is the marginal at 1 - (1 - t)/(1 - s).
    """
    process = vp_2015()
    kernel = process.marginal(X, 1 - (1 - T) / (1 - S)).entropy()
    lower = kernel + process.marginal(X, S).entropy() - process.marginal(X, T).entropy()
    for variance, bound in ((small, lower), (large, kernel)):
        law = Normal(X, jnp.sqrt(variance(process)(X, T, S)))
        np.testing.assert_allclose(law.entropy(), bound, rtol=1e-10)


def test_small_is_the_posteriors_own():
    for process in (vp_linear(steps=1000), vp_cosine(), edm()):
        law = process.posterior(X, X, T, S)
        np.testing.assert_allclose(small(process)(X, T, S), law.std**2, rtol=1e-12)


def test_learned_lies_between_small_and_large():
    process = vp_linear(steps=1000)
    raw = jnp.linspace(-1, 1, 6).reshape(2, 3)
    t, s = jnp.array([0.501, 0.002]), jnp.array([0.5, 0.001])
    low, high = small(process)(X, t, s), large(process)(X, t, s)
    value = learned(process)(X, t, s, raw)
    assert (low <= value * (1 + 1e-12)).all()
    assert (value <= high * (1 + 1e-12)).all()
    np.testing.assert_allclose(learned(process)(X, t, s, jnp.full((2, 3), -1.0))[:, :1], low, rtol=1e-9)
    np.testing.assert_allclose(learned(process)(X, t, s, jnp.full((2, 3), 1.0))[:, :1], high, rtol=1e-9)
    middle = learned(process)(X, t, s, jnp.zeros((2, 3)))[:, :1]
    np.testing.assert_allclose(middle, jnp.sqrt(low * high), rtol=1e-9)


def test_the_last_step_of_learned_is_large():
    process = vp_linear(steps=10)
    for raw in (-1.0, 0.3, 1.0):
        value = learned(process)(X, jnp.full(2, 0.1), jnp.zeros(2), jnp.full((2, 3), raw))
        np.testing.assert_allclose(value, 0.01, rtol=1e-9)


@pytest.mark.parametrize("process", [vp_cosine(), edm(3.0)], ids=["vp", "ve"])
@pytest.mark.parametrize("deviation", [0.05, 1.0, 2.0])
def test_spread_is_exact_for_normal_data(process, deviation):
    """Given Var(x_0 | x_t), the variance of x_s given x_t, here by conditioning a joint normal law."""
    alpha_t, alpha_s = process.alpha(T), process.alpha(S)
    sigma_t, sigma_s = process.sigma(T), process.sigma(S)
    var_t, var_s = (a**2 * deviation**2 + c**2 for a, c in ((alpha_t, sigma_t), (alpha_s, sigma_s)))
    truth = var_s - (alpha_t / alpha_s * var_s) ** 2 / var_t
    data = deviation**2 * sigma_t**2 / var_t
    softplus = data * (alpha_t**2 + sigma_t**2) / sigma_t**2
    raw = jnp.broadcast_to(jnp.log(jnp.expm1(softplus))[:, None], X.shape)
    value = spread(process)(X, T, S, raw)
    np.testing.assert_allclose(value, np.broadcast_to(truth[:, None], X.shape), rtol=1e-9)


@pytest.mark.parametrize("variance", [learned, spread])
def test_a_learned_variance_needs_the_networks_part(variance):
    with pytest.raises(ValueError, match=f"{variance.__name__!r} is learned.*outputs=2"):
        variance(vp_cosine())(X, T, S)


@pytest.mark.parametrize("variance", [small, large, learned, spread])
def test_tokens_that_do_not_move_have_no_variance(variance):
    for process in (vp_cosine(), edm()):
        for level in (0.0, 0.5, 1.0):
            value = variance(process)(X, jnp.array(level), jnp.array(level), X)
            np.testing.assert_array_equal(value, 0.0)
