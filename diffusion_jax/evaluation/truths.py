"""What a data set says is true of samples, [N] each, in numbers: for the evaluations that ask it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


def truth_function(dataset: Any) -> Callable[..., Mapping[str, np.ndarray]]:
    """The data set's `truth`: samples -> name -> [N], NaN where a sample has no such value.

    Raises ValueError for a data set without one, or without targets.
    """
    truth = getattr(dataset, "truth", None)
    if truth is None or getattr(dataset, "targets", None) is None:
        raise ValueError("this data set does not know what is true of a sample: it has no `truth`")
    return truth


def known_values(values: np.ndarray) -> np.ndarray:
    """The values of the samples that have one."""
    return values[np.isfinite(values)]


def summaries(found: Mapping[str, np.ndarray]) -> dict[str, float | None]:
    """<name>, its mean over the samples that have it, and <name>_median; None where none has it."""
    metrics: dict[str, float | None] = {}
    for name, values in found.items():
        known = known_values(np.asarray(values, np.float64))
        for kind, summary in (("", np.mean), ("_median", np.median)):
            metrics[name + kind] = float(summary(known)) if len(known) else None
    return metrics


def shown(metrics: Mapping[str, float | None]) -> str:
    """A line of what is known."""
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items() if value is not None)
