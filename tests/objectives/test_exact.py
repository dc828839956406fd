"""The exact denoiser against Bayes' rule summed point by point in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.evaluation.bound import evaluate_bound
from diffusion_jax.objectives.exact import exact, posterior_moments
from diffusion_jax.processes import binomial, categorical, edm, learned_beta, vp_cosine
from diffusion_jax.sampling.decoders import fixed_kernel, reverse_kernel
from diffusion_jax.sampling.grids import linear_grid
from diffusion_jax.types import Support

POINTS = np.random.default_rng(0).standard_normal((30, 2, 3))


@pytest.mark.parametrize("process", [vp_cosine(), edm(3.0)], ids=["cosine", "edm"])
def test_moments_of_blurred_points_with_a_level_for_each_token(process, key, x64):
    deviation = 0.1
    t = jnp.array([[0.0, 0.5], [0.02, 0.02], [1.0, 1.0], [0.3, 0.0]])
    x = jax.random.normal(key, (4, 2, 3))
    mean, variance = posterior_moments(Support(POINTS, deviation), process, x, t)
    alpha, sigma = np.asarray(process.alpha(t))[..., None], np.asarray(process.sigma(t))[..., None]
    for b in range(4):
        # each point: precision-weighted product of N(p, deviation^2) and the likelihood of x_t
        evidence, means, own = (
            [],
            [],
            deviation**2 * sigma[b] ** 2 / (alpha[b] ** 2 * deviation**2 + sigma[b] ** 2),
        )
        for p in POINTS:
            total = alpha[b] ** 2 * deviation**2 + sigma[b] ** 2
            evidence.append(-0.5 * ((np.asarray(x[b]) - alpha[b] * p) ** 2 / total).sum())
            means.append(p + alpha[b] * deviation**2 / total * (np.asarray(x[b]) - alpha[b] * p))
        weights = np.exp(np.array(evidence) - max(evidence))
        weights /= weights.sum()
        expected = np.einsum("n,nij->ij", weights, means)
        second = np.einsum("n,nij->ij", weights, np.square(means))
        np.testing.assert_allclose(mean[b], expected, atol=1e-9)
        np.testing.assert_allclose(variance[b], second - expected**2 + own, atol=1e-9)


def test_a_clean_token_is_its_own_mean_and_has_no_variance(key, x64):
    x = jax.random.normal(key, (5, 2, 3))
    levels = jnp.array([[0.0, 0.7]])
    mean, variance = posterior_moments(Support(POINTS, 0.1), vp_cosine(), x, levels)
    np.testing.assert_allclose(mean[:, 0], x[:, 0], rtol=1e-9)
    np.testing.assert_allclose(variance[:, 0], 0.0, atol=1e-12)


def test_bits_by_enumeration(key):
    sequences = np.array([[[1.0, 0, 0]], [[0, 1.0, 0]], [[0, 1.0, 1.0]]])
    process, x = binomial(0.3), jnp.array([[[1.0, 1, 0]], [[0, 0, 1.0]]])
    mean, variance = posterior_moments(Support(sequences, 0.0), process, x, 0.6)
    for b in range(2):
        chance = [
            np.prod([0.4 * (s == o) + 0.6 * (0.3 if o else 0.7) for s, o in zip(seq[0], x[b, 0])])
            for seq in sequences
        ]
        expected = np.average(sequences[:, 0], axis=0, weights=chance)
        np.testing.assert_allclose(mean[b, 0], expected, atol=1e-6)
        np.testing.assert_allclose(variance[b, 0], expected * (1 - expected), atol=1e-6)


def test_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match=r"\[N, T, ...\].*\(30, 2\)"):
        exact(Support(POINTS[:, :, 0], 0.1), vp_cosine(), linear_grid(4), fixed_kernel)
    with pytest.raises(ValueError, match="nothing to train"):
        exact(Support(POINTS, 0.1), learned_beta(4), linear_grid(4), fixed_kernel)


@pytest.mark.parametrize("absorbing", [True, False])
def test_the_exact_reverse_of_one_variable_loses_nothing(absorbing, key):
    """One categorical variable: the reverse chain is exact and K is minus the entropy, at any T."""
    counts = np.array([5, 3, 2, 0])
    x = jax.nn.one_hot(jnp.repeat(jnp.arange(4), counts, total_repeat_length=10), 4).reshape(10, 1, 1, 4)
    objective = exact(Support(x, 0.0), categorical(4, absorbing), linear_grid(6), reverse_kernel)
    p = counts[:3] / 10
    batches = [{"x": np.tile(x, (600, 1, 1, 1))}]
    report = evaluate_bound(objective.bind({}, None, {}), batches, key)
    np.testing.assert_allclose(report.mean, (p * np.log(p)).sum(), atol=4 * report.se + 1e-4)
    assert report.se < 0.02
    assert report.dimensions == 1


def test_the_reverse_kernel_is_not_for_continuous_data():
    with pytest.raises(TypeError, match="bits and categories"):
        reverse_kernel(vp_cosine(), linear_grid(4))
