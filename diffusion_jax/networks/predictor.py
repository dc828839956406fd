"""Networks that embed a noised sample, for a head to read labels from.

`(x [B, T, ...], noise [#B, #T], conditions, train) -> features [B, D]`. `perceptron` is for anything small,
flattened; `pooled` makes one of any network of the library; `invariant` is for graphs with positions.
`objectives.guidance` trains them.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from diffusion_jax.networks.checks import check_counts, check_input
from diffusion_jax.networks.egnn import Layers, check_bases, check_reach, nodes
from diffusion_jax.networks.embeddings import Conditioning
from diffusion_jax.networks.layers import Dense, Dropout
from diffusion_jax.types import Array, Batch


class Perceptron(nn.Module):
    """See `perceptron`."""

    width: int = 128
    depth: int = 3
    labels: int = 0
    dropout: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, noise: Array, conditions: Batch | None = None, train: bool = False) -> Array:
        check_input(x, noise)
        batch, tokens = x.shape[:2]
        noise = jnp.broadcast_to(noise, (batch, tokens))
        embedding = Conditioning(labels=self.labels, dtype=self.dtype)(noise, conditions, batch)
        seen = Dense(self.width, dtype=self.dtype, name="noise")(embedding.reshape(batch, -1))
        h = Dense(self.width, dtype=self.dtype, name="data")(x.reshape(batch, -1)) + seen
        for _ in range(self.depth):
            h = Dense(self.width, dtype=self.dtype)(Dropout(self.dropout)(nn.silu(h), train))
        return nn.silu(h).astype(x.dtype)


class Pooled(nn.Module):
    """See `pooled`."""

    network: nn.Module
    width: int = 128

    @nn.compact
    def __call__(self, x: Array, noise: Array, conditions: Batch | None = None, train: bool = False) -> Array:
        out = self.network(x, noise, conditions, train=train)
        both = jnp.concatenate([x, out], axis=-1)
        rows = nn.silu(Dense(self.width, name="features")(both.reshape(len(x), -1, both.shape[-1])))
        return rows.mean(1)


class Invariant(nn.Module):
    """See `invariant`."""

    width: int = 196
    depth: int = 12
    reach: float = 1 / 3
    positions: int = 3
    bases: int = 0
    span: float = 3.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, noise: Array, conditions: Batch | None = None, train: bool = False) -> Array:
        del train
        places, features, here = nodes(x, noise, conditions, self.positions)
        layers = Layers(
            self.width, self.depth, self.reach, True, True, self.bases, self.span, self.dtype, name="layers"
        )
        h = layers(places, features, here)[1].astype(x.dtype)
        return (h * here).sum(1) / jnp.maximum(here.sum(1), 1)


def perceptron(
    width: int = 128, depth: int = 3, labels: int = 0, dropout: float = 0.0, dtype: Any = None
) -> Perceptron:
    """A perceptron on all tokens and features of a sample and the embeddings of their levels; T is fixed.

    Args:
      width: hidden units, and features. depth: hidden layers after the first.
      labels: classes of `conditions["label"]`; 0 for none.
      dropout: rate in the hidden layers while training; needs the random stream "dropout".
      dtype: of the computation, such as "bfloat16"; parameters and features keep theirs.

    Raises ValueError for a count out of range and, when applied, for shapes or labels that do not fit.
    """
    check_counts(width=width)
    check_counts(minimum=0, depth=depth, labels=labels)
    return Perceptron(width, depth, labels, dropout, dtype)


def pooled(network: nn.Module, width: int = 128) -> Pooled:
    """The mean, over tokens and pixels, of `width` features of a network's input and output there.

    The input is read beside the output because the output of most networks here is 0 before training, and the
    features of a network that is never trained must not be.

    Args:
      network: of the library, (x, noise, conditions, train) -> [B, T, ..., C'].

    Raises ValueError for a width below 1.
    """
    check_counts(width=width)
    return Pooled(network, width)


def invariant(
    width: int = 196,
    depth: int = 12,
    reach: float = 1 / 3,
    positions: int = 3,
    bases: int = 0,
    span: float = 3.0,
    dtype: Any = None,
) -> Invariant:
    """The mean, over the nodes of a graph `[B, N, positions + F]`, of the features of an equivariant network.

    Nothing that moves, turns or reflects all positions changes it, and no order of the nodes: noise on the
    centre of mass does not enter. The default is the guidance model of polybenzenoids of context-guided
    diffusion (arXiv 2407.11942), without the moves after its last layer; the mean is over the nodes that are
    there, not over N.

    Args:
      width: features of a node, and of the result. depth: layers.
      reach, positions, bases, span, dtype: as of `networks.egnn.egnn`, whose moves are `shared` here.

    Raises:
      ValueError: a count below 1, a single base, a reach or span that is not positive; when applied, shapes
        or conditions that do not fit.
    """
    check_counts(width=width, depth=depth, positions=positions)
    check_reach(reach)
    check_bases(bases, span)
    return Invariant(width, depth, reach, positions, bases, span, dtype)


EXAMPLES: dict[str, dict[str, Any]] = {
    "perceptron": {"width": 16, "depth": 1},
    "pooled": {"network": {"name": "mlp", "width": 8, "depth": 1}, "width": 16},
    "invariant": {"width": 16, "depth": 2, "bases": 4},
}
