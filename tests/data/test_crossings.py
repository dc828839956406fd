"""Two ways that cross: their law, and what is refused."""

import numpy as np
import pytest

from diffusion_jax.data.crossings import NOISE, crossings, lines


def test_the_ways_go_from_corner_to_corner_and_meet_in_the_middle():
    up, down = lines(5)
    np.testing.assert_array_equal(up[[0, -1]], [[-1, -1], [1, 1]])
    np.testing.assert_array_equal(down[[0, -1]], [[-1, 1], [1, -1]])
    np.testing.assert_array_equal(up[2], down[2])
    np.testing.assert_allclose(np.diff(up, 2, axis=0), 0, atol=1e-12)


def test_half_of_the_ways_go_up_and_tokens_have_noise_of_their_own(tmp_path):
    data = crossings(train=4000, test=10, tokens=6, data_dir=tmp_path)
    (batch,) = data.epoch("train", 4000)
    x = batch["x"].astype(np.float64)
    up = x[:, -1, 1] > x[:, 0, 1]
    assert abs(up.mean() - 0.5) < 0.03
    noise = x - lines(6)[np.where(up, 0, 1)]
    np.testing.assert_allclose(noise.std((0, 1)), NOISE, rtol=0.02)
    np.testing.assert_allclose(batch["condition"][7, :, 0], [-1, -0.6, -0.2, 0.2, 0.6, 1], atol=1e-6)
    correlation = np.corrcoef(noise.reshape(4000, -1).T)
    assert np.abs(correlation - np.eye(12)).max() < 0.06


def test_splits_and_seeds_differ(tmp_path):
    data = crossings(train=20, test=20, tokens=4, data_dir=tmp_path)
    other = crossings(train=20, test=20, tokens=4, seed=1, data_dir=tmp_path)
    (train,), (test,), (second,) = (
        one.epoch(split, 20) for one, split in ((data, "train"), (data, "test"), (other, "train"))
    )
    assert not np.intersect1d(train["x"], test["x"]).size
    assert not np.intersect1d(train["x"], second["x"]).size


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"train": 0}, ValueError, "train must be at least 1, got 0"),
        ({"tokens": 1}, ValueError, "tokens must be at least 2, got 1"),
        ({"seed": -1}, ValueError, "seed must be"),
        ({"test": 1.5}, TypeError, "test must be an integer"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, message, tmp_path):
    with pytest.raises(error, match=message):
        crossings(**{"train": 2, "test": 2, "tokens": 4} | arguments, data_dir=tmp_path)
