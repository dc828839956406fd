"""Maze2D: a ball driven through a maze from goal to goal, made as D4RL made its `-v1` sets.

D4RL: arXiv 2004.07219. The goals are random free cells. Row k of a stream holds what D4RL records in step k:
the observation o_k (position and velocity), the action a_k of the waypoint controller with noise N(0, 0.5^2),
clipped, and the reward of the maze's own goal at o_k, relabelled. When the controller stands at the goal's
cell, or after `limit` steps, the goal changes and nothing is reset; D4RL's loop keeps the observation of that
step for one more, so that

    o_{k+1} = o_k where the goal changed in step k, and the state after step k elsewhere,

while the ball moves on in both. D4RL has one stream; here there are many, of equal length, so that they are
simulated side by side. Stream s depends on the seed, the split and the number of streams.

Windows start at every row of a stream and cross changes of the goal. Token i holds rows (i stack + j) stride,
j = 0 ... stack - 1, of the window; `environments.tokens` says how.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffusion_jax.data.pipeline import Dataset, Draw, Examples, Info, integer, seed_of
from diffusion_jax.data.storage import Example, stored
from diffusion_jax.data.windows import Windows
from diffusion_jax.environments import mazes
from diffusion_jax.environments.controllers import waypoint
from diffusion_jax.environments.mazes import Maze
from diffusion_jax.environments.point_mass import reward, step
from diffusion_jax.environments.tokens import Tokens
from diffusion_jax.types import Array, Key

EXAMPLES = {"maze2d": {"steps": 400, "streams": 4, "tokens": 3, "stack": 2, "stride": 4}}

_TEST_SHARE = 10  # one test stream for so many of the training split


def maze2d(
    maze: str | Sequence[str] = "u",
    steps: int = 1_000_000,
    streams: int = 100,
    tokens: int = 12,
    stack: int = 4,
    stride: int = 5,
    fields: Sequence[str] = ("position",),
    noise: float = 0.5,
    seed: int = 0,
    data_dir: str | os.PathLike | None = None,
) -> Dataset:
    """Windows of a controller's way, x `[B, tokens, stack * F]`, F = 2 for each field.

    The sources hold whole streams: `source.series` has `x` `[streams, steps // streams, 6]` (position,
    velocity, action, in the units of the environment) and `reward` `[streams, steps // streams]`.

    Args:
        maze: "u", "medium", "large" or rows, see `environments.mazes.maze`.
        steps: of the training split, over all streams; the test split has a tenth of the streams.
        streams: simulated side by side; one that `steps` can be shared by.
        tokens, stack, stride: of a window, see the head of the module; it spans tokens * stack * stride rows.
        fields: what a token holds, of "position", "velocity" and "action".
        noise: standard deviation of the noise on the actions.
        seed: of starts, goals, waypoints and noise.
        data_dir: where the set is kept (see `diffusion_jax.data.storage`).

    Raises:
        TypeError, ValueError: a number of the wrong kind or out of range, an unknown field or maze, steps
            that the streams cannot share, streams shorter than a window, or a stored set that is not whole.
    """
    world = mazes.maze(maze)
    streams = integer("streams", streams, 1)
    length, rest = divmod(integer("steps", steps, 1), streams)
    if rest or not length:
        raise ValueError(f"{steps} steps cannot be shared by {streams} streams equally")
    if not noise >= 0.0:
        raise ValueError(f"noise is a standard deviation, at least 0, got {noise}")
    tokens, stack = integer("tokens", tokens, 1), integer("stack", stack, 1)
    code = Tokens(world, stack, integer("stride", stride, 1), tuple(fields))
    window = tokens * stack * code.stride
    if window > length:
        raise ValueError(f"windows of {window} rows do not fit into streams of {length}")

    def written(split: int, count: int) -> Iterator[Example]:
        key = jax.random.fold_in(jax.random.key(seed % 2**32), seed // 2**32)
        way = recorded(jax.random.fold_in(key, split), world, count, length, noise)
        x, rewards = (np.asarray(one) for one in (jnp.concatenate(way[:2], axis=-1), way.reward))
        for i in range(count):
            yield {"x": x[:, i], "reward": rewards[:, i]}

    sources, folder = stored(
        "maze2d",
        "1.0.0",
        {
            "maze": "-".join(world.rows) if world.name == "custom" else world.name,
            "steps": steps,
            "streams": streams,
            "noise": float(noise),
            "seed": seed_of(seed),
        },
        {"x": ((length, 6), np.float32), "reward": ((length,), np.float32)},
        lambda: {"train": written(0, streams), "test": written(1, max(streams // _TEST_SHARE, 1))},
        data_dir,
    )
    windows = {
        split: Windows(source.gather(np.arange(len(source))), window, stride)
        for split, source in sources.items()
    }

    def encode(examples: Examples, draw: Draw, training: bool) -> Examples:
        return {"x": code.encode(examples["x"])}

    info = Info(
        shape=(tokens, code.features),
        kind="continuous",
        levels=None,
        unit=None,
        centre=None,
        classes=None,
        splits={split: len(source) for split, source in windows.items()},
        description=(
            f"Maze2D {world.name}, regenerated as D4RL made it: {steps} steps of a waypoint controller with "
            f"action noise {noise:g}; a token is {stack} rows, {stride} steps apart, of {', '.join(fields)}."
        ),
        codec=code,
    )
    return Dataset(info, windows, encode, folder)


class Way(NamedTuple):
    """What is recorded; S streams side by side, L steps.

    observation: [L, S, 4]
    action:      [L, S, 2]
    reward:      [L, S], of the maze's own goal
    """

    observation: Array
    action: Array
    reward: Array


def recorded(key: Key, maze: Maze, streams: int, length: int, noise: float = 0.5) -> Way:
    """The controller's way from goal to goal, as D4RL records it; see the head of the module."""
    controller = waypoint(maze, noise)
    start_key, goal_key, key = jax.random.split(key, 3)
    state = maze.random_start(start_key, streams)
    clock = jnp.zeros(streams, jnp.int32)
    start = (state, state, controller.start(state), maze.random_goal(goal_key, streams), clock)

    def one(carry: tuple, k: Array) -> tuple[tuple, tuple[Array, Array]]:
        state, observation, memory, goal, clock = carry
        act_key, goal_key = jax.random.split(jax.random.fold_in(key, k))
        action, memory = controller.act(act_key, memory, observation, goal)
        row = (observation, action)
        state = step(maze, state, action)
        done = memory.solved | (clock >= maze.limit)
        goal = jnp.where(done[:, None], maze.random_goal(goal_key, streams), goal)
        observation = jnp.where(done[:, None], observation, state)
        return (state, observation, memory, goal, jnp.where(done, 0, clock + 1)), row

    _, (observation, action) = jax.lax.scan(one, start, jnp.arange(length))
    goal = jnp.broadcast_to(jnp.asarray(maze.goal, jnp.float32), observation[..., :2].shape)
    return Way(observation, action, reward(observation, goal))
