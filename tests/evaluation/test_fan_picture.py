"""Fan charts, read back from their files."""

import numpy as np
import pytest
from PIL import Image

from diffusion_jax.evaluation.samples import fan_picture

PAST, FUTURE = np.zeros((1, 4, 1)), np.zeros((1, 3, 1))


def shaded(path):
    """How many pixels are bluish, in a picture of black lines on white."""
    picture = np.asarray(Image.open(path).convert("RGB"), float)
    return int((picture[..., 2] - picture[..., 0] > 30).sum())


def test_wider_paths_make_a_wider_fan(tmp_path):
    unit = np.linspace(-1, 1, 101)[:, None, None, None] * np.ones((101, 1, 3, 1))
    future = np.array([-10.0, 10.0, 0.0]).reshape(1, 3, 1)  # keeps the frame as it is
    for name, width in (("narrow", 1.0), ("wide", 4.0)):
        fan_picture(tmp_path / f"{name}.png", PAST, width * unit, future)
    assert 2 * shaded(tmp_path / "narrow.png") < shaded(tmp_path / "wide.png")


def test_windows_are_rows_and_features_columns(tmp_path):
    def size(count, width):
        path = tmp_path / f"{count}{width}.png"
        past, future = np.zeros((count, 4, width)), np.zeros((count, 3, width))
        names = [str(i) for i in range(width)]
        fan_picture(path, past, np.zeros((5, *future.shape)), future, names=names, titles=["w"] * count)
        return np.array(Image.open(path).size)

    one = size(1, 1)
    np.testing.assert_allclose(size(2, 1), one * [1, 2], atol=2)
    np.testing.assert_allclose(size(1, 3), one * [3, 1], atol=2)


def test_wrong_shapes_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"paths \[S, N, H, D\]"):
        fan_picture(tmp_path / "x.png", PAST, np.zeros((5, 1, 2, 1)), FUTURE)
    with pytest.raises(ValueError, match=r"past \[N, P, D\]"):
        fan_picture(tmp_path / "x.png", np.zeros((2, 4, 1)), np.zeros((5, 1, 3, 1)), FUTURE)
