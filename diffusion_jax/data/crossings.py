"""Two ways that cross: from a corner on the left straight to the opposite one, at constant speed.

    x_k = a + (b - a) k/(T - 1) + NOISE n_k,   n_k ~ N(0, I),   k = 0 ... T - 1,
    (a, b) = ((-1, -1), (1, 1)) or ((-1, 1), (1, -1)), equally likely.

All ways together are an X. In the middle a token does not tell where its way came from; those before it do.
So what follows from the last token alone is an X as often as a V (Diffusion Forcing, arXiv 2407.01392,
section 4.3). The time k is told as a condition.
"""

from __future__ import annotations

import os

import numpy as np

from diffusion_jax.data.pipeline import Dataset, Draw, Examples, Info, integer, seed_of
from diffusion_jax.data.storage import rows, stored

EXAMPLES = {"crossings": {"train": 64, "test": 32, "tokens": 6}}

NOISE = 0.1


def crossings(
    train: int = 20_000,
    test: int = 2000,
    tokens: int = 20,
    seed: int = 0,
    data_dir: str | os.PathLike | None = None,
) -> Dataset:
    """Ways in the plane, x `[B, tokens, 2]`, and `condition` `[B, tokens, 1]`, the time from -1 to 1.

    Args:
        train, test: numbers of ways.
        tokens: T, of a way, at least 2.
        seed: of the ways.
        data_dir: where the set is kept (see `diffusion_jax.data.storage`).

    Raises:
        TypeError, ValueError: a number is not an integer, or out of range; the stored set is not whole.
    """
    arguments = {
        "train": integer("train", train, 1),
        "test": integer("test", test, 1),
        "tokens": integer("tokens", tokens, 2),
        "seed": seed_of(seed),
    }

    def ways(stream: int, n: int) -> Examples:
        rng = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, stream]))
        x = lines(tokens)[rng.integers(0, 2, n)] + NOISE * rng.standard_normal((n, tokens, 2))
        return {"x": x.astype(np.float32)}

    sources, folder = stored(
        "crossings",
        "1.0.0",
        arguments,
        {"x": ((tokens, 2), np.float32)},
        lambda: {"train": rows(ways(0, train)), "test": rows(ways(1, test))},
        data_dir,
    )

    def encode(examples: Examples, draw: Draw, training: bool) -> Examples:
        x = examples["x"].astype(np.float32)
        time = np.linspace(-1.0, 1.0, tokens, dtype=np.float32)[:, None]
        return {"x": x, "condition": np.tile(time, (len(x), 1, 1))}

    info = Info(
        shape=(tokens, 2),
        kind="continuous",
        levels=None,
        unit=None,
        centre=None,
        classes=None,
        splits={split: len(source) for split, source in sources.items()},
        description=f"Two ways of {tokens} tokens that cross in the plane, Gaussian noise of {NOISE}.",
    )
    return Dataset(info, sources, encode, folder)


def lines(tokens: int) -> np.ndarray:
    """The two ways without noise, `[2, tokens, 2]`: upwards, downwards."""
    across = np.linspace(-1.0, 1.0, tokens)
    return np.stack([np.stack([across, sign * across], axis=-1) for sign in (1.0, -1.0)])
