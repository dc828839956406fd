r"""The kernel distance between two sets of features: the KID of Binkowski et al. (arXiv 1801.01401).

The squared maximum mean discrepancy of the cubic kernel k(a, b) = (a.b/D + 1)^3, without bias:

    E_{i != j} k(x_i, x_j) + E_{i != j} k(y_i, y_j) - 2 E_{i, j} k(x_i, y_j).

Its mean is 0 where the laws are the same, whatever the number of examples; a single value may be negative.
Both sets are cut into disjoint blocks, each pair of which gives one estimate; since they are independent,
their spread gives an honest standard error, which overlapping subsets would not. It is called KID where the
features are those of the 2015 Inception.
"""

from __future__ import annotations

import numpy as np


def kernel_distance(one: np.ndarray, other: np.ndarray, blocks: int = 10) -> tuple[float, float]:
    """(mean, standard error) of the unbiased estimate over disjoint blocks of features [N, D] and [M, D].

    Args:
        one, other: features; the order does not matter to the law of the result, as each is shuffled (with
            a fixed seed) before it is cut.
        blocks: how many, at least 2.

    Raises ValueError where a block would have fewer than two examples, or the features differ in number.
    """
    if one.ndim != 2 or other.ndim != 2 or one.shape[1] != other.shape[1]:
        raise ValueError(f"features must be [N, D] and [M, D], got shapes {one.shape} and {other.shape}")
    if blocks < 2 or min(len(one), len(other)) < 2 * blocks:
        raise ValueError(
            f"blocks must be at least 2, of two examples or more; got {blocks} for {len(one)} and "
            f"{len(other)} examples"
        )
    rng = np.random.default_rng(0)
    parts = [
        np.array_split(rng.permutation(np.asarray(features, np.float64)), blocks) for features in (one, other)
    ]
    each = np.array([_discrepancy(x, y) for x, y in zip(*parts)])
    return float(each.mean()), float(each.std(ddof=1) / np.sqrt(blocks))


def _discrepancy(x: np.ndarray, y: np.ndarray) -> float:
    return _within(x) + _within(y) - 2 * float(_kernel(x, y).mean())


def _within(x: np.ndarray) -> float:
    kernel = _kernel(x, x)
    return float((kernel.sum() - np.trace(kernel)) / (len(x) * (len(x) - 1)))


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.T / x.shape[1] + 1) ** 3
