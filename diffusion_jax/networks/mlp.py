"""A plain modern perceptron: residual blocks with adaptive layer norm.

With e the embedding of level and class, each of `depth` blocks is

    h <- h + W_2 silu(W_1 ((1 + a(e)) LayerNorm(h) + b(e))),

and a last layer norm and linear read-out follow. Scales, shifts and read-out start at zero: the untrained
network is 0. Perez et al. (arXiv 1709.07871) for the modulation, Peebles and Xie (arXiv 2212.09748) for this
form of it. Latents are a vector more, added to e through a layer that starts at zero.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from diffusion_jax.networks.checks import check_counts, check_input, check_no_latents
from diffusion_jax.networks.embeddings import Conditioning
from diffusion_jax.networks.latents import LatentTokens, check_ungrouped
from diffusion_jax.networks.layers import Dense, Dropout, ScaleShift
from diffusion_jax.types import Array, Batch


class Mlp(nn.Module):
    """See `mlp`."""

    width: int = 128
    depth: int = 3
    outputs: int = 1
    labels: int = 0
    joint: bool = False
    dropout: float = 0.0
    dtype: Any = None
    latents: LatentTokens | None = None

    @nn.compact
    def __call__(self, x: Array, noise: Array, conditions: Batch | None = None, train: bool = False) -> Array:
        check_input(x, noise)
        batch, tokens = x.shape[:2]
        rows = x.reshape(batch, 1 if self.joint else tokens, -1)
        if self.joint:
            noise = jnp.broadcast_to(noise, (batch, tokens))
        embedding = Conditioning(labels=self.labels, dtype=self.dtype)(noise, conditions, batch)
        if self.joint:
            embedding = embedding.reshape(batch, 1, -1)
        if self.latents is None:
            check_no_latents(conditions)
        else:
            tokens = self.latents(conditions, batch).reshape(batch, 1, -1)
            last = Dense(
                embedding.shape[-1], dtype=self.dtype, kernel_init=nn.initializers.zeros, name="seen"
            )
            embedding = embedding + last(tokens)

        h = Dense(self.width, dtype=self.dtype)(rows)
        for _ in range(self.depth):
            scale, shift = ScaleShift(self.width, self.dtype)(embedding)
            y = nn.LayerNorm(dtype=self.dtype)(h) * (1 + scale) + shift
            y = nn.silu(Dense(self.width, dtype=self.dtype)(y))
            h = h + Dense(self.width, dtype=self.dtype)(Dropout(self.dropout)(y, train))
        h = nn.LayerNorm(dtype=self.dtype)(h)
        out = Dense(rows.shape[-1] * self.outputs, kernel_init=nn.initializers.zeros)(h.astype(x.dtype))
        return out.reshape(*x.shape[:-1], self.outputs * x.shape[-1])


def mlp(
    width: int = 128,
    depth: int = 3,
    outputs: int = 1,
    labels: int = 0,
    joint: bool = False,
    dropout: float = 0.0,
    dtype: Any = None,
    latents: LatentTokens | None = None,
) -> Mlp:
    """A residual perceptron on the flattened features of each token.

    128 x 3 suits points of the plane, 512 x 4 images of 64 pixels.

    Args:
      width: hidden units. depth: residual blocks.
      outputs: values for each entry of x; the output is `[B, T, ..., outputs C]`, the mean's part first.
      labels: classes of `conditions["label"]`; 0 for none.
      joint: all tokens of a sample in one vector, seen and conditioned together, so that T is fixed;
        otherwise tokens are independent.
      dropout: rate in the hidden layers while training; needs the random stream "dropout".
      dtype: of the computation, such as "bfloat16"; parameters, read-out and output keep theirs.
      latents: how the network sees `conditions["latents"]` (see `latent_tokens`); None for no latents.

    Raises:
      ValueError: width, depth or outputs below 1, groups of latents; when applied, shapes, labels or latents
        that do not fit.
    """
    check_counts(width=width, depth=depth, outputs=outputs)
    check_counts(minimum=0, labels=labels)
    check_ungrouped(latents)
    return Mlp(width, depth, outputs, labels, joint, dropout, dtype, latents)


EXAMPLES = {"mlp": {"width": 16, "depth": 2}}
SHAPES = {"mlp": (3, 2, 5)}
