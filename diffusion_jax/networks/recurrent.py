"""Recurrent denoisers: a latent state carries the past, as in Diffusion Forcing's first version.

Chen et al. (arXiv 2407.01392, section 3.2 and appendix B). With x_t the noisy token, e_t the embedding of its
level, class and condition, and a learned z_0,

    z_t = GRU(z_{t-1}, f(z_{t-1}, x_t, e_t)),   out_t = g(z_t, e_t),

so that a noisy token enters the state as far as its level says that it is to be believed. The GRU (Cho et
al., arXiv 1406.1078), with linear maps or 3x3 convolutions A and B,

    r = sigmoid(A_r h + B_r z),   u = sigmoid(A_u h + B_u z),   n = tanh(A_n h + r B_n z),
    z <- (1 - u) n + u z.

For vectors f and g are residual perceptrons of blocks h <- h + W silu((1 + a(e)) norm(h) + b(e)), and the
state may be cut into a stack of GRUs, each fed by the one before it. For images f is the small residual
network of `convnet`, the GRU convolutional, and the state an image of the same sides.

What depends on tokens alone is computed for all of them at once; the scan over t holds only what sees the
state. The gradient goes through all of time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from diffusion_jax.networks.checks import check_counts, check_image, check_input, token_condition
from diffusion_jax.networks.convnet import ConvBlock, check_widths, hourglass
from diffusion_jax.networks.embeddings import Conditioning
from diffusion_jax.networks.layers import Dense, Dropout, GroupNorm, LoopConv, ScaleShift, silu
from diffusion_jax.types import Array, Batch


class Gru(nn.Module):
    """One gated step: (z `[..., features]`, h `[..., C]`) -> z; `layer(features)` makes the linear maps."""

    layer: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, z: Array, h: Array) -> Array:
        size = z.shape[-1]
        of_h = jnp.split(self.layer(3 * size)(h), 3, axis=-1)
        of_z = jnp.split(self.layer(3 * size)(z), 3, axis=-1)
        reset, keep = nn.sigmoid(of_h[0] + of_z[0]), nn.sigmoid(of_h[1] + of_z[1])
        return (1 - keep) * jnp.tanh(of_h[2] + reset * of_z[2]) + keep * z


class Residual(nn.Module):
    """A block of the perceptrons: `[..., width]` with scale and shift that broadcast to it."""

    dropout: float
    dtype: Any = None

    @nn.compact
    def __call__(self, h: Array, scale: Array, shift: Array, train: bool) -> Array:
        y = nn.LayerNorm(use_bias=False, use_scale=False, dtype=self.dtype)(h) * (1 + scale) + shift
        return h + Dense(h.shape[-1], dtype=self.dtype)(Dropout(self.dropout)(silu(y), train))


class VectorCell(nn.Module):
    """z `[B, latent]` -> z, for one token: its features `[B, width]` and the blocks' scales and shifts."""

    grus: int
    dropout: float
    dtype: Any
    train: bool

    @nn.compact
    def __call__(self, z: Array, token: tuple[Array, list[tuple[Array, Array]]]) -> tuple[Array, Array]:
        h, vectors = token
        h = h + Dense(h.shape[-1], use_bias=False, dtype=self.dtype)(z)
        for scale, shift in vectors:
            h = Residual(self.dropout, self.dtype)(h, scale, shift, self.train)
        parts = []
        for part in jnp.split(z, self.grus, axis=-1):
            h = Gru(partial(Dense, dtype=self.dtype))(part, h)
            parts.append(h)
        z = jnp.concatenate(parts, axis=-1)
        return z, z


class ImageCell(nn.Module):
    """z `[B, H, W, latent]` -> z, for one token: its features `[B, H, W, width]` and embedding `[#B, E]`."""

    widths: tuple[int, ...]
    depth: int
    groups: int
    dropout: float
    dtype: Any
    train: bool

    @nn.compact
    def __call__(self, z: Array, token: tuple[Array, Array]) -> tuple[Array, Array]:
        h, embedding = token
        h = h + LoopConv(self.widths[0], use_bias=False, dtype=self.dtype)(z)
        h = hourglass(
            h[:, None],
            embedding[:, None],
            self.widths,
            self.depth,
            self.groups,
            self.dropout,
            self.dtype,
            self.train,
            LoopConv,
        )
        z = Gru(partial(LoopConv, dtype=self.dtype))(z, h[:, 0])
        return z, z


def scanned(cell: type[nn.Module]) -> Callable[..., Any]:
    """The cell over all tokens: (z_0, tokens `[#B, T, ...]`) -> (z_T, every z `[B, T, ...]`)."""
    return nn.scan(
        cell,
        variable_broadcast="params",
        split_rngs={"params": False, "dropout": True},
        in_axes=1,
        out_axes=1,
    )


class Recurrent(nn.Module):
    """What both have in common: a state, one scan, a memory. See `recurrent` and `recurrent_image`."""

    latent: int
    width: int
    depth: int
    labels: int = 0
    condition: int = 0
    outputs: int = 1
    dropout: float = 0.0
    dtype: Any = None

    def check(self, x: Array) -> None:
        """Refuses x of a shape that the network does not take."""

    def latent_shape(self, x: Array) -> tuple[int, ...]:
        """The shape of the state of one sample."""
        raise NotImplementedError

    def states(self, z: Array, x: Array, embedding: Array, train: bool) -> tuple[Array, Array]:
        """z_0 and all tokens `[B, T, ...]` with their embedding `[#B, T, E]` -> z_T and every z."""
        raise NotImplementedError

    def read(self, z: Array, x: Array, embedding: Array, train: bool) -> Array:
        """The output of every state, shaped like x but for `outputs`."""
        raise NotImplementedError

    def __call__(self, x: Array, noise: Array, conditions: Batch | None = None, train: bool = False) -> Array:
        return self.denoise(x, noise, conditions, None, train)[0]

    def start(self, batch: int, dtype: Any = jnp.float32) -> Array:
        """The memory before the first token, of `batch` samples of data of type `dtype`: the learned z_0."""
        return self._repeated(self.get_variable("params", "initial"), batch, dtype)

    def extend(self, x: Array, noise: Array, conditions: Batch | None, memory: Array) -> tuple[Array, Array]:
        """The output for n further tokens, given all those in memory, and the memory after them.

        Args:
          x: `[B, n, ...]`. noise: `[#B, #n]`. conditions: as for the call, of these tokens.
          memory: the state `[B, ...]` of `start`, or of an earlier `extend`.

        Raises:
          ValueError: the memory does not fit x, or what the call refuses.
        """
        wanted = x.shape[0], *self.latent_shape(x)
        if memory.shape != wanted:
            raise ValueError(f"the memory of x of shape {x.shape} is {wanted}, got {memory.shape}")
        return self.denoise(x, noise, conditions, memory, False)

    def _repeated(self, initial: Array, batch: int, dtype: Any) -> Array:
        dtype = self.dtype or jnp.promote_types(dtype, initial.dtype)
        return jnp.broadcast_to(initial.astype(dtype)[None], (batch, *initial.shape))

    @nn.compact
    def denoise(
        self, x: Array, noise: Array, conditions: Batch | None, memory: Array | None, train: bool
    ) -> tuple[Array, Array]:
        """The output for these tokens, and the state after them."""
        check_input(x, noise)
        self.check(x)
        batch, tokens = x.shape[:2]
        embedding = Conditioning(labels=self.labels, dtype=self.dtype)(noise, conditions, batch)
        given = token_condition(conditions, x.shape[:2], self.condition)
        if given is not None:
            embedding = embedding + Dense(embedding.shape[-1], dtype=self.dtype, name="condition")(given)
        embedding = jnp.broadcast_to(embedding, (embedding.shape[0], tokens, embedding.shape[-1]))

        initial = self.param("initial", nn.initializers.zeros, self.latent_shape(x))
        z = self._repeated(initial, batch, x.dtype) if memory is None else memory
        z, states = self.states(z, x, embedding, train)
        return self.read(states, x, embedding, train), z


class RecurrentVector(Recurrent):
    """See `recurrent`."""

    grus: int = 1

    def latent_shape(self, x: Array) -> tuple[int, ...]:
        return (self.latent,)

    def vectors(self, embedding: Array) -> list[tuple[Array, Array]]:
        """A scale and a shift `[#B, T, width]` for each block of one perceptron."""
        return [ScaleShift(self.width, self.dtype)(embedding) for _ in range(self.depth)]

    def states(self, z: Array, x: Array, embedding: Array, train: bool) -> tuple[Array, Array]:
        h = Dense(self.width, dtype=self.dtype)(x.reshape(*x.shape[:2], -1))
        h = h + Dense(self.width, use_bias=False, dtype=self.dtype)(embedding)
        cell = scanned(VectorCell)(self.grus, self.dropout, self.dtype, train, name="cell")
        return cell(z, (h, self.vectors(embedding)))

    def read(self, z: Array, x: Array, embedding: Array, train: bool) -> Array:
        h = Dense(self.width, dtype=self.dtype)(z)
        for scale, shift in self.vectors(embedding):
            h = Residual(self.dropout, self.dtype)(h, scale, shift, train)
        h = nn.LayerNorm(dtype=self.dtype)(h).astype(x.dtype)
        features = self.outputs * x[0, 0].size
        out = Dense(features, kernel_init=nn.initializers.zeros)(h)
        return out.reshape(*x.shape[:-1], self.outputs * x.shape[-1])


class RecurrentImage(Recurrent):
    """See `recurrent_image`."""

    multipliers: tuple[int, ...] = (1, 2)
    groups: int = 8

    def check(self, x: Array) -> None:
        check_image(x, len(self.multipliers))

    def latent_shape(self, x: Array) -> tuple[int, ...]:
        return (*x.shape[2:4], self.latent)

    def states(self, z: Array, x: Array, embedding: Array, train: bool) -> tuple[Array, Array]:
        widths = tuple(self.width * multiplier for multiplier in self.multipliers)
        h = nn.Conv(self.width, (3, 3), dtype=self.dtype)(x)
        cell = scanned(ImageCell)
        parts = cell(widths, self.depth, self.groups, self.dropout, self.dtype, train, name="cell")
        return parts(z, (h, embedding))

    def read(self, z: Array, x: Array, embedding: Array, train: bool) -> Array:
        h = ConvBlock(self.width, self.groups, self.dropout, self.dtype)(z, embedding, train)
        h = nn.silu(GroupNorm(self.groups)(h)).astype(x.dtype)
        return Dense(self.outputs * x.shape[-1], kernel_init=nn.initializers.zeros)(h)


def recurrent(
    latent: int = 128,
    width: int = 128,
    depth: int = 2,
    grus: int = 1,
    labels: int = 0,
    condition: int = 0,
    outputs: int = 1,
    dropout: float = 0.0,
    dtype: Any = None,
) -> RecurrentVector:
    """A recurrent denoiser of sequences `[B, T, ...]`, a level for each token; features are flattened.

    A token sees itself and earlier ones, of any number. The methods `start` and `extend` carry the state
    through a roll-out. The paper's maze network is of this kind with latent 128 and width 1024 or 512, its
    forecaster with latent 1024, width 2048 and 4 GRUs.

    Args:
      latent: size of the state. width: hidden units of the perceptrons before and after the GRUs.
      depth: residual blocks of each perceptron.
      grus: parts of the state, stacked: each GRU is fed by the one before it.
      labels: classes of `conditions["label"]`; 0 for none.
      condition: features of `conditions["condition"]` `[B, T, ...]`, such as actions, one vector for each
        token, added to the embedding of its level after a linear map; 0 for none.
      outputs: values for each entry of x; the output is `[B, T, ..., outputs C]`, the mean's part first.
      dropout: rate in the residual blocks while training; needs the random stream "dropout".
      dtype: of the computation, such as "bfloat16"; parameters, read-out and output keep theirs.

    Raises:
      ValueError: a count below 1, or a state that does not divide into the GRUs; when applied, shapes, labels
        or conditions that do not fit.
    """
    check_counts(latent=latent, width=width, depth=depth, grus=grus, outputs=outputs)
    check_counts(minimum=0, labels=labels, condition=condition)
    if latent % grus:
        raise ValueError(f"latent={latent} does not divide into {grus} GRUs")
    return RecurrentVector(latent, width, depth, labels, condition, outputs, dropout, dtype, grus)


def recurrent_image(
    latent: int = 16,
    width: int = 32,
    depth: int = 1,
    multipliers: Sequence[int] = (1, 2),
    groups: int = 8,
    labels: int = 0,
    condition: int = 0,
    outputs: int = 1,
    dropout: float = 0.0,
    dtype: Any = None,
) -> RecurrentImage:
    """A recurrent denoiser of videos `[B, T, H, W, C]`, a level for each frame.

    As `recurrent`; the state is an image `[H, W, latent]`, so that a trained network keeps the size of its
    images.

    Args:
      latent: channels of the state. width: channels at full resolution.
      depth: residual blocks at each resolution, on each way.
      multipliers: of the width, one for each resolution, full resolution first; H and W must be multiples of
        2^(their number - 1).
      groups: of the group norms; must divide the widths and `latent`.
      labels, condition, outputs, dropout, dtype: as for `recurrent`.

    Raises:
      ValueError: a count below 1, or groups that do not divide; when applied, shapes, labels or conditions
        that do not fit.
    """
    check_counts(latent=latent, width=width, depth=depth, groups=groups, outputs=outputs)
    check_counts(multipliers=min(multipliers, default=0))
    check_counts(minimum=0, labels=labels, condition=condition)
    check_widths(width, multipliers, groups)
    if latent % groups:
        raise ValueError(f"groups={groups} must divide latent={latent}")
    return RecurrentImage(
        latent, width, depth, labels, condition, outputs, dropout, dtype, tuple(multipliers), groups
    )


EXAMPLES = {
    "recurrent": {"latent": 8, "width": 16, "depth": 1, "grus": 2},
    "recurrent_image": {"latent": 4, "width": 8, "groups": 4},
}
SHAPES = {"recurrent": (3, 3, 2), "recurrent_image": (2, 2, 4, 4, 1)}
