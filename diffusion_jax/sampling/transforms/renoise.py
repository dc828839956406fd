"""Fresh noise inside a transform, which stays a function: the same twice for the same arguments."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from diffusion_jax.levels import canonical, normal
from diffusion_jax.types import Array, Draw, Key


def sample_keys(key: Key, batch: int) -> Key:
    """[B] keys, one a sample, from one key or from [B] keys, which stay as they are."""
    return key if key.ndim else jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(batch))


def redrawn(
    process: Any, x: Array, t: Array, key: Key, draw: Draw = normal, since: Array | None = None
) -> Array:
    """A draw of q(x_t | x_0 = x): a function of the key, the sample's place, the token and its level.

    Args:
        process: any process; with `since` a Gaussian one.
        x: [B, T, ...].
        t: () | [B] | [B, T].
        key: one key, or [B] keys, a seed for each sample. Not the one that the sampler gets.
        draw: (key, x) -> standard normal noise like x.
        since: the level that x stands at, [B, T] and not above t; by default x is clean.
    """
    tokens = x.shape[0] * x.shape[1]
    each = jnp.broadcast_to(canonical(t, x), x.shape[:2])
    flat, to = x.reshape(tokens, *x.shape[2:]), each.reshape(tokens)
    law = process.marginal(flat, to) if since is None else process.transition(flat, since.reshape(tokens), to)
    return law.sample(_token_keys(key, each).reshape(tokens), draw).reshape(x.shape)


def _token_keys(key: Key, levels: Array) -> Key:
    """A key for each token, [B, T], from one key or [B] keys and the levels [B, T]."""
    batch, length = levels.shape
    bits = jax.lax.bitcast_convert_type(levels.astype(jnp.float32), jnp.uint32)

    def of_token(sample: Key, place: Array, level: Array) -> Key:
        return jax.random.fold_in(jax.random.fold_in(sample, place), level)

    places = jnp.arange(length)
    return jax.vmap(jax.vmap(of_token, (None, 0, 0)), (0, None, 0))(sample_keys(key, batch), places, bits)
