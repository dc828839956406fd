"""How the bound's step is drawn: uniformly over the steps, or in proportion to their share of the loss.

A law of steps is a `Pairs(init, draw, update)`: `init(n)` gives its state for n steps, `draw(state, u, n)`
turns levels u in [0, 1) (uniform, or of low discrepancy) into step numbers and weights 1/p, and
`update(state, index, loss)` learns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from diffusion_jax.types import Array, PyTree


class Pairs(NamedTuple):
    """A law of steps.

    init:   (n) -> state
    draw:   (state, u [#B, #T], n) -> (index, 1/p), both shaped like u
    update: (state, index, loss) -> state
    """

    init: Callable[[int], PyTree]
    draw: Callable[[PyTree, Array, int], tuple[Array, Array]]
    update: Callable[[PyTree, Array, Array], PyTree]


def even() -> Pairs:
    """Every step with probability 1/n."""

    def draw(state: PyTree, u: Array, n: int) -> tuple[Array, Array]:
        del state
        return jnp.minimum((u * n).astype(jnp.int32), n - 1), jnp.full(u.shape, float(n))

    return Pairs(lambda n: (), draw, lambda state, index, loss: state)


class _History(NamedTuple):
    losses: Array  # [n, kept], the latest losses of each step, in a ring
    count: Array  # [n] int32, how many were ever seen


def importance(kept: int = 10, floor: float = 1e-3) -> Pairs:
    """p_k proportional to sqrt(mean of the last `kept` squared losses of step k), a share `floor` uniform.

    Improved DDPM (arXiv 2102.09672), section 3.3: uniform until every step has `kept` losses. Helps the
    bound, not the hybrid loss. Raises ValueError unless kept >= 1 and 0 < floor <= 1.
    """
    if kept < 1 or not 0 < floor <= 1:
        raise ValueError(f"need kept >= 1 and 0 < floor <= 1, got kept={kept}, floor={floor}")

    def init(n: int) -> _History:
        return _History(jnp.zeros((n, kept)), jnp.zeros((n,), jnp.int32))

    def probabilities(state: _History) -> Array:
        n = state.count.shape[0]
        size = jnp.sqrt((state.losses**2).mean(1)) + jnp.finfo(jnp.float32).tiny
        learned = (1 - floor) * size / size.sum() + floor / n
        return jnp.where((state.count >= kept).all(), learned, 1 / n)

    def draw(state: _History, u: Array, n: int) -> tuple[Array, Array]:
        p = probabilities(state)
        index = jnp.searchsorted(jnp.cumsum(p), u, side="right").astype(jnp.int32)
        index = jnp.minimum(index, n - 1)
        return index, 1 / p[index]

    def update(state: _History, index: Array, loss: Array) -> _History:
        index, loss = index.reshape(-1), jnp.broadcast_to(loss, index.shape).reshape(-1)
        # The k-th loss of a step within this batch goes k places further round its ring; of more than fit,
        # the last are kept, the others go nowhere: two writes to one place have no order.
        before = (index[:, None] == index[None, :]) & jnp.tri(index.size, k=-1, dtype=bool)
        place = (state.count[index] + before.sum(1)) % kept
        place = jnp.where(before.sum(0) < kept, place, kept)
        losses = state.losses.at[index, place].set(loss, mode="drop")
        return _History(losses, state.count.at[index].add(1))

    return Pairs(init, draw, update)


EXAMPLES: dict[str, dict[str, Any]] = {"even": {}, "importance": {"kept": 2}}
