"""Eight normal modes on a circle of the plane: the toy of DisCo-Diff (arXiv 2407.03300, appendix F).

    x = c_j + STD n,   n ~ N(0, I),   c_j = RADIUS (cos(pi j/4), sin(pi j/4)),   j = 0 ... 7.

Each mode has exactly as many points. The paper writes sigma_i = 0.2 in N(x; mu_i, sigma_i I); here 0.2 is the
standard deviation. Each coordinate has mean 0 and mean square RADIUS^2/2 + STD^2 = 4.54.
"""

from __future__ import annotations

import os

import numpy as np

from diffusion_jax.data.pipeline import Dataset, Examples, Info, integer, seed_of
from diffusion_jax.data.storage import rows, stored

EXAMPLES = {"eight_gaussians": {"train": 16, "test": 16}}

MODES, RADIUS, STD = 8, 3.0, 0.2


def eight_gaussians(
    train: int = 8000, test: int = 8000, seed: int = 0, data_dir: str | os.PathLike | None = None
) -> Dataset:
    """Points of the plane, x `[B, 1, 2]`, and `label` `[B]`, the mode.

    Args:
        train, test: numbers of points, multiples of 8.
        seed: of the points.
        data_dir: where the set is kept (see `diffusion_jax.data.storage`).

    Raises:
        TypeError, ValueError: a number is not an integer, not a multiple of 8, or out of range; the stored
            set is not whole.
    """
    arguments = {
        "train": integer("train", train, MODES),
        "test": integer("test", test, MODES),
        "seed": seed_of(seed),
    }
    if train % MODES or test % MODES:
        raise ValueError(
            f"train and test must be multiples of the {MODES} modes, got train={train}, test={test}"
        )

    def points(stream: int, n: int) -> Examples:
        rng = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, stream]))
        mode = np.arange(n) % MODES
        x = centres()[mode] + STD * rng.standard_normal((n, 2))
        return {"x": x.astype(np.float32)[:, None], "label": mode}

    sources, folder = stored(
        "eight_gaussians",
        "1.0.0",
        arguments,
        {"x": ((1, 2), np.float32), "label": ((), np.int64)},
        lambda: {"train": rows(points(0, train)), "test": rows(points(1, test))},
        data_dir,
    )
    info = Info(
        shape=(1, 2),
        kind="continuous",
        levels=None,
        unit=None,
        centre=None,
        classes=MODES,
        splits={split: len(source) for split, source in sources.items()},
        description=f"{MODES} normal modes of deviation {STD} on a circle of radius {RADIUS:g}.",
    )
    return Dataset(info, sources, folder=folder)


def centres() -> np.ndarray:
    """The modes' centres, float64 `[8, 2]`."""
    angle = np.pi * np.arange(MODES) / 4
    return RADIUS * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
