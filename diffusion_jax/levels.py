"""Noise levels: their shapes, and the laws they are drawn from in training.

A level `t` has a prefix shape of the data it belongs to: `()` (one for all), `[B]` (one a sample) or
`[B, T]` (one a token). `canonical` brings it to `[#B, #T]` (an axis may be 1), `expand` makes it broadcast
against the data. One level a sample *is* `[B, 1]`; there is no second code path.

A law of levels is a function `(key, (B, T)) -> t [#B, #T]`. The base laws (`uniform`, `low_discrepancy`,
`lognormal`, `log_uniform`, `vp_uniform`, `logit_normal`) draw B x T levels of the shape they are asked for;
combinators change the shape or single tokens:

    per_token(uniform())             a level for each token, as in Diffusion Forcing (arXiv 2407.01392)
    per_sample(low_discrepancy())    a level for each sample, stratified over the batch, as in VDM:
                                     of sequences, full-sequence diffusion
    next_token(uniform())            teacher forcing
    shared_future(uniform(), n)      a fixed history of n clean tokens
    uniform_future(uniform())        a noisy history, one level for all of the future
    horizon(per_token(uniform()))    sequences of every length
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from diffusion_jax.types import Array, Key, Levels


def canonical(t: Any, x: Array) -> Array:
    """The level `t`, of shape (), [B] or [B, T], as an array [#B, #T] of x's dtype; x is [B, T, ...].

    Raises ValueError where t's shape is no prefix of x's.
    """
    t = jnp.asarray(t, dtype=x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else jnp.float32)
    if x.ndim < 2:
        raise ValueError(f"data must be [B, T, ...], got shape {x.shape}")
    if t.ndim > 2 or any(n not in (1, m) for n, m in zip(t.shape, x.shape, strict=False)):
        raise ValueError(
            f"a level must have shape (), [B] or [B, T], a prefix of the data's {x.shape}; got {t.shape}"
        )
    return t.reshape(t.shape + (1,) * (2 - t.ndim))


def expand(t: Any, x: Array) -> Array:
    """The level with trailing ones, so that it broadcasts against x: () | [B] | [B, T] -> rank of x."""
    t = jnp.asarray(t)
    if t.ndim > x.ndim or any(n not in (1, m) for n, m in zip(t.shape, x.shape, strict=False)):
        raise ValueError(f"a level's shape must be a prefix of the data's {x.shape}; got {t.shape}")
    return t.reshape(t.shape + (1,) * (x.ndim - t.ndim))


def token_sum(values: Array) -> Array:
    """Sum over the features of each token: [B, T, ...] -> [B, T]."""
    return values.sum(tuple(range(2, values.ndim)))


def normal(key: Key, x: Array) -> Array:
    """Standard normal noise shaped like x, the default `draw`. key: one key, or [B] keys, one a sample."""
    dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else jnp.float32
    if key.ndim == 0:
        return jax.random.normal(key, x.shape, dtype)
    if key.shape != x.shape[:1]:
        raise ValueError(f"keys must be one key or one for each sample: got {key.shape} for data {x.shape}")
    return jax.vmap(lambda k: jax.random.normal(k, x.shape[1:], dtype))(key)


def of_process(levels: Levels | Callable[..., Levels], process: Any) -> Levels:
    """The law of levels: `levels` itself, or what it gives for the process, where it waits for one."""
    if "process" in inspect.signature(levels).parameters:
        return levels(process)  # type: ignore[call-arg, return-value]
    return levels  # type: ignore[return-value]


# Laws


def uniform() -> Levels:
    """t ~ U(0, 1), independently for every entry."""

    def draw(key: Key, shape: tuple[int, int]) -> Array:
        return jax.random.uniform(key, shape)

    return draw


def low_discrepancy() -> Levels:
    """t_b = (u + b/B) mod 1 with one u ~ U(0, 1): uniform each, evenly spread over the batch.

    VDM (arXiv 2107.00630), appendix I.1. With T > 1 every token has its own u and its own order of the
    batch, so that the levels of a sample's tokens are independent of each other.
    """

    def draw(key: Key, shape: tuple[int, int]) -> Array:
        batch, tokens = shape
        offset_key, order_key = jax.random.split(key)
        offsets = jax.random.uniform(offset_key, (1, tokens))
        strata = jnp.broadcast_to(jnp.arange(batch)[:, None] / batch, shape)
        if tokens > 1:
            strata = jax.random.permutation(order_key, strata, axis=0, independent=True)
        return (offsets + strata) % 1.0

    return draw


def lognormal(process: Any, mean: float = -1.2, std: float = 1.2) -> Levels:
    """log(sigma/alpha) ~ N(mean, std^2), as levels of the Gaussian `process`, clipped to 1.

    EDM (arXiv 2206.00364), table 1: P_mean = -1.2, P_std = 1.2.
    """
    if std <= 0:
        raise ValueError(f"std must be positive, got {std}")

    def draw(key: Key, shape: tuple[int, int]) -> Array:
        return process.time(jnp.exp(mean + std * jax.random.normal(key, shape)))

    return draw


def log_uniform(process: Any, sigma_min: float = 0.02, sigma_max: float = 100.0) -> Levels:
    """log(sigma/alpha) ~ U(log sigma_min, log sigma_max), as levels of the Gaussian `process`, clipped to 1.

    The variance-exploding law of Song et al. (arXiv 2011.13456), with the ends of EDM (arXiv 2206.00364,
    table 1). Raises ValueError unless 0 < sigma_min < sigma_max.
    """
    if not 0 < sigma_min < sigma_max:
        raise ValueError(f"need 0 < sigma_min < sigma_max, got {sigma_min} and {sigma_max}")

    def draw(key: Key, shape: tuple[int, int]) -> Array:
        low, high = jnp.log(sigma_min), jnp.log(sigma_max)
        return process.time(jnp.exp(jax.random.uniform(key, shape, minval=low, maxval=high)))

    return draw


def vp_uniform(process: Any, low: float = 1e-5, beta_min: float = 0.1, beta_max: float = 20.0) -> Levels:
    """u ~ U(low, 1) in Song's variance-preserving process, as levels of `process` at the same sigma/alpha.

    log(1 + (sigma/alpha)^2) = beta_min u + (beta_max - beta_min) u^2/2: EDM (arXiv 2206.00364), table 1, VP.
    Levels are clipped to 1. Raises ValueError unless 0 <= low < 1 and 0 < beta_min <= beta_max.
    """
    if not (0 <= low < 1 and 0 < beta_min <= beta_max):
        raise ValueError(
            f"need 0 <= low < 1 and 0 < beta_min <= beta_max, got {low}, {beta_min} and {beta_max}"
        )

    def draw(key: Key, shape: tuple[int, int]) -> Array:
        u = jax.random.uniform(key, shape, minval=low)
        return process.time(jnp.sqrt(jnp.expm1(u * (beta_min + 0.5 * (beta_max - beta_min) * u))))

    return draw


def logit_normal(mean: float = 0.0, std: float = 1.0) -> Levels:
    """logit(t) ~ N(mean, std^2): for `flow`, the law of Esser et al. (arXiv 2403.03206), section 3.1.

    There log(sigma/alpha) = logit(t), so that this is `lognormal` of that process. Raises ValueError unless
    std > 0.
    """
    if std <= 0:
        raise ValueError(f"std must be positive, got {std}")
    return lambda key, shape: jax.nn.sigmoid(mean + std * jax.random.normal(key, shape))


# Combinators


def per_sample(levels: Levels) -> Levels:
    """One level for each sample: [B, 1]."""
    return lambda key, shape: levels(key, (shape[0], 1))


def per_token(levels: Levels) -> Levels:
    """A level for each token: [B, T]."""
    return lambda key, shape: jnp.broadcast_to(levels(key, shape), shape)


def _replace(levels: Levels, share: float, value: float) -> Levels:
    if not 0 <= share <= 1:
        raise ValueError(f"share must lie in [0, 1], got {share}")

    def draw(key: Key, shape: tuple[int, int]) -> Array:
        level_key, chosen_key = jax.random.split(key)
        chosen = jax.random.bernoulli(chosen_key, share, shape)
        return jnp.where(chosen, value, levels(level_key, shape))

    return draw


def with_clean(levels: Levels, share: float) -> Levels:
    """Every token is clean (t = 0: context) with probability `share`."""
    return _replace(levels, share, 0.0)


def with_missing(levels: Levels, share: float) -> Levels:
    """Every token is pure noise (t = 1: missing) with probability `share`."""
    return _replace(levels, share, 1.0)


def shared_future(levels: Levels, context: int) -> Levels:
    """The first `context` tokens are clean, all others of a sample share one level: [B, T]."""
    if context < 0:
        raise ValueError(f"context must be a number of tokens, got {context}")

    def draw(key: Key, shape: tuple[int, int]) -> Array:
        future = levels(key, (shape[0], 1))
        return jnp.where(jnp.arange(shape[1])[None, :] < context, 0.0, future)

    return draw


def uniform_future(levels: Levels, context: int | None = None) -> Levels:
    """The first `context` tokens have a level each, all later ones of a sample share one: [B, T].

    History guidance, arXiv 2502.06764, appendix A.5. Without `context` its length is drawn for each sample,
    uniformly from 0 ... T - 1. Raises ValueError for a negative context.
    """
    if context is not None and context < 0:
        raise ValueError(f"context must be a number of tokens, got {context}")

    def draw(key: Key, shape: tuple[int, int]) -> Array:
        past_key, future_key, length_key = jax.random.split(key, 3)
        length = context
        if length is None:
            length = jax.random.randint(length_key, (shape[0], 1), 0, shape[1])
        past = jnp.arange(shape[1])[None, :] < length
        return jnp.where(past, levels(past_key, shape), levels(future_key, (shape[0], 1)))

    return draw


def next_token(levels: Levels) -> Levels:
    """Teacher forcing: one token of a sample at its level, all before it clean, all after it missing: [B, T].

    The place of that token is uniform on 0 ... T - 1. A network trained at these levels alone predicts the
    next token from a clean past, and knows no other past.
    """

    def draw(key: Key, shape: tuple[int, int]) -> Array:
        level_key, place_key = jax.random.split(key)
        place = jax.random.randint(place_key, (shape[0], 1), 0, shape[1])
        tokens = jnp.arange(shape[1])[None, :]
        later = jnp.where(tokens > place, 1.0, levels(level_key, (shape[0], 1)))
        return jnp.where(tokens < place, 0.0, later)

    return draw


def horizon(levels: Levels, least: int = 1) -> Levels:
    """The tokens past a random length are missing (t = 1): [B, T].

    The length of a sample is uniform on least ... T. So trained, a network takes sequences of every length,
    filled up with noise (Diffusion Forcing, arXiv 2407.01392: planning). Raises ValueError unless least is
    positive, and, when drawn, where T is smaller.
    """
    if least < 1:
        raise ValueError(f"least must be a positive number of tokens, got {least}")

    def draw(key: Key, shape: tuple[int, int]) -> Array:
        if shape[1] < least:
            raise ValueError(f"sequences of {shape[1]} tokens cannot hold a horizon of at least {least}")
        level_key, length_key = jax.random.split(key)
        length = jax.random.randint(length_key, (shape[0], 1), least, shape[1] + 1)
        return jnp.where(jnp.arange(shape[1])[None, :] < length, levels(level_key, shape), 1.0)

    return draw


def with_first(levels: Levels, share: float, high: float) -> Levels:
    """The first token of a sample is nearly clean, at U(0, high), with probability `share`: [B, T].

    For plans, which start from a known token. Raises ValueError unless share and high lie in [0, 1].
    """
    if not (0 <= share <= 1 and 0 <= high <= 1):
        raise ValueError(f"share and high must lie in [0, 1], got {share} and {high}")

    def draw(key: Key, shape: tuple[int, int]) -> Array:
        level_key, chosen_key, low_key = jax.random.split(key, 3)
        chosen = jax.random.bernoulli(chosen_key, share, (shape[0], 1))
        near = jax.random.uniform(low_key, (shape[0], 1), maxval=high)
        return jnp.where(chosen & (jnp.arange(shape[1])[None, :] == 0), near, levels(level_key, shape))

    return draw


def discrete(levels: Levels, steps: int) -> Levels:
    """Levels k/steps, k = 1 ... steps: each rounded up, so that only clean tokens stay clean.

    Uniform levels become uniform on the steps. Raises ValueError unless steps is positive.
    """
    if steps < 1:
        raise ValueError(f"steps must be positive, got {steps}")
    return lambda key, shape: jnp.ceil(levels(key, shape) * steps) / steps


EXAMPLES: dict[str, dict[str, Any]] = {
    "uniform": {},
    "low_discrepancy": {},
    "lognormal": {"process": "edm"},
    "log_uniform": {"process": "ve"},
    "vp_uniform": {"process": "edm"},
    "logit_normal": {},
    "per_sample": {"levels": "low_discrepancy"},
    "per_token": {"levels": "low_discrepancy"},
    "with_clean": {"levels": "uniform", "share": 0.25},
    "with_missing": {"levels": "uniform", "share": 0.25},
    "shared_future": {"levels": "uniform", "context": 1},
    "uniform_future": {"levels": "uniform"},
    "next_token": {"levels": "uniform"},
    "horizon": {"levels": "uniform", "least": 2},
    "with_first": {"levels": "uniform", "share": 0.5, "high": 0.25},
    "discrete": {"levels": "uniform", "steps": 10},
}
