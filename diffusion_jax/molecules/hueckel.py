"""Carbon skeletons of catafusenes and their Hueckel spectra, exactly.

One pi orbital an atom, H = alpha + beta A, A the adjacency of the skeleton of C_{4h+2}. The energies are
alpha + x beta, x the eigenvalues of A; beta < 0, so the positive x are occupied. In units of |beta|,

    gap    = x_HOMO - x_LUMO
    energy = 2 sum over occupied x, of all pi electrons; per atom where it says so
    K      = product over occupied x, the number of Kekule structures

The skeleton is bipartite: x and -x come together, so that x_LUMO = -x_HOMO, and HOMO, LUMO and gap are one
number. Every ring has six atoms and none lies inside, so det A = +-K^2 (Dewar and Longuet-Higgins 1952).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from diffusion_jax.molecules.catafusenes import ENTRY, tree


class Skeleton(NamedTuple):
    """The carbon atoms 0 to 4 h + 1.

    bonds: int [5 h + 1, 2]
    rings: int [h, 6], counterclockwise; edge k goes from atom k to the next
    """

    bonds: np.ndarray
    rings: np.ndarray


class Hueckel(NamedTuple):
    """Of n molecules.

    gap:    [n], in |beta|
    energy: [n], of all pi electrons, in |beta|
    kekule: int [n], the number of Kekule structures
    """

    gap: np.ndarray
    energy: np.ndarray
    kekule: np.ndarray


def skeleton(code: str) -> Skeleton:
    """The carbon atoms of the molecule that has this code. Raises ValueError as `catafusenes.tree`."""
    rings = tree(code)
    atoms = np.zeros((len(rings), 6), int)
    atoms[0] = np.arange(6)
    for i, near in enumerate(rings):
        for edge, other in near.items():
            if other > i:
                fresh = 6 + 4 * (other - 1)
                # both run counterclockwise, so they pass the edge between them in opposite directions
                atoms[other] = [atoms[i, (edge + 1) % 6], atoms[i, edge], *range(fresh, fresh + 4)]
    new = [
        (ring[k], ring[(k + 1) % 6]) for i, ring in enumerate(atoms) for k in range(6) if not i or k != ENTRY
    ]
    return Skeleton(np.sort(np.array(new), axis=1), atoms)


def spectrum(codes: Sequence[str]) -> np.ndarray:
    """Eigenvalues x of the skeletons, falling, `[n, 4 h + 2]`; the molecules have the same number of rings h.

    Raises ValueError for molecules of different sizes, for none, and as `catafusenes.tree`.
    """
    if len({len(code) for code in codes}) != 1:
        raise ValueError(
            f"one spectrum needs molecules of one size, got rings {sorted(set(map(len, codes)))}"
        )
    atoms = 4 * len(codes[0]) + 2
    adjacency = np.zeros((len(codes), atoms, atoms))
    for i, code in enumerate(codes):
        first, second = skeleton(code).bonds.T
        adjacency[i, first, second] = adjacency[i, second, first] = 1.0
    return np.linalg.eigvalsh(adjacency)[:, ::-1]


_CHUNK = 1024  # matrices diagonalised together


def hueckel(codes: Sequence[str]) -> Hueckel:
    """Gap, pi energy and Kekule structures, sizes may differ. Raises ValueError as `catafusenes.tree`."""
    sizes = np.array([len(code) for code in codes], int)
    gap, energy, kekule = np.zeros(len(codes)), np.zeros(len(codes)), np.zeros(len(codes), int)
    for size in np.unique(sizes):
        members = np.flatnonzero(sizes == size)
        for start in range(0, len(members), _CHUNK):
            chunk = members[start : start + _CHUNK]
            occupied = spectrum([str(codes[i]) for i in chunk])[:, : 2 * size + 1]
            gap[chunk] = 2 * occupied[:, -1]
            energy[chunk] = 2 * occupied.sum(axis=1)
            kekule[chunk] = np.rint(occupied.prod(axis=1))
    return Hueckel(gap, energy, kekule)
