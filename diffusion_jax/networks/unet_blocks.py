"""The residual block of the three U-Nets of EDM (Karras et al., arXiv 2206.00364).

With e the embedding of level and conditions, s the skip scale and R the resampling (or nothing),

    u = conv0(R silu(norm0(h))),
    v = silu(norm1(u + affine(e)))                          additive, or
    v = silu((1 + a) norm1(u) + b),  [a, b] = affine(e)     modulated,
    h <- s (skip(R h) + conv1(dropout(v))),
    h <- s (h + proj(attention(qkv(norm2(h)))))             where there is attention,
    h <- h + cross-attention of h to the latents' tokens    where these are seen, the identity at the start,

`skip` being a 1x1 convolution where the channels change (and, in some networks, wherever the block
resamples). The channels of qkv run over heads, then over the channels of a head, then over q, k, v. Attention
is scaled by 1/sqrt(channels of a head) before the product; its softmax is in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from diffusion_jax.networks.attention import CrossAttention, attended
from diffusion_jax.networks.layers import Dropout, GroupNorm, silu
from diffusion_jax.networks.resample import Resampling
from diffusion_jax.types import Array

Initializer = Callable[..., Array]


class Init(NamedTuple):
    """kernel: initialiser of weights; bias: fan in -> initialiser of biases."""

    kernel: Initializer
    bias: Callable[[int], Initializer]


def xavier(gain: float = 1.0) -> Init:
    """Weights uniform of variance 2 gain^2 / (fan in + fan out), biases 0."""
    kernel = nn.initializers.variance_scaling(gain**2, "fan_avg", "uniform")
    return Init(kernel, lambda fan_in: nn.initializers.zeros)


def kaiming() -> Init:
    """Weights and biases uniform in +-1/sqrt(fan in)."""

    def bias(fan_in: int) -> Initializer:
        limit = fan_in**-0.5
        return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -limit, limit)

    return Init(nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"), bias)


def zero() -> Init:
    """Weights and biases 0."""
    return Init(nn.initializers.zeros, lambda fan_in: nn.initializers.zeros)


@dataclass(frozen=True)
class Style:
    """What the blocks of the networks disagree on.

    resampling: the filter of the blocks that halve or double the sides
    epsilon:    of the group norms
    skip_scale: s, after each sum
    modulated:  the embedding scales and shifts the second norm, instead of being added before it
    projected:  resampling blocks have a 1x1 convolution on the skip even where the channels stay
    head:       channels of an attention head; 0 for one head
    init, last, attention: of most layers; of those that end a residual branch or the network; of qkv
    """

    resampling: Resampling
    epsilon: float
    skip_scale: float
    modulated: bool
    projected: bool
    head: int
    init: Init
    last: Init
    attention: Init


def norm(style: Style, channels: int, name: str) -> GroupNorm:
    """Group norm with groups of at least 4 channels, at most 32 of them."""
    return GroupNorm(min(32, max(1, channels // 4)), style.epsilon, name=name)


def conv(x: Array, features: int, init: Init, name: str, dtype: Any) -> Array:
    """A 3x3 convolution called `name` in the module that calls this: `[..., H, W, C] -> [..., features]`."""
    bias = init.bias(9 * x.shape[-1])
    return nn.Conv(
        features, (3, 3), padding=1, dtype=dtype, kernel_init=init.kernel, bias_init=bias, name=name
    )(x)


class Pointwise(nn.Module):
    """A 1x1 convolution: `[..., C] -> [..., features]`; its kernel is `[1, 1, C, features]`.

    parts: the parameters' last axis runs over them last, the output's first (sorting a kernel costs less than
        sorting an image)
    """

    features: int
    initial: Init
    dtype: Any = None
    parts: int = 1

    @nn.compact
    def __call__(self, x: Array) -> Array:
        channels = x.shape[-1]
        kernel = self.param("kernel", self.initial.kernel, (1, 1, channels, self.features))
        bias = self.param("bias", self.initial.bias(channels), (self.features,), jnp.float32)
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        kernel, bias = self._parts_first(kernel[0, 0]), self._parts_first(bias)
        return x @ kernel + bias.reshape((1,) * (x.ndim - 1) + (-1,))

    def _parts_first(self, parameter: Array) -> Array:
        return (
            parameter.reshape(*parameter.shape[:-1], -1, self.parts).swapaxes(-1, -2).reshape(parameter.shape)
        )


def dense(x: Array, features: int, init: Init, name: str, bias: bool = True) -> Array:
    """A dense layer called `name` in the module that calls this, in float32 or better."""
    bias_init = init.bias(x.shape[-1])
    return nn.Dense(features, bias, kernel_init=init.kernel, bias_init=bias_init, name=name)(x)


def attention(qkv: Array, heads: int) -> Array:
    """What each pixel gathers from all pixels of its frame: `[B, T, H, W, 3 C] -> [B, T, H, W, C]`.

    The channels run over q, k, v, then over the heads.

    Raises:
      ValueError: C is not a multiple of `heads`.
    """
    batch, tokens, height, width, channels = qkv.shape
    q, k, v = jnp.split(qkv.reshape(batch * tokens, height * width, channels), 3, axis=-1)
    return attended(q, k, v, heads).reshape(batch, tokens, height, width, channels // 3)


class Block(nn.Module):
    """See the head of the module: `[B, T, H, W, C], [#B, #T, E] -> [B, T, H', W', features]`.

    latents:  their tokens `[B, n, E']`, for a block that attends
    resample: the function that resamples, or None
    attends:  whether attention follows
    """

    features: int
    style: Style
    resample: Callable[[Array], Array] | None = None
    attends: bool = False
    dropout: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, embedding: Array, train: bool, latents: Array | None = None) -> Array:
        style, features, channels = self.style, self.features, x.shape[-1]
        resample = self.resample or (lambda x: x)

        h = silu(norm(style, channels, "norm0")(x))
        h = conv(resample(h), features, style.init, "conv0", self.dtype)
        affine = dense(embedding, features * (1 + style.modulated), style.init, "affine").astype(h.dtype)
        if style.modulated:
            scale, shift = jnp.split(affine, 2, axis=-1)
            h = norm(style, features, "norm1")(h, scale, shift)
        else:
            h = norm(style, features, "norm1")(h + affine[:, :, None, None])
        h = Dropout(self.dropout)(silu(h), train)
        h = conv(h, features, style.last, "conv1", self.dtype)

        x = resample(x)
        if channels != features or (self.resample and style.projected):
            x = Pointwise(features, style.init, self.dtype, name="skip")(x)
        x = (x + h) * style.skip_scale
        if not self.attends:
            return x
        qkv = Pointwise(3 * features, style.attention, self.dtype, parts=3, name="qkv")(
            norm(style, features, "norm2")(x)
        )
        heads = max(1, features // style.head) if style.head else 1
        h = attention(qkv, heads)
        x = (x + Pointwise(features, style.last, self.dtype, name="proj")(h)) * style.skip_scale
        if latents is None:
            return x
        return CrossAttention(heads, self.dtype, name="latents")(x, latents)
