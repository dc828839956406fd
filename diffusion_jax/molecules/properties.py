"""What is predicted of a molecule: numbers that follow exactly from its code.

gap       Hueckel gap, in |beta|
energy    Hueckel energy of the pi electrons per carbon atom, in |beta|
kekule    natural logarithm of the number of Kekule structures
longest   rings in the longest linear segment
branches  rings with three neighbours
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diffusion_jax.molecules.catafusenes import structure
from diffusion_jax.molecules.hueckel import hueckel

PROPERTIES = ("gap", "energy", "kekule", "longest", "branches")


def properties(codes: Sequence[str]) -> np.ndarray:
    """Of n molecules, `[n, 5]` in the order of `PROPERTIES`. Raises ValueError as `catafusenes.tree`."""
    spectra = hueckel(codes)
    structures = [structure(code) for code in codes]
    carbons = np.array([4 * one.rings + 2 for one in structures])
    return np.stack(
        [
            spectra.gap,
            spectra.energy / carbons,
            np.log(spectra.kekule),
            np.array([one.longest for one in structures], float),
            np.array([one.branches for one in structures], float),
        ],
        axis=1,
    )
