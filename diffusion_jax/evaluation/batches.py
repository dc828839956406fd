"""Batches of a data set as evaluations take them that compile for one number of samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

from diffusion_jax.types import Batch


def whole_batches(
    dataset: Any, split: str, batch_size: int, rows: str = "samples"
) -> Iterator[tuple[int, Batch]]:
    """(i, batch i) of one clean pass over a split, without a last batch that is not full.

    rows: what the message calls them.

    Raises ValueError, when called, for a split smaller than a batch.
    """
    count = dataset.info.splits[split]
    if count < batch_size:
        raise ValueError(f"the {split} split has {count} {rows}, less than a batch of {batch_size}")
    batches = enumerate(dataset.epoch(split, batch_size))
    return ((i, batch) for i, batch in batches if np.asarray(batch["mask"]).all())


def known_of(batch: Batch) -> dict[str, Any]:
    """The conditions of a batch of the data set: its `label`, and `present`, which nodes there are."""
    return {name: jnp.asarray(batch[name]) for name in ("label", "present") if name in batch}
