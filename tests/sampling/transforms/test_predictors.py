"""Guidance by predictors, on normal data, where the law of guided samples is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.processes import vp_cosine, vp_linear
from diffusion_jax.sampling.transforms.gradients import classifier
from diffusion_jax.sampling.transforms.predictors import (
    class_log_prob,
    clipped,
    preference,
    score_sized,
    up_to,
)
from diffusion_jax.types import Statistics

A, WEIGHT, NOISE = np.array([0.8, -0.5]), 1.5, 0.3
"""y = A x0 + noise, of standard normal x0."""


def exact(process, x, t):
    """E[x0 | x_t] of standard normal data, and the share of the data's variance that is left."""
    alpha, sigma = process.alpha(t), process.sigma(t)
    power = alpha**2 + sigma**2
    return (alpha / power)[..., None] * x, sigma**2 / power


def predictor_of(process):
    def predictor(x, t):
        mean, left = exact(process, x, t)
        variance = jnp.broadcast_to((A**2).sum() * left + NOISE**2, (len(x), 1))
        return Statistics(mean[:, 0] @ A[:, None], variance)

    return predictor


@pytest.fixture
def case(key):
    process, x, t = vp_linear(), jax.random.normal(key, (3, 1, 2)), jnp.array([[0.1], [0.4], [0.8]])
    return process, x, t, lambda x, t: exact(process, x, t)[0]


@pytest.mark.parametrize("caution", [0.0, 0.7])
def test_a_preference_for_large_means_tilts_the_law(case, caution):
    """Of normal data, p(x0) exp(w y) is normal about w A: E[x0 | x_t] moves by w Cov[x0 | x_t] A; the
    variance does not depend on x, so that caution changes nothing."""
    process, x, t, plain = case
    guided = classifier(process, plain, preference(predictor_of(process), [WEIGHT], caution))
    mean, left = exact(process, x, t)
    np.testing.assert_allclose(
        guided(x, t), mean + WEIGHT * left[..., None] * A[None, None], rtol=1e-4, atol=1e-5
    )


def test_a_preference_weighs_means_and_deviations():
    def predictor(x, t):
        return Statistics(jnp.array([[1.0, 2.0]]), jnp.array([[4.0, 9.0]]))

    x, t = jnp.zeros((1, 1, 2)), jnp.zeros((1, 1))
    # 1 - 2*2 = -3, and the deviations are 2 and 3
    for caution, wanted in ((0.0, -3.0), (0.5, -7.0), (-0.5, 1.0)):
        np.testing.assert_allclose(preference(predictor, [1.0, -2.0], caution)(x, t), [wanted], rtol=1e-6)


def test_classes_guide_by_their_log_probability():
    logits = jnp.log(jnp.array([[0.2, 0.8], [0.5, 0.5]])) + 3
    x, t = jnp.zeros((2, 1, 2)), jnp.zeros((1, 1))
    found = class_log_prob(lambda x, t: logits, jnp.array([1, 0]))(x, t)
    np.testing.assert_allclose(found, np.log([0.8, 0.5]), rtol=1e-5)
    np.testing.assert_allclose(class_log_prob(lambda x, t: logits, 0)(x, t), np.log([0.2, 0.5]), rtol=1e-5)


def test_long_gradients_are_clipped_and_short_ones_kept():
    gradient = jnp.array([[[3.0, 4.0]], [[0.3, 0.4]], [[0.0, 0.0]]])
    wanted = [[[1.2, 1.6]], [[0.3, 0.4]], [[0.0, 0.0]]]
    np.testing.assert_allclose(clipped(2.0)(gradient, gradient), wanted, rtol=1e-6)


def test_guidance_is_a_share_of_the_score(case):
    """The score moves by scale times its own L1 norm, in the direction of the gradient, A."""
    process, x, t, plain = case
    scale = jnp.array([0.0, 0.5, 2.0])
    log_prob = preference(predictor_of(process), [WEIGHT])
    guided = classifier(process, plain, log_prob, scale, score_sized())

    def score(denoiser):
        alpha, sigma = process.alpha(t)[..., None], process.sigma(t)[..., None]
        return (alpha * denoiser(x, t) - x) / sigma**2

    moved, size = score(guided) - score(plain), jnp.abs(score(plain)).sum((1, 2))
    wanted = np.outer(scale * size, A / np.abs(A).sum())
    np.testing.assert_allclose(moved[:, 0], wanted, rtol=2e-3, atol=1e-4)


def test_guidance_ends_where_there_is_no_signal(case):
    process, x, t, plain = case
    scale = up_to(process, jnp.array([1.0, 2.0, 3.0]), high=float(process.ratio(t)[1, 0]) * 1.01)
    np.testing.assert_array_equal(scale(t, None), [[1.0], [2.0], [0.0]])
    np.testing.assert_array_equal(up_to(vp_cosine(), 1.0, 1e4)(jnp.ones((1, 1)), None), [[0.0]])
    log_prob = preference(predictor_of(process), [WEIGHT])
    guided = classifier(process, plain, log_prob, scale)(x, t) - plain(x, t)
    assert (guided[2] == 0).all()
    full = classifier(process, plain, log_prob, 2.0)(x, t) - plain(x, t)
    np.testing.assert_allclose(guided[1], full[1], rtol=1e-5)


def test_what_does_not_fit_is_refused(case):
    process, x, t, _ = case
    with pytest.raises(TypeError, match="class_log_prob"):
        preference(lambda x, t: jnp.zeros((3, 1)), [1.0])(x, t)
    with pytest.raises(ValueError, match=r"should have shape \(3, 2\), got \(3, 1\)"):
        preference(predictor_of(process), [1.0, 2.0])(x, t)
    with pytest.raises(ValueError, match=r"weights are \[K\]"):
        preference(predictor_of(process), 1.0)
    with pytest.raises(TypeError, match="integers"):
        class_log_prob(predictor_of(process), 0.5)
    with pytest.raises(ValueError, match="limit must be positive"):
        clipped(0.0)
    with pytest.raises(ValueError, match="high must be positive"):
        up_to(process, 1.0, 0.0)
    with pytest.raises(ValueError, match="negative"):
        up_to(process, -1.0, 1.0)
    with pytest.raises(TypeError, match="adjust"):
        classifier(process, lambda x, t: x, lambda x, t: x[:, 0, 0], adjust=2.0)
