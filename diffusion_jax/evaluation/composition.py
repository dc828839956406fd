r"""Compositional sampling: sequences put together of short plans, each of which remembers little.

Diffusion Forcing (arXiv 2407.01392, section 4.3). A sequence of T tokens is drawn `chunk` tokens at a time.
Each plan remembers the last n tokens; older ones are hidden, pure noise declared at level 1, as are those
that are still to come. With n = T the model repeats the sequences of its training; with a short memory it
goes on as any of them does from there, and joins pieces of different ones. One network does both: memory is a
choice of levels (`transforms.history`).

On ways in the plane that start on the left, at height -1 or 1, and end on the right:

    crossed    share that ends at the other height: half of an X
    turned     share that ends at its own height: a V
    lost       share that ends farther than `near` from both
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffusion_jax.evaluation.compiling import compiled
from diffusion_jax.evaluation.drawing import Method
from diffusion_jax.evaluation.outcome import Bind, Evaluation, Outcome
from diffusion_jax.levels import expand
from diffusion_jax.sampling.loop import fitted, sample, step_key, walked
from diffusion_jax.sampling.transforms.history import history, temporal
from diffusion_jax.types import Array, Batch, Key


def composer(
    bind: Bind,
    shape: tuple[int, ...],
    *,
    sampler: Method,
    grid: Array | Callable[[Any], Array],
    chunk: int,
    memory: int,
) -> Callable[[Key, int, Batch], np.ndarray]:
    """(key, N, conditions [N, ...]) -> sequences [N, T, ...] of plans that remember the last `memory` tokens.

    Args:
        bind: conditions -> Bound.
        shape: (T, ...).
        sampler: what draws; a factory is given the bound's process, and its variance where it takes one.
        grid: levels from 1 to 0, an array or process -> array.
        chunk: tokens of a plan. memory: tokens before it that it is shown.

    Raises ValueError unless both numbers are positive.
    """
    if min(chunk, memory) < 1:
        raise ValueError(f"chunk and memory must be positive, got {chunk} and {memory}")
    place = jnp.arange(shape[0])

    def draw(key: Key, index: Array, conditions: Batch) -> Array:
        bound = bind(conditions)
        assert bound.denoiser is not None
        process, denoiser = bound.process, bound.denoiser
        levels = walked(grid, process)
        method = fitted(sampler, bound)

        def plan(x: Array, number: Array) -> tuple[Array, None]:
            past, now = place < number * chunk, place // chunk == number
            times = jnp.where(past[None], 0.0, jnp.where(now[None], levels[:, None], 1.0))[:, None]
            noise_key, hide_key, sample_key = jax.random.split(step_key(key, number), 3)
            fresh = process.prior(x.shape).sample(noise_key)
            x = jnp.where(expand(past[None], x), x, fresh)
            short = history(process, denoiser, past, temporal([memory], [1.0]), hide_key)
            return sample(sample_key, short, method, x, times), None

        x = jnp.zeros((len(index), *shape))
        return jax.lax.scan(plan, x, jnp.arange(-(-shape[0] // chunk)))[0]

    run = compiled(draw)
    return lambda key, count, conditions: np.asarray(run(key, jnp.arange(count), conditions))


def conditions_of(dataset: Any, count: int) -> Batch:
    """The conditions of the first `count` sequences of the test split, leaves [count, ...].

    Raises ValueError where there are fewer.
    """
    if dataset.info.splits["test"] < count:
        raise ValueError(f"{count} test sequences are needed, there are {dataset.info.splits['test']}")
    batch = next(iter(dataset.epoch("test", count)))
    return {name: leaf for name, leaf in batch.items() if name not in ("x", "mask")}


def composition(
    sampler: Method,
    grid: Array | Callable[[Any], Array],
    memories: Sequence[int] = (1, 2, 3, 4, 20),
    chunk: int = 1,
    count: int = 500,
    near: float = 0.5,
) -> Evaluation:
    """The shares of ways that cross, turn and are lost, for each length of memory.

    Args:
        sampler, grid, chunk: as of `composer`.
        memories: tokens that a plan remembers.
        count: ways for each of them.
        near: how far from a corner's height a way may end.

    Metrics: `memory=n/crossed`, `/turned`, `/lost` and their standard errors.

    Raises ValueError for a count below 1, and, when called, for data that are no ways in the plane, or fewer
    test sequences than `count`, whose conditions are taken.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")

    def evaluation(bind: Bind, dataset: Any, key: Key) -> Outcome:
        shape = dataset.info.shape
        if len(shape) != 2 or shape[1] != 2:
            raise ValueError(f"ways in the plane are [T, 2], the data are {shape}")
        metrics: dict[str, Any] = {}
        conditions = conditions_of(dataset, count)
        lines = [f"{count} ways, plans of {chunk} tokens"]
        for memory in memories:
            draw = composer(bind, shape, sampler=sampler, grid=grid, chunk=chunk, memory=memory)
            shares = outcomes(draw(key, count, conditions), near)
            for name, share in shares.items():
                metrics[f"memory={memory}/{name}"] = share
                metrics[f"memory={memory}/{name}_se"] = float(np.sqrt(share * (1 - share) / count))
            said = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
            lines.append(f"memory of {memory:3}: {said}")
        return Outcome(metrics, "\n".join(lines))

    return evaluation


def outcomes(ways: np.ndarray, near: float) -> dict[str, float]:
    """The shares of ways [N, T, 2] that crossed, turned and were lost; their sum is 1."""
    start, end = np.sign(ways[:, 0, 1]), ways[:, -1]
    arrived = (np.abs(np.abs(end[:, 1]) - 1) < near) & (np.abs(end[:, 0] - 1) < near)
    other = np.sign(end[:, 1]) != start
    return {
        "crossed": float((arrived & other).mean()),
        "turned": float((arrived & ~other).mean()),
        "lost": float((~arrived).mean()),
    }


EXAMPLES: dict[str, dict[str, Any]] = {
    "composition": {
        "sampler": "ddim",
        "grid": {"name": "linear_grid", "steps": 2},
        "memories": (1, 6),
        "count": 4,
    }
}
