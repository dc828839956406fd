"""Fingerprints, their similarity and clusters."""

import numpy as np
import pytest

from diffusion_jax.molecules.catafusenes import catafusenes, structure
from diffusion_jax.molecules.clusters import clusters, fingerprints, similarity


def test_similarity_is_the_tanimoto_of_counts():
    a = np.array([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0]], np.float32)
    b = np.array([[2.0, 1.0, 1.0], [1.0, 2.0, 0.0], [0.0, 0.0, 0.0]], np.float32)
    np.testing.assert_allclose(similarity(a, b), [[2 / 5, 1, 0], [0, 0, 1]])


def test_fingerprints_count_pairs_of_rings():
    codes = catafusenes(5)
    prints = fingerprints(codes)
    np.testing.assert_allclose(prints.sum(axis=1), 5 * 4 / 2)
    alike = similarity(prints, prints)
    np.testing.assert_allclose(np.diag(alike), 1)
    pentacene, picene, branched = (codes.index(code) for code in ("SSSSE", "SLRLE", "SBELE"))
    assert alike[pentacene, branched] < alike[picene, branched]


def test_clusters_are_of_molecules_that_are_alike():
    codes = catafusenes(7)
    found = clusters(codes, subset=len(codes))
    assert 0 < (found == 1).sum() <= (found == 0).sum()
    alike = similarity(fingerprints(codes), fingerprints(codes))
    within = np.mean([alike[np.ix_(found == i, found == i)].mean() for i in (0, 1)])
    assert within > alike[np.ix_(found == 0, found == 1)].mean() + 0.05
    longest = np.array([structure(code).longest for code in codes])
    assert abs(longest[found == 0].mean() - longest[found == 1].mean()) > 0.5
    np.testing.assert_array_equal(clusters(codes, subset=len(codes)), found)


def test_a_subset_finds_nearly_the_same():
    codes = catafusenes(7)
    whole, part = clusters(codes, subset=len(codes)), clusters(codes, subset=80)
    assert (whole == part).mean() > 0.85


def test_too_few_molecules():
    with pytest.raises(ValueError, match="1 molecules, 2000 of them clustered, cannot form 2 clusters"):
        clusters(["SE"])
