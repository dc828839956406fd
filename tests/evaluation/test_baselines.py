"""Baselines on series whose law is known."""

import numpy as np
import pytest

from diffusion_jax.build import available, build, example
from diffusion_jax.data.autoregression import matrices, series
from diffusion_jax.evaluation.baselines import exponential_smoothing, persistence, vector_autoregression


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("name", available("baseline"))
@pytest.mark.parametrize("width", [1, 2])
def test_a_baseline_gives_different_finite_paths(name, width, rng):
    x = rng.standard_normal((60, width)).cumsum(0)
    paths = build("baseline", example("baseline", name))(x[:50])(rng, x[:55], 4, 6)
    assert paths.shape == (6, 4, width)
    assert np.isfinite(paths).all()
    assert paths.std(0).min() > 0


@pytest.mark.parametrize("dims", [1, 2])
def test_a_vector_autoregression_is_found_again(dims, rng):
    """Mean A x and covariance Q of the first step, those of the second by the law's own recursion."""
    moves, noise, _ = matrices(dims, 0, 0.9)
    x = series(dims, 4000, 0, 0.9)
    paths = vector_autoregression(3)(x)(rng, x[:100], 2, 20_000)
    wanted = moves @ x[99], moves @ moves @ x[99]
    np.testing.assert_allclose(paths.mean(0), wanted, atol=0.12)
    np.testing.assert_allclose(np.cov(paths[:, 0].T).reshape(dims, dims), noise, atol=0.06)
    two = moves @ noise @ moves.T + noise
    np.testing.assert_allclose(np.cov(paths[:, 1].T).reshape(dims, dims), two, atol=0.1)


def test_more_lags_are_found_where_they_help(rng):
    """x_n = -0.9 x_{n-2} + e turns its sign every two steps."""
    x = rng.standard_normal((500, 1))
    for n in range(2, 500):
        x[n] -= 0.9 * x[n - 2]
    paths = vector_autoregression(4)(x)(rng, np.array([[0.0], [3.0], [5.0]]), 2, 4000)
    np.testing.assert_allclose(paths.mean(0)[:, 0], [-2.7, -4.5], atol=0.35)


def test_smoothing_of_a_random_walk_forecasts_its_last_value(rng):
    x = rng.standard_normal((400, 1)).cumsum(0)
    paths = exponential_smoothing()(x[:300])(rng, x, 9, 4000)[..., 0]
    np.testing.assert_allclose(paths[:, 0].mean(), x[-1, 0], atol=0.3)
    np.testing.assert_allclose(paths.std(0)[[0, 8]], [1.0, 3.0], rtol=0.15)


def test_smoothing_follows_a_season_where_there_is_one(rng):
    x = np.tile([0.0, 5.0, 0.0, -5.0], 30)[:, None] + 0.1 * rng.standard_normal((120, 1))
    with_season = exponential_smoothing(4)(x[:100])(rng, x, 4, 200)[..., 0]
    np.testing.assert_allclose(with_season.mean(0), [0, 5, 0, -5], atol=0.3)


def test_persistence_moves_as_the_training_part_did(rng):
    x = np.arange(30.0)[:, None] * [1.0, -2.0]
    paths = persistence()(x)(rng, np.array([[7.0, 7.0]]), 3, 5)
    np.testing.assert_allclose(paths, np.broadcast_to([[8, 5], [9, 3], [10, 1]], (5, 3, 2)))
    with pytest.raises(ValueError, match="no move over 30 steps"):
        persistence()(x)(rng, x, 30, 5)


def test_bad_numbers_are_refused():
    with pytest.raises(ValueError, match="max_lags"):
        vector_autoregression(0)
    with pytest.raises(ValueError, match="season"):
        exponential_smoothing(1)
