"""The three U-Nets of EDM: DDPM++, NCSN++ and ADM, in every detail of the published checkpoints.

Karras et al. (arXiv 2206.00364, appendix F.2 and table 7), after Song et al. (DDPM++ and NCSN++, arXiv
2011.13456) and Dhariwal and Nichol (ADM, arXiv 2105.05233). The encoder has `blocks` residual blocks at each
resolution and one that halves the sides between two; the decoder has one more at each, the first two of all
at the lowest resolution, and one that doubles. The features after each layer of the encoder are appended to
the channels that enter the decoder's blocks, the last first. Blocks: `unet_blocks`.

* Noise label c: `ddpmpp` [sin(c w_j), cos(c w_j)] with w_j = 10^(-4 j/(J-1)); `ncsnpp` the same with fixed
  w_j ~ N(0, (2 pi 16)^2); `adm` [cos(c w_j), sin(c w_j)] with w_j = 10^(-4 j/J).
* Embedding of these features n: silu(l1(silu(l0(n + label + augment)))), with a label's vector of
  sqrt(labels) W one-hot + b; in `adm` silu(l1(silu(l0(n + augment))) + label) with W one-hot.
* It is added before a block's second norm; in `adm` it scales and shifts that norm.
* Attention, at the resolutions asked for: all blocks of the encoder and the last of the decoder, one head; in
  `adm` all blocks, a head for every 64 channels. The first block of the decoder always has it.
* Filters that resample: [1, 1]; in `ncsnpp` [1, 3, 3, 1].

`ncsnpp` carries a second path a down the encoder, the image at first: a <- (h + R conv(a))/sqrt(2), h <- a,
with a convolution that is padded for the filter R too, so that no zeros enter between the two.

Modules are named for the height of their features, as in the published checkpoints (see `official`): the
parameters belong to one size of image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from diffusion_jax.networks.checks import (
    augment_label,
    check_counts,
    check_image,
    check_input,
    check_no_latents,
    class_row,
    row,
)
from diffusion_jax.networks.latents import LatentTokens
from diffusion_jax.networks.layers import silu
from diffusion_jax.networks.resample import bordered, box, smooth, smooth_valid
from diffusion_jax.networks.unet_blocks import Block, Init, Style, conv, dense, kaiming, norm, xavier, zero
from diffusion_jax.types import Array, Batch


def waves(noise: Array, frequencies: Array) -> tuple[Array, Array]:
    """cos and sin of the products: `[#B, #T], [J] -> two of [#B, #T, J]`, in float32."""
    angle = noise.astype(jnp.float32)[..., None] * frequencies[None, None]
    return jnp.cos(angle), jnp.sin(angle)


def positional(features: int, endpoint: bool) -> Array:
    """w_j = 10^(-4 j/(J-1)), or 10^(-4 j/J) without the endpoint, for J = features/2."""
    count = features // 2
    return jnp.asarray(1e-4 ** (np.arange(count) / (count - endpoint)), jnp.float32)


class RandomFrequencies(nn.Module):
    """2 pi f_j with fixed f_j ~ N(0, 16^2), kept in the collection "constants" as `freqs`."""

    count: int

    @nn.compact
    def __call__(self) -> Array:
        def draw() -> Array:
            return 16 * jax.random.normal(self.make_rng("params"), (self.count,))

        return 2 * math.pi * self.variable("constants", "freqs", draw).value


class ClassVectors(nn.Module):
    """A vector for each class times `scale`, 0 for none, plus perhaps a bias: `[B] -> [B, features]`.

    Raises what `class_row` raises. A label out of range gives NaN where it could not be checked.
    """

    labels: int
    features: int
    kernel_init: Any
    scale: float = 1.0
    bias: bool = False

    @nn.compact
    def __call__(self, conditions: Batch | None, batch: int) -> Array:
        kernel = self.param("kernel", self.kernel_init, (self.labels, self.features))
        table = jnp.concatenate([kernel * self.scale, jnp.zeros((1, self.features), kernel.dtype)])
        vectors = row(table, class_row(conditions, batch, self.labels))
        if self.bias:
            vectors = vectors + self.param("bias", nn.initializers.zeros, (self.features,))[None]
        return vectors


class AugmentVectors(nn.Module):
    """A linear map of the augmentation's label: conditions -> `[B, features]`; 0 without a label."""

    numbers: int
    features: int
    initial: Init

    @nn.compact
    def __call__(self, conditions: Batch | None, batch: int) -> Array:
        kernel = self.param("kernel", self.initial.kernel, (self.numbers, self.features))
        label = augment_label(conditions, batch, self.numbers)
        return (
            jnp.zeros((1, self.features), kernel.dtype)
            if label is None
            else label.astype(kernel.dtype) @ kernel
        )


class UNet(nn.Module):
    """What the three networks share; each says how it embeds and what its blocks are like."""

    channels: int
    multipliers: tuple[int, ...]
    blocks: int
    attention: tuple[int, ...]
    labels: int = 0
    augment: int = 0
    outputs: int = 1
    dropout: float = 0.0
    dtype: Any = None
    latents: LatentTokens | None = None

    style = Style(box, 1e-6, math.sqrt(0.5), False, True, 0, xavier(), xavier(1e-5), xavier(math.sqrt(0.2)))
    everywhere = False  # attention in all blocks of the decoder, not in the last of each resolution
    read_out = "dec_{0}x{0}_aux_norm", "dec_{0}x{0}_aux_conv"

    def embed(self, noise: Array, conditions: Batch | None, batch: int) -> Array:
        """The embedding that enters the blocks: `[#B, #T] -> [#B, #T, 4 channels]`."""
        raise NotImplementedError

    def carried(self, aux: Array, h: Array, name: str) -> tuple[Array, Array]:
        """The second path of the encoder and the features, at the entrance of a lower resolution."""
        return aux, h

    def with_label(
        self,
        h: Array,
        conditions: Batch | None,
        batch: int,
        kernel_init: Any,
        scale: float = 1.0,
        bias: bool = False,
    ) -> Array:
        """h `[#B, #T, E]` plus what the class adds."""
        if not self.labels:
            class_row(conditions, batch, 0)
            return h
        layer = ClassVectors(self.labels, h.shape[-1], kernel_init, scale, bias, name="map_label")
        return h + layer(conditions, batch)[:, None]

    def with_augment(self, h: Array, conditions: Batch | None, batch: int, init: Init) -> Array:
        """h `[#B, #T, E]` plus what the augmentation adds."""
        if not self.augment:
            augment_label(conditions, batch, 0)
            return h
        layer = AugmentVectors(self.augment, h.shape[-1], init, name="map_augment")
        return h + layer(conditions, batch)[:, None]

    def tokens(self, conditions: Batch | None, batch: int, sides: Sequence[int]) -> Array | None:
        """The tokens of the latents, `[B, count, width]`; None without latents."""
        if self.latents is None:
            check_no_latents(conditions)
            return None
        self.latents.check_heights({*self.attention, sides[-1]})
        return self.latents(conditions, batch)

    def heights(self, x: Array) -> list[int]:
        """The heights of the features, full resolution first; raises ValueError where they do not fit."""
        check_image(x, len(self.multipliers))
        sides = [x.shape[2] >> level for level in range(len(self.multipliers))]
        unknown = sorted(set(self.attention) - set(sides))
        if unknown:
            raise ValueError(f"attention at {unknown}, but this network sees images of height {sides}")
        return sides

    def layers(self, embedding: Array, tokens: Array | None, train: bool) -> tuple[Any, Any]:
        """For encoder and decoder: (h, features, attends, name, resample=None) -> h, after a block."""

        def after(
            decoding: bool, h: Array, features: int, attends: bool, name: str, resample: Any = None
        ) -> Array:
            block = Block(features, self.style, resample, attends, self.dropout, self.dtype, name=name)
            seen = self.latents.at_height(tokens, h.shape[2], decoding) if attends and self.latents else None
            return block(h, embedding, train, seen)

        return partial(after, False), partial(after, True)

    def read(self, h: Array, x: Array) -> Array:
        """The output from the last features; x is the input."""
        norm_name, conv_name = (name.format(x.shape[2]) for name in self.read_out)
        h = silu(norm(self.style, h.shape[-1], norm_name)(h.astype(x.dtype)))
        return conv(h, self.outputs * x.shape[-1], self.style.last, conv_name, None)

    @nn.compact
    def __call__(self, x: Array, noise: Array, conditions: Batch | None = None, train: bool = False) -> Array:
        check_input(x, noise)
        sides = self.heights(x)
        embedding = self.embed(noise, conditions, x.shape[0])
        style, tokens = self.style, self.tokens(conditions, x.shape[0], sides)
        encode, decode = self.layers(embedding, tokens, train)

        h, aux, skips = x, x, []
        for level, side in enumerate(sides):
            place = f"enc_{side}x{side}"
            if level == 0:
                h = conv(h, self.channels, style.init, f"{place}_conv", self.dtype)
            else:
                h = encode(h, h.shape[-1], False, f"{place}_down", style.resampling.down)
                aux, h = self.carried(aux, h, f"{place}_aux_residual")
            skips.append(h)
            for index in range(self.blocks):
                features = self.channels * self.multipliers[level]
                h = encode(h, features, side in self.attention, f"{place}_block{index}")
                skips.append(h)

        for level, side in reversed(list(enumerate(sides))):
            place = f"dec_{side}x{side}"
            if side == sides[-1]:
                h = decode(h, h.shape[-1], True, f"{place}_in0")
                h = decode(h, h.shape[-1], False, f"{place}_in1")
            else:
                h = decode(h, h.shape[-1], False, f"{place}_up", style.resampling.up)
            for index in range(self.blocks + 1):
                attends = side in self.attention and (self.everywhere or index == self.blocks)
                features = self.channels * self.multipliers[level]
                both = jnp.concatenate([h, skips.pop()], axis=-1)
                h = decode(both, features, attends, f"{place}_block{index}")
        return self.read(h, x)


class DdpmPP(UNet):
    """See `ddpmpp`."""

    def noise_features(self, noise: Array) -> Array:
        """What the embedding sees of the noise label: `[#B, #T] -> [#B, #T, features]`."""
        cos, sin = waves(noise, positional(self.channels, endpoint=True))
        return jnp.concatenate([sin, cos], axis=-1)

    def embed(self, noise: Array, conditions: Batch | None, batch: int) -> Array:
        init = self.style.init
        h = self.noise_features(noise)
        h = self.with_label(h, conditions, batch, init.kernel, scale=math.sqrt(self.labels), bias=True)
        h = self.with_augment(h, conditions, batch, init)
        h = nn.silu(dense(h, 4 * self.channels, init, "map_layer0"))
        return nn.silu(dense(h, 4 * self.channels, init, "map_layer1"))


class NcsnPP(DdpmPP):
    """See `ncsnpp`."""

    style = replace(DdpmPP.style, resampling=smooth)

    def noise_features(self, noise: Array) -> Array:
        cos, sin = waves(noise, RandomFrequencies(self.channels, name="map_noise")())
        return jnp.concatenate([sin, cos], axis=-1)

    def carried(self, aux: Array, h: Array, name: str) -> tuple[Array, Array]:
        # A convolution that pads by 2 by itself has a gradient twenty times slower on a CPU.
        aux = smooth_valid(conv(bordered(aux), h.shape[-1], self.style.init, name, self.dtype))
        both = (h + aux) * self.style.skip_scale
        return both, both


class Adm(UNet):
    """See `adm`."""

    style = Style(box, 1e-5, 1.0, True, False, 64, kaiming(), zero(), kaiming())
    everywhere = True
    read_out = "out_norm", "out_conv"

    def embed(self, noise: Array, conditions: Batch | None, batch: int) -> Array:
        init = self.style.init
        h = jnp.concatenate(waves(noise, positional(self.channels, endpoint=False)), axis=-1)
        h = self.with_augment(h, conditions, batch, zero())
        h = nn.silu(dense(h, 4 * self.channels, init, "map_layer0"))
        h = dense(h, 4 * self.channels, init, "map_layer1")
        return nn.silu(self.with_label(h, conditions, batch, nn.initializers.normal(1.0)))


def checked(
    kind: type[UNet],
    channels: int,
    multipliers: Sequence[int],
    blocks: int,
    attention: Sequence[int],
    labels: int,
    augment: int,
    *others: Any,
) -> UNet:
    """A network of this kind, whose numbers make sense; raises ValueError."""
    network = kind(channels, tuple(multipliers), blocks, tuple(attention), labels, augment, *others)
    check_counts(channels=channels, blocks=blocks, outputs=network.outputs)
    check_counts(multipliers=min(multipliers, default=0))
    check_counts(minimum=0, labels=labels, augment=augment)
    if channels % 4:
        raise ValueError(f"channels must be a multiple of 4, got {channels}")
    return network


def ddpmpp(
    channels: int = 128,
    multipliers: Sequence[int] = (2, 2, 2),
    blocks: int = 4,
    attention: Sequence[int] = (16,),
    labels: int = 0,
    augment: int = 0,
    outputs: int = 1,
    dropout: float = 0.0,
    dtype: Any = None,
    latents: LatentTokens | None = None,
) -> UNet:
    """DDPM++ as EDM trains it ("vp"); the defaults are CIFAR-10's, `[B, T, H, W, C]`, each frame by itself.

    The noise label is any number of the size of 1, such as log(sigma)/4 (EDM), or a step of 0..999 (VP).

    Args:
      channels: at full resolution before the first multiplier; a multiple of 4 (above 128, of 32).
      multipliers: of the channels, one for each resolution, full resolution first; H and W must be multiples
        of 2^(their number - 1).
      blocks: residual blocks at each resolution of the encoder; the decoder has one more.
      attention: heights of features at which pixels attend to each other; the lowest resolution always does
        once.
      labels: classes of `conditions["label"]`, int `[B]`, -1 for none; 0 for no classes.
      augment: numbers of `conditions["augment"]`, `[B, augment]`, absent or zero for unchanged data; 9
        for EDM's, 0 for a network that does not look.
      outputs: values for each entry of x; the output is `[B, T, H, W, outputs C]`, the mean's part first.
      dropout: rate inside the blocks while training; needs the random stream "dropout".
      dtype: of the blocks' computation, such as "bfloat16"; parameters, embedding, statistics, read-out and
        output keep theirs.
      latents: how the network sees `conditions["latents"]` (see `latent_tokens`): by cross-attention after
        each attention of the pixels; None for no latents.

    Raises:
      ValueError: a count below 1, channels that do not divide into groups; when applied, shapes, labels or
        latents that do not fit, and heights of `attention` or of groups of latents that do not occur.
    """
    return checked(
        DdpmPP, channels, multipliers, blocks, attention, labels, augment, outputs, dropout, dtype, latents
    )


def ncsnpp(
    channels: int = 128,
    multipliers: Sequence[int] = (2, 2, 2),
    blocks: int = 4,
    attention: Sequence[int] = (16,),
    labels: int = 0,
    augment: int = 0,
    outputs: int = 1,
    dropout: float = 0.0,
    dtype: Any = None,
    latents: LatentTokens | None = None,
) -> UNet:
    """NCSN++ as EDM trains it ("ve"); the defaults are CIFAR-10's. Arguments and errors as for `ddpmpp`.

    The random frequencies of the noise label are in the collection "constants"; it is not trained.
    """
    return checked(
        NcsnPP, channels, multipliers, blocks, attention, labels, augment, outputs, dropout, dtype, latents
    )


def adm(
    channels: int = 192,
    multipliers: Sequence[int] = (1, 2, 3, 4),
    blocks: int = 3,
    attention: Sequence[int] = (32, 16, 8),
    labels: int = 0,
    augment: int = 0,
    outputs: int = 1,
    dropout: float = 0.0,
    dtype: Any = None,
    latents: LatentTokens | None = None,
) -> UNet:
    """ADM as EDM trains it; the defaults are ImageNet-64's. Arguments and errors as for `ddpmpp`.

    Attention has a head for every 64 channels, at least one; their number must divide the channels.
    """
    return checked(
        Adm, channels, multipliers, blocks, attention, labels, augment, outputs, dropout, dtype, latents
    )


EXAMPLES = {
    "ddpmpp": {"channels": 8, "multipliers": [1], "blocks": 1, "attention": [4]},
    "ncsnpp": {"channels": 8, "multipliers": [1, 1], "blocks": 1, "attention": []},
    "adm": {"channels": 8, "multipliers": [1], "blocks": 1, "attention": [4]},
}
SHAPES = {"ddpmpp": (2, 2, 4, 4, 1), "ncsnpp": (2, 2, 4, 4, 1), "adm": (2, 2, 4, 4, 1)}
