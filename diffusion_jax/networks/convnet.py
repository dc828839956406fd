"""A small convolutional residual network for images up to 32 x 32.

A U-Net in its simplest form: residual blocks at each resolution, the mean over 2 x 2 pixels on the way down,
repeated pixels on the way up, and the way down's features added (not concatenated) at each resolution. With e
the embedding of level and class, a block is

    h <- h + conv(silu(GroupNorm(conv(silu(GroupNorm(h))); a(e), b(e)))),

whose second norm carries the scale 1 + a and shift b. Blocks, scales, shifts and read-out start at zero: the
untrained network is 0. Ho et al. (arXiv 2006.11239) and Dhariwal and Nichol (arXiv 2105.05233) for the
ingredients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn

from diffusion_jax.networks.checks import check_counts, check_image, check_input
from diffusion_jax.networks.embeddings import Conditioning
from diffusion_jax.networks.layers import Dense, Dropout, GroupNorm, ScaleShift, pool, upsample
from diffusion_jax.types import Array, Batch

Conv = partial(nn.Conv, kernel_size=(3, 3))


class ConvBlock(nn.Module):
    """A residual block with two 3x3 convolutions: `[B, T, H, W, C], [#B, #T, E] -> [B, T, H, W, width]`."""

    width: int
    groups: int
    dropout: float
    dtype: Any
    conv: Callable[..., nn.Module] = Conv

    @nn.compact
    def __call__(self, x: Array, embedding: Array, train: bool) -> Array:
        h = nn.silu(GroupNorm(self.groups)(x))
        h = self.conv(self.width, dtype=self.dtype)(h)
        h = nn.silu(GroupNorm(self.groups)(h, *ScaleShift(self.width, self.dtype)(embedding)))
        h = Dropout(self.dropout)(h, train)
        h = self.conv(self.width, dtype=self.dtype, kernel_init=nn.initializers.zeros)(h)
        if x.shape[-1] != self.width:
            x = Dense(self.width, dtype=self.dtype)(x)
        return x + h


def hourglass(
    h: Array,
    embedding: Array,
    widths: Sequence[int],
    depth: int,
    groups: int,
    dropout: float,
    dtype: Any,
    train: bool,
    conv: Callable[..., nn.Module] = Conv,
) -> Array:
    """The way down and up again, in the module that calls this: `[B, T, H, W, C] -> [B, T, H, W, widths[0]]`.

    widths are the channels at each resolution, `depth` the blocks there on each way, `conv` makes their
    convolutions; embedding is `[#B, #T, E]`.
    """

    def blocks(h: Array, width: int) -> Array:
        for _ in range(depth):
            h = ConvBlock(width, groups, dropout, dtype, conv)(h, embedding, train)
        return h

    skips = []
    for width in widths[:-1]:
        skips.append(blocks(h, width))
        h = pool(skips[-1])
    h = blocks(h, widths[-1])
    for width in reversed(widths[:-1]):
        h = blocks(skips.pop() + upsample(Dense(width, dtype=dtype)(h)), width)
    return h


def check_widths(width: int, multipliers: Sequence[int], groups: int) -> None:
    """Refuses groups that do not divide every width.

    Raises:
      ValueError: with the widths that they do not divide.
    """
    wrong = [width * multiplier for multiplier in multipliers if width * multiplier % groups]
    if wrong:
        raise ValueError(f"groups={groups} must divide every width, but not {wrong}")


class ConvNet(nn.Module):
    """See `convnet`."""

    width: int = 32
    depth: int = 2
    multipliers: tuple[int, ...] = (1, 2)
    groups: int = 8
    outputs: int = 1
    labels: int = 0
    dropout: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, noise: Array, conditions: Batch | None = None, train: bool = False) -> Array:
        check_input(x, noise)
        check_image(x, len(self.multipliers))
        embedding = Conditioning(labels=self.labels, dtype=self.dtype)(noise, conditions, x.shape[0])
        widths = [self.width * multiplier for multiplier in self.multipliers]

        h = nn.Conv(self.width, (3, 3), dtype=self.dtype)(x)
        h = hourglass(h, embedding, widths, self.depth, self.groups, self.dropout, self.dtype, train)
        h = nn.silu(GroupNorm(self.groups)(h)).astype(x.dtype)
        return nn.Conv(self.outputs * x.shape[-1], (3, 3), kernel_init=nn.initializers.zeros)(h)


def convnet(
    width: int = 32,
    depth: int = 2,
    multipliers: Sequence[int] = (1, 2),
    groups: int = 8,
    outputs: int = 1,
    labels: int = 0,
    dropout: float = 0.0,
    dtype: Any = None,
) -> ConvNet:
    """A convolutional residual network for images `[B, T, H, W, C]`; each frame is processed by itself.

    Args:
      width: channels at full resolution. depth: residual blocks at each resolution, on each way.
      multipliers: of the width, one for each resolution, full resolution first; H and W must be multiples of
        2^(their number - 1).
      groups: of the group norms; must divide the widths.
      outputs: values for each entry of x; the output is `[B, T, H, W, outputs C]`, the mean's part first.
      labels: classes of `conditions["label"]`; 0 for none.
      dropout: rate inside the blocks while training; needs the random stream "dropout".
      dtype: of the computation, such as "bfloat16"; parameters, statistics, read-out and output keep theirs.

    Raises:
      ValueError: a count below 1, or groups that do not divide the widths; when applied, shapes or labels
        that do not fit.
    """
    check_counts(
        width=width, depth=depth, multipliers=min(multipliers, default=0), groups=groups, outputs=outputs
    )
    check_counts(minimum=0, labels=labels)
    check_widths(width, multipliers, groups)
    return ConvNet(width, depth, tuple(multipliers), groups, outputs, labels, dropout, dtype)


EXAMPLES = {"convnet": {"width": 8, "depth": 1, "groups": 4}}
SHAPES = {"convnet": (2, 2, 4, 4, 1)}
