"""The exact denoiser of jointly normal tokens: the normal equations, known conditionals, its own error."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.build import build
from diffusion_jax.data.autoregression import matrices, window_law
from diffusion_jax.objectives.linear_gaussian import expected_error, linear_gaussian, posterior
from diffusion_jax.processes import categorical, edm, flow, vp_cosine
from diffusion_jax.types import JointNormal

TOKENS, DIMS, SEED, RADIUS = 4, 2, 3, 0.9
LAW = window_law(DIMS, TOKENS, SEED, RADIUS)
SHIFTED = LAW._replace(mean=np.linspace(-1, 1, TOKENS * DIMS).reshape(TOKENS, DIMS))
LEVELS = jnp.array([[0.3, 0.9, 0.02, 0.6]])


@pytest.mark.parametrize("process", [vp_cosine(), flow(), edm()], ids=["cosine", "flow", "edm"])
def test_what_is_left_is_orthogonal_to_what_is_seen(process, x64):
    """x0_hat is the best linear estimate: Cov(x0 - x0_hat, x_t) = 0, and P is what is left of Cov(x0)."""
    size = TOKENS * DIMS
    t = LEVELS.astype(jnp.float64)
    mean = jnp.asarray(SHIFTED.mean)[None]

    def linear(x):
        return posterior(SHIFTED, process, x.reshape(1, TOKENS, DIMS), t)[0].reshape(-1)

    gain = np.asarray(jax.jacobian(linear)(jnp.zeros(size)))
    a, s = (np.repeat(np.asarray(f(t))[0], DIMS) for f in (process.alpha, process.sigma))
    covariance = LAW.covariance.reshape(size, size)
    seen = a[:, None] * covariance * a + np.diag(s**2)
    np.testing.assert_allclose(covariance * a - gain @ seen, 0, atol=1e-9)
    left = posterior(SHIFTED, process, mean, t)[1].reshape(size, size)
    rest = np.eye(size) - gain * a
    np.testing.assert_allclose(left, rest @ covariance @ rest.T + gain * s**2 @ gain.T, atol=1e-9)
    np.testing.assert_allclose(linear(a * SHIFTED.mean.reshape(-1)), SHIFTED.mean.reshape(-1), atol=1e-9)


@pytest.mark.parametrize("process", [vp_cosine(), edm(1e4)], ids=["cosine", "edm"])
def test_the_next_token_given_the_past(process, key):
    """Clean past, missing future: A^h x_n, with the variance of the noise since; in single precision."""
    moves, noise, _ = matrices(DIMS, SEED, RADIUS)
    x = jax.random.normal(key, (5, TOKENS, DIMS))
    mean, left = jax.jit(lambda x, t: posterior(LAW, process, x, t))(x, jnp.array([[0.0, 0.0, 1.0, 1.0]]))
    known = np.asarray(x[:, 1])
    np.testing.assert_allclose(mean[:, :2], x[:, :2], atol=2e-5)
    np.testing.assert_allclose(mean[:, 2], known @ moves.T, atol=5e-4)
    np.testing.assert_allclose(mean[:, 3], known @ (moves @ moves).T, atol=5e-4)
    np.testing.assert_allclose(left[0, 2, :, 2], noise, atol=1e-4)
    np.testing.assert_allclose(left[0, 3, :, 3], noise + moves @ noise @ moves.T, atol=1e-4)
    np.testing.assert_allclose(left[0, 3, :, 2], moves @ noise, atol=1e-4)


def test_a_law_without_noise_of_its_own(key):
    """x_n all the same number: clean ones say it, though the covariance is singular."""
    law = JointNormal(np.zeros((3, 1)), np.ones((3, 1, 3, 1)))
    x = jnp.array([[[0.7], [0.7], [5.0]]])
    mean, left = posterior(law, vp_cosine(), x, jnp.array([[0.0, 0.0, 1.0]]))
    np.testing.assert_allclose(mean, 0.7, atol=1e-3)
    np.testing.assert_allclose(left, 0, atol=1e-3)


def test_the_error_at_small_levels_is_that_of_the_noise():
    """As t falls, x0_hat is x_t/alpha, its error sigma^2/alpha^2 a feature: also in single precision."""
    process = vp_cosine()
    t = jnp.array([[1e-4], [1e-3]])
    error = expected_error(LAW, process, t)
    assert error.shape == (2, TOKENS)
    np.testing.assert_allclose(error, DIMS * process.ratio(t) ** 2 * np.ones((1, TOKENS)), rtol=2e-3)
    np.testing.assert_allclose(expected_error(LAW, process, jnp.ones((1, 1))), DIMS, rtol=1e-5)


def test_the_expected_error_is_the_mean_of_the_error(key):
    process, count = vp_cosine(), 40_000
    data_key, noise_key = jax.random.split(key)
    draw = jax.random.multivariate_normal(
        data_key, SHIFTED.mean.reshape(-1), SHIFTED.covariance.reshape(8, 8), (count,)
    )
    x0 = draw.reshape(count, TOKENS, DIMS)
    x_t = process.marginal(x0, LEVELS).sample(noise_key)
    denoiser = linear_gaussian(SHIFTED, process).bind({}, key, {}).denoiser
    error = ((denoiser(x_t, LEVELS) - x0) ** 2).sum(-1)
    # a sum of squares of DIMS normal numbers has at most sqrt(2) times its mean as deviation
    np.testing.assert_allclose(
        error.mean(0), expected_error(SHIFTED, process, LEVELS)[0], rtol=5 * 1.42 / 200
    )


def test_levels_of_samples_are_their_own(key):
    """[B, T], [B] and () agree, and one sample's levels say nothing of another's."""
    process = vp_cosine()
    x = jax.random.normal(key, (2, TOKENS, DIMS))
    t = jnp.array([[0.2] * TOKENS, [0.7] * TOKENS])
    mean, left = posterior(LAW, process, x, t)
    np.testing.assert_allclose(posterior(LAW, process, x, t[:, 0])[0], mean, rtol=1e-5)
    one, own = posterior(LAW, process, x, 0.7)
    np.testing.assert_allclose(one[1], mean[1], rtol=1e-4, atol=1e-6)
    assert own.shape == (1, TOKENS, DIMS, TOKENS, DIMS)
    np.testing.assert_allclose(own[0], left[1], atol=1e-5)


def test_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match=r"\[T, D, T, D\], got \(4, 2\) and \(8, 8\)"):
        linear_gaussian(JointNormal(LAW.mean, np.eye(8)), vp_cosine())
    with pytest.raises(TypeError, match="fixed Gaussian process"):
        linear_gaussian(LAW, categorical(3))
    with pytest.raises(ValueError, match=r"sequences \(4, 2\), got x of shape \(1, 5, 2\)"):
        posterior(LAW, vp_cosine(), jnp.zeros((1, 5, 2)), 0.5)
    objective = build("objective", {"name": "linear_gaussian", "law": "autoregression_law", "process": "edm"})
    assert objective.init(None, {}).params == {}
