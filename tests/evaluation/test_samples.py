"""Pictures, read back from their files."""

import numpy as np
import pytest
from PIL import Image

from diffusion_jax.evaluation.samples import (
    loss_picture,
    panels_picture,
    samples_picture,
    schedules_picture,
    trajectory_picture,
)


def seen(path):
    """Grey values in [0, 1], [height, width]."""
    return np.asarray(Image.open(path).convert("L"), float) / 255


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_dark_where_they_are_low(tmp_path, channels):
    x = np.full((4, 1, 8, 8, channels), -1.0)
    samples_picture(tmp_path / "dark.png", x)
    x[2:] = 1.0
    samples_picture(tmp_path / "half.png", x)
    dark, half = seen(tmp_path / "dark.png"), seen(tmp_path / "half.png")
    height = half.shape[0] // 2
    middle = np.s_[half.shape[1] // 4 : half.shape[1] // 3]
    assert dark[height // 2, middle].max() == half[height // 2, middle].max() == 0  # first row of the grid
    assert half[height + height // 2, middle].min() == 1
    assert dark[height + height // 2, middle].max() == 0


def test_limits_are_black_and_white(tmp_path):
    x = np.full((1, 1, 8, 8, 1), 0.25)
    samples_picture(tmp_path / "grey.png", x, limits=(0.0, 1.0))
    grey = seen(tmp_path / "grey.png")
    assert grey[grey.shape[0] // 2, grey.shape[1] // 2] == pytest.approx(0.25, abs=0.01)


def test_bits_are_rows(tmp_path):
    x = np.zeros((10, 1, 20))
    x[5:] = 1
    samples_picture(tmp_path / "bits.png", x, limits=(0.0, 1.0))
    bits = seen(tmp_path / "bits.png")
    middle = bits.shape[1] // 2
    assert bits[bits.shape[0] // 4, middle] == 0
    assert bits[3 * bits.shape[0] // 4, middle] == 1


@pytest.mark.parametrize("shape", [(1, 2), (2, 1)])
def test_points_are_where_they_are(tmp_path, shape):
    x = np.tile(np.array([[1.0, 1.0], [-1.0, -1.0]]), (50, 1)).reshape(100, *shape)
    samples_picture(tmp_path / "points.png", x)
    points = seen(tmp_path / "points.png")
    h, w = points.shape[0] // 2, points.shape[1] // 2
    inner = points[10:-10, 10:-10]
    h, w = inner.shape[0] // 2, inner.shape[1] // 2
    assert inner[:h, w:].min() < 0.9  # up and right
    assert inner[h:, :w].min() < 0.9
    assert inner[:h, :w].min() == inner[h:, w:].min() == 1


@pytest.mark.parametrize("shape", [(1, 2), (1, 20), (1, 4, 4, 1), (3, 4, 4, 3)])
def test_a_trajectory_is_a_strip(tmp_path, shape):
    states = np.linspace(-1, 1, 30)[:, None].reshape(-1, *[1] * (len(shape) + 1)) * np.ones((30, 5, *shape))
    times = np.linspace(1, 0, 30)
    trajectory_picture(tmp_path / "few.png", states, times, panels=3)
    trajectory_picture(tmp_path / "many.png", states, times, panels=6)
    few, many = seen(tmp_path / "few.png"), seen(tmp_path / "many.png")
    assert many.shape[1] > 1.5 * few.shape[1]
    assert many.std() > 0


def test_the_first_and_the_last_level_of_a_trajectory_are_shown(tmp_path):
    states = np.zeros((7, 1, 1, 8, 8, 1))
    states[0], states[-1] = -1, 1
    trajectory_picture(tmp_path / "path.png", states, np.linspace(1, 0, 7), panels=2)
    strip = seen(tmp_path / "path.png")
    middle = strip[strip.shape[0] // 2 + 10]
    assert middle[: len(middle) // 2].min() == 0
    assert middle[len(middle) // 2 :].min() > 0.5 or middle[3 * len(middle) // 4] == 1


def test_a_loss_is_drawn_and_gaps_are_left_out(tmp_path):
    lines = [{"step": 1, "loss": 3.0}, {"step": 2, "loss": None}, {"step": 3, "loss": 1.0}]
    loss_picture(tmp_path / "deep" / "loss.png", lines)
    assert seen(tmp_path / "deep" / "loss.png").min() < 0.5
    with pytest.raises(ValueError, match="no line has 'accuracy'"):
        loss_picture(tmp_path / "loss.png", lines, "accuracy")


def test_schedules_go_from_dark_to_bright(tmp_path):
    matrix = np.repeat(np.arange(5)[:, None], 4, axis=1)
    schedules_picture(tmp_path / "one.png", {"full": matrix})
    schedules_picture(tmp_path / "two.png", {"full": matrix, "still": np.zeros((1, 3), int)})
    one, two = seen(tmp_path / "one.png"), seen(tmp_path / "two.png")
    column = one[:, int(0.7 * one.shape[1])]
    grey = column[np.isclose(column, 0.5, atol=0.02) | np.isclose(column, 0.25, atol=0.02)]
    assert np.isclose(grey[0], 0.25, atol=0.02)
    assert np.isclose(grey[-1], 0.5, atol=0.02)
    assert two.shape[1] == 2 * one.shape[1]
    with pytest.raises(ValueError, match=r"matrices \[M, T\] to draw, got shapes \[\(3,\)\]"):
        schedules_picture(tmp_path / "x.png", {"flat": [0, 1, 2]})


def test_panels_stand_side_by_side_under_one_scale(tmp_path):
    rows = np.concatenate([np.zeros((10, 1, 4)), np.ones((10, 1, 4))])
    panels_picture(tmp_path / "two.png", {"up": rows, "down": rows[::-1]}, limits=(0.0, 1.0))
    panels_picture(tmp_path / "one.png", {"up": rows}, limits=(0.0, 1.0))
    one, two = seen(tmp_path / "one.png"), seen(tmp_path / "two.png")
    height, width = two.shape
    assert width == pytest.approx(2 * one.shape[1], abs=1)
    for place, wanted in ((width // 4, (0, 1)), (3 * width // 4, (1, 0))):
        assert (two[height // 3, place], two[5 * height // 6, place]) == wanted
    points = np.tile(np.array([[1.0, 1.0], [-1.0, -1.0]]), (50, 1)).reshape(100, 1, 2)
    for name, other in (("alike", 0.5 * points), ("wide", points)):
        panels_picture(tmp_path / f"{name}.png", {"near": 0.5 * points, "other": other})
    alike, wide = (seen(tmp_path / f"{name}.png") for name in ("alike", "wide"))
    left = np.s_[:, : alike.shape[1] // 2]
    assert (alike[left] != wide[left]).any(), "a farther panel makes room in all"
    with pytest.raises(ValueError, match="no panel"):
        panels_picture(tmp_path / "x.png", {})


def test_wrong_shapes_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must be \[N, T, ...\] and not empty, got shape \(0, 1, 2\)"):
        samples_picture(tmp_path / "x.png", np.zeros((0, 1, 2)))
    with pytest.raises(ValueError, match=r"got shape \(3, 2\)"):
        samples_picture(tmp_path / "x.png", np.zeros((3, 2)))
    with pytest.raises(ValueError, match="times must be the 4 levels"):
        trajectory_picture(tmp_path / "x.png", np.zeros((4, 3, 1, 2)), np.zeros(3))
