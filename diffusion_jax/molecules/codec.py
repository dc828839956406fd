"""What an evaluation has to know of a set of ring graphs: units, truth, clusters and what was trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffusion_jax.molecules.reading import Reading, read


@dataclass(frozen=True, eq=False)
class RingCodec:
    """From samples to molecules, and from molecules to the targets of a data set.

    scale:   x = ring centres in angstrom / scale
    targets: names of the K targets
    mean:    [K], of the training split
    std:     [K], of the training split; target = (property - mean) / std
    truth:   codes -> properties [n, K]; NaN of a molecule whose properties are not known
    cluster: code -> "train", "validation" or "test", the split whose molecules it is like
    trained: the codes of the training split; a molecule is novel where it is not one of them
    """

    scale: float
    targets: tuple[str, ...]
    mean: np.ndarray
    std: np.ndarray
    truth: Callable[[Sequence[str]], np.ndarray]
    cluster: Mapping[str, str]
    trained: frozenset[str]

    def encode(self, centres: np.ndarray) -> np.ndarray:
        """Ring centres in angstrom as x, any shape."""
        return (np.asarray(centres) / self.scale).astype(np.float32)

    def decode(self, x: Any) -> np.ndarray:
        """x as ring centres in angstrom, any shape."""
        return np.asarray(x, np.float64) * self.scale

    def read(self, x: Any, mask: Any = None) -> list[Reading]:
        """The molecules of samples x `[B, N, 3]` with mask `[B, N]`. Raises as `reading.read`."""
        return read(self.decode(x), mask)

    def standardised(self, properties: np.ndarray) -> np.ndarray:
        """Properties `[..., K]` as targets."""
        return (np.asarray(properties) - self.mean) / self.std

    def physical(self, targets: Any) -> np.ndarray:
        """Targets `[..., K]` as properties."""
        return np.asarray(targets, np.float64) * self.std + self.mean
