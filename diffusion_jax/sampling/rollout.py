"""Roll-outs: tokens generated window after window, each given those before it.

A roll-out is one `lax.scan` over windows of n tokens, and within it the sampling loop over a grid of levels:
one compiled step, whatever the length. The grid of a window is a scheduling matrix (`schedules`): all its
tokens together, one after the other, a pyramid, every k-th and then those between.

**Stabilisation.** What a model generates is not quite the data it was trained on, and errors add up. So the
history is *declared* to be a little noisy, at a level k (Diffusion Forcing, arXiv 2407.01392, section 3.3 and
appendix B.6): with fresh noise it is a draw of q(x_k | x_0), as the model was trained on (arXiv 2502.06764);
without, its mean alpha(k) x_0, as the first paper's deterministic sampler has it. The paper's recurrent
network keeps for its latent state what it saw before a token's last step: there `stabilise` is None.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from diffusion_jax.levels import normal
from diffusion_jax.sampling.loop import checked, sample_path, step_key
from diffusion_jax.types import Array, Batch, Draw, Key, Memory, Sampler


def rollout(
    key: Key,
    memory: Memory,
    sampler: Sampler,
    start: Array,
    times: Array,
    windows: int,
    conditions: Batch | None = None,
    *,
    process: Any,
    stabilise: float | None = 0.0,
    fresh: bool = True,
    draw: Draw = normal,
) -> Array:
    """`windows` times n tokens that follow `start`.

    Args:
        key: one key, or [B] keys; window w uses fold_in(key, w).
        memory: of the tokens so far: `Bound.memory` or `window(...)`.
        sampler: such as `ddim(process)`.
        start: [B, C, ...], known tokens, which are given at level 0; C may be 0.
        times: [M, #B, n], the levels of a window, from 1 to 0: `levels_of(grid, matrix)`.
        windows: how many, at least 1.
        conditions: a batch of them; `condition` [B, C + windows n, ...] is cut into windows, all others hold
            for every token.
        process: whose prior the new tokens are drawn from, and whose marginal stabilises.
        stabilise: the level at which generated tokens are declared once they are history; None takes them
            as they were before their last step, at the level that they had there.
        fresh: whether history is noised afresh to that level (once), or only scaled by alpha.
        draw: (key, x) -> standard normal noise like x, for the prior and for fresh noise.

    Returns:
        [B, windows n, ...], without `start`.

    Raises:
        TypeError: as `sample`.
        ValueError: as `sample`; times that do not lead from 1 to 0, a level of stabilisation outside [0, 1),
            no window, conditions of another length; more tokens at once than the memory takes.
    """
    batch, context = start.shape[:2]
    if np.ndim(times) != 3:
        raise ValueError(f"times must be [M, #B, n], as `levels_of` makes them; got shape {np.shape(times)}")
    count = np.shape(times)[2]
    new = jnp.zeros((batch, count, *start.shape[2:]), start.dtype)
    _check_ends(times)
    times = checked(key, new, times, sampler.rises)
    if windows < 1:
        raise ValueError(f"windows must be at least 1, got {windows}")
    if stabilise is not None and not 0 <= stabilise < 1:
        raise ValueError(f"history is declared at a level in [0, 1), or at its last (None); got {stabilise}")
    known = dict(conditions or {})
    first, later = _windows(known.pop("condition", None), context, windows, count)
    moving = (times > 0).sum(0) - 1  # the row before the last step of each token

    def history(key: Key, x: Array, path: Array) -> tuple[Array, Any]:
        """What the memory is told of a generated window, and the levels at which that stands."""
        if stabilise is None:
            row = moving.reshape(1, *moving.shape, *(1,) * (x.ndim - 2))
            at = jnp.broadcast_to(row, (1, *x.shape))
            return jnp.take_along_axis(path, at, 0)[0], jnp.take_along_axis(times, moving[None], 0)[0]
        law = process.marginal(x, jnp.asarray(stabilise, x.dtype))
        return (law.sample(key, draw) if fresh else law.mean), stabilise

    def body(state: Any, now: tuple[Array, Batch]) -> tuple[Any, Array]:
        index, own = now
        one = step_key(key, index)
        given = {**known, **own}
        x = process.prior(new.shape).sample(step_key(one, 0), draw).astype(new.dtype)
        denoiser = memory.denoiser(state, given)
        keep = (lambda s: s.x) if stabilise is None else (lambda s: ())
        x, path = sample_path(step_key(one, 1), denoiser, sampler, x, times, keep)
        return memory.update(state, given, *history(step_key(one, 2), x, path)), x

    state = memory.init(batch)
    if context:
        state = memory.update(state, {**known, **first}, start, 0.0)
    _, x = jax.lax.scan(body, state, (jnp.arange(windows), later))
    return x.swapaxes(0, 1).reshape(batch, windows * count, *start.shape[2:])


def _windows(condition: Any, context: int, windows: int, count: int) -> tuple[Batch, Batch]:
    """The conditions of the known tokens, and those of each window: leaves [windows, B, n, ...]."""
    if condition is None:
        return {}, {}
    shape, length = jnp.shape(condition), context + windows * count
    if len(shape) < 2 or shape[1] != length:
        raise ValueError(
            f"conditions of {context} known and {windows} x {count} new tokens must be [B, {length}, ...], "
            f"got shape {shape}"
        )
    condition = jnp.asarray(condition)
    later = condition[:, context:].reshape(shape[0], windows, count, *shape[2:])
    return {"condition": condition[:, :context]}, {"condition": later.swapaxes(0, 1)}


def _check_ends(times: Any) -> None:
    if isinstance(times, Tracer):
        return
    times = np.asarray(times)
    if (times[0] != 1).any() or (times[-1] != 0).any():
        raise ValueError("the levels of a window lead every token from 1 (noise) to 0 (clean)")
