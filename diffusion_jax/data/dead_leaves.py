"""Dead leaves: grey images of occluding discs (Lee, Mumford and Huang 2001; arXiv 1503.03585, section 3.2).

Discs fall on the plane, uniformly placed, with radius density proportional to r^-3 on [rmin, rmax] (the scale
invariant case; r = (rmin^-2 + u (rmax^-2 - rmin^-2))^-1/2 for uniform u) and a grey value uniform on
{0, ..., 255}, independent of all else. A pixel shows the last disc that covers its centre. It is the same to
lay them front to back until no pixel is bare, and then every image is an exact draw of the law.

A window of the plane is drawn directly, whatever its size: a 32x32 image has the law of a crop of a 256x256
one, and is independent of all others. Only discs that touch the window matter. By Steiner's formula the
centres of those of radius r fill the window [0, n]^2, four sides n x r and four quarter discs, of area

    n^2 + 4 n r + pi r^2,

so the discs that touch are a mixture of three kinds, whose radii have density r^-3, r^-2 and r^-1 and whose
weights are the integrals of the three terms times r^-3. No draw is rejected.

Image i of a split is a pure function of (seed, split, i), whatever the number of images. The published image
set is not public and its radii and grey law are not known, so numbers on it cannot be compared with ours.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from diffusion_jax.data.images import image_dataset
from diffusion_jax.data.pipeline import Dataset, integer, seed_of
from diffusion_jax.data.storage import Example, stored

EXAMPLES = {"dead_leaves": {"size": 16, "train": 8, "test": 4}}

LEVELS = 256
_DISCS = 256  # laid at a time
_TILE = 32
_TOGETHER = 32  # discs compared with the bare pixels at once


def dead_leaves(
    size: int = 32,
    train: int = 8192,
    test: int = 1024,
    rmin: float = 2.56,
    rmax: float = 128.0,
    seed: int = 0,
    dequantise: bool = False,
    standardise: bool = False,
    data_dir: str | os.PathLike | None = None,
) -> Dataset:
    """Grey images, x `[B, 1, size, size, 1]`.

    Args:
        size: of a side, in pixels; 32 or 256 in the experiments.
        train, test: numbers of images.
        rmin, rmax: the smallest and largest radius in pixels, 0.01 and 0.5 of 256 by default.
        seed: of the images.
        dequantise, standardise: see `diffusion_jax.data.images`.
        data_dir: where the set is kept (see `diffusion_jax.data.storage`).

    Raises:
        TypeError, ValueError: a number of the wrong kind, or out of range; the stored set is not whole.
    """
    arguments = {
        "size": integer("size", size, 1),
        "train": integer("train", train, 1),
        "test": integer("test", test, 1),
        "rmin": float(rmin),
        "rmax": float(rmax),
        "seed": seed_of(seed),
    }
    if not 0.5 <= rmin < rmax < np.inf:
        raise ValueError(f"radii need 0.5 <= rmin < rmax, got rmin={rmin}, rmax={rmax}")

    def images(split: int, count: int) -> Iterator[Example]:
        for i in range(count):
            rng = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, i, split]))
            yield {"x": dead_leaves_image(rng, size, rmin, rmax)[None, :, :, None]}

    sources, folder = stored(
        "dead_leaves",
        "1.0.0",
        arguments,
        {"x": ((1, size, size, 1), np.uint8)},
        lambda: {"train": images(0, train), "test": images(1, test)},
        data_dir,
    )
    return image_dataset(
        sources,
        LEVELS,
        f"Dead leaves: occluding discs, radius density r^-3 from {rmin:g} to {rmax:g} pixels, uniform greys.",
        folder,
        dequantise=dequantise,
        standardise=standardise,
    )


def dead_leaves_image(rng: np.random.Generator, size: int, rmin: float, rmax: float) -> np.ndarray:
    """One draw of the law, uint8 `[size, size]`."""
    image = np.zeros((size, size), np.uint8)
    corners = [(y, x) for y in range(0, size, _TILE) for x in range(0, size, _TILE)]
    # Tiles, because few of the discs that touch the window touch a tile; each has its own bare pixels.
    bare = {corner: _pixels(corner, size) for corner in corners}
    while bare:
        centre, radius = touching_discs(rng, _DISCS * len(corners), size, rmin, rmax)
        grey = rng.integers(0, LEVELS, len(radius), dtype=np.uint8)
        for (top, left), pixels in list(bare.items()):
            low = np.array([top, left])
            outside = centre - np.clip(centre, low, low + _TILE)
            near = np.flatnonzero((outside**2).sum(axis=1) <= radius**2)
            front = _first_cover(pixels + 0.5, centre[near], radius[near])
            covered = front < len(near)
            image[tuple(pixels[covered].T)] = grey[near[front[covered]]]
            bare[top, left] = pixels[~covered]
            if covered.all():
                del bare[top, left]
    return image


def touching_discs(
    rng: np.random.Generator, count: int, size: float, rmin: float, rmax: float
) -> tuple[np.ndarray, np.ndarray]:
    """Discs that touch the window [0, size]^2, first the front: centres `[count, 2]`, radii `[count]`."""
    weights = np.array(
        [
            size**2 * (rmin**-2 - rmax**-2) / 2,
            4 * size * (1 / rmin - 1 / rmax),
            np.pi * np.log(rmax / rmin),
        ]
    )
    kind = rng.choice(3, count, p=weights / weights.sum())
    u = rng.random(count)
    radius = np.select(
        [kind == 0, kind == 1],
        [(rmin**-2 + u * (rmax**-2 - rmin**-2)) ** -0.5, 1 / (1 / rmin + u * (1 / rmax - 1 / rmin))],
        rmin * (rmax / rmin) ** u,
    )
    inside = size * rng.random((count, 2))
    beyond = radius * rng.random(count)
    angle = 2 * np.pi * rng.random(count)
    # A side: one coordinate lies beyond one of the two ends.
    axis, end = rng.integers(0, 2, (2, count))
    across = np.where(end == 1, size + beyond, -beyond)
    side = np.where(axis[:, None] == np.arange(2), across[:, None], inside)
    # The quarter discs at the four corners are one disc taken apart.
    offset = np.stack([np.cos(angle), np.sin(angle)], axis=1) * np.sqrt(radius * beyond)[:, None]
    corner = offset + size * (offset > 0)
    return np.select([kind[:, None] == 0, kind[:, None] == 1], [inside, side], corner), radius


def _pixels(corner: tuple[int, int], size: int) -> np.ndarray:
    """Indices `[P, 2]` of a tile's pixels."""
    rows, columns = (np.arange(start, min(start + _TILE, size)) for start in corner)
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)


def _first_cover(points: np.ndarray, centre: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """The first of D discs over each point, `[P]`; D where there is none."""
    front = np.full(len(points), len(radius))
    open_ = np.arange(len(points))
    for start in range(0, len(radius), _TOGETHER):
        if not len(open_):
            break
        part = slice(start, start + _TOGETHER)
        distance = (points[open_, None, 0] - centre[part, 0]) ** 2 + (
            points[open_, None, 1] - centre[part, 1]
        ) ** 2
        covers = distance <= radius[part] ** 2
        covered = covers.any(axis=1)
        front[open_[covered]] = start + covers[covered].argmax(axis=1)
        open_ = open_[~covered]
    return front
