"""A synthetic vector autoregression, of which everything is known: the law, and the best of all forecasts.

    x_n = A x_{n-1} + e_n,   e_n ~ N(0, Q),   A's largest eigenvalue of absolute value `radius`

A is radius G/rho(G), G a matrix of standard normal numbers and rho its largest absolute eigenvalue; Q is
G' G'^T/D + I/2, G' another. The stationary covariance P = A P A^T + Q solves a linear equation; all is
brought to the scale at which every feature has variance 1. Then Cov(x_{n+h}, x_n) = A^h P, and tokens of a
window are jointly normal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diffusion_jax.data.pipeline import Arrays, Info, integer, seed_of
from diffusion_jax.data.series import Forecasts
from diffusion_jax.data.windows import Windows
from diffusion_jax.types import JointNormal, Series

EXAMPLES = {"autoregression": {"train": 200, "test": 8, "context": 3, "horizon": 2}}


@dataclass(frozen=True, eq=False, kw_only=True)
class KnownForecasts(Forecasts):
    """Windows of a series whose law is known: `law` is that of a window, before any of it is seen."""

    law: JointNormal


def autoregression(
    dims: int = 2,
    context: int = 8,
    horizon: int = 8,
    train: int = 100_000,
    test: int = 1000,
    seed: int = 0,
    radius: float = 0.9,
) -> KnownForecasts:
    """Windows of one long series, x `[B, T, D]` with T = context + horizon; no two test windows overlap.

    Args:
        dims: D.
        context, horizon: known steps of a window, and steps to forecast.
        train: steps of the training part.
        test: test windows.
        seed: of the law and of the series.
        radius: see above; the correlation falls as radius^h at long distances h.

    Raises TypeError or ValueError for numbers that are no integers, or out of range.
    """
    tokens = integer("context", context, 1) + integer("horizon", horizon, 1)
    train, test = integer("train", train, tokens), integer("test", test, 1)
    law = window_law(dims, tokens, seed, radius)
    x = series(dims, train + test * tokens, seed, radius)
    starts = train + tokens * np.arange(test)
    examples = {"x": x.astype(np.float32)[None]}
    whole = Windows(examples, tokens)
    sources = {
        "train": Windows({"x": examples["x"][:, :train]}, tokens),
        "test": Arrays(whole.gather(starts)),
    }
    info = Info(
        shape=(tokens, dims),
        kind="continuous",
        levels=None,
        unit=None,
        centre=None,
        classes=None,
        splits={split: len(source) for split, source in sources.items()},
        description=f"Stationary vector autoregression of {dims} features, each of variance 1.",
    )
    known = Series(x, np.zeros_like(x), np.ones(dims), train, starts, context)
    return KnownForecasts(info, sources, series=known, law=law)


def matrices(dims: int, seed: int, radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A, Q and the stationary covariance P, whose diagonal is 1; float64 [D, D] each.

    Raises TypeError or ValueError for dims below 1, or a radius outside [0, 1).
    """
    dims = integer("dims", dims, 1)
    if not 0 <= radius < 1:
        raise ValueError(f"a stationary series needs a radius in [0, 1), got {radius}")
    rng = _rng(seed, 0)
    moves, spread = rng.standard_normal((2, dims, dims))
    moves *= radius / np.abs(np.linalg.eigvals(moves)).max()
    noise = spread @ spread.T / dims + 0.5 * np.eye(dims)
    # P = A P A^T + Q, row by row of P
    linear = np.eye(dims**2) - np.kron(moves, moves)
    stationary = np.linalg.solve(linear, noise.reshape(-1)).reshape(dims, dims)
    scale = np.sqrt(np.diag(stationary))
    moves = moves * scale / scale[:, None]
    noise, stationary = (matrix / np.outer(scale, scale) for matrix in (noise, stationary))
    return moves, noise, stationary


def window_law(dims: int, tokens: int, seed: int, radius: float) -> JointNormal:
    """The law of any `tokens` successive tokens. Raises as `matrices`."""
    moves, _, stationary = matrices(dims, seed, radius)
    covariance = np.zeros((tokens, dims, tokens, dims))
    lagged = stationary
    for lag in range(tokens):
        for early in range(tokens - lag):
            covariance[early + lag, :, early] = lagged
            covariance[early, :, early + lag] = lagged.T
        lagged = moves @ lagged
    return JointNormal(np.zeros((tokens, dims)), covariance)


def series(dims: int, steps: int, seed: int, radius: float) -> np.ndarray:
    """`steps` successive tokens, [steps, D], the first from the stationary law. Raises as `matrices`."""
    moves, noise, stationary = matrices(dims, seed, radius)
    rng = _rng(seed, 1)
    x = rng.standard_normal((steps, dims))
    first = np.linalg.cholesky(stationary) @ x[0]
    x = x @ np.linalg.cholesky(noise).T
    x[0] = first
    for n in range(1, steps):
        x[n] += moves @ x[n - 1]
    return x


def _rng(seed: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=seed_of(seed), counter=[0, 0, 0, stream]))
