"""The regenerated data against what Diffusion Forcing's settings say of D4RL's, and how it is cut."""

import numpy as np
import pytest

from diffusion_jax.data.maze2d import maze2d
from diffusion_jax.environments.mazes import maze
from diffusion_jax.evaluation.maze_statistics import PUBLISHED, maze_statistics

SMALL = {"steps": 1200, "streams": 4, "tokens": 3, "stack": 2, "stride": 5}


def test_the_published_statistics():
    check("u", steps=120_000, streams=200, seed=2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["u", "medium", "large"])
def test_the_published_statistics_of_half_a_million_steps(name):
    metrics = check(name, steps=500_000, streams=100, seed=0)
    per_goal, longest = {"u": (80.5, 238), "medium": (167, 405), "large": (244, 589)}[name]
    assert metrics["steps_per_goal"] == pytest.approx(per_goal, rel=0.03)
    assert metrics["longest_goal"] < maze(name).limit
    assert metrics["longest_goal"] == pytest.approx(longest, rel=0.1)


def check(name, **arguments):
    data = maze2d(name, **arguments)
    metrics = maze_statistics(name)(None, data, None).metrics
    for metric, published in PUBLISHED[name].items():
        if metric.startswith("std"):
            assert metrics[metric] == pytest.approx(published, rel=0.03), metric
        elif metric.startswith("mean_reward"):
            assert metrics[metric] == pytest.approx(published, rel=0.3), metric
        else:
            assert metrics[metric] == pytest.approx(published, abs=0.06), metric
    assert metrics["steps"] == arguments["steps"]
    return metrics


def test_the_published_statistics_notice_another_controller():
    """Without noise on the actions the data are others: the tolerances mean something."""
    data = maze2d("u", steps=120_000, streams=200, noise=0.0)
    metrics = maze_statistics("u")(None, data, None).metrics
    assert metrics["std_y"] < 0.97 * PUBLISHED["u"]["std_y"]
    assert metrics["std_vx"] > 1.03 * PUBLISHED["u"]["std_vx"]


def test_rows_follow_the_physics_but_where_the_goal_changes():
    """In free flight v' = (m v + h g a) / (m + h); at a change of the goal the observation is repeated."""
    x = maze2d("u", **SMALL | {"steps": 4000}).sources["train"].series["x"]
    mass = 1000 * 4 / 3 * np.pi * 0.1**3
    now, after, action = x[:, :-1, :4], x[:, 1:, :4], x[:, :-1, 4:]
    repeated = (now == after).all(axis=2)
    assert 20 <= repeated.sum() <= 100
    missed = np.pad(repeated, [(0, 0), (1, 0)])[:, :-1]  # the step after it starts from an unrecorded state
    speed = (mass * np.clip(now[..., 2:], -5, 5) + action) / (mass + 0.01)
    flight = np.abs(after[..., 2:] - speed).max(axis=2) < 1e-4
    assert flight[~repeated & ~missed].mean() > 0.99
    assert not flight[repeated].any()
    np.testing.assert_allclose(after[flight, :2] - now[flight, :2], 0.01 * after[flight, 2:], atol=1e-6)


def test_a_token_is_rows_of_its_window():
    data = maze2d("u", **SMALL, fields=("position", "velocity", "action"))
    assert data.info.shape == (3, 12)
    assert data.info.splits == {"train": 4 * (300 - 30 + 1), "test": 300 - 30 + 1}
    (batch,) = data.epoch("test", data.info.splits["test"])
    series = data.sources["test"].series["x"][0]
    world = maze("u")
    for start in (0, 117):
        for i in range(3):
            for j in range(2):
                row = series[start + (2 * i + j) * 5]
                wanted = [*world.normalise(row[:2]), *row[2:4] / 5, *row[4:]]
                np.testing.assert_allclose(batch["x"][start, i, 6 * j : 6 * j + 6], wanted, atol=1e-6)


def test_the_token_of_the_paper():
    data = maze2d("u", **SMALL | {"stack": 10, "stride": 1})
    (batch,) = data.epoch("test", data.info.splits["test"])
    position = maze("u").normalise(data.sources["test"].series["x"][0, :30, :2])
    np.testing.assert_allclose(batch["x"][0].reshape(30, 2), position, atol=1e-6)
    assert np.abs(batch["x"]).max() < 1.02


def test_the_reward_is_that_of_the_mazes_own_goal():
    series = maze2d("u", **SMALL).sources["train"].series
    near = np.hypot(series["x"][..., 0] - 1, series["x"][..., 1] - 1) <= 0.5
    assert 0 < near.mean() < 1
    np.testing.assert_array_equal(series["reward"], near.astype(np.float32))


def test_the_seed_decides(tmp_path):
    first, again, other = (
        maze2d("u", **SMALL, seed=seed, data_dir=tmp_path / str(i)).sources["train"].series["x"]
        for i, seed in enumerate((3, 3, 4))
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


def test_splits_and_streams_differ():
    sources = maze2d("u", **SMALL).sources
    starts = np.concatenate([sources[split].series["x"][:, 0, :2] for split in ("train", "test")])
    assert len(np.unique(starts, axis=0)) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 1201}, "1201 steps cannot be shared by 4 streams"),
        ({"fields": ("speed",)}, "position, velocity, action"),
        ({"fields": ()}, "position, velocity, action"),
        ({"fields": ("action", "action")}, "different ones"),
        ({"tokens": 31}, "windows of 310 rows do not fit into streams of 300"),
        ({"noise": -1.0}, "noise"),
        ({"maze": "tiny"}, "unknown maze"),
        ({"maze": ("#####", "#G#O#", "#####")}, "no path"),
        ({"stride": 0}, "stride"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        maze2d(**SMALL | arguments)
