"""Forecasts of a known law by its exact denoiser, and of series whose future is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.data.autoregression import autoregression
from diffusion_jax.data.series import forecasts
from diffusion_jax.evaluation.baselines import persistence
from diffusion_jax.evaluation.forecast import baseline_forecast, forecast, forecaster, optimum, windows_of
from diffusion_jax.objectives.linear_gaussian import linear_gaussian
from diffusion_jax.processes import edm
from diffusion_jax.sampling.dpmpp_2m import dpmpp_2m
from diffusion_jax.sampling.grids import karras_grid
from diffusion_jax.sampling.schedules import pyramid
from diffusion_jax.types import Bound, JointNormal, Variables

PROCESS = edm(20.0)


def grid(process):
    return karras_grid(process, 12)


@pytest.fixture(scope="module")
def known():
    return autoregression(context=4, horizon=3, train=200, test=150)


def exact(data):
    objective = linear_gaussian(data.law, PROCESS)
    return lambda conditions: objective.bind(Variables({}), jax.random.key(0), conditions)


def ramp(width=2):
    """Feature i of step n is n + 100 i; test windows forecast steps 32 to 39 of 40."""
    n = np.arange(40.0)[:, None] + 100 * np.arange(width)
    return forecasts(n, train=32, starts=[28, 32], context=4, horizon=4, lags=(), periods=(), description="")


@pytest.mark.parametrize("schedule", [None, pyramid(12, 3, 4.0)], ids=["together", "pyramid"])
def test_the_exact_denoiser_forecasts_as_well_as_can_be(known, key, schedule):
    outcome = forecast(dpmpp_2m, grid, schedule=schedule)(exact(known), known, key)
    found = outcome.metrics
    assert 0.98 < found["ratio"] < 1.04
    assert found["crps"] == pytest.approx(found["optimal_crps"], rel=0.03)
    assert found["coverage_90"] == pytest.approx(0.9, abs=0.03)
    assert found["coverage_50"] == pytest.approx(0.5, abs=0.04)
    assert 0 < found["crps_sum_se"] < 0.1 * found["crps_sum"]
    assert (found["windows"], found["paths"]) == (150, 100)
    assert "ratio" in outcome.text


def test_a_forecast_that_ignores_the_past_is_far_from_the_best(known, key):
    past = JointNormal(known.law.mean, np.einsum("tdse,ts->tdse", known.law.covariance, np.eye(7)))
    objective = linear_gaussian(past, PROCESS)
    bind = lambda conditions: objective.bind(Variables({}), jax.random.key(0), conditions)  # noqa: E731
    assert forecast(dpmpp_2m, grid, paths=50)(bind, known, key).metrics["ratio"] > 1.15


def test_the_optimum_of_a_random_walk_is_known():
    """x_1 = 0 and x_2 = x_1 + e: given x_1, N(x_1, 1); twice the sum of two such features, N(2 s, 8)."""
    covariance = np.einsum("ts,de->tdse", [[1.0, 1.0], [1.0, 2.0]], np.eye(2))
    rng = np.random.default_rng(0)
    x = np.cumsum(rng.standard_normal((40_000, 2, 2)), 1)
    windows = windows_of(ramp())._replace(
        x=x, offset=np.full((40_000, 2, 2), 50.0), scale=np.full(2, 2.0), context=1
    )
    found = optimum(JointNormal(np.zeros((2, 2)), covariance), windows)
    # the CRPS of a normal law about its own draws is s/sqrt(pi) on average
    assert found["optimal_crps"] == pytest.approx(1 / np.pi**0.5, rel=0.01)
    # sums are about 100; 19 levels leave out the ends, which costs 3 %
    assert found["optimal_crps_sum"] == pytest.approx(8**0.5 / np.pi**0.5 / 100, rel=0.05)
    with pytest.raises(ValueError, match="law is of windows"):
        optimum(JointNormal(np.zeros((3, 2)), np.zeros((3, 2, 3, 2))), windows)


def test_paths_start_from_the_clean_context_whatever_the_batch(known, key):
    """The same paths for each window alone and for all; the denoiser sees the context untouched."""
    windows = windows_of(known)
    seen = []

    def denoiser(x, t):
        jax.debug.callback(lambda x, t: seen.append((x, np.broadcast_to(t, x.shape[:2]))), x, t)
        return exact(known)({}).denoiser(x, t)

    bind = lambda conditions: Bound(PROCESS, denoiser)  # noqa: E731
    draw = forecaster(bind, windows, sampler=dpmpp_2m, grid=grid, paths=6, batch_size=12)
    three = draw(key, np.array([5, 7, 9]))
    jax.effects_barrier()
    assert three.shape == (6, 3, 3, 2)
    x, t = seen[0]
    assert (t[:, :4] == 0).all()
    assert (t[:, 4:] == 1).all()
    assert x.shape == (12, 7, 2)
    assert any((np.abs(x[0, :4] - windows.x[i, :4]) < 1e-6).all() for i in (5, 7, 9))
    again = forecaster(bind, windows, sampler=dpmpp_2m, grid=grid, paths=6, batch_size=6)
    np.testing.assert_allclose(again(key, np.array([7]))[:, 0], three[:, 1], atol=1e-5)
    assert np.abs(three[0] - three[1]).min() > 0


def test_conditions_are_those_of_the_window(key):
    """A denoiser that answers with its condition: the lag of 4 steps, known for the whole horizon."""
    data = forecasts(
        np.arange(40.0)[:, None],
        train=32,
        starts=[28, 30, 32],
        context=4,
        horizon=4,
        lags=(4,),
        periods=(),
        description="",
    )
    bind = lambda known: Bound(PROCESS, lambda x, t: known["condition"])  # noqa: E731
    outcome = forecast(dpmpp_2m, grid, paths=3, batch_size=6)(bind, data, key)
    # four steps too low everywhere: 4 over the mean of 32 ... 35, 34 ... 37, 36 ... 39
    assert outcome.metrics["crps_sum"] == pytest.approx(4 / 35.5, rel=1e-4)
    assert outcome.metrics["crps"] == pytest.approx(4 / data.series.scale[0], rel=1e-4)
    assert "ratio" not in outcome.metrics


def test_a_straight_line_is_continued_by_what_persists(key):
    found = baseline_forecast(persistence(), 7)(lambda known: Bound(), ramp(), key).metrics
    assert found["crps_sum"] == pytest.approx(0, abs=1e-7)
    assert found["crps"] == pytest.approx(0, abs=1e-6)


def test_a_baseline_sees_the_series_up_to_the_forecast_and_is_fitted_to_the_training_part(key):
    shown = []

    def baseline(x):
        shown.append(x)

        def draw(rng, history, horizon, paths):
            shown.append(history)
            return rng.standard_normal((paths, horizon, 2))

        return draw

    data = ramp()
    first = baseline_forecast(baseline)(lambda known: Bound(), data, key)
    assert [len(x) for x in shown] == [32, 32, 36]
    np.testing.assert_array_equal(shown[2], data.series.x[:36])
    assert baseline_forecast(baseline)(lambda known: Bound(), data, key).metrics == first.metrics


def test_bad_input_is_refused(known, key):
    bind = exact(known)
    draw = {"sampler": dpmpp_2m, "grid": grid}
    with pytest.raises(ValueError, match="have a context of 4, not 9"):
        forecast(**draw, context=9)(bind, known, key)
    with pytest.raises(ValueError, match="3 columns for a horizon of 4"):
        forecaster(bind, windows_of(ramp()), **draw, schedule=pyramid(12, 3, 1.0))
    with pytest.raises(ValueError, match="needs a grid of 9 levels"):
        forecast(**draw, schedule=pyramid(8, 3, 1.0), paths=2)(bind, known, key)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        forecast(**draw, paths=0)(bind, known, key)
    with pytest.raises(ValueError, match="paths must be at least 1"):
        baseline_forecast(persistence(), 0)


def test_data_without_a_series_have_a_context_and_no_baseline(known, key):
    class Plain:
        info, epoch = known.info, known.epoch

    assert windows_of(Plain()).context == 3
    assert windows_of(Plain(), 5).future.shape == (150, 2, 2)
    with pytest.raises(ValueError, match="must be 1 to 6 of 7 tokens, got 7"):
        windows_of(Plain(), 7)
    with pytest.raises(ValueError, match="this data set has none"):
        baseline_forecast(persistence())(lambda known: Bound(), Plain(), key)

    class Images:
        info = known.info._replace(shape=(1, 8, 8, 1))

    with pytest.raises(ValueError, match="have the shape"):
        windows_of(Images())
    assert jnp.ndim(windows_of(known).scale) == 1
