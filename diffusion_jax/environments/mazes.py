"""The mazes of D4RL's Maze2D (Fu et al., arXiv 2004.07219): layouts, frames, shortest paths and scores.

Cells (i, j) are rows and columns of the layout, `#` a wall, `O` free, `G` the free cell of the goal.
Positions are those of D4RL's observations: the ball starts at world (1.2, 1.2) and cell (i, j) is centred at
world (i + 1, j + 1), so that

    centre of cell (i, j) = (i - 0.2, j - 0.2)
    reach of the ball's centre inside it = [i - 0.6, i + 0.2] x [j - 0.6, j + 0.2]    (radius 0.1)

while starts and goals are drawn around (i, j) itself: they lie 0.2 off the centre, as D4RL has it.

A score is 100 (raw - lowest) / (highest - lowest) of the return of one episode, with D4RL's reference returns
of a random and of a reference policy. They are those of the sparse reward in the `-v1` sets; for comparison:

    maze      sparse (used here)   dense reward      sparse, layout "eval"
    u         23.85, 161.86        68.54, 193.66     36.63, 141.40
    medium    13.13, 277.39        44.26, 297.46     13.07, 204.93
    large      6.70, 273.99        30.57, 303.49     16.40, 302.22

The reference policy is no ceiling: scores above 100 are usual.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from diffusion_jax.types import Array, Key

CENTRE = -0.2
"""Where the centre of cell (0, 0) is, in both coordinates."""
RADIUS = 0.1
"""Of the ball; a cell is 1 wide."""
SPREAD = 0.1
"""Starts and goals are uniform within this distance of the cell's indices, in both coordinates."""
START_SPEED = 0.1
"""The standard deviation of each coordinate of a start's velocity."""

_WALL, _FREE, _GOAL = "#OG"
# D4RL lists its moves in this order, and of equal ones its controller takes the first.
_MOVES = ((0, -1), (0, 1), (-1, 0), (1, 0))


@dataclass(frozen=True)
class Maze:
    """A layout and what D4RL fixes with it; `maze` makes one. Hashable: it may be a static argument.

    name:   "u", "medium", "large" or "custom"
    rows:   the layout, strings of one length
    goal:   cell of the goal; as a position, the goal itself
    limit:  steps of an episode
    score_range: returns that score 0 and 100, or None where there are none
    """

    name: str
    rows: tuple[str, ...]
    goal: tuple[int, int]
    limit: int
    score_range: tuple[float, float] | None

    @functools.cached_property
    def walls(self) -> np.ndarray:
        """Whether cell (i, j) is a wall, bool [H, W]."""
        return np.array([list(row) for row in self.rows]) == _WALL

    @functools.cached_property
    def free(self) -> np.ndarray:
        """The free cells, int32 [F, 2], the goal's among them."""
        return np.argwhere(~self.walls).astype(np.int32)

    @functools.cached_property
    def distances(self) -> np.ndarray:
        """Moves on the shortest path, [H, W, H, W]: of the target, then of the cell; infinite at walls."""
        height, width = self.walls.shape
        distance = np.full((height, width, height, width), np.inf)
        for i, j in self.free:
            distance[i, j, i, j] = 0.0
        while True:
            nearest = np.min([_moved(distance, move) for move in _MOVES], axis=0) + 1.0
            shorter = np.where(self.walls, np.inf, np.minimum(distance, nearest))
            if (shorter == distance).all():
                return distance
            distance = shorter

    @functools.cached_property
    def next_cell(self) -> np.ndarray:
        """The next cell on the shortest path, int32 [H, W, H, W, 2]: of the target, then of the cell.

        The target is next to itself. Of equally short ways it is the one that D4RL's controller takes; its
        value iteration (50 rounds, discount 0.99) gives the same paths while they are below 50 moves.
        """
        moves = [(0, 0), *_MOVES]
        reached = np.stack([self.distances, *(_moved(self.distances, move) for move in _MOVES)])
        # Staying is the best at the target and never elsewhere: every other free cell has a nearer neighbour.
        best = np.array(moves, np.int32)[reached.argmin(axis=0)]
        cells = np.stack(list(np.indices(self.walls.shape)), axis=-1).astype(np.int32)
        return cells + best

    def cell(self, position: Array) -> Array:
        """The cell that holds the position, int32 [..., 2]."""
        return jnp.round(position - CENTRE).astype(jnp.int32)

    def normalise(self, position: Array) -> Array:
        """Positions [..., 2] to x: the reach of the ball over all cells becomes [-1, 1], axis by axis."""
        centre, half = self._band
        return (position - _expand(centre, position)) / _expand(half, position)

    def restore(self, x: Array) -> Array:
        """x [..., 2] to positions; the inverse of `normalise`."""
        centre, half = self._band
        return x * _expand(half, x) + _expand(centre, x)

    def score(self, raw: float) -> float:
        """The normalised score of a return, times 100; see the head of the module.

        Raises ValueError for a maze without reference returns.
        """
        if self.score_range is None:
            raise ValueError(f"the maze {self.name!r} has no reference returns; {', '.join(_NAMED)} have")
        lowest, highest = self.score_range
        return 100.0 * (raw - lowest) / (highest - lowest)

    def random_start(self, key: Key, count: int) -> Array:
        """D4RL's starts: states [count, 4] in random free cells, position and velocity."""
        where, speed = jax.random.split(key)
        velocity = START_SPEED * jax.random.normal(speed, (count, 2))
        return jnp.concatenate([self.random_goal(where, count), velocity], axis=1)

    def random_goal(self, key: Key, count: int) -> Array:
        """D4RL's random goals: positions [count, 2] in random free cells."""
        which, offset = jax.random.split(key)
        cell = jnp.asarray(self.free)[jax.random.randint(which, (count,), 0, len(self.free))]
        return cell + jax.random.uniform(offset, (count, 2), minval=-SPREAD, maxval=SPREAD)

    @functools.cached_property
    def _band(self) -> tuple[np.ndarray, np.ndarray]:
        """Centre and half extent [2] of what the ball's centre reaches."""
        low, high = self.free.min(axis=0), self.free.max(axis=0)
        centre = (low + high) / 2 + CENTRE
        return centre.astype(np.float32), ((high - low + 1) / 2 - RADIUS).astype(np.float32)


_NAMED = {
    "u": (("#####", "#GOO#", "###O#", "#OOO#", "#####"), 300, (23.85, 161.86)),
    "medium": (
        (
            "########",
            "#OO##OO#",
            "#OO#OOO#",
            "##OOO###",
            "#OO#OOO#",
            "#O#OO#O#",
            "#OOO#OG#",
            "########",
        ),
        600,
        (13.13, 277.39),
    ),
    "large": (
        (
            "############",
            "#OOOO#OOOOO#",
            "#O##O#O#O#O#",
            "#OOOOOO#OOO#",
            "#O####O###O#",
            "#OO#O#OOOOO#",
            "##O#O#O#O###",
            "#OO#OOO#OGO#",
            "############",
        ),
        800,
        (6.7, 273.99),
    ),
}


def maze(layout: str | Sequence[str], limit: int | None = None) -> Maze:
    """The maze of that name, or of these rows.

    Args:
        layout: "u", "medium", "large", or rows such as `("#####", "#GOO#", "#####")`, walled all around.
        limit: steps of an episode; by default 300, 600 and 800, and 600 for other layouts.

    Raises:
        ValueError: an unknown name; rows that are ragged, of other characters than `#OG`, open at the border,
            with more than one goal, without a free cell, or with free cells that no path joins; a limit
            below 1.
        TypeError: rows that are not strings.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"the limit of an episode is at least one step, got {limit}")
    if isinstance(layout, str):
        if layout not in _NAMED:
            raise ValueError(f"unknown maze {layout!r}; there are: {', '.join(_NAMED)}, or give rows")
        rows, usual, score_range = _NAMED[layout]
        return Maze(layout, rows, _goal(rows), limit or usual, score_range)
    rows = tuple(layout)
    if not all(isinstance(row, str) for row in rows):
        raise TypeError(f"the rows of a maze are strings, got {rows!r}")
    if not rows or len({len(row) for row in rows}) != 1:
        raise ValueError(f"the rows of a maze must have one length, got {[len(row) for row in rows]}")
    unknown = sorted(set("".join(rows)) - {_WALL, _FREE, _GOAL})
    if unknown:
        raise ValueError(f"a maze is made of '#' (wall), 'O' (free) and 'G' (goal), got {''.join(unknown)!r}")
    border = rows[0] + rows[-1] + "".join(row[0] + row[-1] for row in rows)
    if set(border) != {_WALL}:
        raise ValueError("a maze must be walled all around: its border has free cells")
    custom = Maze("custom", rows, _goal(rows), limit or 600, None)
    apart = np.isinf(custom.distances[custom.goal][tuple(custom.free.T)])
    if apart.any():
        cells = [tuple(cell) for cell in custom.free[apart].tolist()]
        raise ValueError(f"no path joins the goal, cell {custom.goal}, and the free cells {cells}")
    return custom


def _goal(rows: tuple[str, ...]) -> tuple[int, int]:
    """The cell `G`, or the first free one where there is none, as in D4RL."""
    free = [(i, j) for i, row in enumerate(rows) for j, one in enumerate(row) if one != _WALL]
    goals = [(i, j) for i, j in free if rows[i][j] == _GOAL]
    if not free or len(goals) > 1:
        raise ValueError(f"a maze needs a free cell and at most one goal, got {len(free)} and {len(goals)}")
    return (goals or free)[0]


def _moved(distance: np.ndarray, move: tuple[int, int]) -> np.ndarray:
    """The distances of the cells that a move leads to; the border is wall, so nothing wraps around."""
    return np.roll(distance, (-move[0], -move[1]), axis=(2, 3))


def _expand(constant: np.ndarray, like: Array) -> np.ndarray:
    """[2] with as many leading axes as `like` has."""
    return np.expand_dims(constant, tuple(range(like.ndim - 1)))
