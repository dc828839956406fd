"""CRPS against properscoring, closed forms and cases worked by hand."""

import numpy as np
import properscoring
import pytest

from diffusion_jax.evaluation.crps import (
    LEVELS,
    coverage,
    crps,
    crps_normal,
    crps_sum,
    pinball,
    quantiles,
    weighted_pinball,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_samples_score_as_in_properscoring(rng):
    x, y = rng.standard_normal((7, 4, 3)), rng.standard_normal((4, 3))
    np.testing.assert_allclose(crps(x, y), properscoring.crps_ensemble(y, np.moveaxis(x, 0, -1)), rtol=1e-12)


def test_a_far_away_target_costs_no_digits(rng):
    x, y = rng.standard_normal((50, 3)), rng.standard_normal(3)
    np.testing.assert_allclose(crps(x + 2**30, y + 2**30), crps(x, y), rtol=1e-6)


def test_the_normal_law_scores_as_in_properscoring(rng):
    mean, std, y = rng.standard_normal((2, 5)), rng.uniform(0.5, 2, 5), rng.standard_normal((2, 5))
    expected = properscoring.crps_gaussian(y, mean, np.broadcast_to(std, y.shape))
    np.testing.assert_allclose(crps_normal(mean, std, y), expected, rtol=1e-12)
    with pytest.raises(ValueError, match="std must be positive"):
        crps_normal(0.0, 0.0, 1.0)


def test_the_fair_estimate_is_unbiased_and_the_other_is_not(rng):
    """Means over 20,000 sets of 5 samples of N(0, 1), with E|X - X'| = 2/sqrt(pi)."""
    found = [crps(rng.standard_normal((5, 20_000)), np.full(20_000, 0.3), fair) for fair in (True, False)]
    truth = crps_normal(0.0, 1.0, 0.3)
    error = 4 * found[0].std() / 20_000**0.5
    np.testing.assert_allclose(found[0].mean(), truth, atol=error)
    np.testing.assert_allclose(found[1].mean(), truth + 1 / (5 * np.pi**0.5), atol=error)


def test_by_hand():
    """Samples 0 and 4, target 1: mean error 2, and E|X - X'|/2 is 1 of the samples, 2 of their law."""
    assert crps([0.0, 4.0], 1.0) == 1.0
    assert crps([0.0, 4.0], 1.0, fair=True) == 0.0
    assert crps([3.0], 1.0) == 2.0  # a point forecast: the absolute error
    # the median 3 of a target 1 is above it: 2 |(1 - 3)(1 - 0.5)|; the 0.9-quantile: 2 |(1 - 3)(1 - 0.9)|
    np.testing.assert_allclose(pinball([3.0, 3.0], 1.0, (0.5, 0.9)), [2.0, 0.4])


def test_quantiles_are_the_nearest_of_the_sorted_paths():
    found = quantiles(np.arange(100.0)[::-1, None])[:, 0]
    # 99 q: 4.95, 9.9, 14.85, 19.8, 24.75, ..., 49.5 (to the even one), ..., 94.05
    assert list(found[:5]) == [5, 10, 15, 20, 25]
    assert found[9] == 50
    assert found[-1] == 94


def test_the_pinball_loss_over_all_levels_is_the_crps(rng):
    from scipy.stats import norm

    levels = (np.arange(2000) + 0.5) / 2000
    y = rng.standard_normal(6)
    z = np.broadcast_to(norm.ppf(levels, 1.0, 2.0)[:, None], (2000, 6))
    np.testing.assert_allclose(pinball(z, y, levels).mean(0), crps_normal(1.0, 2.0, y), rtol=2e-3)


def test_crps_sum_of_a_point_forecast_is_its_relative_error():
    """Every quantile is the forecast; the mean of |1[y <= z] - q| over the 19 levels is 1/2."""
    target = np.array([[[1.0, 2.0], [3.0, -6.0]], [[2.0, 0.0], [1.0, 1.0]]])  # sums 3, -3, 2, 2
    paths = np.broadcast_to(target + [0.25, 0.25], (10, 2, 2, 2))  # off by 1/2 in the sum, four times
    assert crps_sum(paths, target) == pytest.approx(4 * 0.5 / 10)
    assert crps_sum(paths * 7, target * 7) == pytest.approx(4 * 0.5 / 10)
    weighted = weighted_pinball(np.broadcast_to(target.sum(-1) + 0.5, (19, 2, 2)), target.sum(-1), LEVELS)
    assert weighted == pytest.approx(4 * 0.5 / 10)


def test_the_sum_over_features_sees_what_is_correlated(rng):
    """Errors that cancel in the sum cost nothing."""
    target = np.ones((3, 4, 2))
    paths = target + rng.standard_normal((50, 3, 4, 1)) * [1.0, -1.0]
    assert crps_sum(paths, target) == pytest.approx(0, abs=1e-12)
    assert crps(paths, target).mean() > 0.1


def test_coverage_counts_the_targets_inside(rng):
    x = rng.standard_normal((400, 5000))
    y = rng.standard_normal(5000)
    assert coverage(x, y, 0.9) == pytest.approx(0.9, abs=0.02)
    assert coverage(x, y, 0.5) == pytest.approx(0.5, abs=0.03)
    assert coverage(x, y + 10, 0.9) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: crps(np.zeros((5, 3)), np.zeros(4)), r"got \(5, 3\) and \(4,\)"),
        (lambda: crps(np.zeros((0, 3)), np.zeros(3)), "S >= 1"),
        (lambda: crps(np.zeros((1, 3)), np.zeros(3), fair=True), "at least 2 samples"),
        (lambda: quantiles(np.zeros((5, 3)), (0.5, 1.0)), "between 0 and 1"),
        (lambda: pinball(np.zeros((5, 3)), np.zeros(3)), "19 levels and 5 quantiles"),
        (lambda: crps_sum(np.zeros((5, 3, 2)), np.zeros((3, 2))), r"\[B, H, D\]"),
        (lambda: crps_sum(np.zeros((5, 1, 1, 1)), np.zeros((1, 1, 1))), "0 everywhere"),
        (lambda: coverage(np.zeros((5, 1)), np.zeros(1), 1.0), "between 0 and 1"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
