"""Encoders: from clean data to the logits of discrete latents.

`(x [B, T, ...], conditions, train) -> logits [B, latents, codes]`; -inf for a code that a sample has not.
They see all of a sample, no noise and no level (DisCo-Diff, arXiv 2407.03300): `vit` images as patches, with
a class token for each latent whose last features are read out (the paper's: 12 blocks of width 768, patches
of side 8 for 64 pixels); `convolutional` small images; `perceptron` anything, flattened. Conditions are what
encoders of graphs need; these three look at x alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from diffusion_jax.networks.attention import EncoderBlock
from diffusion_jax.networks.checks import check_counts, check_image
from diffusion_jax.networks.convnet import check_widths
from diffusion_jax.networks.layers import Dense, Dropout, GroupNorm, pool
from diffusion_jax.types import Array, Batch

Conv = partial(nn.Conv, kernel_size=(3, 3))


class Perceptron(nn.Module):
    """See `perceptron`."""

    latents: int
    codes: int
    width: int = 128
    depth: int = 2
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Array, conditions: Batch | None = None, train: bool = False) -> Array:
        del conditions
        h = x.reshape(x.shape[0], -1)
        for _ in range(self.depth):
            h = Dropout(self.dropout)(nn.silu(Dense(self.width)(h)), train)
        return Dense(self.latents * self.codes)(h).reshape(-1, self.latents, self.codes)


class Convolutional(nn.Module):
    """See `convolutional`."""

    latents: int
    codes: int
    width: int = 32
    depth: int = 1
    multipliers: tuple[int, ...] = (1, 2)
    groups: int = 8
    dropout: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, conditions: Batch | None = None, train: bool = False) -> Array:
        del conditions
        check_image(x, len(self.multipliers))
        h = x
        for level, multiplier in enumerate(self.multipliers):
            h = pool(h) if level else h
            h = Conv(self.width * multiplier, dtype=self.dtype)(h)
            for _ in range(self.depth):
                y = Conv(h.shape[-1], dtype=self.dtype)(nn.silu(GroupNorm(self.groups)(h)))
                y = Dropout(self.dropout)(nn.silu(GroupNorm(self.groups)(y)), train)
                h = h + Conv(h.shape[-1], dtype=self.dtype)(y)
        h = nn.silu(GroupNorm(self.groups)(h)).astype(x.dtype)
        return Dense(self.latents * self.codes)(h.reshape(h.shape[0], -1)).reshape(
            -1, self.latents, self.codes
        )


class Vit(nn.Module):
    """See `vit`."""

    latents: int
    codes: int
    patch: int
    width: int = 768
    depth: int = 12
    heads: int = 12
    dropout: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, conditions: Batch | None = None, train: bool = False) -> Array:
        del conditions
        check_image(x, 1)
        batch, frames, height, width, channels = x.shape
        side = self.patch
        if height % side or width % side:
            raise ValueError(f"patches of side {side} do not cut an image of {height} x {width} evenly")
        cut = x.reshape(batch, frames, height // side, side, width // side, side, channels).swapaxes(3, 4)
        pieces = cut.reshape(batch, -1, side * side * channels)
        h = Dense(self.width, dtype=self.dtype, name="patches")(pieces)
        small = nn.initializers.normal(0.02)
        h = h + self.param("positions", small, (1, pieces.shape[1], self.width)).astype(h.dtype)
        ask = self.param("classes", small, (1, self.latents, self.width)).astype(h.dtype)
        h = jnp.concatenate([jnp.broadcast_to(ask, (batch, *ask.shape[1:])), h], axis=1)
        for _ in range(self.depth):
            h = EncoderBlock(self.heads, self.dropout, self.dtype)(h, train=train)
        last = nn.LayerNorm(dtype=self.dtype)(h[:, : self.latents])
        return Dense(self.codes, name="logits")(last.astype(x.dtype))


def perceptron(
    latents: int, codes: int, width: int = 128, depth: int = 2, dropout: float = 0.0
) -> Perceptron:
    """A perceptron on all tokens and features of a sample, flattened.

    Args:
      latents: m. codes: of each, k. width: hidden units. depth: hidden layers. dropout: rate in these while
        training; needs the random stream "dropout".

    Raises ValueError for a count below 1.
    """
    check_counts(latents=latents, codes=codes, width=width, depth=depth)
    return Perceptron(latents, codes, width, depth, dropout)


def convolutional(
    latents: int,
    codes: int,
    width: int = 32,
    depth: int = 1,
    multipliers: Sequence[int] = (1, 2),
    groups: int = 8,
    dropout: float = 0.0,
    dtype: Any = None,
) -> Convolutional:
    """Residual convolutions and means over 2 x 2 pixels, then all pixels read out; images `[B, T, H, W, C]`.

    Args:
      latents: m. codes: of each, k.
      width: channels at full resolution. multipliers: of it, one for each resolution. depth: residual blocks
        at each. groups: of the group norms; must divide the widths.
      dropout: rate in the blocks while training. dtype: of the blocks' computation.

    Raises ValueError for a count below 1, groups that do not divide the widths and, when applied, sides that
    cannot be halved.
    """
    check_counts(latents=latents, codes=codes, width=width, groups=groups)
    check_counts(minimum=0, depth=depth)
    check_counts(multipliers=min(multipliers, default=0))
    check_widths(width, multipliers, groups)
    return Convolutional(latents, codes, width, depth, tuple(multipliers), groups, dropout, dtype)


def vit(
    latents: int,
    codes: int,
    patch: int,
    width: int = 768,
    depth: int = 12,
    heads: int = 12,
    dropout: float = 0.0,
    dtype: Any = None,
) -> Vit:
    """A transformer on the patches of images `[B, T, H, W, C]` (arXiv 2010.11929), a class token a latent.

    Args:
      latents: m. codes: of each, k. patch: side of the patches, in pixels; must divide the image's sides.
      width: of tokens. depth: blocks. heads: of attention; must divide the width.
      dropout: rate after attention and perceptrons while training. dtype: of the blocks' computation.

    Raises ValueError for a count below 1, heads that do not divide the width and, when applied, sides that
    are no multiples of the patch.
    """
    check_counts(latents=latents, codes=codes, patch=patch, width=width, depth=depth, heads=heads)
    if width % heads:
        raise ValueError(f"width must be a multiple of heads, got width={width}, heads={heads}")
    return Vit(latents, codes, patch, width, depth, heads, dropout, dtype)


EXAMPLES: dict[str, dict[str, Any]] = {
    "perceptron": {"latents": 2, "codes": 3, "width": 8, "depth": 1},
    "convolutional": {"latents": 2, "codes": 3, "width": 4, "multipliers": [1, 1], "groups": 2},
    "vit": {"latents": 2, "codes": 3, "patch": 2, "width": 8, "depth": 1, "heads": 2},
}
