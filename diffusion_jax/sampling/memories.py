"""Memories for roll-outs: what a denoiser is given of the tokens so far.

There are three, with one interface (`Memory`). A recurrent network carries its latent state and a causal
transformer its keys and values: these come with the trained variables, as `Bound.memory`. `window` is for
every other denoiser, and for a limited view of the past: it shows the last tokens anew at every step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from diffusion_jax.levels import canonical
from diffusion_jax.types import Array, Batch, Denoiser, Memory


class Window(NamedTuple):
    """The last tokens, from the left, and pure noise where there are none.

    x:         [B, T, ...]
    t:         [B, T], the levels at which they are declared; 1 for those that do not exist
    condition: [B, T, ...], or None
    count:     int [B], how many exist
    """

    x: Array
    t: Array
    condition: Array | None
    count: Array


def window(
    denoiser: Callable[[Batch], Denoiser],
    process: Any,
    shape: tuple[int, ...],
    condition: tuple[int, ...] | None = None,
    seed: int = 0,
) -> Memory:
    """A sliding window over the sequence, as a memory for any denoiser of T tokens.

    The sequence fills the window from the left. Tokens to the right of the new ones do not exist yet: they
    are pure noise at level 1, which says nothing (exactly so where alpha(1) = 0). Once the window is full the
    oldest tokens leave it: n new tokens see the last T - n. The denoiser always sees T tokens, so it is
    compiled once.

    Args:
        denoiser: conditions -> the denoiser of T tokens, such as `lambda c: objective.bind(variables, key,
            c).denoiser`; `lambda c: denoiser` for one without conditions.
        process: whose prior the tokens that do not exist are drawn from.
        shape: of the window, (T, ...).
        condition: shape of a token's condition, or None; zeros where the token does not exist.
        seed: of the noise that stands for tokens that do not exist.

    Raises:
        ValueError: a shape without tokens; when used, more tokens at once than the window holds, or tokens
            or conditions of another shape.
    """
    if len(shape) < 1 or min(shape) < 1:
        raise ValueError(f"a window has the shape (T, ...) of at least one token, got {shape}")
    length = shape[0]

    def init(count: int) -> Window:
        # The same for all samples: none of them depends on its place in the batch.
        noise = process.prior((1, *shape)).sample(jax.random.key(seed))
        x = jnp.broadcast_to(noise, (count, *shape))
        given = None if condition is None else jnp.zeros((count, length, *condition), x.dtype)
        return Window(x, jnp.ones((count, length), x.dtype), given, jnp.zeros((count,), jnp.int32))

    def extended(memory: Window, given: Batch, x: Array, t: Any) -> tuple[Window, Array]:
        """The window with further tokens, and int [B], where they begin."""
        known = _checked(x, given, length, shape[1:], condition)
        count, t = x.shape[1], jnp.broadcast_to(canonical(t, x), x.shape[:2])
        place = jnp.minimum(memory.count, length - count)
        left = memory.count - place
        conditions = None
        if memory.condition is not None and known is not None:
            conditions = _written(memory.condition, known, place, left)
        x, t = _written(memory.x, x, place, left), _written(memory.t, t, place, left)
        return Window(x, t, conditions, place + count), place

    def next_tokens(memory: Window, given: Batch) -> Denoiser:
        def denoise(x: Array, t: Array) -> Array:
            whole, place = extended(memory, given, x, t)
            conditions = given if condition is None else {**given, "condition": whole.condition}
            x0_hat = denoiser(conditions)(whole.x, whole.t)
            cut = jax.vmap(lambda one, start: jax.lax.dynamic_slice_in_dim(one, start, x.shape[1]))
            return cut(x0_hat, place)

        return denoise

    return Memory(init, next_tokens, lambda memory, given, x, t: extended(memory, given, x, t)[0])


def _written(buffer: Array, new: Array, place: Array, left: Array) -> Array:
    """[B, T, ...] moved `left` tokens out of the window, with `new` [B, n, ...] at `place`; int [B] both."""

    def one(buffer: Array, new: Array, place: Array, left: Array) -> Array:
        moved = jnp.roll(buffer, -left, axis=0)
        return jax.lax.dynamic_update_slice_in_dim(moved, new.astype(buffer.dtype), place, axis=0)

    return jax.vmap(one)(buffer, new, place, left)


def _checked(
    x: Array, given: Batch, length: int, token: tuple[int, ...], condition: tuple[int, ...] | None
) -> Array | None:
    """The conditions of the tokens, after all that can be wrong with the tokens has been ruled out."""
    if x.ndim < 2 or x.shape[2:] != token:
        raise ValueError(f"the window holds tokens {token}, [B, n, *{token}]; got shape {x.shape}")
    if x.shape[1] > length:
        raise ValueError(f"{x.shape[1]} tokens at once, but the window holds {length}")
    known = given.get("condition")
    if condition is None and known is None:
        return None
    wanted = None if condition is None else (*x.shape[:2], *condition)
    got = None if known is None else jnp.shape(known)
    if wanted != got:
        raise ValueError(f"the conditions of these tokens must have shape {wanted}, got {got}")
    return known
