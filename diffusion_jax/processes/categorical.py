"""Categorical processes: one-hot floats [..., K] kept with probability 1 - t, else redrawn from a law pi.

    q(x_t | x_0) = (1 - t) x_0 + t pi,     q(x_t | x_s) = a x_s + (1 - a) pi,   a = (1 - t)/(1 - s)

pi uniform: multinomial diffusion (Hoogeboom et al., arXiv 2102.05379). pi all on the last category:
absorbing, the mask of D3PM (Austin et al., arXiv 2107.03006).

The reverse step for a probability x0 is the *mixture* of posteriors over the categories of x0,

    q(x_s = j | x_t) = q(x_t | j) sum_i x0_i q(j | i) / q(x_t | i)
                     = q(x_t | j) ( (1 - s) w_j + s pi_j sum_i w_i ),   w_i = x0_i / q(x_t | x0 = i),

not the posterior at the mean, which is biased.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from diffusion_jax.laws import Categorical, safe_log
from diffusion_jax.levels import expand
from diffusion_jax.processes.gaussian import quotient
from diffusion_jax.types import Array


def mixture(x_t: Array, x0: Array, t: Array, s: Array, equilibrium: Array) -> Array:
    """Probabilities of x_s given x_t, for x0 distributed as given: [..., K].

    x_t one-hot and x0 probabilities [..., K]; t, s broadcast to them; equilibrium [K]. Categories of x0
    that are impossible given x_t get weight 0 and the rest is renormalised; where none is left,
    x_s = x_t.
    """
    equilibrium = equilibrium.reshape((1,) * (x_t.ndim - 1) + equilibrium.shape)
    here = (x_t * equilibrium).sum(-1, keepdims=True)
    evidence = (1 - t) * x_t + t * here
    weights = quotient(x0, evidence, 0.0)
    kept = quotient(1 - t, 1 - s, 1.0)
    likelihood = kept * x_t + (1 - kept) * here
    joint = likelihood * ((1 - s) * weights + s * equilibrium * weights.sum(-1, keepdims=True))
    total = joint.sum(-1, keepdims=True)
    return jnp.where(total > 0, quotient(joint, total, 0.0), x_t)


@dataclasses.dataclass(frozen=True)
class CategoricalProcess:
    """K categories as one-hot floats; x0 may be a vector of probabilities."""

    k: int
    absorbing: bool

    @property
    def equilibrium(self) -> Array:
        """pi, [K]."""
        return jax.nn.one_hot(self.k - 1, self.k) if self.absorbing else jnp.full((self.k,), 1 / self.k)

    def _check(self, x: Array) -> None:
        if x.shape[-1] != self.k:
            raise ValueError(f"expected one-hot data [..., {self.k}], got shape {x.shape}")

    def prior(self, shape: tuple[int, ...]) -> Categorical:
        """pi, of `shape` [..., K]."""
        logits = safe_log(self.equilibrium)
        return Categorical(jnp.broadcast_to(logits.reshape((1,) * (len(shape) - 1) + (self.k,)), shape))

    def marginal(self, x0: Array, t: Any) -> Categorical:
        """q(x_t | x_0); x0 [B, ..., K], t a prefix shape of it. Raises ValueError for another K."""
        self._check(x0)
        t = expand(t, x0)
        equilibrium = self.equilibrium.astype(x0.dtype).reshape((1,) * (x0.ndim - 1) + (self.k,))
        return Categorical(safe_log((1 - t) * x0 + t * equilibrium))

    def posterior(self, x_t: Array, x0: Array, t: Any, s: Any) -> Categorical:
        """q(x_s | x_t, x_0), s <= t; for probabilities x0, the mixture over the categories of x0."""
        self._check(x_t)
        equilibrium = self.equilibrium.astype(x_t.dtype)
        return Categorical(safe_log(mixture(x_t, x0, expand(t, x_t), expand(s, x_t), equilibrium)))

    def reverse(
        self, x_t: Array, x0_hat: Array, t: Any, s: Any, variance: Array | None = None
    ) -> Categorical:
        """p(x_s | x_t): the posterior at the probabilities x0_hat. Raises ValueError for a variance."""
        if variance is not None:
            raise ValueError("categories have no reverse variance: it is set by the probabilities x0_hat")
        return self.posterior(x_t, x0_hat, t, s)


def categorical(k: int, absorbing: bool = False) -> CategoricalProcess:
    """K categories relaxing to the uniform law, or, `absorbing`, to the last category (the mask).

    Raises ValueError for fewer than two categories.
    """
    if k < 2:
        raise ValueError(f"a categorical process needs at least 2 categories, got {k}")
    return CategoricalProcess(k, absorbing)


EXAMPLES: dict[str, dict[str, Any]] = {"categorical": {"k": 3}}
