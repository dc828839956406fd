"""A ball between two walls, seen as a row of pixels: a video of one dimension whose law is known.

    z_1 ~ N(0, 1),   z_{k+1} = rho z_k + sqrt(1 - rho^2) n_k      the mood of the ball, RHO = 0.98
    u_1 ~ U(0, 2),   u_{k+1} = u_k + SPEED exp(SPREAD z_k) mod 2   its way, there and back
    p_k = min(u_k, 2 - u_k)                                        its place between the walls, in [0, 1]
    x_kj = (exp(-(p_k - c_j)^2 / (2 WIDTH^2)) - MEAN) / SCALE      pixel j of frame k, c_j = j / (pixels - 1)

It starts in its stationary law and stays there: at every frame p is uniform on [0, 1], and independent of it
the speed is lognormal. All frames lie on one curve of pixel space. A single frame tells neither speed nor
direction, the frames before it do. A model that feeds on its own frames leaves the curve, or the law of the
speed, when its errors add up.
"""

from __future__ import annotations

import os

import numpy as np

from diffusion_jax.data.pipeline import Dataset, Info, integer, seed_of
from diffusion_jax.data.storage import rows, stored
from diffusion_jax.data.windows import Windows

EXAMPLES = {"bouncing_ball": {"train": 4, "test": 2, "frames": 12, "tokens": 5, "pixels": 4}}

RHO, SPEED, SPREAD = 0.98, 0.06, 0.3
WIDTH = 0.1
MEAN, SCALE = 0.25, 0.34
"""About the mean and the deviation of a pixel."""


def bouncing_ball(
    train: int = 96,
    test: int = 64,
    frames: int = 2048,
    tokens: int = 36,
    pixels: int = 12,
    seed: int = 0,
    data_dir: str | os.PathLike | None = None,
) -> Dataset:
    """Windows of long videos, x `[B, tokens, pixels]`.

    The sources hold the whole videos: `source.series["x"]` is `[N, frames, pixels]`.

    Args:
        train, test: numbers of videos.
        frames: of a video.
        tokens: of a window.
        pixels: of a frame, at least 2.
        seed: of the videos.
        data_dir: where the set is kept (see `diffusion_jax.data.storage`).

    Raises:
        TypeError, ValueError: a number is not an integer, or out of range; windows are longer than videos;
            the stored set is not whole.
    """
    arguments = {
        "train": integer("train", train, 1),
        "test": integer("test", test, 1),
        "frames": integer("frames", frames, 1),
        "pixels": integer("pixels", pixels, 2),
        "seed": seed_of(seed),
    }

    def videos(stream: int, n: int) -> np.ndarray:
        rng = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, stream]))
        return rendered(places(rng, n, frames), pixels).astype(np.float32)

    sources, folder = stored(
        "bouncing_ball",
        "1.0.0",
        arguments,
        {"x": ((frames, pixels), np.float32)},
        lambda: {"train": rows({"x": videos(0, train)}), "test": rows({"x": videos(1, test)})},
        data_dir,
    )
    windows = {
        split: Windows(source.gather(np.arange(len(source))), tokens) for split, source in sources.items()
    }
    info = Info(
        shape=(tokens, pixels),
        kind="continuous",
        levels=None,
        unit=None,
        centre=None,
        classes=None,
        splits={split: len(source) for split, source in windows.items()},
        description=f"A ball between two walls in {pixels} pixels, its speed lognormal and slowly changing.",
    )
    return Dataset(info, windows, folder=folder)


def places(rng: np.random.Generator, n: int, frames: int) -> np.ndarray:
    """n ways of the ball: p, `[n, frames]` in [0, 1]."""
    mood = rng.standard_normal((frames, n))
    for k in range(1, frames):
        mood[k] = RHO * mood[k - 1] + np.sqrt(1 - RHO**2) * mood[k]
    way = (rng.uniform(0, 2, n) + np.cumsum(SPEED * np.exp(SPREAD * mood), axis=0)) % 2
    return np.minimum(way, 2 - way).T


def rendered(place: np.ndarray, pixels: int) -> np.ndarray:
    """The frames of a ball at p: `[...] -> [..., pixels]`."""
    centres = np.arange(pixels) / (pixels - 1)
    return (np.exp(-0.5 * ((np.asarray(place)[..., None] - centres) / WIDTH) ** 2) - MEAN) / SCALE
