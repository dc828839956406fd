"""Draws of trained variables: sample i depends on the seed and on i alone, whatever the number drawn."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from diffusion_jax.build import build
from diffusion_jax.sampling.loop import fitted, sample_path, step_key
from diffusion_jax.training import sharding
from diffusion_jax.types import Array, Bound, Key

_CHUNK = 2**20  # numbers of data that are drawn in one call
_PATH = 2**24  # numbers of the path that are kept


class Draws(NamedTuple):
    """Samples of a model and how they came about.

    x:       samples [N, T, ...]
    states:  the path of the first n of them, [S + 1, n, T, ...]
    times:   its levels [S + 1]
    seconds: of sampling, without compiling
    compile_seconds: of compiling
    """

    x: np.ndarray
    states: np.ndarray
    times: np.ndarray
    seconds: float
    compile_seconds: float


def draw(
    bind: Callable[[Any, Array], Bound],
    variables: Any,
    shape: tuple[int, ...],
    *,
    count: int,
    seed: int,
    sampler: Any,
    grid: Any = None,
) -> Draws:
    """Draw `count` samples of the model that `bind` gives.

    Args:
        bind: (variables, numbers of the samples [B]) -> Bound; the numbers are for conditions of their own.
        variables: trained; arrays.
        shape: of one sample, (T, ...).
        count: N, at least 1.
        seed: of the samples.
        sampler: a spec; the sampler is given the bound's process, and its variance where it takes one.
        grid: a spec of the grid that the sampler walks down to level 0. None takes the bound's own grid down
            to t_1 and then its decoder: with `ancestral`, draws of the very model that the bound scores.

    Raises ValueError for a count below 1, or where the bound lacks what is needed.
    """
    if count < 1:
        raise ValueError(f"count, the number of samples, must be at least 1, got {count}")
    size = int(np.prod(shape))
    chunk = min(count, max(_CHUNK // size, 1))
    variables, place = _layout(variables, chunk)

    def call(variables: Any, index: Array) -> tuple[Array, Array, Array]:
        root = jax.random.key(seed)
        keys = jax.vmap(lambda i: jax.random.fold_in(root, i))(index)
        return _draw(bind(variables, index), shape, keys, sampler, grid)

    begin = time.perf_counter()
    run = jax.jit(call).lower(variables, place(jnp.arange(chunk))).compile()
    compiled = time.perf_counter()
    parts = [run(variables, place(jnp.arange(first, first + chunk))) for first in range(0, count, chunk)]
    x = np.concatenate([np.asarray(part[0]) for part in parts])[:count]
    seconds = time.perf_counter() - compiled
    _, states, times = parts[0]
    return Draws(x, np.asarray(states), np.asarray(times), seconds, compiled - begin)


def _draw(
    bound: Bound, shape: tuple[int, ...], keys: Key, sampler: Any, grid: Any
) -> tuple[Array, Array, Array]:
    """(samples, the path of the first of them, its levels)."""
    process, denoiser = _parts(bound, "process", "denoiser")
    pairs = jax.vmap(jax.random.split)(keys)
    x = process.prior((keys.shape[0], *shape)).sample(pairs[:, 0])
    times = build("grid", grid, process=process) if grid is not None else _parts(bound, "times")[0]
    rows = max(min(keys.shape[0], _PATH // (x[0].size * len(times))), 1)
    walked = times[:-1] if grid is None else times
    x, path = sample_path(
        pairs[:, 1],
        denoiser,
        fitted(build("sampler", sampler), bound),
        x,
        walked,
        lambda state: state.x[:rows],
    )
    if grid is None:
        (decoder,) = _parts(bound, "decoder")
        x0_hat = denoiser(x, times[-2]) if decoder.learned else None
        x = decoder.sample(step_key(pairs[:, 1], len(times) - 2), x, x0_hat)
        path = jnp.concatenate([path, x[None, :rows].astype(path.dtype)])
    return x, path, times


def _parts(bound: Bound, *names: str) -> list[Any]:
    for name in names:
        if getattr(bound, name) is None:
            raise ValueError(f"to sample, a bound needs its {name}; this one has none")
    return [getattr(bound, name) for name in names]


def _layout(variables: Any, chunk: int) -> tuple[Any, Callable[[Array], Array]]:
    """The variables on all devices, and a function that spreads an array over them, where that divides."""
    count = jax.device_count()
    if jax.process_count() > 1 or chunk % count or count == 1:
        return variables, lambda index: index
    mesh = sharding.make_mesh({"data": -1})
    spread = NamedSharding(mesh, PartitionSpec("data"))
    return jax.device_put(variables, sharding.replicated(mesh)), lambda index: jax.device_put(index, spread)
