"""Controllers of the ball: D4RL's waypoint controller, a tracker of plans, and random actions.

The waypoint controller is a pair of pure functions with a memory between them, so that it runs inside a scan.
It follows the shortest path from cell to cell,

    a = clip(10 (waypoint - position) - velocity, -1, 1),

each waypoint a cell's indices less U(0, 0.2)^2, the last one the goal's cell itself, and goes on to the next
within 0.1 of one, unless the ball moved 0.1 or more since the last call (only the first call of a path, which
counts from the start's cell, ever sees that). It aims at the *cell* of the goal, not at the goal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from diffusion_jax.environments.mazes import Maze
from diffusion_jax.types import Array, Key

_GAIN, _DAMPING = 10.0, 1.0
_NEAR = 0.1
_JITTER = 0.2
_TRACK_POSITION, _TRACK_VELOCITY = 12.5, 1.2


class Controller(NamedTuple):
    """A policy with a memory, batched over B balls.

    start: (states [B, 4]) -> memory, every leaf of which starts with [B]
    act:   (key, memory, states [B, 4], goals [B, 2]) -> (actions [B, 2] in [-1, 1], memory)
    """

    start: Callable[[Array], Any]
    act: Callable[[Key, Any, Array, Array], tuple[Array, Any]]


class Path(NamedTuple):
    """The memory of the waypoint controller.

    target:   int [B, 2], the cell that the path leads to; (-1, -1) before there is one
    cell:     int [B, 2], of the waypoint
    waypoint: [B, 2], the position aimed at
    previous: [B, 2], the position at the last call
    solved:   bool [B], whether the ball was at the target in the last call
    """

    target: Array
    cell: Array
    waypoint: Array
    previous: Array
    solved: Array


def waypoint(maze: Maze, noise: float = 0.0) -> Controller:
    """D4RL's controller. At the target it stays. A goal in another cell starts a new path.

    Args:
        maze: whose shortest paths are followed.
        noise: standard deviation of the normal noise on the actions, which are clipped again; 0.5 in D4RL's
            data.
    """

    def start(states: Array) -> Path:
        position = states[:, :2]
        nowhere = jnp.full(position.shape, -1)
        return Path(nowhere, nowhere, position, position, jnp.zeros(len(position), bool))

    def act(key: Key, memory: Path, states: Array, goals: Array) -> tuple[Array, Path]:
        position, velocity = states[:, :2], states[:, 2:]
        jitter_key, noise_key = jax.random.split(key)
        jitter = jax.random.uniform(jitter_key, position.shape, maxval=_JITTER)
        target = jnp.round(goals).astype(jnp.int32)

        new = (target != memory.target).any(axis=1, keepdims=True)
        here = maze.cell(position)
        cell = jnp.where(new, _after(maze, target, here), memory.cell)
        aim = jnp.where(new, _position(cell, target, jitter), memory.waypoint)
        previous = jnp.where(new, here.astype(position.dtype), memory.previous)

        slow = _distance(position, previous) < _NEAR
        solved = slow & (_distance(position, target) < _NEAR)
        aim = jnp.where(solved, target, aim)
        action = jnp.clip(_GAIN * (aim - position) - _DAMPING * velocity, -1.0, 1.0)
        action = action + noise * jax.random.normal(noise_key, action.shape)

        onward = slow & ~solved & (_distance(position, aim) < _NEAR)
        cell = jnp.where(onward, _after(maze, target, cell), cell)
        aim = jnp.where(onward, _position(cell, target, jitter), aim)
        return jnp.clip(action, -1.0, 1.0), Path(target, cell, aim, position, solved[:, 0])

    return Controller(start, act)


def uniform() -> Controller:
    """Actions uniform on [-1, 1]^2."""

    def act(key: Key, memory: Any, states: Array, goals: Array) -> tuple[Array, Any]:
        return jax.random.uniform(key, goals.shape, states.dtype, -1.0, 1.0), memory

    return Controller(lambda states: (), act)


def track(state: Array, position: Array, velocity: Array) -> Array:
    """The action, [..., 2], that follows a plan: clip(12.5 (p - position) + 1.2 (v - velocity), -1, 1).

    Args:
        state: [..., 4].
        position, velocity: where the plan is in the next step, and how fast, [..., 2].
    """
    error = _TRACK_POSITION * (position - state[..., :2]) + _TRACK_VELOCITY * (velocity - state[..., 2:])
    return jnp.clip(error, -1.0, 1.0)


def _after(maze: Maze, target: Array, cell: Array) -> Array:
    """The cell that follows `cell` on the way to `target`, all int [B, 2]."""
    return jnp.asarray(maze.next_cell)[target[:, 0], target[:, 1], cell[:, 0], cell[:, 1]]


def _position(cell: Array, target: Array, jitter: Array) -> Array:
    """The waypoint in a cell: beside its indices, or the target itself."""
    return jnp.where((cell == target).all(axis=1, keepdims=True), cell, cell - jitter)


def _distance(a: Array, b: Array) -> Array:
    return jnp.linalg.norm(a - b, axis=1, keepdims=True)
