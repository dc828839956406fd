"""GFN2-xTB labels (Bannwarth et al. 2019) of molecules, by tblite (`pip install 'diffusion_jax[xtb]'`).

Everything is vertical: the geometry, that of the neutral molecule, is taken as it is. COMPAS-1x relaxes by
xTB and has adiabatic values, each charge relaxed by itself, and affinities of the opposite sign.
"""

from __future__ import annotations

import importlib.util
from typing import Any, NamedTuple

import numpy as np

from diffusion_jax.molecules.atoms import Atoms

BOHR = 0.529177210903  # angstrom
HARTREE = 27.211386245988  # eV


class Gfn2(NamedTuple):
    """In eV; the affinity is positive where an electron is bound.

    energy:    total, of the neutral molecule
    homo:      of the highest occupied orbital
    lumo:      of the lowest empty one
    gap:       lumo - homo
    ionisation, affinity: E(+1) - E(0) and E(0) - E(-1), vertical
    """

    energy: float
    homo: float
    lumo: float
    gap: float
    ionisation: float
    affinity: float


def gfn2(atoms: Atoms) -> Gfn2:
    """Three single points, of charges 0, 1 and -1.

    Raises:
        ModuleNotFoundError: tblite is missing.
        ValueError: atoms coincide, or the self-consistent charges do not converge.
    """
    neutral = _single_point(atoms, 0)
    orbitals, occupations = (HARTREE * neutral.get("orbital-energies"), neutral.get("orbital-occupations"))
    occupied = np.asarray(occupations) > 1.0
    homo, lumo = float(orbitals[occupied].max()), float(orbitals[~occupied].min())
    energy, positive, negative = (
        HARTREE * float(result.get("energy"))
        for result in (neutral, _single_point(atoms, 1), _single_point(atoms, -1))
    )
    return Gfn2(energy, homo, lumo, lumo - homo, positive - energy, energy - negative)


def _single_point(atoms: Atoms, charge: int) -> Any:
    if importlib.util.find_spec("tblite") is None:
        raise ModuleNotFoundError("GFN2-xTB needs tblite: pip install 'diffusion_jax[xtb]'")
    from tblite.interface import Calculator

    numbers, positions = np.asarray(atoms.numbers), np.asarray(atoms.positions) / BOHR
    try:
        calculator = Calculator("GFN2-xTB", numbers, positions, charge=charge, uhf=abs(charge))
        calculator.set("verbosity", 0)
        return calculator.singlepoint()
    except RuntimeError as error:
        raise ValueError(f"GFN2-xTB of {len(atoms.numbers)} atoms, charge {charge}: {error}") from error
