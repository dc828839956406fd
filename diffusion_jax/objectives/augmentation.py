r"""Augmentations that do not leak: training images change, the network is told how, samples stay clean.

An augmentation is a function `(key, x [B, T, H, W, C]) -> (x, label [B, 9])`. The label is a condition of the
network (`conditions["augment"]`); it is zero where nothing was done, which is what the network is told, or
left untold, when it is sampled (arXiv 2206.00364, EDM, appendix F.2).

The warp. With pixels at integers, the centre c = (size - 1)/2 and the map A from places of the result to
places of the image (both relative to the centre), the result is sampled at twice the resolution and filtered
down. With the low-pass filter h of the wavelet sym6, whose even translates are orthonormal,

    y[m] = sqrt(2) sum_j h[m - 2j + 5] x[j]                  pixel j of the image lies at m = 2j,
    z[m] = y at 2 (A(m/2 - c) + c)                           bilinear,
    result[i] = sum_m h[m - 2i + 5] z[m] / sqrt(2)           for the identity A this gives x back.

The image goes on beyond its border by reflection, as far as that goes (size - 1 pixels on each side), and is
zero from there on. Margins that fit a batch's own maps would cost less but change shapes, and with them
compile anew, from batch to batch. The filters are matrices: XLA's strided convolutions are slow on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffusion_jax.types import Array, Key

Augmentation = Callable[[Key, Array], tuple[Array, Array]]
"""(key, x [B, T, H, W, C]) -> (x, label [B, 9])."""

EXAMPLES: dict[str, dict[str, Any]] = {"non_leaking": {"probability": 0.5}}

_SCALE = 0.2
_SHIFT = 0.125
_HIGHEST = jax.lax.Precision.HIGHEST

_SYM6 = (
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
)


class Transform(NamedTuple):
    """What is done to a sample, in this order; zeros do nothing. Each field is [B], all frames share it.

    xflip:   1 to mirror left and right, else 0
    yflip:   1 to mirror top and bottom, else 0
    scale:   the image grows by 2^(0.2 scale)
    angle:   radians by which it turns anticlockwise
    stretch: along an axis it grows by 2^(0.2 stretch), across it shrinks as much
    axis:    radians from the horizontal to that axis, anticlockwise
    right:   it moves right by this many eighths of its width
    down:    and down by this many eighths of its height
    """

    xflip: Array
    yflip: Array
    scale: Array
    angle: Array
    stretch: Array
    axis: Array
    right: Array
    down: Array


def non_leaking(probability: float = 0.12) -> Augmentation:
    """EDM's geometric augmentation (arXiv 2206.00364, table 6).

    Half of the samples are mirrored left and right. Each of these is done with `probability`, independently:
    a mirroring of top and bottom in half of the cases; scaling, stretching along an axis (the horizontal one
    in half of the cases) and moving by normal amounts; turning by any angle. With probability 0 nothing is
    done, not even mirroring. Sample i depends on the key and i alone.

    The label is [xflip, yflip, scale, cos angle - 1, sin angle, stretch cos axis, stretch sin axis, right,
    down] (see `Transform`).

    Raises ValueError unless 0 <= probability <= 1, and, when called, unless x is [B, T, H, W, C] with H and W
    at least 2.
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"the probability of a transform must be in [0, 1], got {probability}")

    def augment(key: Key, x: Array) -> tuple[Array, Array]:
        _check(x)
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(x.shape[0]))
        transform = jax.vmap(lambda key: _drawn(key, probability))(keys)
        return transformed(x, transform), labels(transform)

    return augment


def labels(transform: Transform) -> Array:
    """What the network is told: [B, 9], zero where nothing is done; see `non_leaking`."""
    t = transform
    along = (t.stretch * jnp.cos(t.axis), t.stretch * jnp.sin(t.axis))
    turned = (jnp.cos(t.angle) - 1, jnp.sin(t.angle))
    return jnp.stack([t.xflip, t.yflip, t.scale, *turned, *along, t.right, t.down], axis=-1)


def transformed(x: Array, transform: Transform) -> Array:
    """x [B, T, H, W, C] with each sample transformed; what is only mirrored, or left alone, is so exactly.

    Raises ValueError unless x is [B, T, H, W, C] with H and W at least 2.
    """
    _check(x)
    x = jnp.where(_beside(transform.xflip, x) == 1, x[:, :, :, ::-1], x)
    x = jnp.where(_beside(transform.yflip, x) == 1, x[:, :, ::-1], x)
    amounts = (transform.scale, transform.angle, transform.stretch, transform.right, transform.down)
    moved = jnp.any(jnp.stack(amounts) != 0, axis=0)
    return jnp.where(_beside(moved, x), _warped(x, transform), x)


def _check(x: Array) -> None:
    if x.ndim != 5 or min(x.shape[2:4]) < 2:
        raise ValueError(f"images to transform are [B, T, H, W, C], of 2 x 2 pixels at least, got {x.shape}")


def _drawn(key: Key, probability: float) -> Transform:
    """The transform of one sample; every field is ()."""
    flips, gates, normals, angles = jax.random.split(key, 4)
    xflip, yflip = jax.random.bernoulli(flips, shape=(2,)).astype(jnp.float32)
    scale, stretch, right, down = jax.random.normal(normals, (4,))
    angle, axis = jax.random.uniform(angles, (2,), minval=-jnp.pi, maxval=jnp.pi)
    chance = jax.random.uniform(gates, (6,))
    flipped, scaled, turned, stretched, moved = jnp.where(chance[:5] < probability, 1.0, 0.0)
    return Transform(
        xflip=xflip if probability > 0 else jnp.zeros_like(xflip),
        yflip=yflip * flipped,
        scale=scale * scaled,
        angle=angle * turned,
        stretch=stretch * stretched,
        axis=jnp.where(chance[5] < 0.5, axis, 0.0),
        right=right * moved,
        down=down * moved,
    )


def _warped(x: Array, transform: Transform) -> Array:
    """x [B, T, H, W, C] resampled; the flips are not done here."""
    batch, frames, height, width, channels = x.shape
    (up_y, down_y), (up_x, down_x) = (_filters(size) for size in (height, width))
    image = jnp.moveaxis(x, 1, -2).reshape(batch, height, width, frames * channels)
    fine = jnp.einsum("mh,bhwc,nw->bmnc", up_y, image, up_x, precision=_HIGHEST)
    rows, columns = _places(transform, height, width)
    sampled = jax.vmap(_bilinear)(fine, rows, columns)
    image = jnp.einsum("hm,bmnc,wn->bhwc", down_y, sampled, down_x, precision=_HIGHEST)
    image = image.reshape(batch, height, width, frames, channels)
    return jnp.moveaxis(image, -2, 1).astype(x.dtype)


def _filters(size: int) -> tuple[np.ndarray, np.ndarray]:
    """(from an image to y within its margins and a zero on each side, from z to the result)."""
    taps = np.asarray(_SYM6)
    places = np.arange(-2 * (size - 1), 2 * (2 * size - 2) + 2)
    up = np.zeros((len(places) + 2, size))
    for j in range(1 - size, 2 * size - 1):
        inside = size - 1 - abs(size - 1 - abs(j))
        for tap, h in enumerate(taps):
            row = tap + 2 * j - 5 - places[0]
            if 0 <= row < len(places):
                up[row + 1, inside] += np.sqrt(2) * h
    down = np.zeros((size, 2 * size + 10))
    for i in range(size):
        down[i, 2 * i : 2 * i + 12] = taps / np.sqrt(2)
    return up.astype(np.float32), down.astype(np.float32)


def _places(transform: Transform, height: int, width: int) -> tuple[Array, Array]:
    """Where y is to be read: rows and columns of `fine`, [B, M, N]."""
    out_y, out_x = (np.arange(-5, 2 * size + 5) / 2 - (size - 1) / 2 for size in (height, width))
    b = (slice(None), None, None)
    y = jnp.asarray(out_y, jnp.float32)[None, :, None] - (_SHIFT * height * transform.down)[b]
    x = jnp.asarray(out_x, jnp.float32)[None, None, :] - (_SHIFT * width * transform.right)[b]
    stretch = jnp.exp2(_SCALE * transform.stretch)[b]
    x, y = _turned(x, y, transform.axis[b])
    x, y = _turned(x / stretch, y * stretch, -transform.axis[b])
    x, y = _turned(x, y, transform.angle[b])
    scale = jnp.exp2(_SCALE * transform.scale)[b]
    # Two places a pixel, after a zero and size - 1 reflected pixels.
    return (
        2 * (y / scale + (height - 1) / 2) + 2 * (height - 1) + 1,
        2 * (x / scale + (width - 1) / 2) + 2 * (width - 1) + 1,
    )


def _turned(x: Array, y: Array, angle: Array) -> tuple[Array, Array]:
    """Points turned clockwise, y pointing down."""
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return cos * x - sin * y, sin * x + cos * y


def _bilinear(image: Array, rows: Array, columns: Array) -> Array:
    """image [H, W, C] at places [M, N]; its outermost pixels are zero and go on for ever."""
    height, width, _ = image.shape
    rows, columns = jnp.clip(rows, 0, height - 1), jnp.clip(columns, 0, width - 1)
    top = jnp.minimum(jnp.floor(rows), height - 2).astype(jnp.int32)
    left = jnp.minimum(jnp.floor(columns), width - 2).astype(jnp.int32)
    y, x = (rows - top)[..., None], (columns - left)[..., None]
    upper = image[top, left] * (1 - x) + image[top, left + 1] * x
    lower = image[top + 1, left] * (1 - x) + image[top + 1, left + 1] * x
    return upper * (1 - y) + lower * y


def _beside(values: Array, x: Array) -> Array:
    """[B] -> [B, 1, ..., 1], to go with x [B, ...]."""
    return values.reshape(-1, *[1] * (x.ndim - 1))
