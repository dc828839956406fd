"""Codes against the counts of the OEIS and against polyhexes found by another way."""

import itertools

import numpy as np
import pytest

from diffusion_jax.molecules.catafusenes import (
    SPACING,
    axial,
    canonical,
    catafusenes,
    centres,
    code_of,
    planar,
    structure,
    tree,
)

COUNTS = (1, 1, 2, 5, 12, 37, 123, 446, 1689, 6693, 27034)  # OEIS A002216
PLANAR = (1, 1, 2, 5, 12, 36, 118, 411, 1489, 5572, 21115)  # OEIS A038142
HEXAHELICENE = "SLLLLE"


@pytest.mark.parametrize("rings", range(1, 9))
def test_counts(rings):
    codes = catafusenes(rings)
    assert len(codes) == COUNTS[rings - 1]
    assert sum(map(planar, codes)) == PLANAR[rings - 1]
    assert codes == sorted(set(codes))
    assert {len(code) for code in codes} == {rings}


@pytest.mark.slow
@pytest.mark.parametrize("rings", [9, 10, 11])
def test_counts_of_large_ones(rings):
    codes = catafusenes(rings)
    assert len(codes) == COUNTS[rings - 1]
    assert sum(map(planar, codes)) == PLANAR[rings - 1]


def shape(cells):
    """A set of lattice cells up to translation and the twelve symmetries of the triangular lattice."""
    forms = []
    for mirrored in (False, True):
        cells = {(b, a) for a, b in cells} if mirrored else cells
        for _ in range(6):
            cells = {(-b, a + b) for a, b in cells}  # a turn by 60 degrees
            low = (min(a for a, _ in cells), min(b for _, b in cells))
            forms.append(tuple(sorted((a - low[0], b - low[1]) for a, b in cells)))
    return min(forms)


def test_planar_codes_are_the_polyhexes_without_a_triangle():
    """Polyhexes grown cell by cell, kept where a new cell touches one old cell: no dualist tree is used."""
    found = {((0, 0),)}
    steps = [(1, 0), (0, 1), (-1, 1), (-1, 0), (0, -1), (1, -1)]
    for rings in range(2, 7):
        larger = set()
        for cells, (a, b) in itertools.product(found, steps):
            for i, j in cells:
                new = (i + a, j + b)
                touched = sum((new[0] + x, new[1] + y) in cells for x, y in steps)
                if new not in cells and touched == 1:
                    larger.add(shape({*cells, new}))
        found = larger
        codes = [code for code in catafusenes(rings) if planar(code)]
        assert {shape(set(map(tuple, axial(code).tolist()))) for code in codes} == found


@pytest.mark.parametrize(
    ("codes", "name"),
    [
        (["SLLE", "SRRE"], "benzo[c]phenanthrene"),
        (["SLRE", "SRLE"], "chrysene"),
        (["SLSE", "SSLE", "SRSE", "SSRE"], "benz[a]anthracene"),
        (["SBESE", "SBSEE", "SSBEE"], "benzo[a]triphenylene's isomer, drawn from each of its three ends"),
    ],
)
def test_all_codes_of_a_molecule_have_one_canonical_code(codes, name):
    assert {canonical(code) for code in codes} == {min(codes)}, name


def test_a_tree_may_be_counted_from_anywhere():
    rng = np.random.default_rng(0)
    for code in catafusenes(7)[::9]:
        rings = tree(code)
        order = rng.permutation(len(rings))
        turned = [{} for _ in rings]
        for i, near in enumerate(rings):
            offset = rng.integers(6)
            turned[order[i]] = {int(edge + offset) % 6: int(order[other]) for edge, other in near.items()}
        assert code_of(turned) == code


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("E", (1, 1, 0)),
        ("SE", (2, 2, 0)),
        ("SSSSE", (5, 5, 0)),
        ("SLRLE", (5, 2, 0)),
        ("SSBSEE", (6, 3, 1)),
        ("SBBEEBEE", (8, 2, 3)),
        ("SSLSSSE", (7, 5, 0)),
    ],
)
def test_structure(code, wanted):
    assert structure(code) == wanted


def test_centres_are_the_lattice():
    code = "SLSBESE"
    x = centres(code)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-12)
    distance = np.linalg.norm(x[:, None] - x[None], axis=2)
    fused = np.isclose(distance, SPACING)
    assert [set(np.flatnonzero(row)) for row in fused] == [set(near.values()) for near in tree(code)]
    assert sorted(distance[distance > 0])[2 * 6] == pytest.approx(3**0.5 * SPACING)


def test_helicenes_are_not_planar():
    assert planar(HEXAHELICENE[:4] + "E")
    assert not planar(HEXAHELICENE)
    heptahelicene = axial("SLLLLLE")
    assert (heptahelicene[0] == heptahelicene[6]).all()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("", "a code has the letters E, R, S, L, B"),
        ("SXE", "got 'SXE'"),
        ("LE", "starts with S"),
        ("SES", "goes on after its last end, at letter 3"),
        ("SBE", "1 are open"),
        ("S", "1 are open"),
    ],
)
def test_what_is_no_code(code, message):
    with pytest.raises(ValueError, match=message):
        tree(code)


def test_three_rings_at_an_atom_are_refused():
    pyrene_like = [{0: 1, 1: 2}, {0: 0}, {0: 0}]
    with pytest.raises(ValueError, match="three rings share an atom"):
        code_of(pyrene_like)


def test_bad_numbers_of_rings():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        catafusenes(0)
    with pytest.raises(TypeError, match="must be an integer"):
        catafusenes(2.5)
