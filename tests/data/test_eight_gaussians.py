"""Eight Gaussians: their law, and what is refused."""

import numpy as np
import pytest

from diffusion_jax.build import build
from diffusion_jax.data.eight_gaussians import MODES, RADIUS, STD, centres, eight_gaussians


def test_four_modes_on_the_axes_and_four_on_the_diagonals():
    found = {tuple(np.round(centre, 6) + 0.0) for centre in centres()}
    half = round(3 / np.sqrt(2), 6)
    axes = {(3, 0), (0, 3), (-3, 0), (0, -3)}
    assert found == axes | {(a * half, b * half) for a in (1, -1) for b in (1, -1)}


def test_each_mode_has_as_many_points_of_its_normal_law(tmp_path):
    (batch,) = eight_gaussians(train=8000, test=8, data_dir=tmp_path).epoch("train", 8000)
    assert batch["x"].shape == (8000, 1, 2)
    np.testing.assert_array_equal(np.bincount(batch["label"]), 1000)
    away = batch["x"][:, 0] - centres()[batch["label"]]
    np.testing.assert_allclose(away.std(0), STD, rtol=0.03)
    np.testing.assert_allclose((batch["x"] ** 2).mean(0)[0], RADIUS**2 / 2 + STD**2, rtol=0.02)


def test_splits_and_seeds_differ(tmp_path):
    data = eight_gaussians(train=16, test=16, data_dir=tmp_path)
    other = eight_gaussians(train=16, test=16, seed=1, data_dir=tmp_path)
    (train,), (test,), (second,) = (
        one.epoch(split, 16) for one, split in ((data, "train"), (data, "test"), (other, "train"))
    )
    assert not np.intersect1d(train["x"], test["x"]).size
    assert not np.intersect1d(train["x"], second["x"]).size


def test_the_support_is_that_of_the_data():
    support = build("support", "eight_modes")
    assert support.points.shape == (MODES, 1, 2)
    assert support.std == STD


def test_numbers_that_the_modes_cannot_share_are_refused(tmp_path):
    with pytest.raises(ValueError, match="multiples of the 8 modes, got train=12"):
        eight_gaussians(train=12, data_dir=tmp_path)
