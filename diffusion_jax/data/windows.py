"""Windows of long series, cut when they are drawn: overlapping ones cost no memory."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from diffusion_jax.data.pipeline import Examples, integer


@dataclass(frozen=True, eq=False)
class Windows:
    """Every window of `length` rows inside each of N series of L rows; a `Source`.

    Window i starts at row i mod (L - length + 1) of series i div (L - length + 1). No window crosses from a
    series to the next.

    series: leaves [N, L, ...], held in memory
    length: rows that a window spans
    stride: only rows 0, stride, 2 stride, ... of a window are gathered

    Raises:
        TypeError: length or stride is not an integer.
        ValueError: they are below 1, a series is shorter than a window, or the leaves differ in N or L.
    """

    series: Examples
    length: int
    stride: int = 1
    slow = False

    def __post_init__(self) -> None:
        integer("stride", self.stride, 1)
        shapes = {name: leaf.shape[:2] for name, leaf in self.series.items()}
        if len(set(shapes.values())) != 1 or len(shapes["x"]) != 2:
            raise ValueError(f"the leaves of series must be [N, L, ...] with the same N and L, got {shapes}")
        if integer("length", self.length, 1) > shapes["x"][1]:
            raise ValueError(f"windows of {self.length} rows do not fit into series of {shapes['x'][1]}")

    @functools.cached_property
    def each(self) -> int:
        """Windows in one series."""
        return self.series["x"].shape[1] - self.length + 1

    def __len__(self) -> int:
        return len(self.series["x"]) * self.each

    def gather(self, index: np.ndarray) -> Examples:
        """The windows with these indices, leaves `[len(index), ceil(length / stride), ...]`."""
        one, start = np.divmod(index, self.each)
        rows = start[:, None] + np.arange(0, self.length, self.stride)
        return {name: leaf[one[:, None], rows] for name, leaf in self.series.items()}
