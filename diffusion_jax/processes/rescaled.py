r"""Combinators: the schedule of one process at another scale.

A Gaussian process is a *schedule*, the ratio r(t) = sigma(t)/alpha(t), and a *scaling* alpha(t). EDM
(arXiv 2206.00364, table 1) treats them as separate choices, sigma(t) and s(t); here a scaling is a process
around another:

    unscaled(p)             alpha = 1,                 sigma = r
    variance_preserving(p)  alpha = 1/sqrt(1 + r^2),   sigma = r alpha

and a schedule may be moved along log SNR, by -2 log f:

    shifted(p, f)           alpha = 1/sqrt(1 + f^2 r^2),   sigma = f r alpha

With a grid as the discretisation and a sampler as the solver, the paper's ablations are compositions: VP's
schedule without scaling is `unscaled(vp_linear())`, EDM's with VP's scaling `variance_preserving(edm())`. A
denoiser of p serves both through `under`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
from jax.core import Tracer

from diffusion_jax.processes.gaussian import Gaussian, at_once
from diffusion_jax.types import Array


@dataclasses.dataclass(frozen=True)
class _Unscaled(Gaussian):
    process: Gaussian

    def alpha(self, t: Array) -> Array:
        return jnp.ones_like(t)

    def sigma(self, t: Array) -> Array:
        return self.process.ratio(t)

    def time(self, ratio: Array) -> Array:
        return self.process.time(ratio)


@dataclasses.dataclass(frozen=True)
class _VariancePreserving(Gaussian):
    process: Gaussian

    def _norm(self, t: Array) -> Array:
        return jnp.sqrt(self.process.alpha(t) ** 2 + self.process.sigma(t) ** 2)

    def alpha(self, t: Array) -> Array:
        return self.process.alpha(t) / self._norm(t)

    def sigma(self, t: Array) -> Array:
        return self.process.sigma(t) / self._norm(t)

    def time(self, ratio: Array) -> Array:
        return self.process.time(ratio)


@dataclasses.dataclass(frozen=True)
class _Shifted(Gaussian):
    process: Gaussian
    factor: float

    def _norm(self, t: Array) -> Array:
        return jnp.sqrt(self.process.alpha(t) ** 2 + (self.factor * self.process.sigma(t)) ** 2)

    def alpha(self, t: Array) -> Array:
        return self.process.alpha(t) / self._norm(t)

    def sigma(self, t: Array) -> Array:
        return self.factor * self.process.sigma(t) / self._norm(t)

    def time(self, ratio: Array) -> Array:
        return self.process.time(ratio / self.factor)


def unscaled(process: Gaussian) -> Gaussian:
    """The schedule of `process` with alpha = 1: x_t = x_0 + ratio(t) eps, variance exploding.

    Raises TypeError where the process is not Gaussian, ValueError where its ratio(1) is infinite: without
    scaling the prior would have infinite variance. A traced process (learned, inside jit) is not checked.
    """
    _require(process, "unscaled")
    with at_once():
        highest = process.ratio(jnp.ones(()))
    if not isinstance(highest, Tracer) and not jnp.isfinite(highest):
        raise ValueError(
            f"unscaled needs a process with finite sigma/alpha at level 1, got {process!r}, where alpha(1) = "
            "0; a discrete chain, such as vp_cosine(steps=1000), ends at a finite one"
        )
    return _Unscaled(process)


def variance_preserving(process: Gaussian) -> Gaussian:
    """The schedule of `process` with alpha^2 + sigma^2 = 1.

    Raises TypeError where the process is not Gaussian.
    """
    _require(process, "variance_preserving")
    return _VariancePreserving(process)


def shifted(process: Gaussian, factor: float) -> Gaussian:
    """The schedule of `process` with `factor` times as much noise, and alpha^2 + sigma^2 = 1.

    For images of other sides than those that the schedule was made for: neighbouring pixels of larger images
    tell more about each other, and `shifted(vp_cosine(), side / 64)` is the shifted cosine schedule of simple
    diffusion (Hoogeboom et al., arXiv 2301.11093): log SNR is that of the cosine plus 2 log(64/side).

    Raises TypeError where the process is not Gaussian, ValueError unless factor > 0.
    """
    _require(process, "shifted")
    if factor <= 0:
        raise ValueError(f"factor must be positive, got {factor}")
    return _Shifted(process, factor)


def _require(process: Any, name: str) -> None:
    if not isinstance(process, Gaussian):
        raise TypeError(f"{name} rescales a Gaussian process, such as edm(); got {process!r}")


EXAMPLES: dict[str, dict[str, Any]] = {
    "shifted": {"process": "vp_cosine", "factor": 2.0},
    "unscaled": {"process": "vp_linear"},
    "variance_preserving": {"process": "edm"},
}
