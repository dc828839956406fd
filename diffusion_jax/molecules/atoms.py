"""From codes to atoms and back, by RDKit (`pip install 'diffusion_jax[molecules]'`).

A catafusene of h rings is C_{4h+2} H_{2h+4}: the skeleton of `hueckel`, all aromatic, a hydrogen wherever a
carbon has two bonds. On the lattice the hexagons are regular, of side SPACING / sqrt(3) = 1.412 angstrom;
`relaxed` lets the MMFF94 force field (Halgren 1996) move all atoms, which opens fjords and winds helicenes.
"""

from __future__ import annotations

import importlib.util
import math
from typing import Any, NamedTuple

import numpy as np

from diffusion_jax.molecules.catafusenes import (
    LEFT,
    SPACING,
    Tree,
    canonical,
    centres,
    code_of,
    planar,
    tree,
)
from diffusion_jax.molecules.hueckel import skeleton
from diffusion_jax.molecules.reading import read

SIDE = SPACING / math.sqrt(3.0)
CARBON_HYDROGEN = 1.09  # angstrom


class Atoms(NamedTuple):
    """numbers: int [A], the carbons first; positions: [A, 3] in angstrom."""

    numbers: np.ndarray
    positions: np.ndarray


def molecule(code: str) -> Any:
    """The RDKit molecule of a code, sanitised, its carbons numbered as those of `hueckel.skeleton`.

    Raises:
        ModuleNotFoundError: RDKit is missing.
        ValueError: as `catafusenes.tree`.
    """
    chem = _chem()
    bonds = skeleton(code).bonds
    mol = chem.RWMol()
    for _ in range(bonds.max() + 1):
        mol.AddAtom(chem.Atom(6))
    for i, j in bonds.tolist():
        mol.AddBond(i, j, chem.BondType.AROMATIC)
    for atom in mol.GetAtoms():
        atom.SetIsAromatic(True)
    chem.SanitizeMol(mol)
    return mol.GetMol()


def smiles(code: str) -> str:
    """The canonical SMILES of a code. Raises as `molecule`."""
    return _chem().MolToSmiles(molecule(code))


def inchi(code: str) -> str:
    """The InChI of a code. Raises as `molecule`."""
    return _chem().MolToInchi(molecule(code))


def code_of_smiles(text: str) -> str:
    """The canonical code of a molecule given as SMILES.

    Raises:
        ModuleNotFoundError: RDKit is missing.
        ValueError: RDKit cannot read it, or it is no cata-condensed polybenzenoid.
    """
    mol = _chem().MolFromSmiles(text)
    if mol is None:
        raise ValueError(f"RDKit cannot read the SMILES {text!r}")
    return code_of_molecule(mol)


def code_of_molecule(mol: Any) -> str:
    """The canonical code of an RDKit molecule. Raises as `code_of_smiles`."""
    mol = _chem().RemoveHs(mol)
    name = _chem().MolToSmiles(mol)
    rings = [list(ring) for ring in mol.GetRingInfo().AtomRings()]
    wrong = None
    # a hydrogen too few is a radical electron or a charge, for RDKit has sanitised the molecule
    if any(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms()):
        wrong = "it has radical electrons"
    elif any(atom.GetFormalCharge() for atom in mol.GetAtoms()):
        wrong = "it has charged atoms"
    elif any(atom.GetAtomicNum() != 6 or not atom.GetIsAromatic() for atom in mol.GetAtoms()):
        wrong = "it has atoms that are not aromatic carbon"
    elif any(len(ring) != 6 for ring in rings):
        wrong = "it has rings that are not hexagons"
    elif mol.GetNumAtoms() != 4 * len(rings) + 2 or mol.GetNumBonds() != 5 * len(rings) + 1:
        wrong = "its rings are not fused to a tree along edges"
    if wrong is None:
        found = _fused(rings)
        if found is not None:
            return code_of(found)
        wrong = "its rings are not fused to a tree along edges"
    raise ValueError(f"{name} is no cata-condensed polybenzenoid: {wrong}")


def atoms(code: str) -> Atoms:
    """The atoms of a planar molecule on the lattice, regular hexagons in the plane z = 0.

    Raises:
        ValueError: it is not planar (`relaxed` winds it out of the plane), or as `catafusenes.tree`.
    """
    if not planar(code):
        raise ValueError(f"{code} is not planar: its rings would overlap on the lattice")
    carbons = _lattice_carbons(code)
    bonds = skeleton(code).bonds
    hydrogens = []
    for i in np.flatnonzero(np.bincount(bonds.reshape(-1)) == 2):
        around = [*bonds[bonds[:, 0] == i, 1], *bonds[bonds[:, 1] == i, 0]]
        outward = carbons[i] - carbons[around].mean(axis=0)
        hydrogens.append(carbons[i] + CARBON_HYDROGEN * outward / np.linalg.norm(outward))
    positions = np.concatenate([carbons, hydrogens])
    return Atoms(np.array([6] * len(carbons) + [1] * len(hydrogens)), positions)


def placed(code: str) -> Any:
    """The RDKit molecule with a conformer on the lattice, where only planar ones do not overlap.

    Raises as `molecule`.
    """
    return _at(molecule(code), _lattice_carbons(code))


_STARTS = ((0.15, 1), (0.3, 1), (0.3, -1), (0.6, 1), (1.0, -1))
"""Angstrom by which a ring starts above the one before it; -1 turns the left way of a branch downwards."""
_STEPS = (2000, 20000)
"""Of the force field from one start: the second where the first do not suffice."""


def relaxed(code: str) -> Atoms:
    """The atoms at a minimum of MMFF94, from the lattice with its rings lifted one above the other.

    The carbons are numbered as those of `hueckel.skeleton(code)`, whether the code is canonical or not. About
    0.05 s for 10 rings. The minimum found is a near one, not the lowest.

    Raises:
        ModuleNotFoundError: RDKit is missing.
        RuntimeError: MMFF94 cannot be set up, or is at no minimum after the last of `_STEPS`.
        ValueError: no start leads to a geometry that reads as this molecule; or as `catafusenes.tree`.
    """
    chem = _chem()
    mol, wanted = molecule(code), canonical(code)
    rings = skeleton(code).rings
    flat = _lattice_carbons(code)
    for lift, left in _STARTS:
        start = flat.copy()
        start[:, 2] = lift * _heights(code, left)
        full = chem.AddHs(_at(mol, start), addCoords=True)
        _to_minimum(full, code)
        positions = np.array(full.GetConformer().GetPositions())
        middles = positions[rings].mean(axis=1)
        if read(middles[None])[0].code == wanted:
            positions -= middles.mean(axis=0)
            return Atoms(np.array([atom.GetAtomicNum() for atom in full.GetAtoms()]), positions)
    raise ValueError(f"the force field leads from no start to a geometry that reads as {code}")


def ring_centres(code: str, positions: np.ndarray) -> np.ndarray:
    """Means of the rings' carbons, [h, 3], of positions [A, 3] that are numbered as `Atoms`.

    Raises ValueError as `catafusenes.tree`.
    """
    return positions[skeleton(code).rings].mean(axis=1)


def _to_minimum(mol: Any, code: str) -> None:
    """Move the atoms to a minimum of MMFF94. Raises RuntimeError as `relaxed`."""
    from rdkit.Chem import rdForceFieldHelpers

    for steps in _STEPS:
        status = rdForceFieldHelpers.MMFFOptimizeMolecule(mol, maxIters=steps)
        if status == 0:
            return
        if status < 0:
            raise RuntimeError(f"MMFF94 cannot be set up for {code}")
    raise RuntimeError(f"MMFF94 has not converged for {code} after {sum(_STEPS)} steps")


def _at(mol: Any, positions: np.ndarray) -> Any:
    """The molecule with its atoms at `[A, 3]` and nowhere else."""
    conformer = _chem().Conformer(len(positions))
    conformer.SetPositions(positions)
    mol.RemoveAllConformers()
    mol.AddConformer(conformer)
    return mol


def _lattice_carbons(code: str) -> np.ndarray:
    """[4 h + 2, 3]; the rings' corners, found from the edge by which each is entered."""
    rings, middles = skeleton(code).rings, centres(code)
    near = tree(code)
    carbons = np.zeros((rings.max() + 1, 3))
    for i, corners in enumerate(rings):
        # edge 3 of the first ring, edge 0 of the others, look at a ring whose place is known
        edge, other = (3, near[0].get(3)) if i == 0 else (0, near[i][0])
        across = np.array([1.0, 0.0, 0.0]) if other is None else middles[other] - middles[i]
        towards = math.atan2(across[1], across[0])
        angle = towards + math.radians(60.0) * (np.arange(6) - edge - 0.5)
        carbons[corners] = middles[i] + SIDE * np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    return carbons


def _heights(code: str, left: int) -> np.ndarray:
    """[4 h + 2]: steps on the way to a carbon, ring by ring; -1 of `left` turns them at a branch's left."""
    rings, near = skeleton(code).rings, tree(code)
    step, height = np.ones(len(rings)), np.zeros(len(rings))
    for i, others in enumerate(near):
        for edge, other in others.items():
            if other > i:
                step[other] = step[i] * (left if code[i] == "B" and edge == LEFT else 1)
                height[other] = height[i] + step[other]
    carbons = np.zeros(rings.max() + 1)
    for i in reversed(range(len(rings))):
        carbons[rings[i]] = height[i]
    return carbons


def _fused(rings: list[list[int]]) -> Tree | None:
    """The tree of rings given by their atoms in order, or None where they are not fused to one."""
    found: Tree = [{} for _ in rings]
    oriented, waiting = {0}, [0]
    while waiting:
        i = waiting.pop()
        for k in range(6):
            edge = (rings[i][k], rings[i][(k + 1) % 6])
            others = [j for j in range(len(rings)) if j != i and set(edge) <= set(rings[j])]
            if len(others) > 1:
                return None
            if not others:
                continue
            (j,) = others
            if j not in oriented:
                at = rings[j].index(edge[1])
                turned = rings[j][at:] + rings[j][:at]
                # its atoms must pass the edge in the opposite direction, edge[1] then edge[0]
                rings[j] = turned if turned[1] == edge[0] else [turned[0], *turned[:0:-1]]
                oriented.add(j)
                waiting.append(j)
            found[i][k] = j
    return found if len(oriented) == len(rings) else None


def _chem() -> Any:
    if importlib.util.find_spec("rdkit") is None:
        raise ModuleNotFoundError("molecules need RDKit: pip install 'diffusion_jax[molecules]'")
    from rdkit import Chem

    return Chem
