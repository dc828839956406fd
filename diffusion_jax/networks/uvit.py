"""A U-Net whose lowest resolution is a transformer: the U-ViT (Hoogeboom et al., arXiv 2301.11093).

Most of the network is where it costs least: with h the features that the encoder's convolutions leave,

    h <- h + W_out norm(block_L(... block_1(W_in h))),      W_in to the width of the lowest resolution,

before the decoder's. The convolutions are ADM's residual blocks (`unet_blocks`), as many in the decoder as in
the encoder, each of the decoder's beside the output of its counterpart; a block at the entrance of each
resolution halves or doubles the sides. The transformer's blocks are those of `transformer`, a token for each
pixel of a frame: attention and a perceptron, scaled, shifted and gated by the embedding of level and class.
Embedding, noise label and read-out are ADM's (`unet`).

Positions enter by rotation, half of a head's pairs by the row and half by the column, where the paper adds a
table of learned vectors: no parameter depends on the size of the image but by its name.

Latents are seen by the convolutional blocks that attend and by every third block of the transformer, the last
among them (DisCo-Diff, arXiv 2407.03300: 12 of 36). Of groups of latents the transformer counts as the
decoder's lowest resolution. Dropout is the transformer's alone: the paper finds that it helps, but not at the
highest resolutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from diffusion_jax.networks.checks import check_counts, check_input
from diffusion_jax.networks.latents import LatentTokens
from diffusion_jax.networks.layers import Dense
from diffusion_jax.networks.transformer import Block, rotation
from diffusion_jax.networks.unet import Adm, UNet, checked
from diffusion_jax.networks.unet_blocks import Pointwise, conv
from diffusion_jax.types import Array, Batch

_EVERY = 3  # blocks of the transformer for one that sees the latents


def plane(height: int, width: int, features: int) -> tuple[Any, Any]:
    """cos and sin of the angles of pixels, row by row: two of `[1, 1, height width, features / 2]`, float32.

    features: of a head of attention, a multiple of 4; the first half of the angles are the rows'.
    """
    places = np.divmod(np.arange(height * width), width)
    (cos, sin), (cos_column, sin_column) = (rotation(place[None], features // 2) for place in places)
    return np.concatenate([cos, cos_column], axis=-1), np.concatenate([sin, sin_column], axis=-1)


class Bottleneck(nn.Module):
    """The transformer among the pixels of each frame: `[B, T, H, W, C], [#B, #T, E] -> [B, T, H, W, C]`.

    latents: their tokens `[B, n, E']`, or None
    """

    depth: int
    heads: int
    dropout: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, h: Array, embedding: Array, latents: Array | None, train: bool) -> Array:
        batch, frames, height, width, channels = h.shape
        vectors = Dense(6 * channels, dtype=self.dtype, kernel_init=nn.initializers.zeros, name="modulation")(
            embedding
        )
        vectors = jnp.broadcast_to(vectors, (batch, frames, 6 * channels)).reshape(-1, 1, 6 * channels)
        seen = None if latents is None else jnp.repeat(latents, frames, axis=0)
        angles = plane(height, width, channels // self.heads)
        rows = h.reshape(batch * frames, height * width, channels)
        for index in range(self.depth):
            block = Block(self.heads, self.dropout, self.dtype, name=f"block{index}")
            given = seen if (self.depth - 1 - index) % _EVERY == 0 else None
            rows, _ = block(rows, vectors, angles, None, None, given, train)
        return nn.LayerNorm(dtype=self.dtype, name="norm")(rows).reshape(h.shape)


def _heads(width: int) -> int:
    return max(1, width // UViT.style.head)


class UViT(Adm):
    """See `uvit`."""

    depth: int = 36

    @nn.compact
    def __call__(self, x: Array, noise: Array, conditions: Batch | None = None, train: bool = False) -> Array:
        check_input(x, noise)
        sides = self.heights(x)
        embedding = self.embed(noise, conditions, x.shape[0])
        style, tokens = self.style, self.tokens(conditions, x.shape[0], sides)
        encode, decode = self.layers(embedding, tokens, train=False)
        *levels, (_, low) = enumerate(sides)

        h = conv(x, self.channels, style.init, f"enc_{sides[0]}x{sides[0]}_conv", self.dtype)
        skips = []
        for level, side in levels:
            if level > 0:
                h = encode(h, h.shape[-1], False, f"enc_{side}x{side}_down", style.resampling.down)
            for index in range(self.blocks):
                features = self.channels * self.multipliers[level]
                h = encode(h, features, side in self.attention, f"enc_{side}x{side}_block{index}")
                skips.append(h)
        h = encode(h, h.shape[-1], False, f"enc_{low}x{low}_down", style.resampling.down)

        width = self.channels * self.multipliers[-1]
        seen = self.latents.at_height(tokens, low, decoding=True) if self.latents else None
        transformer = Bottleneck(self.depth, _heads(width), self.dropout, self.dtype, name="transformer")
        y = Pointwise(width, style.init, self.dtype, name="transformer_in")(h)
        y = transformer(y, embedding, seen, train)
        h = h + Pointwise(h.shape[-1], style.init, self.dtype, name="transformer_out")(y)

        for level, side in reversed(levels):
            h = decode(h, h.shape[-1], False, f"dec_{side}x{side}_up", style.resampling.up)
            for index in range(self.blocks):
                features = self.channels * self.multipliers[level]
                both = jnp.concatenate([h, skips.pop()], axis=-1)
                h = decode(both, features, side in self.attention, f"dec_{side}x{side}_block{index}")
        return self.read(h, x)


def uvit(
    channels: int = 128,
    multipliers: Sequence[int] = (1, 2, 4, 16),
    blocks: int = 2,
    attention: Sequence[int] = (64, 32),
    depth: int = 36,
    labels: int = 0,
    augment: int = 0,
    outputs: int = 1,
    dropout: float = 0.0,
    dtype: Any = None,
    latents: LatentTokens | None = None,
) -> UNet:
    """U-ViT; the defaults are ImageNet-128's, `[B, T, H, W, C]`, each frame by itself.

    The noise label is any number of the size of 1, as for `unet.adm`.

    Args:
      channels: at full resolution before the first multiplier; a multiple of 4 (above 128, of 32).
      multipliers: of the channels, one for each resolution, full resolution first; the last gives the width
        of the transformer. H and W must be multiples of 2^(their number - 1).
      blocks: residual blocks at each resolution of the encoder above the transformer's, and of the decoder.
      attention: heights of the features at which pixels attend to each other in these; the transformer's,
        which always does, may be named too.
      depth: blocks of the transformer.
      labels, augment, outputs, latents: as for `unet.ddpmpp`.
      dropout: rate in the transformer while training; needs the random stream "dropout".
      dtype: of the computation, such as "bfloat16"; parameters, embedding, statistics, read-out and output
        keep theirs.

    Attention has a head for every 64 channels, at least one.

    Raises:
      ValueError: a count below 1, a single resolution, channels that do not divide into groups or heads; when
        applied, shapes, labels or latents that do not fit, and heights of `attention` or of groups of latents
        that do not occur.
    """
    check_counts(depth=depth)
    if len(multipliers) < 2:
        raise ValueError(
            "a U-ViT has convolutions above its transformer: multipliers must be two at least, got "
            f"{list(multipliers)}"
        )
    network = checked(
        UViT,
        channels,
        multipliers,
        blocks,
        attention,
        labels,
        augment,
        outputs,
        dropout,
        dtype,
        latents,
        depth,
    )
    width = channels * multipliers[-1]
    heads = _heads(width)
    if width % (4 * heads):
        raise ValueError(
            f"the transformer's width, {width}, must be a multiple of 4 for each of its {heads} heads"
        )
    return network


EXAMPLES: dict[str, dict[str, Any]] = {
    "uvit": {"channels": 8, "multipliers": [1, 1], "blocks": 1, "attention": [4], "depth": 1}
}
SHAPES = {"uvit": (2, 2, 4, 4, 1)}
