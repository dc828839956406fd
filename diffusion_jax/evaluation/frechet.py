r"""The Frechet distance between two sets of features (Heusel et al., arXiv 1706.08500, equation 6).

With means mu and covariances S (N - 1 in the denominator) of the features of two sets of examples,

    d^2 = |mu_1 - mu_2|^2 + Tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2)).

Sums are float64 and nothing is added to the covariances, as in EDM (arXiv 2206.00364). The trace of the root
needs no root of a matrix that is not symmetric: with S_i = R_i R_i^T it is the sum of the singular values of
R_1^T R_2, which are the square roots of the eigenvalues of S_1 S_2, also where a covariance is singular.

d^2 of finite sets is biased upwards, the more so the fewer examples there are: compare only figures of equal
numbers. It is called FID where the features are those of the 2015 Inception, and only there.
"""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Statistics(NamedTuple):
    """Mean and covariance of features.

    mu:        [D], float64
    sigma:     [D, D], float64
    count:     of examples; None where a file of another project does not say
    extractor: the name of what made the features
    """

    mu: np.ndarray
    sigma: np.ndarray
    count: int | None
    extractor: str


def statistics(batches: Iterable[np.ndarray], extractor: str) -> Statistics:
    """Mean and covariance of features that come in batches [n, D], n of any size; one pass, float64 sums.

    extractor: the name of what made the features.

    Warns where there are no more examples than features: the covariance is then singular. Raises ValueError
    for fewer than two examples, and for features that are not finite or not [n, D].
    """
    count, total, outer = 0, np.zeros(0), np.zeros((0, 0))
    for batch in batches:
        features = np.asarray(batch, np.float64)
        if features.ndim != 2 or (count and features.shape[1] != len(total)):
            expected = f"[n, {len(total)}]" if count else "[n, D]"
            raise ValueError(f"features must be {expected}, got shape {features.shape}")
        broken = np.flatnonzero(~np.isfinite(features).all(1))
        if len(broken):
            raise ValueError(f"the features of example {count + broken[0]} are not finite")
        if not count:
            total, outer = np.zeros(features.shape[1]), np.zeros((features.shape[1],) * 2)
        count += len(features)
        total += features.sum(0)
        outer += features.T @ features
    if count < 2:
        raise ValueError(f"a covariance needs at least two examples, got {count}")
    if count <= len(total):
        warnings.warn(
            f"{count} examples are too few for the covariance of {len(total)} features: it is singular, "
            f"and Frechet distances are far too large; use more than {len(total)}, better ten times as many",
            stacklevel=2,
        )
    mu = total / count
    return Statistics(mu, (outer - count * np.outer(mu, mu)) / (count - 1), count, extractor)


def frechet_distance(one: Statistics, other: Statistics) -> float:
    """d^2 between the normal laws of two sets of features; symmetric, in squared units of the features.

    Raises ValueError where the features are not of the same extractor, or not of the same number.
    """
    if one.extractor != other.extractor:
        raise ValueError(
            f"statistics of different extractors cannot be compared: {one.extractor!r}, {other.extractor!r}"
        )
    if one.mu.shape != other.mu.shape:
        raise ValueError(
            f"the statistics are of {len(one.mu)} and of {len(other.mu)} features, "
            f"though both are said to be of {one.extractor!r}"
        )
    shared = np.linalg.svd(_factor(one.sigma).T @ _factor(other.sigma), compute_uv=False).sum()
    gap = one.mu - other.mu
    return float(gap @ gap + np.trace(one.sigma) + np.trace(other.sigma) - 2 * shared)


def save_statistics(path: str | os.PathLike[str], found: Statistics) -> None:
    """Write an npz file with `mu`, `sigma`, `extractor` and, where it is known, `count`."""
    known: dict[str, Any] = {} if found.count is None else {"count": found.count}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:  # savez would append a suffix to a path that has none
        np.savez(file, mu=found.mu, sigma=found.sigma, extractor=found.extractor, **known)


def load_statistics(path: str | os.PathLike[str], extractor: str) -> Statistics:
    """Read reference statistics, to be compared with features of `extractor`.

    A file of another project, with `mu` and `sigma` alone, is taken to be of that extractor: it does not say.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no statistics, statistics that make no sense, or those of another extractor.
    """
    try:
        stored = np.load(path, allow_pickle=False)
        held = {name: stored[name] for name in stored.files}
    except (AttributeError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not an npz file of statistics: {error}") from None
    if not {"mu", "sigma"} <= set(held):
        raise ValueError(f"{path} must hold `mu` and `sigma`; it holds {sorted(held)}")
    mu, sigma = np.asarray(held["mu"], np.float64), np.asarray(held["sigma"], np.float64)
    if mu.ndim != 1 or sigma.shape != (len(mu), len(mu)) or not np.isfinite(mu.sum() + sigma.sum()):
        raise ValueError(
            f"{path}: mu must be [D] and sigma [D, D], finite; got shapes {mu.shape} and {sigma.shape}"
        )
    name = str(held.get("extractor", extractor))
    if name != extractor:
        raise ValueError(f"{path} has the statistics of the extractor {name!r}; this one is {extractor!r}")
    return Statistics(mu, sigma, int(held["count"]) if "count" in held else None, name)


def _factor(sigma: np.ndarray) -> np.ndarray:
    """R with sigma = R R^T; eigenvalues that rounding made negative count as 0."""
    values, vectors = np.linalg.eigh(sigma)
    return vectors * np.sqrt(np.maximum(values, 0.0))
