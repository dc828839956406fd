"""The binomial process of Sohl-Dickstein et al. 2015 (arXiv 1503.03585, table App.1): bits kept or redrawn.

A bit survives to level t with probability keep(t) = 1 - t, else it is redrawn from the equilibrium p:

    P(x_t = 1 | x_0) = (1 - t) x_0 + t p

On the grid t = k/T this is the paper's beta_k = 1/(T - k + 1), for which keep(k/T) = 1 - k/T exactly.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp

from diffusion_jax.laws import Bernoulli, safe_log
from diffusion_jax.levels import expand
from diffusion_jax.processes.categorical import mixture
from diffusion_jax.types import Array


@dataclasses.dataclass(frozen=True)
class Binomial:
    """Independent bits, floats in {0, 1}; x0 may be a probability of a one, whose equilibrium is p."""

    p: float

    def prior(self, shape: tuple[int, ...]) -> Bernoulli:
        """Bernoulli(p), of `shape`."""
        return Bernoulli(jnp.full(shape, jnp.log(self.p) - jnp.log1p(-self.p)))

    def marginal(self, x0: Array, t: Any) -> Bernoulli:
        """q(x_t | x_0); x0 [B, ...] bits or probabilities, t a prefix shape of it."""
        t = expand(t, x0)
        one = (1 - t) * x0 + t * self.p
        zero = (1 - t) * (1 - x0) + t * (1 - self.p)
        return Bernoulli(safe_log(one) - safe_log(zero))

    def posterior(self, x_t: Array, x0: Array, t: Any, s: Any) -> Bernoulli:
        """q(x_s | x_t, x_0), s <= t; for a probability x0, the mixture over both values of x0."""
        equilibrium = jnp.array([1 - self.p, self.p], dtype=x_t.dtype)
        probabilities = mixture(
            jnp.stack([1 - x_t, x_t], -1),
            jnp.stack([1 - x0, x0], -1),
            expand(t, x_t)[..., None],
            expand(s, x_t)[..., None],
            equilibrium,
        )
        return Bernoulli(safe_log(probabilities[..., 1]) - safe_log(probabilities[..., 0]))

    def reverse(self, x_t: Array, x0_hat: Array, t: Any, s: Any, variance: Array | None = None) -> Bernoulli:
        """p(x_s | x_t): the posterior at the probability x0_hat. Raises ValueError for a variance."""
        if variance is not None:
            raise ValueError("bits have no reverse variance: it is set by the probability x0_hat")
        return self.posterior(x_t, x0_hat, t, s)


def binomial(p: float = 0.5) -> Binomial:
    """Bits that relax to Bernoulli(p). The 2015 paper's table has p = 0.5, its heartbeat experiment p = 0.2.

    Raises ValueError unless 0 < p < 1.
    """
    if not 0 < p < 1:
        raise ValueError(f"the equilibrium probability must lie strictly between 0 and 1, got {p}")
    return Binomial(p)


EXAMPLES: dict[str, dict[str, Any]] = {"binomial": {"p": 0.2}}
