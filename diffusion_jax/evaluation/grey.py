"""From samples to images: the grey values that are scored and exported.

Samples of a model are real numbers x; an image is grey values v in 0, ..., L - 1, with v = unit x + centre
(see `data.pipeline.Info`). As in EDM (arXiv 2206.00364), what is scored are images: x is rounded to grey
values first, which for x in [-1, 1] and 256 of them is trunc(127.5 x + 128), clipped.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_WHITE = 255


def grey_values(x: Any, info: Any) -> np.ndarray:
    """The grey values of x, any shape, in the scale of the data set `info`: int32 in 0, ..., L - 1.

    Dequantised data hold v + u with u in [0, 1), of which v is left; other data are rounded.

    Raises ValueError for data without grey levels, and for x that is not finite.
    """
    if info.levels is None or info.unit is None or info.centre is None:
        raise ValueError("these data have no grey levels: there is no image to make of them")
    x = np.asarray(x, np.float64)
    if not np.isfinite(x).all():
        raise ValueError(f"{(~np.isfinite(x)).sum()} of {x.size} numbers of the samples are not finite")
    exact = x * info.unit + info.centre + (0.0 if info.dequantised else 0.5)
    return np.clip(np.floor(exact), 0, info.levels - 1).astype(np.int32)


def images(x: Any, info: Any) -> np.ndarray:
    """x as it is scored: rounded to grey values, black -1 and white 1, float32; other data as they are."""
    if info.levels is None:
        return np.asarray(x, np.float32)
    return (grey_values(x, info) * (2 / (info.levels - 1)) - 1).astype(np.float32)


def rgb(x: Any, info: Any) -> np.ndarray:
    """Images [N, 1, H, W, C] of 1 or 3 channels as evaluators outside take them: uint8 [N, H, W, 3].

    Raises ValueError for other shapes and for data without grey levels.
    """
    x = np.asarray(x)
    if x.ndim != 5 or x.shape[1] != 1 or x.shape[4] not in (1, 3):
        raise ValueError(f"images must be [N, 1, H, W, C] with C = 1 or 3, got shape {x.shape}")
    grey = np.rint(grey_values(x[:, 0], info) * (_WHITE / (info.levels - 1))).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(grey, (*grey.shape[:3], 3)))
