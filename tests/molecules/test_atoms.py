"""Codes, atoms and SMILES of RDKit are one and the same molecule."""

import importlib.util

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdForceFieldHelpers
from rdkit.Chem.rdMolDescriptors import CalcMolFormula

from diffusion_jax.molecules import atoms as module
from diffusion_jax.molecules.atoms import (
    CARBON_HYDROGEN,
    SIDE,
    atoms,
    code_of_molecule,
    code_of_smiles,
    inchi,
    molecule,
    placed,
    relaxed,
    ring_centres,
    smiles,
)
from diffusion_jax.molecules.catafusenes import canonical, catafusenes, centres
from diffusion_jax.molecules.hueckel import skeleton
from diffusion_jax.molecules.reading import read

KNOWN = {
    "E": "c1ccccc1",
    "SE": "c1ccc2ccccc2c1",
    "SSE": "c1ccc2cc3ccccc3cc2c1",
    "SLE": "c1ccc2c(c1)ccc1ccccc12",
    "SBEE": "c1ccc2c(c1)c1ccccc1c1ccccc21",
    "SLRE": "c1ccc2c(c1)ccc1c2ccc2ccccc21",
    "SLLE": "c1ccc2c(c1)ccc1ccc3ccccc3c12",
    "SLSE": "c1ccc2cc3c(ccc4ccccc43)cc2c1",
    "SSSSE": "c1ccc2cc3cc4cc5ccccc5cc4cc3cc2c1",
}


@pytest.mark.parametrize("code", KNOWN)
def test_known_molecules(code):
    assert smiles(code) == Chem.CanonSmiles(KNOWN[code])
    assert code_of_smiles(KNOWN[code]) == canonical(code)
    assert code_of_smiles(Chem.MolToSmiles(Chem.AddHs(molecule(code)))) == canonical(code)


def test_inchi_of_naphthalene():
    assert inchi("SE") == "InChI=1S/C10H8/c1-2-6-10-8-4-3-7-9(10)5-1/h1-8H"


@pytest.mark.parametrize("rings", range(1, 8))
def test_every_code_is_a_molecule_of_its_own(rings):
    """Codes and SMILES find the same isomers; each comes back from its SMILES."""
    codes = catafusenes(rings)
    strings = [smiles(code) for code in codes]
    assert len(set(strings)) == len(codes)
    assert [code_of_smiles(one) for one in strings] == codes
    assert CalcMolFormula(molecule(codes[-1])) == f"C{4 * rings + 2}H{2 * rings + 4}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("c1cc2ccc3cccc4ccc(c1)c2c34", "fused to a tree"),  # pyrene
        ("c1cc2cccc3c4cccc5cccc(c(c1)c23)c54", "fused to a tree"),  # perylene
        ("c1ccc(-c2ccccc2)cc1", "fused to a tree"),
        ("c1ccc2cccccc1-2", "not hexagons"),  # azulene is refused for its rings
        ("c1ccc2ncccc2c1", "not aromatic carbon"),
        ("Cc1ccccc1", "not aromatic carbon"),
        ("C1CCCCC1", "not aromatic carbon"),
        ("", "fused to a tree"),
        ("c1ccccc", "cannot read the SMILES"),
        ("c1ccc2ccccc2[c]1", "radical electrons"),
        ("c1ccc2ccccc2[c-]1", "charged atoms"),
        ("c1ccc2ccccc2[c+]1", "charged atoms"),
        ("c1ccc2ccccc2[cH2]1", "cannot read the SMILES"),
    ],
)
def test_other_molecules_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        code_of_smiles(text)


def test_a_molecule_that_lacks_a_hydrogen_is_refused():
    mol = molecule("SE")
    mol.GetAtomWithIdx(6).SetNoImplicit(True)
    mol.UpdatePropertyCache()
    assert CalcMolFormula(mol) == "C10H7"
    with pytest.raises(ValueError, match="radical electrons"):
        code_of_molecule(mol)


@pytest.mark.parametrize("code", ["E", "SE", "SLE", "SBESE", "SLSBERE"])
def test_atoms_on_the_lattice(code):
    numbers, positions = atoms(code)
    bonds = skeleton(code).bonds
    carbons, hydrogens = 4 * len(code) + 2, 2 * len(code) + 4
    assert numbers.tolist() == [6] * carbons + [1] * hydrogens
    apart = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    near = [(i, j) for i, j in np.argwhere(apart[:carbons, :carbons] < 1.5).tolist() if i < j]
    assert near == sorted(map(tuple, bonds.tolist()))
    np.testing.assert_allclose(apart[bonds[:, 0], bonds[:, 1]], SIDE)
    np.testing.assert_allclose(np.sort(apart[carbons:, :carbons], axis=1)[:, 0], CARBON_HYDROGEN)
    np.testing.assert_allclose(ring_centres(code, positions), centres(code), atol=1e-9)
    drawn = placed(code).GetConformer().GetPositions()
    np.testing.assert_allclose(drawn, positions[:carbons], atol=1e-9)


def test_helicenes_have_no_place_on_the_lattice():
    with pytest.raises(ValueError, match="SLLLLE is not planar"):
        atoms("SLLLLE")


def test_benzene_relaxes_to_its_bond_length():
    numbers, positions = relaxed("E")
    assert numbers.tolist() == [6] * 6 + [1] * 6
    sides = np.linalg.norm(positions[:6] - np.roll(positions[:6], 1, axis=0), axis=1)
    np.testing.assert_allclose(sides, 1.39, atol=0.01)


def test_rings_of_relaxed_molecules_lie_where_those_of_xtb_do():
    """2.42 to 2.48 angstrom in COMPAS-1x; MMFF94 makes branches a little wider. It finds the same twice."""
    for code in catafusenes(5):
        x = ring_centres(code, relaxed(code).positions)
        apart = np.linalg.norm(x[:, None] - x[None], axis=2)
        fused = apart[(apart > 0) & (apart < 3)]
        assert 2.42 < fused.min() < fused.max() < 2.53
        np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-6)
        assert read(x[None])[0].code == code
        np.testing.assert_array_equal(ring_centres(code, relaxed(code).positions), x)


@pytest.mark.parametrize("code", ["SSLE", "SRSE", "SRE", "SSSBEE", "SRRRRE", "SBLSERE"])
def test_a_code_that_is_not_canonical_keeps_its_numbering(code):
    """What is numbered by the code's skeleton has its bonds and its rings there."""
    assert canonical(code) != code
    positions = relaxed(code).positions
    first, second = skeleton(code).bonds.T
    bonds = np.linalg.norm(positions[first] - positions[second], axis=1)
    assert 1.33 < bonds.min() < bonds.max() < 1.50
    assert read(ring_centres(code, positions)[None])[0].code == canonical(code)


def minimiser(monkeypatch, answers):
    """RDKit's answers with these; returns the steps that it is given."""
    steps = []

    def optimise(mol, maxIters):
        steps.append(maxIters)
        return answers.pop(0)

    monkeypatch.setattr(rdForceFieldHelpers, "MMFFOptimizeMolecule", optimise)
    return steps


def test_the_force_field_may_take_longer(monkeypatch):
    steps = minimiser(monkeypatch, [1, 0])
    relaxed("E")
    assert len(steps) == 2
    assert steps[1] > steps[0]


@pytest.mark.parametrize(
    ("answers", "message"),
    [([1, 1], "not converged for SLE after 22000 steps"), ([-1], "cannot be set up for SLE")],
)
def test_a_force_field_that_finds_no_minimum_says_so(monkeypatch, answers, message):
    minimiser(monkeypatch, answers)
    with pytest.raises(RuntimeError, match=message):
        relaxed("SLE")


def test_without_rdkit_the_extra_is_named(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        module.importlib.util, "find_spec", lambda name: None if name == "rdkit" else find(name)
    )
    with pytest.raises(ModuleNotFoundError, match=r"diffusion_jax\[molecules\]"):
        molecule("SE")
