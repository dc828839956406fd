r"""Products of a model with another distribution, one reverse kernel at a time.

Sohl-Dickstein et al. (arXiv 1503.03585), section 2.5 and appendix C: to sample p(x) r(x), each kernel becomes

    p~(x_s | x_t)  proportional to  p(x_s | x_t) r(x_s).

A *factor* is that change, (law, t, s) -> law, an argument of `ancestral` and of the decoder `fixed_kernel`:

    delta(known, mask)              inpainting: r is a point mass on the known entries
    gaussian_factor(mean, std)      denoising: r = N(mean, std^2); precisions add, means are weighted by them
    bernoulli_factor(probability)   bits: c becomes c r1 / (c r1 + (1 - c) r0)
    categorical_factor(probabilities)
    smooth(log_r)                   any r, by the gradient of log r at the kernel's mean

The first four change each kernel exactly, `smooth` to first order (it needs a Hessian of log r that is small
against the kernel's precision). The *chain* is not exact in any of them: its marginals are not those of
p(x) r(x), because p~ is normalised for each x_t. Where that matters, condition the denoiser instead.

`power(s)` replaces r by r^power at level s. It is 1 in all runs of the paper; `fading` is its alternative
r(x_t) = r(x_0)^((T - t)/T), which leaves the law that the chain starts from unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from diffusion_jax.laws import Bernoulli, Categorical, Normal, safe_log
from diffusion_jax.levels import expand
from diffusion_jax.processes.gaussian import quotient
from diffusion_jax.types import Array

Factor = Callable[[Any, Array, Array], Any]
Power = Callable[[Array], Array]


def constant(s: Array) -> Array:
    """The same r at every level."""
    return jnp.ones_like(s)


def fading(s: Array) -> Array:
    """r to the power 1 - s: nothing at pure noise, all of it at s = 0."""
    return 1 - s


def delta(known: Array, mask: Array) -> Factor:
    """A point mass at `known` wherever `mask` is true, for every process.

    known: [B, T, ...]; for bits 0 or 1, for categories one-hot. mask: a shape that is a prefix of it.
    """

    def factor(law: Any, t: Array, s: Array) -> Any:
        fixed = expand(mask, known).astype(bool)
        match law:
            case Normal():
                return Normal(jnp.where(fixed, known, law.mean), jnp.where(fixed, 0.0, law.std))
            case Bernoulli():
                certain = safe_log(known) - safe_log(1 - known)
                return Bernoulli(jnp.where(fixed, certain, law.logits))
            case Categorical():
                return Categorical(jnp.where(fixed, safe_log(known), law.logits))
        raise _unknown("delta", law, "Normal, Bernoulli or Categorical")

    return factor


def gaussian_factor(mean: Array, std: Array | float, power: Power = constant) -> Factor:
    """N(mean, std^2), for Gaussian processes.

    mean: broadcastable to x [B, T, ...]; std: likewise. std = 0 is a point mass (`delta`), inf no factor.
    """

    def factor(law: Any, t: Array, s: Array) -> Normal:
        if not isinstance(law, Normal):
            raise _unknown("gaussian_factor", law, "Normal")
        p = expand(power(s), law.mean)
        weight = quotient(p * law.std**2, p * law.std**2 + jnp.square(std), 0.0)
        return Normal(law.mean + weight * (mean - law.mean), law.std * jnp.sqrt(1 - weight))

    return factor


def bernoulli_factor(probability: Array | float, power: Power = constant) -> Factor:
    """r(1) = probability, r(0) = 1 - probability, for bits.

    probability: broadcastable to x [B, T, ...]; only the odds r(1)/r(0) matter. 0.5 is no factor.
    """
    probability = jnp.asarray(probability, float)
    log_odds = safe_log(probability) - safe_log(1 - probability)

    def factor(law: Any, t: Array, s: Array) -> Bernoulli:
        if not isinstance(law, Bernoulli):
            raise _unknown("bernoulli_factor", law, "Bernoulli")
        return Bernoulli(law.logits + expand(power(s), law.logits) * log_odds)

    return factor


def categorical_factor(probabilities: Array, power: Power = constant) -> Factor:
    """r(k) = probabilities[..., k], for categories; broadcastable to x [B, T, ..., K], any scale."""
    log_r = safe_log(jnp.asarray(probabilities, float))

    def factor(law: Any, t: Array, s: Array) -> Categorical:
        if not isinstance(law, Categorical):
            raise _unknown("categorical_factor", law, "Categorical")
        return Categorical(law.logits + expand(power(s), law.logits) * log_r)

    return factor


def smooth(log_r: Callable[[Array], Array], power: Power = constant) -> Factor:
    """Any smooth r, to first order: r(x) is replaced by exp(g x), g = grad log r at the kernel's mean.

    A normal law moves its mean by variance * g and keeps its covariance (appendix C); bits and
    categories add g to their logits.

    log_r: x [B, T, ...] -> log r, of any shape; summed over, so it must not mix samples.
    """
    gradient = jax.grad(lambda x: log_r(x).sum())

    def factor(law: Any, t: Array, s: Array) -> Any:
        push = expand(power(s), law.mean) * gradient(law.mean)
        match law:
            case Normal():
                return Normal(law.mean + law.std**2 * push, law.std)
            case Bernoulli():
                return Bernoulli(law.logits + push)
            case Categorical():
                return Categorical(law.logits + push)
        raise _unknown("smooth", law, "Normal, Bernoulli or Categorical")

    return factor


def _unknown(name: str, law: Any, expected: str) -> TypeError:
    return TypeError(f"{name} changes a {expected} law; the process's kernel is {type(law).__name__}")
