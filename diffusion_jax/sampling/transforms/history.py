r"""History guidance: how much a sequence follows its past, by masking the past with noise.

History-guided video diffusion (arXiv 2502.06764), section 5. To a denoiser of tokens at levels of their own
a token of the history is hidden by replacing it with pure noise *and* declaring it so (level 1), and blurred
by noising it to a level k and declaring that. With D_empty, all of the history hidden,

    D = D_empty + sum_i w_i (D(H_i, k_i) - D_empty),

a term being a part H_i of the history, at the level k_i, with the weight w_i:

    conditional   (H, 0, 1)                      `vanilla(1)`: the denoiser itself
    vanilla       (H, 0, w), w > 1               `vanilla(w)`, HG-v
    temporal      (the last tokens of H, 0, w_i) `temporal(lengths, weights)`, HG-t: shorter memories, of
                                                 which less is new to the network
    fractional    (H, 0, 1), (H, k, w - 1)       `fractional(k, w)`, HG-f: guidance by what noise leaves of
                                                 H, its low frequencies, so that motion is not suppressed

The network must have been trained on such levels: `per_token`, and `with_clean` and `with_missing` for
exactly clean and hidden tokens.

**Stabilisation** is the argument `least`: tokens that the model has generated are shown at a small level
(0.02 in the paper), with noise to match, known ones at 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from diffusion_jax.levels import canonical, expand, normal
from diffusion_jax.processes.gaussian import Gaussian
from diffusion_jax.sampling.ode import require_gaussian
from diffusion_jax.sampling.transforms.checks import require_callable, shaped
from diffusion_jax.sampling.transforms.renoise import redrawn, sample_keys
from diffusion_jax.types import Array, Denoiser, Draw, Key


def whole(context: Array) -> Array:
    """All of the history: [B, T] -> [B, T]."""
    return context


def recent(length: int) -> Callable[[Array], Array]:
    """The last `length` tokens of the history: [B, T] -> [B, T]. Raises ValueError unless it is positive."""
    if length < 1:
        raise ValueError(f"a part of the history has at least one token, got {length}")
    return lambda context: context & (jnp.cumsum(context[:, ::-1], axis=1)[:, ::-1] <= length)


class Term(NamedTuple):
    """One history that guides.

    weight: w
    level:  k in [0, 1), to which the history is noised
    kept:   which tokens of the history are shown, (bool [B, T]) -> bool [B, T]; the others are hidden
    """

    weight: float
    level: float = 0.0
    kept: Callable[[Array], Array] = whole


def vanilla(weight: float) -> tuple[Term, ...]:
    """HG-v: all of the history, with weight w."""
    return (Term(weight),)


def temporal(lengths: Sequence[int], weights: Sequence[float]) -> tuple[Term, ...]:
    """HG-t: the last `lengths[i]` tokens of the history, with weight `weights[i]`.

    Raises ValueError where they are not alike in number, or for a length that is not positive.
    """
    if len(lengths) != len(weights):
        raise ValueError(f"a weight for each length is needed, got {len(weights)} for {len(lengths)}")
    return tuple(Term(w, 0.0, recent(n)) for n, w in zip(lengths, weights, strict=True))


def fractional(level: float, weight: float) -> tuple[Term, ...]:
    """HG-f: the history itself, and the history noised to `level` with weight w - 1."""
    return Term(1.0), Term(weight - 1, level)


def history(
    process: Gaussian,
    denoiser: Denoiser,
    context: Array,
    terms: Sequence[Term],
    key: Key,
    least: Array | float = 0.0,
    draw: Draw = normal,
) -> Denoiser:
    """D_empty + sum_i w_i (D(H_i, k_i) - D_empty) for the tokens that follow a history.

    One evaluation for each term and, unless the weights add up to 1, one for D_empty; all at once (by
    `jax.vmap`, so that conditions [B] which the denoiser has closed over fit). The noise of a token is of the
    level that it is shown at, so that terms which show it alike agree, and new at every level of the others.

    Args:
        process: a Gaussian process.
        denoiser: the denoiser to guide, of tokens at levels of their own.
        context: the tokens that are history, bool [T] or [B, T]: past, future or between. They are held by
            the grid at whatever level they stand, and come back as they are.
        terms: `vanilla(w)`, `temporal(...)`, `fractional(...)`, or `Term`s.
        key: one key, or [B] keys, a seed for each sample. Not the one that the sampler gets.
        least: the level that history is shown at if it stands lower; (), [B] or [B, T], in [0, 1].
        draw: (key, x) -> standard normal noise like x.

    Raises TypeError where the process is not Gaussian or the denoiser cannot be called; ValueError without
    terms, for a level outside [0, 1), a context that is not [T] or [B, T], and, when called, for one that
    does not fit x or an output that is not shaped like x.
    """
    require_gaussian(process, "history")
    require_callable("history", denoiser=denoiser)
    if not terms:
        raise ValueError("history: at least one term is needed, such as vanilla(1.5)")
    outside = [term.level for term in terms if not 0 <= term.level < 1]
    if outside:
        raise ValueError(f"history: the level of a term lies in [0, 1), got {outside[0]}")
    known = jnp.asarray(context).astype(bool)
    if known.ndim not in (1, 2):
        raise ValueError(f"history: context must be [T] or [B, T], got shape {known.shape}")
    total = math.fsum(term.weight for term in terms)
    queries: list[tuple[float, float, Callable[[Array], Array]]] = [(w, k, kept) for w, k, kept in terms]
    if not math.isclose(total, 1.0):
        queries.append((1 - total, 0.0, jnp.zeros_like))

    def denoise(x: Array, t: Array) -> Array:
        past = _placed(known, x)
        level = jnp.broadcast_to(canonical(t, x), x.shape[:2])
        floor = canonical(least, x)
        bits = jax.lax.bitcast_convert_type(level.sum(1).astype(jnp.float32), jnp.uint32)
        keys = jax.vmap(jax.random.fold_in)(sample_keys(key, x.shape[0]), bits)

        def shown(k: float, kept: Callable[[Array], Array]) -> tuple[Array, Array]:
            visible = past & kept(past)
            at = jnp.where(visible, jnp.maximum(jnp.maximum(level, floor), k), jnp.where(past, 1.0, level))
            # from nothing, so that no process leaves a trace of what is hidden
            hidden = past & ~visible
            source, since = jnp.where(expand(hidden, x), 0.0, x), jnp.where(hidden, 0.0, level)
            noised = redrawn(process, source, at, keys, draw, since)
            return jnp.where(expand(at > since, x), noised, x), at

        seen = [shown(k, kept) for _, k, kept in queries]
        xs, ts = (jnp.stack(parts) for parts in zip(*seen, strict=True))
        estimates = shaped("history: the denoiser's output", jax.vmap(denoiser)(xs, ts), xs.shape)
        weights = jnp.asarray([w for w, _, _ in queries], estimates.dtype)
        return jnp.where(expand(past, x), x, jnp.tensordot(weights, estimates, 1))

    return denoise


def _placed(known: Array, x: Array) -> Array:
    """The mask as [B, T]."""
    shape: tuple[Any, ...] = x.shape[:2]
    if known.shape not in ((shape[1],), (1, shape[1]), shape):
        raise ValueError(f"history: context {known.shape} does not fit x {x.shape}")
    return jnp.broadcast_to(known.reshape(-1, shape[1]), shape)
