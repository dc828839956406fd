"""Scheduling matrices: at which step each token takes its steps of a grid (Diffusion Forcing, 2407.01392).

A matrix is int `[M, T]`: entry (m, i) is how many of the grid's S steps token i has taken by row m. Indexing
a grid of S + 1 levels with it gives the levels that the sampling loop walks,

    times = levels_of(grid, matrix)        # grid[matrix][:, None, :], float [M, 1, T]

so a column starts at 0 (level 1, pure noise), nowhere falls and ends at S (level 0, clean). All but `custom`
are made of delays d_i, the row after which token i sets out:

    M[m, i] = clip(m - d_i, 0, S),   S + max d + 1 rows

    full_sequence   d_i = 0                                       all tokens at once
    pyramid         d_i = floor(lag i)                            the far future stays uncertain for longer
    autoregressive  d_i = S i                                     one token after the other
    trapezoid       d_i = floor(lag min(i, length - 1 - i))       both ends first, the middle last
    chunks          d_i = (S + floor(lag (size - 1))) floor(i/size) + floor(lag (i mod size))
    keyframes       d_i = 0 for every k-th token, S for those between

The paper's tables (section 3.3, figure 2) count the levels that are left, S - M.
"""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from diffusion_jax.types import Array


def full_sequence(steps: int, length: int) -> np.ndarray:
    """All tokens take every step together: int [steps + 1, length].

    Raises ValueError where steps or length is no positive integer.
    """
    return _delayed(steps, np.zeros(_count("length", length), int))


def autoregressive(steps: int, length: int) -> np.ndarray:
    """A token starts once the one before it is clean: int [steps length + 1, length].

    Raises ValueError where steps or length is no positive integer.
    """
    return pyramid(steps, length, lag=_count("steps", steps))


def pyramid(steps: int, length: int, lag: float) -> np.ndarray:
    """Every token sets out `lag` steps after the one before it: int [M, length].

    lag: 0 is `full_sequence`, `steps` is `autoregressive`; fractions are rounded down, token by token.

    Raises ValueError where steps or length is no positive integer, or lag is negative.
    """
    return _delayed(steps, _floor(lag, np.arange(_count("length", length))))


def trapezoid(steps: int, length: int, lag: float) -> np.ndarray:
    """A pyramid from both ends, for plans between a start and a goal: int [M, length].

    Raises ValueError where steps or length is no positive integer, or lag is negative.
    """
    place = np.arange(_count("length", length))
    return _delayed(steps, _floor(lag, np.minimum(place, length - 1 - place)))


def chunks(steps: int, length: int, size: int, lag: float = 0.0) -> np.ndarray:
    """`size` tokens at a time, each chunk once the one before it is clean: int [M, length].

    lag: within a chunk, as in `pyramid`; 0 takes its tokens together. The last chunk may be shorter.

    Raises ValueError where steps, length or size is no positive integer, or lag is negative.
    """
    place, size = np.arange(_count("length", length)), _count("size", size)
    lags = _floor(lag, np.arange(size))
    return _delayed(steps, (_count("steps", steps) + lags[-1]) * (place // size) + lags[place % size])


def keyframes(steps: int, length: int, every: int, first: int = 0) -> np.ndarray:
    """Every `every`-th token first, then those between, given them on both sides: int [M, length].

    first: the first of them; in a roll-out `every - 1` spaces them evenly from the last known token.

    Raises ValueError where steps, length or every is no positive integer, or first is none of 0 to every - 1.
    """
    place, every = np.arange(_count("length", length)), _count("every", every)
    if not (isinstance(first, int | np.integer) and 0 <= first < every):
        raise ValueError(f"the first of every {every} tokens is one of 0 to {every - 1}, got {first!r}")
    return _delayed(steps, np.where(place % every == first, 0, _count("steps", steps)))


def custom(matrix: Any, steps: int) -> np.ndarray:
    """A matrix of your own, checked: int [M, T]. A column that is `steps` throughout is context.

    Raises:
        TypeError: entries that are not integers.
        ValueError: no [M, T] with M, T >= 1; entries outside 0 to steps; a column that falls (a token would
            be noised again) or does not end at `steps` (it would not be clean).
    """
    steps = _count("steps", steps)
    try:
        matrix = np.asarray(matrix)
    except ValueError:
        raise ValueError("a scheduling matrix is [M, T]; its rows have different lengths") from None
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ValueError(f"a scheduling matrix is [M, T] with M, T >= 1, got shape {matrix.shape}")
    if not np.issubdtype(matrix.dtype, np.integer):
        raise TypeError(f"a scheduling matrix counts steps in integers, got {matrix.dtype}")
    if matrix.min() < 0 or matrix.max() > steps:
        raise ValueError(f"entries lie in 0 to {steps}; they span {matrix.min()} to {matrix.max()}")
    falls = np.argwhere(np.diff(matrix, axis=0) < 0)
    if len(falls):
        row, token = falls[0]
        raise ValueError(f"a scheduling matrix never falls; token {token} does after row {row}")
    unclean = np.flatnonzero(matrix[-1] != steps)
    if len(unclean):
        token = unclean[0]
        raise ValueError(f"every token ends clean, at {steps}; token {token} ends at {matrix[-1, token]}")
    return matrix


def with_known(matrix: np.ndarray, known: Any) -> np.ndarray:
    """The matrix with columns added for tokens that are known: they stand at level 0 throughout.

    Args:
        matrix: int [M, T], for the tokens that are not known, in their order.
        known: bool [T'], True where a token is known, T of them False.

    Returns:
        int [M, T'].

    Raises:
        TypeError: known is not boolean.
        ValueError: it does not leave as many tokens as the matrix has columns.
    """
    known = np.asarray(known)
    if known.dtype != bool or known.ndim != 1:
        raise TypeError(f"known must be bool [T'], got {known.dtype} {list(known.shape)}")
    if (~known).sum() != matrix.shape[1]:
        raise ValueError(
            f"the matrix has {matrix.shape[1]} columns, but {(~known).sum()} of {len(known)} tokens "
            "are unknown"
        )
    whole = np.full((len(matrix), len(known)), matrix[-1, 0])
    whole[:, ~known] = matrix
    return whole


def levels_of(grid: Any, matrix: np.ndarray) -> Array:
    """The levels of a matrix: grid [S + 1] and int [M, T] give [M, 1, T], as `sample` takes them.

    Raises as `custom`, and ValueError where the grid is not one level longer than the matrix has steps.
    """
    steps, grid = int(np.max(matrix, initial=1)), jnp.asarray(grid)
    matrix = custom(matrix, steps)
    if grid.shape != (steps + 1,):
        raise ValueError(
            f"a matrix of {steps} steps needs a grid of {steps + 1} levels, got shape {grid.shape}"
        )
    return grid[matrix][:, None, :]


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name} must be a positive integer, got {value!r}")
    return int(value)


def _floor(lag: float, place: np.ndarray) -> np.ndarray:
    """floor(lag place)."""
    if not (math.isfinite(lag) and lag >= 0):
        raise ValueError(f"lag must be a number of steps, at least 0; got {lag}")
    # 0.29 * 100 is 28.999999999999996
    return np.floor(lag * place + 1e-9).astype(int)


def _delayed(steps: int, delays: np.ndarray) -> np.ndarray:
    steps = _count("steps", steps)
    return np.clip(np.arange(steps + delays.max() + 1)[:, None] - delays, 0, steps)


EXAMPLES: dict[str, dict[str, Any]] = {
    "full_sequence": {"steps": 3, "length": 4},
    "autoregressive": {"steps": 3, "length": 4},
    "pyramid": {"steps": 3, "length": 4, "lag": 1.5},
    "trapezoid": {"steps": 3, "length": 5, "lag": 1.0},
    "chunks": {"steps": 3, "length": 5, "size": 2},
    "keyframes": {"steps": 3, "length": 7, "every": 3},
    "custom": {"steps": 2, "matrix": [[0, 0], [2, 1], [2, 2]]},
}
