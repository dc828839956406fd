"""A Swiss roll in the plane: points of one exact law.

    theta ~ uniform on [a, b],  a = 1.5 pi, b = 4.5 pi
    c(theta) = ((theta cos theta, theta sin theta) - MEAN) / SCALE, each coordinate of mean 0 and variance 1
    x = c(theta) + NOISE n,  n ~ N(0, I),  NOISE = 0.02

At a and b the sines are -1 and 1, the cosines 0, and the cosine of 2 theta is -1, so that

    E[theta cos theta] = (a + b) / (b - a) = 2        E[theta^2] = (a^2 + a b + b^2) / 3 = 9.75 pi^2
    E[theta sin theta] = 2 / (b - a) = 2 / (3 pi)     E[theta^2 cos 2 theta] = -1/2

give the constants exactly, and x has mean square 1 + NOISE^2 in each coordinate. Sohl-Dickstein et al.
(arXiv 1503.03585) train on a Swiss roll and do not say which.
"""

from __future__ import annotations

import math
import os

import numpy as np

from diffusion_jax.data.pipeline import Dataset, Examples, Info, integer, seed_of
from diffusion_jax.data.storage import rows, stored

EXAMPLES = {"swiss_roll": {"train": 64, "test": 32}}

START, STOP = 1.5 * math.pi, 4.5 * math.pi
NOISE = 0.02
MEAN = np.array([2.0, 2.0 / (3.0 * math.pi)])
SCALE = np.sqrt(0.5 * 9.75 * math.pi**2 + np.array([-0.25, 0.25]) - MEAN**2)


def swiss_roll(
    train: int = 20_000, test: int = 10_000, seed: int = 0, data_dir: str | os.PathLike | None = None
) -> Dataset:
    """Points of the plane, x `[B, 1, 2]`.

    Args:
        train, test: numbers of points.
        seed: of the points.
        data_dir: where the set is kept (see `diffusion_jax.data.storage`).

    Raises:
        TypeError, ValueError: a number is not an integer, or out of range; the stored set is not whole.
    """
    arguments = {
        "train": integer("train", train, 1),
        "test": integer("test", test, 1),
        "seed": seed_of(seed),
    }

    def points(stream: int, n: int) -> Examples:
        rng = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, stream]))
        x = curve_at(rng.uniform(START, STOP, n)) + NOISE * rng.standard_normal((n, 2))
        return {"x": x.astype(np.float32)[:, None]}

    sources, folder = stored(
        "swiss_roll",
        "1.0.0",
        arguments,
        {"x": ((1, 2), np.float32)},
        lambda: {"train": rows(points(0, train)), "test": rows(points(1, test))},
        data_dir,
    )
    info = Info(
        shape=(1, 2),
        kind="continuous",
        levels=None,
        unit=None,
        centre=None,
        classes=None,
        splits={split: len(source) for split, source in sources.items()},
        description="Swiss roll in the plane, each coordinate of mean square 1, Gaussian noise of 0.02.",
    )
    return Dataset(info, sources, folder=folder)


def curve(n: int) -> np.ndarray:
    """n points of the noiseless curve, float64 `[n, 2]`: theta at the midpoints of n equal parts.

    The law of the data is their mixture of Gaussians of deviation `NOISE`, to any accuracy as n grows.
    """
    n = integer("n", n, 1)
    return curve_at(START + (STOP - START) * (np.arange(n) + 0.5) / n)


def curve_at(theta: np.ndarray) -> np.ndarray:
    """The points of the curve at the angles theta [N], float64 `[N, 2]`."""
    return (theta[:, None] * np.stack([np.cos(theta), np.sin(theta)], axis=-1) - MEAN) / SCALE
