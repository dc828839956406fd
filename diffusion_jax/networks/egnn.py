r"""Equivariant networks on graphs: every node sees all others, and of where they are only the distances.

A token is a node i with a position x_i and features; with d_ij = |x_i - x_j|, D_ij the distance in the
network's input, and h_i the embedding of features and noise label, a layer is

    m_ij = a(u_ij) u_ij,     u_ij = phi_e(h_i, h_j, d_ij^2, D_ij^2),     a = sigmoid(linear),
    h_i <- h_i + phi_h(h_i, sum_{j != i} m_ij),
    x_i <- x_i + sum_{j != i} (x_i - x_j)/(d_ij + 1) reach tanh(phi_x).

Satorras et al. (arXiv 2102.09844), equations 3 to 6 and 8, where phi_x sees m_ij: `shared`. In EDM for
molecules (Hoogeboom et al., arXiv 2203.17003, appendix B) phi_x sees the arguments of phi_e, with the new h,
by a perceptron of its own. Rotations and reflections of all positions turn the moves alike, shifts leave them
as they are, and nodes have no order. Nodes that are not there are seen by none, and their output is 0.

phi_e's first layer is linear in its arguments, so h_i and h_j go through it once a node, not once a pair.
"""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from diffusion_jax.networks.checks import check_counts, check_input, check_no_latents, class_row, values
from diffusion_jax.networks.layers import Dense
from diffusion_jax.types import Array, Batch

_ALMOST_ZERO = nn.initializers.variance_scaling(1e-6, "fan_avg", "uniform")


class Pairs(nn.Module):
    """A perceptron on pairs of nodes: h [B, N, H], squared distances [B, N, N, 2] -> [B, N, N, width]."""

    width: int
    dtype: Any = None

    @nn.compact
    def __call__(self, h: Array, squares: Array) -> Array:
        initial = nn.initializers.normal((2 * h.shape[-1] + squares.shape[-1]) ** -0.5)
        own = Dense(self.width, dtype=self.dtype, kernel_init=initial, name="own")(h)
        other = Dense(self.width, use_bias=False, dtype=self.dtype, kernel_init=initial, name="other")(h)
        apart = Dense(self.width, use_bias=False, dtype=self.dtype, kernel_init=initial, name="apart")
        first = nn.silu(own[:, :, None] + other[:, None] + apart(squares))
        return nn.silu(Dense(self.width, dtype=self.dtype, name="second")(first))


class Layer(nn.Module):
    """One layer; see the head of the module. Without `moves` positions stay, and phi_x is left out."""

    width: int
    reach: float
    shared: bool
    moves: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, h: Array, first: Array, pairs: Array) -> tuple[Array, Array]:
        apart = x[:, :, None] - x[:, None]
        square = (apart**2).sum(-1, keepdims=True)
        squares = jnp.concatenate([square, first], axis=-1)
        said = Pairs(self.width, self.dtype, name="messages")(h, squares)
        said = (
            nn.sigmoid(Dense(1, dtype=self.dtype, name="attention")(said)) * said * pairs.astype(said.dtype)
        )
        both = jnp.concatenate([h.astype(said.dtype), said.sum(2)], axis=-1)
        change = Dense(self.width, dtype=self.dtype, name="nodes")(both)
        h = h + Dense(self.width, dtype=self.dtype, name="change")(nn.silu(change))
        if not self.moves:
            return x, h
        if self.shared:
            said = nn.silu(Dense(self.width, dtype=self.dtype, name="places")(said))
        else:
            said = Pairs(self.width, self.dtype, name="places")(h, squares)
        size = Dense(1, use_bias=False, dtype=self.dtype, kernel_init=_ALMOST_ZERO, name="moves")(said)
        pull = self.reach * jnp.tanh(size.astype(x.dtype)) * pairs
        return x + (apart / (jnp.sqrt(square + 1e-8) + 1) * pull).sum(2), h


class Layers(nn.Module):
    """x [B, N, P], h [B, N, F], here [B, N, 1] -> x after `depth` layers, and h [B, N, width].

    With `fixed_end` the last layer leaves positions as they are, for networks that do not read them.
    """

    width: int
    depth: int
    reach: float
    shared: bool
    fixed_end: bool = False
    bases: int = 0
    span: float = 3.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, h: Array, here: Array) -> tuple[Array, Array]:
        others = 1 - jnp.eye(x.shape[1], dtype=x.dtype)[None, :, :, None]
        pairs = here[:, :, None] * here[:, None] * others
        first = ((x[:, :, None] - x[:, None]) ** 2).sum(-1, keepdims=True)
        first = jnp.concatenate([first, bumps(first, self.bases, self.span)], axis=-1)
        h = Dense(self.width, dtype=self.dtype, name="embedding")(h)
        for i in range(self.depth):
            moves = not (self.fixed_end and i == self.depth - 1)
            layer = Layer(self.width, self.reach, self.shared, moves, self.dtype, name=f"layer_{i}")
            x, h = layer(x, h, first, pairs)
        return x, h


def bumps(squares: Array, count: int, span: float) -> Array:
    """Squared distances [..., 1] as Gaussian bumps [..., count] of the distance, at 0 to `span`, as wide as
    they are apart: SchNet (arXiv 1706.08566), section 3."""
    if not count:
        return jnp.zeros((*squares.shape[:-1], 0), squares.dtype)
    centres = jnp.linspace(0.0, span, count, dtype=squares.dtype).reshape(*[1] * (squares.ndim - 1), count)
    apart = span / (count - 1)
    return jnp.exp(-(((jnp.sqrt(squares + 1e-8) - centres) / apart) ** 2) / 2)


def nodes(x: Array, noise: Array, conditions: Batch | None, positions: int) -> tuple[Array, Array, Array]:
    """What a network on graphs sees: places [B, N, P], features with the noise label [B, N, F + 1], and which
    nodes are there [B, N, 1], of x's type. What is not there is 0.

    Args:
      x: [B, N, P + F], the positions first. noise: [#B, #N]. positions: P.
      conditions: `present` [B, N], 1 where there is a node and else 0; absent where all are there.

    Raises:
      TypeError: x or noise is not floating.
      ValueError: shapes that do not fit, values of `present` other than 0 and 1, or conditions that the
        network would not look at.
    """
    check_input(x, noise)
    if x.ndim != 3 or x.shape[-1] < positions:
        raise ValueError(
            f"a graph is [B, N, {positions} + F], the position of each node and its features; got {x.shape}"
        )
    class_row(conditions, x.shape[0], 0)
    check_no_latents(conditions)
    given = None if conditions is None else conditions.get("present")
    present = jnp.ones(x.shape[:2], x.dtype) if given is None else _checked(given, x)
    here = present[..., None]
    level = jnp.broadcast_to(noise, x.shape[:2])[..., None].astype(x.dtype)
    x = jnp.where(here > 0, x, 0.0)
    return x[..., :positions], jnp.concatenate([x[..., positions:], level], axis=-1), here


def _checked(given: Array, x: Array) -> Array:
    if jnp.shape(given) != x.shape[:2]:
        raise ValueError(f"present must be [B, N] = {x.shape[:2]}, got {jnp.shape(given)}")
    known = values(given)
    if known is not None and not np.isin(known, (0, 1)).all():
        raise ValueError("present is 1 where there is a node and 0 where there is none; got other values")
    return jnp.asarray(given).astype(x.dtype)


class Egnn(nn.Module):
    """See `egnn`."""

    width: int = 192
    depth: int = 9
    reach: float = 4.0
    positions: int = 3
    shared: bool = False
    outputs: int = 1
    bases: int = 0
    span: float = 3.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, noise: Array, conditions: Batch | None = None, train: bool = False) -> Array:
        del train
        places, features, here = nodes(x, noise, conditions, self.positions)
        layers = Layers(
            self.width,
            self.depth,
            self.reach,
            self.shared,
            False,
            self.bases,
            self.span,
            self.dtype,
            name="layers",
        )
        moved, h = layers(places, features, here)
        move = (moved - places) * here
        move = move - here * move.sum(1, keepdims=True) / jnp.maximum(here.sum(1, keepdims=True), 1)
        own = x.shape[-1] - self.positions
        sizes = [own, *[1, own] * (self.outputs - 1)]
        if not sum(sizes):
            return move
        zeros = nn.initializers.zeros
        read = Dense(sum(sizes), kernel_init=zeros, name="features")(h.astype(x.dtype)) * here
        parts = jnp.split(read, np.cumsum(sizes)[:-1], axis=-1)
        for i in range(1, len(parts), 2):
            parts[i] = jnp.repeat(parts[i], self.positions, axis=-1)
        return jnp.concatenate([move, *parts], axis=-1)


def egnn(
    width: int = 192,
    depth: int = 9,
    reach: float = 4.0,
    positions: int = 3,
    shared: bool = False,
    outputs: int = 1,
    bases: int = 0,
    span: float = 3.0,
    dtype: Any = None,
) -> Egnn:
    """Moves of positions and values for features of the nodes of a graph, `[B, N, positions + F]`.

    The moves' mean over the nodes of a graph is 0, so that data should have their centre of mass there, and
    noise too (`objectives.graphs`). The default is GaUDI's generator of polybenzenoids; its features are
    one-hot types and its noise label is t (coefficients `timed`).

    Args:
      width: features of a node. depth: layers.
      reach: the farthest that one node moves another in a layer, in units of x.
      positions: P, how many of the first entries of a node are its position.
      shared: the moves see the messages, which halves the cost; otherwise by perceptrons of their own.
      outputs: values for each entry of x; the output is `[B, N, outputs (P + F)]`, the mean's part first. In
        the others a position has one value for all of its entries, which rotations do not change.
      bases, span: the pairs also see so many Gaussian bumps of the distance D_ij in the input, at 0 to `span`
        in units of x; 0 for none. Squared distances alone tell near neighbours apart slowly.
      dtype: of the computation, such as "bfloat16"; parameters, positions and output keep theirs.

    Raises:
      ValueError: a count below 1, a single base, or a reach or span that is not positive; when applied, what
        `nodes` raises.
    """
    check_counts(width=width, depth=depth, positions=positions, outputs=outputs)
    check_reach(reach)
    check_bases(bases, span)
    return Egnn(width, depth, reach, positions, shared, outputs, bases, span, dtype)


def check_reach(reach: float) -> None:
    """Raises ValueError unless the reach is positive and finite."""
    if not (reach > 0 and math.isfinite(reach)):
        raise ValueError(f"reach must be positive, got {reach}")


def check_bases(bases: int, span: float) -> None:
    """Raises ValueError unless there are two bumps or none, and their span is positive and finite."""
    if bases < 0 or bases == 1 or not (span > 0 and math.isfinite(span)):
        raise ValueError(f"bases must be 0 or at least 2, and span positive, got {bases} and {span}")


EXAMPLES: dict[str, dict[str, Any]] = {"egnn": {"width": 8, "depth": 2, "bases": 4}}
SHAPES = {"egnn": (3, 4, 5)}
