import numpy as np
import pytest

from diffusion_jax.data.windows import Windows


def series(count=2, length=10):
    """Row k of series n holds 100 n + k."""
    rows = 100 * np.arange(count)[:, None] + np.arange(length)
    return {"x": np.stack([rows, -rows], axis=-1), "reward": rows}


def test_every_window_inside_each_series():
    windows = Windows(series(), 4)
    assert len(windows) == 14
    found = windows.gather(np.arange(14))
    assert found["x"].shape == (14, 4, 2)
    starts = [*range(7), *range(100, 107)]
    np.testing.assert_array_equal(found["reward"], np.array(starts)[:, None] + np.arange(4))
    np.testing.assert_array_equal(found["x"][..., 1], -found["reward"])


def test_only_some_rows_of_a_window():
    windows = Windows(series(), 7, stride=3)
    assert len(windows) == 8
    np.testing.assert_array_equal(windows.gather(np.array([5, 0]))["reward"], [[101, 104, 107], [0, 3, 6]])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"length": 11}, ValueError, "windows of 11 rows do not fit into series of 10"),
        ({"length": 0}, ValueError, "length"),
        ({"length": 2, "stride": 0}, ValueError, "stride"),
        ({"length": 2.0}, TypeError, "length"),
    ],
)
def test_bad_windows(arguments, error, message):
    with pytest.raises(error, match=message):
        Windows(series(), **arguments)


def test_leaves_that_do_not_belong_together():
    with pytest.raises(ValueError, match="same N and L"):
        Windows({"x": np.zeros((2, 9)), "reward": np.zeros((2, 8))}, 3)
