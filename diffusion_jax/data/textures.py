"""Natural texture: grey patches of the two photographs that scikit-learn ships, `china.jpg` and `flower.jpg`.

They stand in for the bark images (Lazebnik et al. 2005) of arXiv 1503.03585, which are not public any more.
Colours become grey by the luma of BT.601, round(0.299 R + 0.587 G + 0.114 B). Of the 640 columns of each
photograph the left 480 are for training and the right 160 for testing: no pixel is in both. Training patches
overlap, one every `stride` pixels; test patches do not, so that they are as independent as can be. The class
of a patch is its photograph: 0 china, 1 flower.
"""

from __future__ import annotations

import os

import numpy as np

from diffusion_jax.data.images import image_dataset
from diffusion_jax.data.pipeline import Dataset, Examples, integer
from diffusion_jax.data.storage import rows, stored

EXAMPLES = {"textures": {"size": 16, "stride": 64}}

LEVELS = 256
BOUNDARY = 480  # the first test column
_SMALLEST_SIDE = 160  # of a region


def textures(
    size: int = 32,
    stride: int = 8,
    dequantise: bool = False,
    standardise: bool = False,
    flip: bool = False,
    data_dir: str | os.PathLike | None = None,
) -> Dataset:
    """Grey patches of photographs, x `[B, 1, size, size, 1]`, and `label` `[B]`, the photograph.

    Args:
        size: of a side, in pixels, at most 160.
        stride: pixels between neighbouring training patches.
        dequantise, standardise, flip: see `diffusion_jax.data.images`.
        data_dir: where the set is kept (see `diffusion_jax.data.storage`).

    Raises:
        TypeError, ValueError: a number of the wrong kind, or out of range; the stored set is not whole.
    """
    arguments = {"size": integer("size", size, 1, _SMALLEST_SIDE + 1), "stride": integer("stride", stride, 1)}

    def patches(columns: slice, stride: int) -> Examples:
        regions = [photograph[:, columns] for photograph in photographs()]
        cut = [
            np.lib.stride_tricks.sliding_window_view(region, (size, size))[::stride, ::stride]
            for region in regions
        ]
        x = [one.reshape(-1, 1, size, size, 1) for one in cut]
        return {"x": np.concatenate(x), "label": np.repeat(np.arange(len(x)), [len(one) for one in x])}

    sources, folder = stored(
        "textures",
        "1.1.0",
        arguments,
        {"x": ((1, size, size, 1), np.uint8), "label": ((), np.int64)},
        lambda: {
            "train": rows(patches(slice(0, BOUNDARY), stride)),
            "test": rows(patches(slice(BOUNDARY, None), size)),
        },
        data_dir,
    )
    return image_dataset(
        sources,
        LEVELS,
        "Grey patches of scikit-learn's photographs china.jpg and flower.jpg; the right quarter is the test.",
        folder,
        classes=2,
        dequantise=dequantise,
        standardise=standardise,
        flip=flip,
    )


def photographs() -> list[np.ndarray]:
    """The two photographs in grey, uint8 `[427, 640]` each."""
    from sklearn.datasets import load_sample_images

    luma = np.array([0.299, 0.587, 0.114])
    return [np.rint(image @ luma).astype(np.uint8) for image in load_sample_images().images]
