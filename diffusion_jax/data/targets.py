"""Labels that are numbers: what stands behind the standardised `target` of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Targets(NamedTuple):
    """y = mean + std target: a data set's attribute `targets`.

    names: of the K targets, with their units
    mean, std: float64 [K], of the labelled training samples
    """

    names: tuple[str, ...]
    mean: np.ndarray
    std: np.ndarray

    def standardised(self, values: np.ndarray) -> np.ndarray:
        """Values [N, K] in their own units as float32 targets [N, K]."""
        return ((values - self.mean) / self.std).astype(np.float32)


def targets_of(names: Sequence[str], train: np.ndarray) -> Targets:
    """The targets whose training values are `train` [N, K].

    Raises ValueError for values of another shape, that are not finite, or that are all the same.
    """
    train = np.asarray(train, np.float64)
    if train.ndim != 2 or train.shape[1] != len(names) or not len(train):
        raise ValueError(f"targets {', '.join(names)} have values [N, {len(names)}], got shape {train.shape}")
    for name, values in zip(names, train.T):
        if not np.isfinite(values).all():
            raise ValueError(
                f"{(~np.isfinite(values)).sum()} of the {len(values)} labels {name!r} are not finite"
            )
        if values.std() <= 1e-12 * max(1.0, np.abs(values).max()):
            raise ValueError(
                f"the labels {name!r} of all {len(values)} training samples are {values[0]:.6g}: "
                "there is nothing to learn"
            )
    return Targets(tuple(names), train.mean(0), train.std(0))
