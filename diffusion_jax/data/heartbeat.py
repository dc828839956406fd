"""The binary heartbeat of Sohl-Dickstein et al. (arXiv 1503.03585): 20 bits, a one every 5 bins.

The phase is uniform, so there are five sequences, equally likely, and the entropy is log2(5) bits. The set is
the law itself: both splits hold each sequence once, and an epoch is an exact mean.
"""

from __future__ import annotations

import os

import numpy as np

from diffusion_jax.data.pipeline import Dataset, Info
from diffusion_jax.data.storage import rows, stored

EXAMPLES = {"heartbeat": {}}

BINS, PERIOD = 20, 5


def heartbeat(data_dir: str | os.PathLike | None = None) -> Dataset:
    """Bit sequences, x `[B, 1, 20]` of zeros and ones.

    Args:
        data_dir: where the set is kept (see `diffusion_jax.data.storage`).

    Raises:
        ValueError: the stored set is not whole.
    """
    examples = {"x": sequences().astype(np.uint8)[:, None]}
    sources, folder = stored(
        "heartbeat",
        "1.0.0",
        {"bins": BINS, "period": PERIOD},
        {"x": ((1, BINS), np.uint8)},
        lambda: {"train": rows(examples), "test": rows(examples)},
        data_dir,
    )
    info = Info(
        shape=(1, BINS),
        kind="bits",
        levels=None,
        unit=None,
        centre=None,
        classes=None,
        splits={split: len(source) for split, source in sources.items()},
        description="Binary heartbeat: 20 bits, a one every 5 bins, any phase; five sequences.",
    )
    return Dataset(info, sources, folder=folder)


def sequences() -> np.ndarray:
    """The five sequences, float32 `[5, 20]`; row k has its first one in bin k."""
    return (np.arange(BINS) % PERIOD == np.arange(PERIOD)[:, None]).astype(np.float32)
