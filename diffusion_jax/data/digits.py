"""scikit-learn's handwritten digits: 1797 real digits of 8x8 pixels and 17 grey levels, 10 classes.

The source is the test part of the UCI Optical Recognition of Handwritten Digits data (Alpaydin and Kaynak,
1998), which scikit-learn ships. The test split is 36 digits of each class, evenly spaced among those of the
class in the file's order, so it does not depend on a generator of random numbers.
"""

from __future__ import annotations

import os

import numpy as np

from diffusion_jax.data.images import image_dataset
from diffusion_jax.data.pipeline import Dataset, Examples
from diffusion_jax.data.storage import rows, stored

EXAMPLES = {"digits": {}}

LEVELS, CLASSES, TEST_PER_CLASS = 17, 10, 36


def digits(
    dequantise: bool = False, standardise: bool = False, data_dir: str | os.PathLike | None = None
) -> Dataset:
    """Handwritten digits, x `[B, 1, 8, 8, 1]` in [-1, 1], `label` `[B]`; 1437 to train on and 360 to test.

    Args:
        dequantise, standardise: see `diffusion_jax.data.images`.
        data_dir: where the set is kept (see `diffusion_jax.data.storage`).

    Raises:
        ValueError: the stored set is not whole.
    """
    sources, folder = stored(
        "digits",
        "1.0.0",
        {"test": CLASSES * TEST_PER_CLASS},
        {"x": ((1, 8, 8, 1), np.uint8), "label": ((), np.int64)},
        lambda: {split: rows(examples) for split, examples in _splits().items()},
        data_dir,
    )
    return image_dataset(
        sources,
        LEVELS,
        "scikit-learn's handwritten digits (UCI, Alpaydin and Kaynak 1998): 8x8 pixels, 17 grey levels.",
        folder,
        classes=CLASSES,
        dequantise=dequantise,
        standardise=standardise,
    )


def _splits() -> dict[str, Examples]:
    from sklearn.datasets import load_digits

    images, labels = (np.asarray(part) for part in load_digits(return_X_y=True))
    test = np.zeros(len(labels), bool)
    for label in range(CLASSES):
        members = np.flatnonzero(labels == label)
        test[members[np.arange(TEST_PER_CLASS) * len(members) // TEST_PER_CLASS]] = True
    x = images.astype(np.uint8).reshape(-1, 1, 8, 8, 1)
    return {
        split: {"x": x[chosen], "label": labels[chosen].astype(np.int64)}
        for split, chosen in (("train", ~test), ("test", test))
    }
