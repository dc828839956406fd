"""A transformer denoiser for sequences: a level for each token, causal or not, with a memory for roll-outs.

A token is the flattened features of one frame, x_i; e_i is the embedding of its level (and the class). With
the six vectors (a, b, g, a', b', g')(e_i) + c_l of block l,

    h <- h + g  attention((1 + a)  norm(h) + b),
    h <- h + g' W_2 silu(W_1 ((1 + a') norm(h) + b')),

`norm` being the layer norm without parameters: adaptive normalisation with gates that start at zero
(Peebles and Xie, arXiv 2212.09748). One linear map of e_i serves all blocks, which differ by the constants
c_l (Chen et al., arXiv 2310.00426, section 2.3): with a level for each token, a map for each block would cost
half of what the block itself costs. Where there are latents, h <- h + what it gathers from their tokens by
cross-attention stands between the two, the identity at the start.

**Positions** enter by rotation (Su et al., arXiv 2104.09864): the pairs (q_j, q_{j + d/2}) of queries and
keys at token i turn by the angle i w_j, w_j = 10000^(-2j/d), so that their product knows the distance alone.
Angles are counted in units of 2^-32 of a turn by integers that wrap: a roll-out's millionth token is placed
as exactly as its first.

**Memory** of a causal network: for each block the rotated keys and the values of the latest tokens,
`[B, heads, R, d]`, in a ring of R = min(positions, window) places: token i lies at place i mod R, over token
i - R. New tokens see each other, causally, and of the ring those less than R tokens back: `window=R` for
sequences of any length, at the cost of the new tokens alone.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from diffusion_jax.networks.attention import CrossAttention
from diffusion_jax.networks.checks import check_counts, check_input, check_no_latents, token_condition
from diffusion_jax.networks.embeddings import Conditioning
from diffusion_jax.networks.latents import LatentTokens, check_ungrouped
from diffusion_jax.networks.layers import Dense, Dropout, ScaleShift, silu
from diffusion_jax.types import Array, Batch


class Cache(NamedTuple):
    """The memory of a causal transformer: keys and values `[B, heads, R, d]` of each block, and int `[B]`,
    the number of tokens so far."""

    keys: tuple[Array, ...]
    values: tuple[Array, ...]
    count: Array


class Past(NamedTuple):
    """What a block sees of earlier tokens: keys and values `[B, heads, R, d]`; which of them each new token
    sees, bool `[B, 1, n, R]`; the place of each new token in the ring, int `[B, n]`."""

    keys: Array
    values: Array
    seen: Array
    places: Array


def rotation(positions: Array | np.ndarray, features: int) -> tuple[Any, Any]:
    """cos and sin of the angles of positions: int `[#B, T] -> two of [#B, 1, T, features / 2]`, float32."""
    # Known positions give constants: XLA would work out cosines anew for each sample and head.
    xp = np if isinstance(positions, np.ndarray) else jnp
    frequencies = 10000.0 ** (-2 * np.arange(features // 2) / features)
    units = np.round(frequencies / (2 * math.pi) * 2**32).astype(np.uint32).reshape(1, 1, 1, -1)
    turned = positions.astype(np.uint32)[:, None, :, None] * units
    angle = turned.astype(np.int32).astype(np.float32) * np.float32(2 * math.pi / 2**32)
    return xp.cos(angle), xp.sin(angle)


def rotate(x: Array, cos: Array, sin: Array) -> Array:
    """Turns the pairs of `[B, heads, T, d]` by the angles `[#B, 1, T, d/2]`."""
    first, second = jnp.split(x, 2, axis=-1)
    cos, sin = cos.astype(x.dtype), sin.astype(x.dtype)
    return jnp.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)


def reach(tokens: int, causal: bool, window: int | None) -> np.ndarray | None:
    """Which tokens (last axis) each token sees: bool `[1, 1, T, T]`, or None for all."""
    back = np.arange(tokens)[:, None] - np.arange(tokens)
    seen = np.ones((tokens, tokens), bool)
    if causal:
        seen &= back >= 0
    if window is not None:
        seen &= np.abs(back) < window
    return None if seen.all() else seen[None, None]


class Attention(nn.Module):
    """Attention of `[B, T, width]` to itself and to the past; with a past, also the past after these tokens.

    Products of plain matrices, tokens by features, are what a CPU has fast gradients for.
    """

    heads: int
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: Array, angles: tuple[Array, Array], seen: np.ndarray | None, past: Past | None
    ) -> tuple[Array, tuple[Array, Array] | None]:
        batch, tokens, width = x.shape
        parts = jnp.split(Dense(3 * width, use_bias=False, dtype=self.dtype, name="qkv")(x), 3, axis=-1)
        q, k, v = (part.reshape(batch, tokens, self.heads, -1).swapaxes(1, 2) for part in parts)
        q, k = rotate(q / math.sqrt(q.shape[-1]), *angles), rotate(k, *angles)

        logits = (q @ k.swapaxes(2, 3)).astype(jnp.float32)
        if seen is not None:
            logits = jnp.where(seen, logits, -jnp.inf)
        if past is None:
            h = nn.softmax(logits).astype(v.dtype) @ v
            after = None
        else:
            earlier = jnp.where(past.seen, (q @ past.keys.swapaxes(2, 3)).astype(jnp.float32), -jnp.inf)
            weights = nn.softmax(jnp.concatenate([earlier, logits], axis=-1)).astype(v.dtype)
            ring = past.keys.shape[2]
            h = weights[..., :ring] @ past.values + weights[..., ring:] @ v
            after = written(past.keys, k, past.places), written(past.values, v, past.places)
        h = h.swapaxes(1, 2).reshape(batch, tokens, width)
        return Dense(width, dtype=self.dtype, name="out")(h), after


def written(buffer: Array, new: Array, places: Array) -> Array:
    """The ring `[B, heads, R, d]` with the last R of n new tokens `[B, heads, n, d]` at places `[B, n]`."""
    ring = buffer.shape[2]
    new, places = new[:, :, -ring:].swapaxes(1, 2), places[:, -ring:]
    return buffer.at[jnp.arange(buffer.shape[0])[:, None], :, places].set(new.astype(buffer.dtype))


class Block(nn.Module):
    """See the head of the module: `[B, T, width]`, with the six vectors `[#B, #T, 6 width]`."""

    heads: int
    dropout: float
    dtype: Any = None

    @nn.compact
    def __call__(
        self,
        h: Array,
        vectors: Array,
        angles: tuple[Array, Array],
        seen: np.ndarray | None,
        past: Past | None,
        latents: Array | None,
        train: bool,
    ) -> tuple[Array, tuple[Array, Array] | None]:
        width = h.shape[-1]
        own = self.param("modulation", nn.initializers.zeros, (6 * width,))
        parts = jnp.split(vectors + own.astype(vectors.dtype)[None, None], 6, axis=-1)
        scale, shift, gate, scale_mlp, shift_mlp, gate_mlp = parts

        def norm(h: Array) -> Array:
            return nn.LayerNorm(use_bias=False, use_scale=False, dtype=self.dtype)(h)

        y, after = Attention(self.heads, self.dtype)(norm(h) * (1 + scale) + shift, angles, seen, past)
        h = h + gate * Dropout(self.dropout)(y, train)
        if latents is not None:
            h = CrossAttention(self.heads, self.dtype, name="latents")(h, latents)
        y = silu(Dense(4 * width, dtype=self.dtype)(norm(h) * (1 + scale_mlp) + shift_mlp))
        y = Dense(width, dtype=self.dtype)(Dropout(self.dropout)(y, train))
        return h + gate_mlp * y, after


class Transformer(nn.Module):
    """See `transformer`."""

    width: int = 128
    depth: int = 3
    heads: int = 4
    causal: bool = False
    window: int | None = None
    labels: int = 0
    condition: int = 0
    outputs: int = 1
    dropout: float = 0.0
    dtype: Any = None
    positions: int = 64
    latents: LatentTokens | None = None

    def __call__(self, x: Array, noise: Array, conditions: Batch | None = None, train: bool = False) -> Array:
        return self.denoise(x, noise, conditions, None, train)[0]

    def start(self, batch: int, dtype: Any = jnp.float32) -> Cache:
        """The memory before the first token, of `batch` samples of data of type `dtype`.

        Raises:
          ValueError: the network is not causal.
        """
        self._check_causal()
        ring = self._ring()
        shape = (batch, self.heads, ring, self.width // self.heads)
        dtype = self.dtype or jnp.promote_types(dtype, jnp.float32)
        empty = tuple(jnp.zeros(shape, dtype) for _ in range(self.depth))
        return Cache(empty, empty, jnp.zeros((batch,), jnp.int32))

    def extend(self, x: Array, noise: Array, conditions: Batch | None, memory: Cache) -> tuple[Array, Cache]:
        """The output for n further tokens, given all those in memory, and the memory after them.

        Args:
          x: `[B, n, ...]`. noise: `[#B, #n]`. conditions: as for the call, of these tokens.
          memory: of `start`, or of an earlier `extend`.

        Raises:
          ValueError: the network is not causal, n exceeds `positions`, or what the call refuses.
        """
        self._check_causal()
        if memory.count.shape != x.shape[:1]:
            raise ValueError(f"the memory is of {memory.count.shape[0]} samples, x is of {x.shape[0]}")
        return self.denoise(x, noise, conditions, memory, False)

    def _ring(self) -> int:
        return self.positions if self.window is None else min(self.window, self.positions)

    def _check_causal(self) -> None:
        if not self.causal:
            raise ValueError(
                "this transformer sees the future of each token, so it has no memory to extend: build it "
                "with causal=True, or slide a window over the sequence"
            )

    @nn.compact
    def denoise(
        self, x: Array, noise: Array, conditions: Batch | None, memory: Cache | None, train: bool
    ) -> tuple[Array, Any]:
        """The output for these tokens and, with a memory, the memory after them."""
        check_input(x, noise)
        batch, tokens = x.shape[:2]
        if tokens > self.positions:
            raise ValueError(f"horizon longer than positions: {tokens} tokens, positions={self.positions}")
        rows = x.reshape(batch, tokens, -1)
        embedding = Conditioning(labels=self.labels, dtype=self.dtype)(noise, conditions, batch)
        vectors = Dense(6 * self.width, dtype=self.dtype, kernel_init=nn.initializers.zeros)(embedding)
        h = Dense(self.width, dtype=self.dtype)(rows)
        given = token_condition(conditions, x.shape[:2], self.condition)
        if given is not None:
            h = h + Dense(self.width, use_bias=False, dtype=self.dtype, name="condition")(given)

        if self.latents is None:
            check_no_latents(conditions)
        seen_latents = None if self.latents is None else self.latents(conditions, batch)

        index = np.arange(tokens)[None]
        if memory is None:
            seen, pasts = reach(tokens, self.causal, self.window), [None] * self.depth
        else:
            ring = memory.keys[0].shape[2]
            seen, index = reach(tokens, True, ring), memory.count[:, None] + index
            last = memory.count[:, None] - 1
            held = last - jnp.mod(last - jnp.arange(ring)[None], ring)
            visible = (held >= 0)[:, None] & (index[:, :, None] - held[:, None] < ring)
            pasts = [Past(k, v, visible[:, None], index % ring) for k, v in zip(memory.keys, memory.values)]
        angles = rotation(index, self.width // self.heads)
        after = []
        for past in pasts:
            block = Block(self.heads, self.dropout, self.dtype)
            h, written_past = block(h, vectors, angles, seen, past, seen_latents, train)
            after.append(written_past)

        scale, shift = ScaleShift(self.width, self.dtype)(embedding)
        h = nn.LayerNorm(use_bias=False, use_scale=False, dtype=self.dtype)(h) * (1 + scale) + shift
        out = Dense(rows.shape[-1] * self.outputs, kernel_init=nn.initializers.zeros)(h.astype(x.dtype))
        out = out.reshape(*x.shape[:-1], self.outputs * x.shape[-1])
        if memory is None:
            return out, None
        keys, values = zip(*after)
        return out, Cache(keys, values, memory.count + tokens)


def transformer(
    width: int = 128,
    depth: int = 3,
    heads: int = 4,
    causal: bool = False,
    window: int | None = None,
    labels: int = 0,
    condition: int = 0,
    outputs: int = 1,
    dropout: float = 0.0,
    dtype: Any = None,
    positions: int = 64,
    latents: LatentTokens | None = None,
) -> Transformer:
    """A transformer on sequences `[B, T, ...]`, a level for each token; features are flattened.

    A causal one also has the methods `start` and `extend`, a memory for roll-outs of any length: out of n new
    tokens, given all in memory, at the cost of the new ones.

    Args:
      width: hidden units. depth: blocks. heads: of attention; width must be an even multiple of them.
      causal: a token sees itself and earlier ones; otherwise all.
      window: a token sees those less than this many tokens away; None for all.
      labels: classes of `conditions["label"]`; 0 for none.
      condition: features of `conditions["condition"]` `[B, T, ...]`, such as actions, one vector for each
        token, added to it after a linear map; 0 for none.
      outputs: values for each entry of x; the output is `[B, T, ..., outputs C]`, the mean's part first.
      dropout: rate after attention and in the hidden layers while training; needs the random stream
        "dropout".
      dtype: of the computation, such as "bfloat16"; parameters, read-out and output keep theirs.
      positions: the longest sequence, and the tokens that a memory holds. No parameter depends on it.
      latents: how the network sees `conditions["latents"]` (see `latent_tokens`), which are the whole
        sequence's; None for no latents.

    Raises:
      ValueError: a count below 1, a width that does not suit the heads, or groups of latents; when applied,
        shapes, labels, conditions or latents that do not fit, and sequences longer than `positions`.
    """
    check_counts(width=width, depth=depth, heads=heads, outputs=outputs, positions=positions)
    check_counts(minimum=0, labels=labels, condition=condition)
    if window is not None:
        check_counts(window=window)
    if width % (2 * heads):
        raise ValueError(f"width must be an even multiple of heads, got width={width}, heads={heads}")
    check_ungrouped(latents)
    return Transformer(
        width, depth, heads, causal, window, labels, condition, outputs, dropout, dtype, positions, latents
    )


EXAMPLES = {"transformer": {"width": 16, "depth": 2, "heads": 2, "positions": 8}}
SHAPES = {"transformer": (3, 3, 2)}
