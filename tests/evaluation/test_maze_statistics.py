from types import SimpleNamespace

import numpy as np
import pytest

from diffusion_jax.data.pipeline import Arrays
from diffusion_jax.evaluation.maze_statistics import maze_statistics


def data(x, reward):
    return SimpleNamespace(sources={"train": SimpleNamespace(series={"x": x, "reward": reward})})


def test_known_series():
    """Two streams of four rows whose statistics are counted by hand."""
    x = np.zeros((2, 4, 6), np.float32)
    x[..., :2] = 2.8
    x[0, :, 0] = [2.5, 2.8, 2.8, 3.1]  # the goal changes in row 1; 3.1 + 0.1 touches the wall at 3.2 + 0.1
    x[0, :, 2] = [1.0, 3.0, 3.0, 5.0]
    x[1, :, 3] = [1.0, -1.0, 1.0, -1.0]
    x[0, :, 4] = [1.0, -1.0, 0.5, 0.0]
    metrics = maze_statistics("u")(None, data(x, np.eye(2, 4)), None).metrics
    assert metrics["steps"] == 8
    assert metrics["steps_per_goal"] == 8.0
    assert metrics["longest_goal"] == 2
    assert metrics["std_vx"] == pytest.approx(np.std([1, 3, 3, 5, 0, 0, 0, 0]))
    assert metrics["std_vy"] == pytest.approx(0.5**0.5)
    assert metrics["mean_x"] == pytest.approx(2.8)
    assert metrics["mean_reward"] == 0.25
    assert metrics["saturated"] == 2 / 16


def test_the_published_numbers_stand_beside():
    x = np.full((1, 5, 6), 2.8, np.float32)
    text = maze_statistics("medium")(None, data(x, np.zeros((1, 5))), None).text
    assert "medium" in text
    assert "1.3370" in next(line for line in text.splitlines() if line.startswith("std_x"))
    text = maze_statistics(("####", "#GO#", "####"))(None, data(x - 1.8, np.zeros((1, 5))), None).text
    assert "1.3370" not in text


def test_other_data_are_refused():
    points = SimpleNamespace(sources={"train": Arrays({"x": np.zeros((4, 1, 2))})})
    with pytest.raises(ValueError, match="no series of a maze"):
        maze_statistics("u")(None, points, None)
    with pytest.raises(ValueError, match="'test' holds no series"):
        maze_statistics("u", split="test")(None, points, None)
