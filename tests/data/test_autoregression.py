"""The synthetic autoregression: its law from its own equation, and its series from its law."""

import numpy as np
import pytest

from diffusion_jax.build import build
from diffusion_jax.data.autoregression import autoregression, matrices, series, window_law


def test_the_law_is_the_recursion():
    """Linear maps of the noise: a window is L (first token, e_1, e_2, ...), so its covariance is L W L^T."""
    dims, tokens, seed, radius = 3, 4, 5, 0.8
    moves, noise, stationary = matrices(dims, seed, radius)
    np.testing.assert_allclose(np.diag(stationary), 1.0, atol=1e-12)
    np.testing.assert_allclose(abs(np.linalg.eigvals(moves)).max(), radius, atol=1e-12)
    linear = np.zeros((tokens, dims, tokens, dims))
    linear[0, :, 0] = np.eye(dims)
    for n in range(1, tokens):
        linear[n] = np.tensordot(moves, linear[n - 1], 1)
        linear[n, :, n] += np.eye(dims)
    sources = np.zeros((tokens, dims, tokens, dims))
    for n in range(tokens):
        sources[n, :, n] = noise if n else stationary
    flat, sources = linear.reshape(12, 12), sources.reshape(12, 12)
    law = window_law(dims, tokens, seed, radius)
    np.testing.assert_allclose(law.covariance.reshape(12, 12), flat @ sources @ flat.T, atol=1e-12)
    assert np.linalg.eigvalsh(noise).min() > 0


def test_the_series_has_the_law():
    """60,000 steps; their mean squares have about 10,000 independent ones: 5 errors are 0.07."""
    x = series(2, 60_000, 1, 0.8)
    law = window_law(2, 6, 1, 0.8)
    for lag in (0, 1, 5):
        measured = x[lag:].T @ x[: len(x) - lag] / (len(x) - lag)
        np.testing.assert_allclose(measured, law.covariance[lag, :, 0], atol=0.07)
    np.testing.assert_allclose(x.mean(0), 0, atol=0.1)


def test_windows_are_those_of_the_series():
    dataset = autoregression(dims=2, context=3, horizon=2, train=100, test=7, seed=4)
    whole = dataset.series.x
    assert whole.shape == (135, 2)
    assert len(dataset.sources["train"]) == 96
    np.testing.assert_allclose(
        dataset.sources["train"].gather(np.array([95]))["x"][0], whole[95:100], rtol=1e-6
    )
    test = next(iter(dataset.epoch("test", 7)))["x"]
    np.testing.assert_allclose(test.reshape(35, 2), whole[100:], rtol=1e-6)
    np.testing.assert_array_equal(dataset.series.starts, 100 + 5 * np.arange(7))
    assert not np.allclose(whole, autoregression(train=100, test=7, seed=5, context=3, horizon=2).series.x)
    law = build("law", {"name": "autoregression_law", "length": 5, "seed": 4})
    np.testing.assert_array_equal(law.covariance, dataset.law.covariance)


def test_bad_numbers_are_named():
    with pytest.raises(ValueError, match=r"radius in \[0, 1\), got 1.0"):
        autoregression(radius=1.0)
    with pytest.raises(ValueError, match="dims"):
        autoregression(dims=0)
    with pytest.raises(ValueError, match="train"):
        autoregression(train=10)
