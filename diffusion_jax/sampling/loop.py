"""The sampling loop: a grid of levels, a sampler, and one `lax.scan`.

A sampler is a pair (init, step); the step receives the denoiser, so a method may evaluate it as often as it
likes. The grid `times` is `[S+1]`, or `[S+1, #B, #T]` where samples or tokens fall at their own pace: step i
takes every token from times[i] to times[i+1]. A token whose level does not move in a step is *held*; a
context token is one that stands at level 0 all the time.

`advance` is one step of any sampler with held tokens left alone, bit for bit. It is what other drivers
(particles, rollouts) are built from.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from diffusion_jax.levels import canonical, expand
from diffusion_jax.types import Array, Bound, Denoiser, Key, PyTree, Sampler


def settled(denoiser: Denoiser) -> Denoiser:
    """The denoiser with clean tokens (level 0) returned unchanged: the mean of x0 given x0."""

    def denoise(x: Array, t: Array) -> Array:
        return jnp.where(expand(canonical(t, x) == 0, x), x, denoiser(x, t))

    return denoise


def advance(sampler: Sampler) -> Callable[[Key, Denoiser, Any, Array, Array], Any]:
    """The sampler's step, (key, denoiser, state, t, s) -> state, with tokens held where s == t.

    The step sees a denoiser to which held tokens always appear at their own x and level, whatever the
    sampler does to them on the way, and which is `settled`. Without the first, a second evaluation (Heun)
    would divide by zero beside a context token.

    t, s: [#B, #T]. Every leaf of the state keeps its dtype.
    """

    def step(key: Key, denoiser: Denoiser, state: Any, t: Array, s: Array) -> Any:
        held = s == t
        own = state.x

        def shown(x: Array, level: Array) -> Array:
            x = jnp.where(expand(held, x), own, x)
            level = jnp.where(held, t, canonical(level, x))
            return settled(denoiser)(x, level)

        moved = sampler.step(key, shown, state, t, s)
        return jax.tree.map(
            lambda old, new: jnp.where(expand(held, old), old, new.astype(old.dtype)), state, moved
        )

    return step


def sample_path(
    key: Key,
    denoiser: Denoiser,
    sampler: Sampler,
    x: Array,
    times: Array,
    keep: Callable[[Any], PyTree],
) -> tuple[Array, PyTree]:
    """`sample`, and what `keep(state)` gives at every level of the grid: `keep=lambda state: state.x`.

    Only what `keep` returns is stored.

    Returns:
        The sample [B, T, ...], and the path: keep's tree with leaves [S+1, ...], entry i at times[i].
    """
    levels = checked(key, x, times, sampler.rises)
    step = advance(sampler)

    def body(state: Any, now: tuple[Array, Array, Array]) -> tuple[Any, PyTree]:
        i, t, s = now
        return step(step_key(key, i), denoiser, state, t, s), keep(state)

    steps = jnp.arange(len(levels) - 1)
    state, path = jax.lax.scan(body, sampler.init(x, levels[0]), (steps, levels[:-1], levels[1:]))
    path = jax.tree.map(lambda early, last: jnp.concatenate([early, last[None]]), path, keep(state))
    return state.x, path


def sample(key: Key, denoiser: Denoiser, sampler: Sampler, x: Array, times: Array) -> Array:
    """Takes x from the first level of the grid to its last.

    Args:
        key: one key, or [B] keys, a seed for each sample; step i uses fold_in(key, i).
        denoiser: (x_t, t [#B, #T]) -> x0_hat.
        sampler: such as `heun(process)`.
        x: [B, T, ...] at level times[0], from `process.prior(shape).sample(key)` where that is 1.
        times: levels in [0, 1], [S+1] or [S+1, #B, #T], that nowhere rise (but for `restart`).

    Returns:
        [B, T, ...] at level times[-1].

    Raises:
        TypeError: raw keys instead of typed ones, or x that is not floating.
        ValueError: wrong shapes, or (where values are known) levels outside [0, 1], or rising
            ones for a sampler that only falls.
    """
    return sample_path(key, denoiser, sampler, x, times, lambda state: ())[0]


def sample_bound(key: Key, bound: Bound, x: Array, sampler: Sampler) -> Array:
    """Samples the very model that a bound scores: its grid down to t_1, then a draw of its decoder.

    x: [B, T, ...] from the prior. The sampler of the bound is `ancestral(bound.process, bound.variance)`.

    Raises ValueError where the bound has no denoiser, decoder or times.
    """
    denoiser, decoder, times = bound.denoiser, bound.decoder, bound.times
    if denoiser is None or decoder is None or times is None:
        absent = [name for name in ("denoiser", "decoder", "times") if getattr(bound, name) is None]
        raise ValueError(f"to sample a bound it needs a denoiser, a decoder and times; it lacks {absent}")
    x_1 = sample(key, denoiser, sampler, x, times[:-1])
    x0_hat = denoiser(x_1, times[-2]) if decoder.learned else None
    return decoder.sample(step_key(key, len(times) - 2), x_1, x0_hat)


def fitted(sampler: Sampler | Callable[..., Sampler], bound: Bound) -> Sampler:
    """The sampler for a bound: a factory such as `ancestral` is given the bound's process, and its variance.

    So is the process's own `draw`, where it has one. What the factory has been given already
    (`functools.partial`) stays.
    """
    if isinstance(sampler, Sampler):
        return sampler
    own = {"variance": bound.variance}
    if hasattr(bound.process, "draw"):
        own["draw"] = bound.process.draw
    takes, has = inspect.signature(sampler).parameters, getattr(sampler, "keywords", {})
    own = {name: value for name, value in own.items() if name in takes and name not in has}
    return sampler(process=bound.process, **own)


def walked(grid: Any, process: Any) -> Array:
    """The levels to walk: a grid that is an array already, or a factory process -> array."""
    return jnp.asarray(grid(process) if callable(grid) else grid)


def counted(denoiser: Denoiser) -> tuple[Denoiser, Callable[[], int]]:
    """The denoiser, and a function that tells how often it has been evaluated, at run time.

    What counts is executions, not traces: a branch not taken costs nothing. Calls under `vmap` count once.
    """
    calls = 0

    def tick() -> None:
        nonlocal calls
        calls += 1

    def wrapped(x: Array, t: Array) -> Array:
        jax.debug.callback(tick)
        return denoiser(x, t)

    def count() -> int:
        jax.effects_barrier()
        return calls

    return wrapped, count


def step_key(key: Key, i: Array | int) -> Key:
    """The key of step i, from one key or from [B] keys."""
    return jax.random.fold_in(key, i) if key.ndim == 0 else jax.vmap(jax.random.fold_in, (0, None))(key, i)


def checked(key: Key, x: Array, times: Array, rises: bool) -> Array:
    """The grid as [S+1, #B, #T], after all that can be wrong with a call has been ruled out."""
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        raise TypeError(f"keys must be typed, as jax.random.key makes them; got an array of {key.dtype}")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"x must be floating, got {x.dtype}")
    if x.ndim < 2:
        raise ValueError(f"x must be [B, T, ...], got shape {x.shape}")
    if key.ndim and key.shape != x.shape[:1]:
        raise ValueError(f"key must be one key or one for each sample, {x.shape[:1]}; got {key.shape}")
    shape = np.shape(times)
    fits = len(shape) == 1 or (
        len(shape) == 3 and all(n in (1, m) for n, m in zip(shape[1:], x.shape[:2], strict=True))
    )
    if not fits or shape[0] == 0:
        raise ValueError(
            f"times must be [S+1] or [S+1, #B, #T] for x {x.shape} ([B, T, ...]); got shape {shape}"
        )
    if not isinstance(times, Tracer):
        values = np.asarray(times)
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError(f"levels lie in [0, 1]; times spans [{values.min()}, {values.max()}]")
        up = np.argwhere(np.diff(values, axis=0) > 0)
        if len(up) and not rises:
            raise ValueError(
                f"times must not rise; it does after entry {up[0, 0]} (`restart` takes grids that do)"
            )
    times = jnp.asarray(times, jnp.promote_types(x.dtype, jnp.float32))
    return times[:, None, None] if times.ndim == 1 else times
