"""Attention among a few tokens, and of features to tokens: what encoders and latents are made of.

With heads of size d, q_i the queries and k_j, v_j the keys and values (Vaswani et al., arXiv 1706.03762),

    out_i = sum_j softmax_j(q_i k_j / sqrt d) v_j,

the softmax in float32. A block is that and a perceptron, each behind a layer norm and beside the identity:

    h <- h + W attention(norm(h)),     h <- h + W_2 gelu(W_1 norm(h)).
"""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from diffusion_jax.networks.layers import Dense, Dropout
from diffusion_jax.types import Array


def attended(q: Array, k: Array, v: Array, heads: int, seen: np.ndarray | Array | None = None) -> Array:
    """What each of I queries gathers from J tokens: `[N, I, C], [N, J, C], [N, J, C] -> [N, I, C]`.

    The channels run over the heads first. seen: bool, broadcastable to `[N, heads, I, J]`; None for all.
    Products of plain matrices, tokens by channels, are what a CPU has fast gradients for.

    Raises:
      ValueError: C is not a multiple of `heads`.
    """
    channels = q.shape[-1]
    if channels % heads:
        raise ValueError(f"{channels} channels do not divide into {heads} heads of attention")
    size = channels // heads
    q, k, v = (part.reshape(*part.shape[:2], heads, size).swapaxes(1, 2) for part in (q, k, v))
    logits = (q @ (k / math.sqrt(size)).swapaxes(2, 3)).astype(jnp.float32)
    if seen is not None:
        logits = jnp.where(seen, logits, -jnp.inf)
    out = nn.softmax(logits).astype(v.dtype) @ v
    return out.swapaxes(1, 2).reshape(*out.swapaxes(1, 2).shape[:2], channels)


class CrossAttention(nn.Module):
    """Features `[B, ..., C]` plus what they gather from tokens `[B, J, E]`; the identity at the start.

    heads: of attention, as many as divide C
    """

    heads: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, tokens: Array) -> Array:
        channels = x.shape[-1]
        rows = x.reshape(x.shape[0], -1, channels)
        q = Dense(channels, dtype=self.dtype, name="q")(nn.LayerNorm(dtype=self.dtype, name="norm")(rows))
        k, v = jnp.split(Dense(2 * channels, dtype=self.dtype, name="kv")(tokens), 2, axis=-1)
        last = Dense(channels, dtype=self.dtype, kernel_init=nn.initializers.zeros, name="out")
        return x + last(attended(q, k, v, self.heads)).reshape(x.shape).astype(x.dtype)


class EncoderBlock(nn.Module):
    """See the head of the module: `[B, J, C] -> [B, J, C]`, every token seeing those it may."""

    heads: int
    dropout: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, h: Array, seen: np.ndarray | None = None, train: bool = False) -> Array:
        width = h.shape[-1]
        qkv = Dense(3 * width, dtype=self.dtype, name="qkv")(nn.LayerNorm(dtype=self.dtype)(h))
        q, k, v = jnp.split(qkv, 3, axis=-1)
        y = attended(q, k, v, self.heads, seen)
        h = h + Dropout(self.dropout)(Dense(width, dtype=self.dtype, name="out")(y), train)
        y = nn.gelu(Dense(4 * width, dtype=self.dtype)(nn.LayerNorm(dtype=self.dtype)(h)))
        return h + Dropout(self.dropout)(Dense(width, dtype=self.dtype)(y), train)
