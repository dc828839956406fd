"""Hueckel spectra against closed forms, and Kekule structures against counted perfect matchings."""

import functools

import numpy as np
import pytest

from diffusion_jax.molecules.catafusenes import catafusenes
from diffusion_jax.molecules.hueckel import hueckel, skeleton, spectrum


def acene(rings):
    return "E" if rings == 1 else "S" * (rings - 1) + "E"


@pytest.mark.parametrize("rings", range(1, 9))
def test_acenes(rings):
    """x = +-1 and (+-1 +- sqrt(9 + 8 cos(k pi / (h + 1)))) / 2, k = 1, ..., h (Coulson 1948)."""
    root = np.sqrt(9 + 8 * np.cos(np.arange(1, rings + 1) * np.pi / (rings + 1)))
    wanted = [1, -1, *(s * (1 + r) / 2 for r in root for s in (1, -1))]
    wanted += [s * (1 - r) / 2 for r in root for s in (1, -1)]
    np.testing.assert_allclose(spectrum([acene(rings)])[0], sorted(wanted, reverse=True), atol=1e-12)


def test_naphthalene_and_anthracene():
    both = hueckel(["SE", "SSE"])
    np.testing.assert_allclose(both.gap, [5**0.5 - 1, 2 * (2**0.5 - 1)])
    naphthalene = 2 * ((1 + 13**0.5) / 2 + (13**0.5 - 1) / 2 + (1 + 5**0.5) / 2 + (5**0.5 - 1) / 2 + 1)
    anthracene = 2 * (1 + 2**0.5 + 2 + 2 * 2**0.5 + 2 + 2**0.5 - 1)
    np.testing.assert_allclose(both.energy, [naphthalene, anthracene])


def test_phenanthrene_splits_by_its_mirror():
    """Half of it: the mirror crosses the bonds 9-10 and 4a-4b, which become +-1 on the diagonal."""
    half = np.zeros((7, 7))
    for i, j in [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0), (5, 6)]:  # C1 to C4, C4a, C10a, C10
        half[i, j] = half[j, i] = 1
    crossed = np.diag([0, 0, 0, 0, 1, 0, 1])
    wanted = np.concatenate([np.linalg.eigvalsh(half + sign * crossed) for sign in (1, -1)])
    np.testing.assert_allclose(spectrum(["SLE"])[0], np.sort(wanted)[::-1], atol=1e-12)
    assert hueckel(["SLE"]).gap[0] == pytest.approx(1.2105, abs=1e-4)


@pytest.mark.parametrize(
    ("code", "gap"),
    [
        ("E", 2.0),
        ("SBEE", 1.3681),  # triphenylene
        ("SLRE", 1.0403),  # chrysene
        ("SSSE", 0.5899),  # tetracene
        ("SLSE", 0.9046),  # benz[a]anthracene
        ("SLLE", 1.1352),  # benzo[c]phenanthrene
        ("SSSSE", 0.4394),  # pentacene
    ],
)
def test_known_gaps(code, gap):
    assert hueckel([code]).gap[0] == pytest.approx(gap, abs=1e-4)


def matchings(bonds):
    """Perfect matchings, counted one by one."""
    near = {}
    for i, j in bonds.tolist():
        near.setdefault(i, set()).add(j)
        near.setdefault(j, set()).add(i)

    @functools.cache
    def count(left):
        if not left:
            return 1
        first = min(left)
        return sum(count(left - {first, other}) for other in near[first] & left)

    return count(frozenset(near))


def test_kekule_structures_are_perfect_matchings():
    codes = [code for rings in range(1, 7) for code in catafusenes(rings)]
    assert hueckel(codes).kekule.tolist() == [matchings(skeleton(code).bonds) for code in codes]


def test_kekule_structures_of_acenes_and_zigzags():
    assert hueckel([acene(rings) for rings in range(1, 12)]).kekule.tolist() == list(range(2, 13))
    zigzags = ["S" + ("LR" * 5)[: rings - 2] + "E" for rings in range(2, 12)]
    assert hueckel(zigzags).kekule.tolist() == [3, 5, 8, 13, 21, 34, 55, 89, 144, 233]


@pytest.mark.parametrize("rings", [1, 4, 6])
def test_skeletons(rings):
    for code in catafusenes(rings):
        bonds, atoms = skeleton(code)
        degree = np.bincount(bonds.reshape(-1))
        assert len(degree) == 4 * rings + 2
        assert len(bonds) == len(np.unique(bonds, axis=0)) == 5 * rings + 1
        assert (degree == 2).sum() == 2 * rings + 4  # the carbons that carry a hydrogen
        assert set(degree) <= {2, 3}
        edges = {tuple(sorted((ring[k], ring[(k + 1) % 6]))) for ring in atoms.tolist() for k in range(6)}
        assert edges == set(map(tuple, bonds.tolist()))


def test_sizes_may_be_mixed_and_keep_their_order():
    codes = ["SSE", "E", "SE", "E"]
    mixed = hueckel(codes)
    for i, code in enumerate(codes):
        alone = hueckel([code])
        assert (mixed.gap[i], mixed.kekule[i]) == (alone.gap[0], alone.kekule[0])


@pytest.mark.parametrize("codes", [[], ["E", "SE"]])
def test_a_spectrum_of_different_sizes_is_refused(codes):
    with pytest.raises(ValueError, match="molecules of one size"):
        spectrum(codes)


@pytest.mark.slow
def test_gaps_of_eleven_rings():
    gap = hueckel(catafusenes(11)).gap
    wanted = [0.128, 0.495, 0.665, 0.778, 0.846, 0.938, 1.034]
    np.testing.assert_allclose(np.quantile(gap, [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1]), wanted, atol=6e-4)
