"""GFN2-xTB by tblite against COMPAS-1x, whose geometries are relaxed by xTB itself."""

import importlib.util

import pytest

from diffusion_jax.molecules import xtb
from diffusion_jax.molecules.atoms import Atoms, atoms, relaxed
from diffusion_jax.molecules.xtb import gfn2

GAPS = {"SSE": 2.266, "SLRE": 2.751, "SLE": 3.168, "SE": 3.250, "SBEE": 3.378}  # eV


def test_gaps_of_compas():
    pytest.importorskip("tblite")
    found = [gfn2(relaxed(code)).gap for code in GAPS]
    assert found == sorted(found)
    for gap, wanted in zip(found, GAPS.values()):
        assert gap == pytest.approx(wanted, abs=0.35)


def test_naphthalene_of_compas():
    """HOMO -10.269, LUMO -7.019; adiabatic: ionisation 12.918, electron affinity -4.453 in its sign."""
    pytest.importorskip("tblite")
    found = gfn2(relaxed("SE"))
    assert found.gap == pytest.approx(found.lumo - found.homo)
    assert (found.homo, found.lumo) == pytest.approx((-10.269, -7.019), abs=0.2)
    assert (found.ionisation, found.affinity) == pytest.approx((12.918, 4.453), abs=0.15)


def test_relaxing_lowers_the_energy():
    pytest.importorskip("tblite")
    assert gfn2(relaxed("SLE")).energy < gfn2(atoms("SLE")).energy


def test_what_cannot_be_computed():
    pytest.importorskip("tblite")
    numbers, positions = atoms("E")
    with pytest.raises(ValueError, match="GFN2-xTB of 12 atoms"):
        gfn2(Atoms(numbers, 0 * positions))


def test_without_tblite_the_extra_is_named(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        xtb.importlib.util, "find_spec", lambda name: None if name == "tblite" else find(name)
    )
    with pytest.raises(ModuleNotFoundError, match=r"diffusion_jax\[xtb\]"):
        gfn2(atoms("E"))
