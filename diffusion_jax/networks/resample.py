"""Halving and doubling the sides of images `[B, T, H, W, C]` by a fixed filter.

For taps f with sum one, applied along both sides, zeros outside the image,

    down:  y_i = sum_k f_k x_{2i+k-p},        up:  y_j = 2 sum_i f_{j+p-2i} x_i,        p = (taps - 1) // 2:

the mean of 2x2 pixels and their repetition for the `box` [1, 1], a binomial low-pass (Zhang, arXiv
1904.11486) for `smooth` [1, 3, 3, 1]. Written as sums of shifted images, one side after the other:
convolutions with a stride or in groups are slow on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from diffusion_jax.networks.layers import pool, upsample
from diffusion_jax.types import Array

SIDES = (2, 3)


class Resampling(NamedTuple):
    """A filter, `taps` before they are scaled to sum one, and what it does to images."""

    taps: tuple[int, ...]
    down: Callable[[Array], Array]
    up: Callable[[Array], Array]

    def kernel(self) -> np.ndarray:
        """The filter over both sides: float32 `[taps, taps]`, of sum one."""
        taps = np.asarray(self.taps, np.float32)
        return np.outer(taps, taps) / taps.sum() ** 2


def smooth_valid(x: Array) -> Array:
    """[1, 3, 3, 1] with stride 2 and no zeros around: `[B, T, H + 2, W + 2, C] -> [B, T, H/2, W/2, C]`."""
    for side in SIDES:
        size = x.shape[side] - 2

        def taken(start: int, x: Array = x, side: int = side, size: int = size) -> Array:
            return lax.slice_in_dim(x, start, start + size - 1, 2, side)

        x = (taken(0) + taken(3)) * 0.125 + (taken(1) + taken(2)) * 0.375
    return x


def bordered(x: Array, sides: tuple[int, ...] = SIDES) -> Array:
    """The image with one pixel of zeros on either end of its sides."""
    return jnp.pad(x, [(1, 1) if axis in sides else (0, 0) for axis in range(x.ndim)])


def _smooth_down(x: Array) -> Array:
    return smooth_valid(bordered(x))


def _smooth_up(x: Array) -> Array:
    for side in SIDES:
        size = x.shape[side]
        wide = bordered(x, (side,))
        before, after = (lax.slice_in_dim(wide, start, start + size, axis=side) for start in (0, 2))
        both = jnp.stack([0.25 * before + 0.75 * x, 0.75 * x + 0.25 * after], side + 1)
        x = both.reshape(*x.shape[:side], 2 * size, *x.shape[side + 1 :])
    return x


box = Resampling((1, 1), pool, upsample)
smooth = Resampling((1, 3, 3, 1), _smooth_down, _smooth_up)
