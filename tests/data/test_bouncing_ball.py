"""The ball between two walls: its law, its pixels, and what is refused."""

import numpy as np
import pytest

from diffusion_jax.data.bouncing_ball import RHO, SPEED, SPREAD, WIDTH, bouncing_ball, places, rendered


@pytest.fixture(scope="module")
def ways():
    return places(np.random.default_rng(0), 4000, 60)


def test_at_every_frame_the_place_is_uniform(ways):
    for k in (0, 30, 59):
        # Kolmogorov-Smirnov distance of 4000 draws: below 0.031 with probability 0.999
        assert np.abs(np.sort(ways[:, k]) - np.arange(4000) / 4000).max() < 0.031


def test_away_from_the_walls_the_speed_is_lognormal_and_changes_slowly(ways):
    """Between 0.25 and 0.75 no frame before or after can have touched a wall, at usual speeds."""
    inside = (ways[:, 1:-1] > 0.3) & (ways[:, 1:-1] < 0.7)
    before, after = (np.abs(np.diff(part, axis=1)) for part in (ways[:, :-1], ways[:, 1:]))
    mood = [(np.log(part[inside]) - np.log(SPEED)) / SPREAD for part in (before, after)]
    for one in mood:
        # 4000 independent ways; the mood of a way hardly changes
        assert abs(one.mean()) < 0.06
        assert abs(one.std() - 1) < 0.05
    np.testing.assert_allclose(np.corrcoef(*mood)[0, 1], RHO, atol=0.005)


def test_the_ball_turns_at_the_walls_and_nowhere_else(ways):
    steps = np.diff(ways, axis=1)
    turned = steps[:, 1:] * steps[:, :-1] < 0
    middle = ways[:, 1:-1]
    assert turned.any()
    assert np.minimum(middle, 1 - middle)[turned].max() < steps.max()


def test_pixels_are_a_bump_at_the_ball():
    frame = rendered(np.array([0.0, 0.5]), 5)
    bump = 0.34 * frame + 0.25
    np.testing.assert_allclose(bump[0], np.exp(-0.5 * (np.arange(5) * 0.25 / WIDTH) ** 2), atol=1e-12)
    np.testing.assert_allclose(bump[1], bump[1][::-1])
    assert bump[1].argmax() == 2


def test_windows_of_whole_videos(tmp_path):
    data = bouncing_ball(train=3, test=2, frames=50, tokens=36, pixels=6, data_dir=tmp_path)
    assert data.info.shape == (36, 6)
    assert data.info.splits == {"train": 3 * 15, "test": 2 * 15}
    series = data.sources["train"].series["x"]
    assert series.shape == (3, 50, 6)
    (batch,) = data.epoch("train", 45)
    np.testing.assert_array_equal(batch["x"][16], series[1, 1:37])
    again = bouncing_ball(train=3, test=2, frames=50, tokens=10, pixels=6, seed=1, data_dir=tmp_path)
    assert (again.sources["train"].series["x"] != series).any()
    assert (data.sources["test"].series["x"] != series[:2]).any()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"train": 0}, ValueError, "train must be at least 1, got 0"),
        ({"pixels": 1}, ValueError, "pixels must be at least 2, got 1"),
        ({"tokens": 1.5}, TypeError, "length must be an integer"),
        ({"tokens": 20, "frames": 10}, ValueError, "windows of 20 rows do not fit"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, message, tmp_path):
    with pytest.raises(error, match=message):
        bouncing_ball(**{"train": 2, "test": 2, "frames": 10, "tokens": 4} | arguments, data_dir=tmp_path)
