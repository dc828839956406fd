"""Scheduling matrices against cases worked by hand. Tables count levels left, S - M, as the paper's do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.sampling.grids import linear_grid
from diffusion_jax.sampling.schedules import (
    autoregressive,
    chunks,
    custom,
    full_sequence,
    keyframes,
    levels_of,
    pyramid,
    trapezoid,
    with_known,
)


def left(matrix):
    """The rows of S - M as the digits of words."""
    return " ".join("".join(map(str, row)) for row in matrix[-1, 0] - matrix)


BY_HAND = [
    (full_sequence(3, 4), "3333 2222 1111 0000"),
    (pyramid(3, 4, 1), "3333 2333 1233 0123 0012 0001 0000"),
    (pyramid(3, 4, 0.5), "3333 2233 1122 0011 0000"),
    (pyramid(2, 3, 1.5), "222 122 012 002 001 000"),
    (autoregressive(2, 3), "222 122 022 012 002 001 000"),
    (trapezoid(3, 4, 1), "3333 2332 1221 0110 0000"),
    (trapezoid(3, 5, 1), "33333 23332 12321 01210 00100 00000"),
    (trapezoid(2, 4, 0.5), "2222 1111 0000"),
    (trapezoid(2, 6, 0.5), "222222 112211 001100 000000"),
    (trapezoid(2, 5, 0.5), "22222 11211 00100 00000"),
    (trapezoid(2, 1, 3), "2 1 0"),
    (chunks(2, 5, 2), "22222 11222 00222 00112 00002 00001 00000"),
    (chunks(2, 4, 2, lag=1), "2222 1222 0122 0022 0012 0001 0000"),
    (keyframes(2, 5, 2), "22222 12121 02020 01010 00000"),
    (keyframes(1, 4, 2, first=1), "1111 1010 0000"),
    (custom([[0, 1], [2, 1], [2, 2]], 2), "21 01 00"),
    (with_known(pyramid(2, 2, 1), [True, False, True, False]), "0202 0102 0001 0000"),
]


@pytest.mark.parametrize(("matrix", "expected"), BY_HAND, ids=[expected[:14] for _, expected in BY_HAND])
def test_by_hand(matrix, expected):
    assert left(matrix) == expected


@pytest.mark.parametrize("length", [1, 2, 7, 8])
@pytest.mark.parametrize("lag", [0, 0.29, 1, 2.5])
def test_every_family_is_a_matrix(length, lag):
    """What `custom` demands of one, and that it wastes no row."""
    steps = 3
    for matrix in (
        full_sequence(steps, length),
        autoregressive(steps, length),
        pyramid(steps, length, lag),
        trapezoid(steps, length, lag),
        chunks(steps, length, 3, lag),
        keyframes(steps, length, 3),
    ):
        np.testing.assert_array_equal(custom(matrix, steps), matrix)
        assert matrix.shape[1] == length
        assert (matrix[0] == 0).all()
        assert (np.diff(matrix, axis=0).max(1) == 1).all()
    np.testing.assert_array_equal(trapezoid(steps, length, lag), trapezoid(steps, length, lag)[:, ::-1])


def test_a_lag_is_rounded_down_as_in_decimal():
    """100 tokens of lag 0.29 are 29 steps, though 0.29 * 100 < 29 in floating point."""
    assert len(pyramid(1, 101, 0.29)) == 29 + 2


def test_levels_are_those_of_the_grid():
    matrix = pyramid(4, 3, 1)
    times = levels_of(linear_grid(4), matrix)
    assert times.shape == (7, 1, 3)
    np.testing.assert_allclose(times[3, 0], [0.25, 0.5, 0.75])
    traced = jax.jit(lambda last: levels_of(linear_grid(4).at[-1].set(last), matrix))(0.0)
    np.testing.assert_array_equal(traced, times)


def test_what_is_no_schedule_is_refused():
    with pytest.raises(ValueError, match="never falls; token 1 does after row 1"):
        custom([[0, 0], [1, 2], [2, 1], [2, 2]], 2)
    with pytest.raises(ValueError, match="ends clean, at 2; token 1 ends at 1"):
        custom([[0, 0], [2, 1]], 2)
    with pytest.raises(TypeError, match="integers, got float"):
        custom([[0.0, 0.5], [2, 2]], 2)
    with pytest.raises(ValueError, match="different lengths"):
        custom([[0, 0], [2]], 2)
    with pytest.raises(ValueError, match=r"\[M, T\].*\(3,\)"):
        custom([0, 1, 2], 2)
    with pytest.raises(ValueError, match="0 to 2; they span 0 to 3"):
        custom([[0, 0], [3, 2]], 2)
    for steps, length in [(0, 4), (2.0, 4), (2, 0), (2, True)]:
        with pytest.raises(ValueError, match="must be a positive integer"):
            full_sequence(steps, length)
    with pytest.raises(ValueError, match="lag"):
        pyramid(2, 3, -1)
    with pytest.raises(ValueError, match="size"):
        chunks(2, 3, 0)
    with pytest.raises(ValueError, match="one of 0 to 1, got 2"):
        keyframes(2, 3, 2, first=2)
    with pytest.raises(ValueError, match="grid of 4 levels, got shape"):
        levels_of(jnp.linspace(1, 0, 3), pyramid(3, 4, 1))
    with pytest.raises(ValueError, match="never falls; token 0 does after row 0"):
        levels_of(linear_grid(2), np.array([[1, 0], [0, 1], [2, 2]]))
    with pytest.raises(ValueError, match="ends clean, at 2; token 1 ends at 1"):
        levels_of(linear_grid(2), np.array([[0, 0], [2, 1]]))
    with pytest.raises(ValueError, match="4 columns, but 1 of 3"):
        with_known(pyramid(3, 4, 1), [True, False, True])
    with pytest.raises(TypeError, match="known must be bool"):
        with_known(pyramid(3, 4, 1), [1, 0, 0, 0, 0])
