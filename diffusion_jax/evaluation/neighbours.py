r"""What nearest neighbours tell: precision and recall, and copies of the training set.

Improved precision and recall (Kynkaanniemi et al., arXiv 1904.06991): the manifold of a set of features is
the union of balls around them, each as wide as the distance to its k-th nearest neighbour within the set.
Precision is the share of generated examples inside the manifold of the real ones, recall the share of real
ones inside that of the generated.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_BLOCK = 2**24  # distances held at a time


def precision_recall(real: np.ndarray, generated: np.ndarray, neighbours: int = 3) -> tuple[float, float]:
    """(precision, recall) of features [N, D] and [M, D].

    neighbours: k, at least 1. Raises ValueError where a set has no more than k examples.
    """
    if neighbours < 1 or min(len(real), len(generated)) <= neighbours:
        raise ValueError(
            f"the distance to neighbour {neighbours} needs a number of at least 1, below that of the "
            f"examples: {len(real)} and {len(generated)}"
        )
    return _covered(generated, real, neighbours), _covered(real, generated, neighbours)


def nearest(examples: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The Euclidean distance of each of `examples` [N, D] to the nearest of `others` [M, D]: [N]."""
    return np.concatenate([distances.min(1) for _, distances in _distances(examples, others)])


def _covered(examples: np.ndarray, centres: np.ndarray, neighbours: int) -> float:
    """The share of examples inside the manifold of the centres."""
    radius = []
    for first, distances in _distances(centres, centres):
        rows = np.arange(len(distances))
        distances[rows, first + rows] = np.inf
        radius.append(np.partition(distances, neighbours - 1, axis=1)[:, neighbours - 1])
    within = [(distances <= np.concatenate(radius)).any(1) for _, distances in _distances(examples, centres)]
    return float(np.concatenate(within).mean())


def _distances(examples: np.ndarray, others: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(i, distances [n, M] of examples i to i + n), block by block."""
    examples, others = (np.asarray(one, np.float64) for one in (examples, others))
    squares = (others**2).sum(1)
    rows = max(_BLOCK // len(others), 1)
    for first in range(0, len(examples), rows):
        part = examples[first : first + rows]
        squared = (part**2).sum(1)[:, None] + squares[None] - 2 * part @ others.T
        yield first, np.sqrt(np.maximum(squared, 0.0))
