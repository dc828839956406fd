"""Structural clusters of molecules by spectral clustering of ErG fingerprints, as in arXiv 2407.11942.

ErG fingerprints (Stiefl et al. 2006) count pairs of features, for catafusenes rings, by their distance in a
reduced graph. Molecules are alike by the Tanimoto similarity of the counts a and b,

    k(a, b) = sum min(a, b) / sum max(a, b) = (|a| + |b| - d) / (|a| + |b| + d),   d = sum |a - b|.

27,034 molecules have 2.9 GB of them, so a random subset is clustered, and every other molecule joins the
cluster of the one that it is most like.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diffusion_jax.molecules.atoms import molecule

MAX_PATH = 50
_CHUNK = 512


def fingerprints(codes: Sequence[str]) -> np.ndarray:
    """ErG fingerprints without fuzziness, `[n, F]`. Raises as `atoms.molecule`."""
    molecules = [molecule(code) for code in codes]
    from rdkit.Chem import rdReducedGraphs

    return np.array(
        [rdReducedGraphs.GetErGFingerprint(one, fuzzIncrement=0.0, maxPath=MAX_PATH) for one in molecules],
        np.float32,
    )


def similarity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Tanimoto similarity of counts `[n, F]` and `[m, F]`, `[n, m]`; 1 where both are all zero."""
    from scipy.spatial.distance import cdist

    total = a.sum(axis=1)[:, None] + b.sum(axis=1)[None, :]
    apart = cdist(a, b, "cityblock")
    return np.divide(total - apart, total + apart, out=np.ones_like(apart), where=total > 0).astype(
        np.float32
    )


def clusters(codes: Sequence[str], count: int = 2, subset: int = 2000, seed: int = 1) -> np.ndarray:
    """The cluster of each molecule, int `[n]`, the largest being 0.

    Args:
        codes: of the molecules.
        count: of clusters.
        subset: so many are clustered, drawn at random; the others join the cluster of their nearest.
        seed: of the draw and of the clustering.

    Raises:
        ModuleNotFoundError: RDKit is missing.
        ValueError: fewer molecules than clusters, or as `atoms.molecule`.
    """
    if not 2 <= count <= min(len(codes), subset):
        raise ValueError(f"{len(codes)} molecules, {subset} of them clustered, cannot form {count} clusters")
    from sklearn.cluster import SpectralClustering

    prints = fingerprints(codes)
    prints = prints[:, prints.any(axis=0)]
    chosen = np.random.default_rng(seed).permutation(len(codes))[:subset]
    method = SpectralClustering(count, n_components=5, affinity="precomputed", random_state=seed)
    own = method.fit_predict(similarity(prints[chosen], prints[chosen]))
    found = np.concatenate(
        [
            own[similarity(prints[start : start + _CHUNK], prints[chosen]).argmax(axis=1)]
            for start in range(0, len(codes), _CHUNK)
        ]
    )
    found[chosen] = own
    order = np.argsort(-np.bincount(found, minlength=count), kind="stable")
    return np.argsort(order)[found]
