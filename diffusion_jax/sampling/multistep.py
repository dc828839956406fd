r"""What multistep samplers share: a history of evaluations, and the polynomial through it integrated exactly.

A linear multistep method replaces what it integrates by the polynomial P through its values at the current
level and at earlier ones. With P in Newton's form, u the distance from the current node u_0 = 0,

    P(u) = f[0] + f[0,1] (u - u_0) + f[0,1,2] (u - u_0)(u - u_1) + ...,

f[..] being divided differences, the integral over the step needs only the moments m_k = int_0^h u^k w(u) du:

    Adams-Bashforth   w = 1              m_k = h^(k+1)/(k+1)
    exponential       w = e^(u - h)      m_0 = 1 - e^-h,  m_k = h^k - k m_(k-1)

The nodes may stand at any distance from each other, for every token its own.

The exponential methods are those of DPM-Solver++ (arXiv 2211.01095), proposition 4.1: with
lambda = log(alpha/sigma) and h = lambda_s - lambda_t, the probability-flow ODE is solved by

    x_s = sigma_s/sigma_t x_t + alpha_s int_0^h e^(u - h) x0_hat(lambda_t + u) du,

where e^-h = sigma_s alpha_t/(sigma_t alpha_s), so that log alpha is never formed. h is infinite where
alpha(t) = 0 or sigma(s) = 0: such a step is of first order, x_s = sigma_s/sigma_t x_t + alpha_s x0_hat, and a
node at alpha = 0 is no part of later polynomials.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp

from diffusion_jax.levels import expand
from diffusion_jax.processes.gaussian import Gaussian, quotient
from diffusion_jax.types import Array


class History(NamedTuple):
    """The sample and the latest evaluations before it, the last one first; each token has its own.

    x:      [B, T, ...]
    levels: [B, T] each, where the evaluations were made; inf where there has been none
    values: [B, T, ...] each
    """

    x: Array
    levels: tuple[Array, ...]
    values: tuple[Array, ...]


def remembering(depth: int) -> Callable[[Array, Array], History]:
    """The `init` of a sampler that keeps `depth` evaluations."""

    def init(x: Array, t: Array) -> History:
        return History(x, (jnp.full(x.shape[:2], jnp.inf, t.dtype),) * depth, (jnp.zeros_like(x),) * depth)

    return init


def latest(new: Array, kept: tuple[Array, ...]) -> tuple[Array, ...]:
    """`kept` with `new` before it, the oldest forgotten."""
    return (new, *kept)[: len(kept)]


def later(state: History, x: Array, t: Array, value: Array) -> History:
    """The history after a step from t [#B, #T] to the sample x, in which `value` was found at t."""
    t = jnp.broadcast_to(t, x.shape[:2])
    return History(x, latest(t, state.levels), latest(value, state.values))


def integral(
    values: Sequence[Array], nodes: Sequence[Array], present: Sequence[Array], moments: Sequence[Array]
) -> Array:
    """int P(u) w(u) du of the polynomial through (nodes[j], values[j]); m_k = moments[k]. Shaped like values.

    Args:
        values: [B, T, ...] each.
        nodes: [#B, #T] each, all finite; nodes[0] is 0.
        present: [#B, #T] each: whether the node is one. Those after an absent node are absent too.
        moments: [#B, #T] each, as many as nodes.

    Two nodes that rounding has made one count as one.
    """
    x = values[0]
    total = expand(moments[0], x) * x
    differences, basis = list(values), [jnp.ones_like(nodes[0])]
    for m in range(1, len(values)):
        gaps = [jnp.where(present[j + m], nodes[j] - nodes[j + m], 0.0) for j in range(len(values) - m)]
        differences = [
            quotient(differences[j] - differences[j + 1], expand(gap, x), 0.0) for j, gap in enumerate(gaps)
        ]
        root = nodes[m - 1]
        raised, lowered = [jnp.zeros_like(root), *basis], [*(root * c for c in basis), jnp.zeros_like(root)]
        basis = [up - down for up, down in zip(raised, lowered, strict=True)]
        weight = sum(c * moment for c, moment in zip(basis, moments, strict=False))
        total = total + expand(weight, x) * differences[0]
    return total


def log_step(process: Gaussian, t: Array, s: Array) -> tuple[Array, Array]:
    """(h, finite) with h = log(alpha_s/sigma_s) - log(alpha_t/sigma_t), or 0 where that is infinite."""
    q = process.share(t, s)[0]
    finite = q > 0
    return -jnp.log(jnp.where(finite, q, 1.0)), finite


def log_nodes(process: Gaussian, t: Array, levels: Sequence[Array]) -> tuple[list[Array], list[Array]]:
    """The nodes at t and at `levels`, in log(alpha/sigma) from t on, and whether they are nodes."""
    nodes, present = [jnp.zeros_like(t)], [jnp.ones_like(t, bool)]
    for level in levels:
        exists = level <= 1
        gap, finite = log_step(process, jnp.where(exists, level, t), t)
        nodes.append(-gap)
        present.append(exists & finite)
    return nodes, present


def exponential(
    process: Gaussian,
    x: Array,
    t: Array,
    s: Array,
    levels: Sequence[Array],
    values: Sequence[Array],
    half: Callable[[Array], Array] | None = None,
) -> Array:
    """From x at level t to level s <= t, with x0_hat as the polynomial through its values. Shaped like x.

    Args:
        process: a Gaussian process.
        x: [B, T, ...].
        t, s: [#B, #T].
        levels: of the nodes other than t, [#B, #T] each, absent ones (inf) last.
        values: x0_hat at t and at the others, [B, T, ...] each.
        half: (h) -> B. Where there are but two nodes, their first difference is weighted by B(h)/2 in place
            of the integral m_1/h, with which it agrees to second order.
    """
    nodes, present = log_nodes(process, t, levels)
    h, finite = log_step(process, t, s)
    moments = [1 - process.share(t, s)[0]]
    for k in range(1, len(nodes)):
        moments.append(jnp.where(finite, h**k - k * moments[-1], 0.0))
    if half is not None and len(nodes) > 1:
        several = present[2] if len(nodes) > 2 else jnp.zeros_like(finite)
        moments[1] = jnp.where(several, moments[1], h * half(h) / 2)
    carried = quotient(process.sigma(s), process.sigma(t), 1.0)
    return expand(carried, x) * x + expand(process.alpha(s), x) * integral(values, nodes, present, moments)


def by_exponential(h: Array) -> Array:
    """B(h) = 1 - e^-h: B2 of UniPC (arXiv 2302.04867), and the weight of DPM-Solver++ 2M."""
    return -jnp.expm1(-h)


def by_distance(h: Array) -> Array:
    """B(h) = h: B1 of UniPC (arXiv 2302.04867)."""
    return h
