"""Windows of a series, and what is known of them, against a series whose numbers say where they stand."""

import numpy as np
import pytest

from diffusion_jax.data.series import forecasts, rolling


def counting(**changed):
    """Feature 0 is the step n, feature 1 is 1000 + 10 n; 40 steps, 30 of them to train on."""
    n = np.arange(40.0)
    given = {
        "values": np.stack([n, 1000 + 10 * n], 1),
        "train": 30,
        "starts": [27, 30, 33],
        "context": 3,
        "horizon": 4,
        "lags": (2, 5),
        "periods": (8,),
        "description": "",
    } | changed
    return forecasts(given.pop("values"), **given)


def steps(data, x):
    """The step that each entry of feature 0 came from."""
    return np.round(x * data.series.scale[0] + np.arange(30.0).mean()).astype(int)


def test_windows_are_split_by_time():
    data = counting()
    train = next(data.epoch("train", data.info.splits["train"]))["x"]
    test = next(data.epoch("test", 3))["x"]
    assert train.shape == (24, 7, 2)
    np.testing.assert_array_equal(steps(data, train[..., 0]), np.arange(24)[:, None] + np.arange(7))
    np.testing.assert_array_equal(steps(data, test[..., 0]), [[27], [30], [33]] + np.arange(7))
    # what is forecast comes after the training part
    assert steps(data, test[:, 3:, 0]).min() == 30


def test_features_are_standardised_by_the_training_part_alone():
    data = counting()
    changed = counting(values=np.concatenate([np.arange(30.0), np.full(10, 1e6)])[:, None])
    np.testing.assert_allclose(data.series.x[:30].mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(data.series.x[:30].std(0), 1)
    np.testing.assert_allclose(changed.series.x[:30, 0], data.series.x[:30, 0])
    np.testing.assert_allclose(
        data.series.offset + data.series.scale * data.series.x,
        np.stack([np.arange(40.0), 1000 + 10 * np.arange(40.0)], 1),
    )


def test_an_offset_is_added_in_the_units_of_the_report():
    offset = np.linspace(0, 500, 80).reshape(40, 2)
    series = counting(offset=offset).series
    np.testing.assert_allclose((series.offset + series.scale * series.x)[:, 0], np.arange(40) + offset[:, 0])


def test_lags_are_known_up_to_the_forecast_and_zero_elsewhere():
    data = counting()
    condition = next(data.epoch("test", 3))["condition"]
    assert condition.shape == (3, 7, 2 + 2 * 2)
    lag_2, lag_5 = condition[1, :, 2], condition[1, :, 4]  # of feature 0, the window from step 30
    # tokens 0 to 6 are steps 30 to 36; known up to step 32
    np.testing.assert_array_equal(steps(data, lag_2[:5]), [28, 29, 30, 31, 32])
    np.testing.assert_array_equal(lag_2[5:], 0)
    np.testing.assert_array_equal(steps(data, lag_5), [25, 26, 27, 28, 29, 30, 31])
    first = next(data.epoch("train", 1))["condition"]
    np.testing.assert_array_equal(first[0, :5, 4], 0)  # before the series began
    assert steps(data, first[0, 5:, 4]).tolist() == [0, 1]


def test_nothing_known_of_a_window_depends_on_what_it_forecasts():
    values = np.stack([np.arange(40.0), np.arange(40.0)], 1)
    future = values.copy()
    future[33:] = -1e3
    first, second = (next(counting(values=one).epoch("test", 3)) for one in (values, future))
    np.testing.assert_array_equal(first["condition"][1], second["condition"][1])
    np.testing.assert_array_equal(first["x"][1, :3], second["x"][1, :3])
    assert (first["x"][1, 3:] != second["x"][1, 3:]).all()


def test_the_calendar_is_the_phase_of_the_step():
    condition = next(counting().epoch("test", 3))["condition"]
    np.testing.assert_allclose(condition[1, 2, :2], [1, 0], atol=1e-6)  # step 32 is 4 x 8
    np.testing.assert_allclose(condition[1, 4, :2], [0, 1], atol=1e-6)  # a quarter later


def test_without_lags_and_periods_there_is_no_condition():
    assert set(counting(lags=(), periods=()).iterator("train", 2, 0).next()) == {"x"}


def test_rolling_windows_cover_the_test_part():
    train, starts = rolling(100, test=20, stride=5, context=8, horizon=5)
    assert train == 80
    np.testing.assert_array_equal(starts + 8, [80, 85, 90, 95])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"values": np.full((40, 1), np.nan)}, "finite numbers"),
        ({"train": 6}, "must hold a window of context 3 and horizon 4"),
        ({"train": 41}, "41 of 40 steps"),
        ({"starts": [34]}, "must lie within"),
        ({"starts": [26]}, "belong to the training part"),
        ({"lags": (41,)}, "lags lie in 1 to 40"),
        ({"periods": (0,)}, "periods above 0"),
        ({"context": 0}, "context must be at least 1"),
    ],
)
def test_bad_input_is_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        counting(**changed)


@pytest.mark.parametrize("test", [4, 100])
def test_a_test_part_holds_a_horizon_and_leaves_something(test):
    with pytest.raises(ValueError, match="test part"):
        rolling(100, test=test, stride=1, context=8, horizon=5)
