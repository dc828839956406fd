"""Layers that several networks share, in the form that XLA runs fastest.

**Group norm** (arXiv 1803.08494) over images `[B, T, H, W, C]`, the channels in groups. Reshaping into groups
before reducing is slower on a CPU, up to several times, than this, which never moves the pixels: with a shift
k_c for each channel and d = x - k_c, means over the pixels only,

    m_c = k_c + E[d],   v_c = E[d^2] - E[d]^2,

then a reduction over the few channels of a group, m_g = E_c[m_c], v_g = E_c[v_c + (m_c - m_g)^2], and one
affine, y = (x - m_g) / sqrt(v_g + eps) * scale + shift. E[d^2] - E[d]^2 cancels when d has a large mean, so
k_c is the channel's mean; its gradient is stopped, which changes nothing: m_c and v_c do not depend on k_c.

**Convolutions in a loop** are not brought into the form that a CPU is fast at, other than at the top of a
program: their gradients take fifty times as long inside a scan. `LoopConv` writes them in that form: with y =
k * x, both are plain convolutions, of the reflected kernel, and of x whose channels take the batch's place,

    dx = flip(k)^T * dy,   dk_io = sum_b x_bi * dy_bo.

**Dropout** draws 16 random bits an element, half the cost of a uniform float.

**Dense layers** see a matrix of rows. The gradient of a kernel sums over all axes but the last; where these
are several, XLA on a CPU first transposes the output's gradient, working out again there, from numbers out of
order, all that it is made of: with a SiLU in between, that takes as long as all the products.

**SiLU and dropout** end in a division. XLA repeats cheap operations in every consumer, and the gradient of a
convolution's kernel reads its input transposed: on a CPU it would work the whole chain out again there, from
many arrays read out of order (a third of a training step). The result of a division it keeps.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import lax

from diffusion_jax.types import Array


class GroupNorm(nn.Module):
    """Group norm over the pixels and the channels of each group, with a scale and a shift given from outside.

    x is `[B, T, H, W, C]`; `scale` and `shift`, `[#B, #T, C]`, act on top of the learned ones (the scale as
    1 + scale). Statistics are in float32 whatever the type of x; the result has the type of x.

    Raises:
      ValueError: C is not a multiple of `groups`.
    """

    groups: int
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Array, scale: Array | None = None, shift: Array | None = None) -> Array:
        channels = x.shape[-1]
        if channels % self.groups:
            raise ValueError(f"{channels} channels do not divide into {self.groups} groups")
        gain = self.param("scale", nn.initializers.ones, (channels,))[None, None]
        bias = self.param("bias", nn.initializers.zeros, (channels,))[None, None]
        if scale is not None:
            gain, bias = gain * (1 + scale.astype(jnp.float32)), bias * (1 + scale.astype(jnp.float32))
        if shift is not None:
            bias = bias + shift.astype(jnp.float32)

        data = x.astype(jnp.float32)
        centre = lax.stop_gradient(data.mean((2, 3)))
        centred = data - centre[:, :, None, None]
        offset = centred.mean((2, 3))
        variance = jnp.square(centred).mean((2, 3)) - jnp.square(offset)
        mean = centre + offset

        group_mean = self._over_groups(mean)
        group_variance = self._over_groups(variance + jnp.square(mean - group_mean))
        gain = gain * lax.rsqrt(group_variance + self.epsilon)
        pixel = (slice(None), slice(None), None, None)
        return ((data - group_mean[pixel]) * gain[pixel] + bias[pixel]).astype(x.dtype)

    def _over_groups(self, statistic: Array) -> Array:
        """The mean over each group of channels, given back to all of them: `[B, T, C] -> [B, T, C]`."""
        grouped = statistic.reshape(*statistic.shape[:-1], self.groups, -1).mean(-1)
        return jnp.repeat(grouped, statistic.shape[-1] // self.groups, axis=-1)


@jax.custom_jvp
def silu(x: Array) -> Array:
    """x / (1 + exp(-x)), any shape (arXiv 1702.03118)."""
    return x / (1 + jnp.exp(-x))


@silu.defjvp
def _silu_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    # In this form the slope is finite wherever exp(-x) is not.
    (x,), (tangent,) = primals, tangents
    share = 1 / (1 + jnp.exp(-x))
    return silu(x), tangent * (share * (1 + x * (1 - share)))


class Dense(nn.Dense):
    """Flax's dense layer on the rows of x, `[..., C] -> [..., features]`."""

    def __call__(self, inputs: Array) -> Array:
        rows = super().__call__(inputs.reshape(-1, inputs.shape[-1]))
        return rows.reshape(*inputs.shape[:-1], self.features)


PLAIN = ("NHWC", "HWIO", "NHWC")


@jax.custom_vjp
def convolved(x: Array, kernel: Array) -> Array:
    """A convolution with zeros outside, `[N, H, W, C], [3, 3, C, F] -> [N, H, W, F]`.

    It has a gradient, but no forward mode (`jax.jvp`).
    """
    return lax.conv_general_dilated(x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=PLAIN)


def _convolved(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return convolved(x, kernel), (x, kernel)


def _transposed(saved: tuple[Array, Array], change: Array) -> tuple[Array, Array]:
    x, kernel = saved
    of_kernel = convolved(x.transpose(3, 1, 2, 0), change.transpose(1, 2, 0, 3)).transpose(1, 2, 0, 3)
    return convolved(change, jnp.flip(kernel, (0, 1)).swapaxes(2, 3)), of_kernel


convolved.defvjp(_convolved, _transposed)


class LoopConv(nn.Module):
    """A 3x3 convolution for use inside a scan: `[..., H, W, C] -> [..., H, W, features]`."""

    features: int
    use_bias: bool = True
    dtype: Any = None
    kernel_init: Any = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", self.kernel_init, (3, 3, x.shape[-1], self.features))
        x, kernel = promote_dtype(x, kernel, dtype=self.dtype)
        out = convolved(x.reshape(-1, *x.shape[-3:]), kernel)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            out = out + bias.astype(out.dtype)[None, None, None]
        return out.reshape(*x.shape[:-1], self.features)


class Dropout(nn.Module):
    """Zeroes each element with probability `rate` (in units of 2^-16) while training, and scales up the rest.

    Draws from the random stream "dropout".

    Raises:
      ValueError: rate is outside [0, 1).
    """

    rate: float

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        if not 0 <= self.rate < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {self.rate}")
        threshold = min(round(self.rate * 2**16), 2**16 - 1)
        if not train or threshold == 0:
            return x
        pairs = (*x.shape[:-1], (x.shape[-1] + 1) // 2)
        words = jax.random.bits(self.make_rng("dropout"), pairs, jnp.uint32)
        bits = lax.bitcast_convert_type(words, jnp.uint16).reshape(*x.shape[:-1], -1)[..., : x.shape[-1]]
        return x / jnp.where(bits >= threshold, (2**16 - threshold) / 2**16, jnp.inf).astype(x.dtype)


class ScaleShift(nn.Module):
    """The scale and shift of an adaptive normalisation: `[#B, #T, E] -> two of [#B, #T, features]`.

    Zero at the start, so that a new block normalises plainly (arXiv 2212.09748 starts alike).
    """

    features: int
    dtype: Any = None

    @nn.compact
    def __call__(self, embedding: Array) -> tuple[Array, Array]:
        both = Dense(2 * self.features, dtype=self.dtype, kernel_init=nn.initializers.zeros)(embedding)
        scale, shift = jnp.split(both, 2, axis=-1)
        return scale, shift


def pool(x: Array) -> Array:
    """Halves the sides by the mean over 2x2 pixels: `[B, T, H, W, C] -> [B, T, H/2, W/2, C]`."""
    batch, tokens, height, width, channels = x.shape
    return x.reshape(batch, tokens, height // 2, 2, width // 2, 2, channels).mean((3, 5))


def upsample(x: Array, factor: int = 2) -> Array:
    """Multiplies the sides by repeating pixels: `[B, T, H, W, C] -> [B, T, factor H, factor W, C]`."""
    batch, tokens, height, width, channels = x.shape
    blocks = jnp.broadcast_to(
        x[:, :, :, None, :, None], (batch, tokens, height, factor, width, factor, channels)
    )
    return blocks.reshape(batch, tokens, factor * height, factor * width, channels)
