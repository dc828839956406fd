"""Pictures of molecules."""

import numpy as np
import pytest
from PIL import Image

from diffusion_jax.evaluation.molecule_pictures import molecules_picture


def ink(path):
    """bool [H, W], where the picture is not white."""
    return np.asarray(Image.open(path).convert("L")) < 128


def test_molecules_and_captions_are_drawn(tmp_path):
    bare, named = tmp_path / "new" / "bare.png", tmp_path / "named.png"
    codes = ["SE", "SSSE", "SLLLLE"]
    molecules_picture(bare, codes, columns=2)
    molecules_picture(named, codes, [f"gap {i}" for i in range(3)], columns=2)
    drawn, captioned = ink(bare), ink(named)
    assert drawn.shape == captioned.shape
    side = drawn.shape[1] // 2
    assert drawn.shape[0] == 2 * side
    panels = drawn.reshape(2, side, 2, side).any(axis=(1, 3))
    assert panels.tolist() == [[True, True], [True, False]]
    assert captioned[side - 40 : side].sum() > drawn[side - 40 : side].sum() + 50


def test_planar_molecules_lie_as_on_the_lattice(tmp_path):
    """An acene is drawn flat, along the lattice's first axis."""
    molecules_picture(tmp_path / "acene.png", ["SSSSSE"])
    rows, columns = (np.ptp(where) for where in np.nonzero(ink(tmp_path / "acene.png")))
    assert columns > 3 * rows


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"codes": []}, "nothing to draw"),
        ({"codes": ["SE"], "captions": ["a", "b"]}, "1 molecules need as many captions or none, got 2"),
        ({"codes": ["SE"], "columns": 0}, "columns must be at least 1"),
        ({"codes": ["SX"]}, "a code has the letters"),
    ],
)
def test_bad_input(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        molecules_picture(tmp_path / "picture.png", **arguments)
