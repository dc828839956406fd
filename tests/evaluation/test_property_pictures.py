"""Histograms and fronts, drawn."""

import numpy as np
import pytest
from PIL import Image

from diffusion_jax.evaluation.property_pictures import fronts_picture, histograms_picture, undominated


def ink(path):
    """bool [H, W], where the picture is not white."""
    return np.asarray(Image.open(path).convert("L")) < 250


def test_what_is_undominated():
    points = [(0.0, 3.0), (1.0, 1.0), (2.0, 2.0), (2.0, 2.0), (3.0, 0.0), (3.0, -1.0)]
    assert undominated(points) == [True, False, True, True, True, False]


def test_a_panel_for_each_histogram(tmp_path):
    one, three = tmp_path / "new" / "one.png", tmp_path / "three.png"
    values = np.random.default_rng(0).standard_normal(50)
    histograms_picture(one, {"scale 0": values}, name="gap")
    sets = {"scale 0": values, "scale 1": values + 1, "scale 2": [np.nan]}
    histograms_picture(three, sets, name="gap", beside={"train": values - 1})
    assert ink(three).shape[0] > 2 * ink(one).shape[0]
    assert ink(one).any()
    for nothing in ({}, {"scale 0": [np.nan]}):
        with pytest.raises(ValueError, match="nothing to draw"):
            histograms_picture(one, nothing, name="gap")


def test_undominated_points_are_filled(tmp_path):
    """The same two points: filled both, or one of them hollow for a third that is better."""
    filled, hollow = tmp_path / "filled.png", tmp_path / "hollow.png"
    points = [("0", 0.0, 1.0), ("1", 1.0, 0.0)]
    fronts_picture(filled, {"a": points}, across="x", up="y")
    fronts_picture(hollow, {"a": points, "b": [("0", 1.0, 1.0)]}, across="x", up="y")
    assert ink(filled).any()
    assert (ink(filled) != ink(hollow)).any()
    with pytest.raises(ValueError, match="nothing to draw"):
        fronts_picture(filled, {"a": []}, across="x", up="y")
