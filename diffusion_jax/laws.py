"""Distributions with independent entries: Normal, Bernoulli, Categorical.

A law samples, and knows its log-probability, entropy, mean and Kullback-Leibler divergence in closed form,
all in nats and unreduced: an entry for each entry of the data (Categorical: for each one-hot vector).

Randomness enters through one function `draw(key, x)`, standard normal noise shaped like x; bits and
categories push it through its distribution function. Replacing `draw` makes a sampler repeat recorded
noise.

Discrete laws hold logits, kept finite by `safe_log`, so that no divergence is inf - inf.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from diffusion_jax.levels import normal
from diffusion_jax.types import Array, Draw, Key

LOG_2PI = math.log(2 * math.pi)


def safe_log(p: Array) -> Array:
    """log p with p kept above the smallest normal number of its dtype."""
    return jnp.log(jnp.maximum(p, jnp.finfo(p.dtype).tiny))


def _uniforms(key: Key, like: Array, draw: Draw) -> Array:
    """Uniform noise from normal noise, kept away from 0 and 1 so that certain events are certain."""
    u = jax.scipy.special.ndtr(draw(key, like))
    return jnp.clip(u, 1e-12, 1 - jnp.finfo(u.dtype).eps / 2)


class Normal(NamedTuple):
    """Independent normal entries.

    mean: [...]
    std:  broadcastable to mean; 0 is a point mass (sampling only)
    """

    mean: Array
    std: Array

    def sample(self, key: Key, draw: Draw = normal) -> Array:
        """A sample, shaped like mean. key: one key or [B] keys."""
        return self.mean + self.std * draw(key, self.mean)

    def log_prob(self, x: Array) -> Array:
        """log density in nats, [...]."""
        return -0.5 * ((x - self.mean) / self.std) ** 2 - jnp.log(self.std) - 0.5 * LOG_2PI

    def kl(self, other: Normal) -> Array:
        """KL(self || other) in nats, [...]."""
        ratio = self.std / other.std
        return 0.5 * (ratio**2 + ((self.mean - other.mean) / other.std) ** 2 - 1) - jnp.log(ratio)

    def entropy(self) -> Array:
        """Differential entropy in nats, [...]."""
        return jnp.log(self.std) + 0.5 * (LOG_2PI + 1) + jnp.zeros_like(self.mean)


class Bernoulli(NamedTuple):
    """Independent bits, as floats 0 and 1. logits: [...] = log p(1) - log p(0)."""

    logits: Array

    @property
    def mean(self) -> Array:
        """The probability of a one, [...]."""
        return jax.nn.sigmoid(self.logits)

    def sample(self, key: Key, draw: Draw = normal) -> Array:
        """A sample of 0.0 and 1.0, shaped like the logits."""
        return (_uniforms(key, self.logits, draw) < self.mean).astype(self.logits.dtype)

    def log_prob(self, x: Array) -> Array:
        """log probability in nats, [...]; for a probability x, its mean."""
        return x * jax.nn.log_sigmoid(self.logits) + (1 - x) * jax.nn.log_sigmoid(-self.logits)

    def kl(self, other: Bernoulli) -> Array:
        """KL(self || other) in nats, [...]."""
        return self.log_prob(self.mean) - other.log_prob(self.mean)

    def entropy(self) -> Array:
        """Entropy in nats, [...]."""
        return -self.log_prob(self.mean)


class Categorical(NamedTuple):
    """Independent categories, as one-hot floats. logits: [..., K], not necessarily normalised."""

    logits: Array

    @property
    def mean(self) -> Array:
        """The probabilities, [..., K]."""
        return jax.nn.softmax(self.logits, axis=-1)

    def sample(self, key: Key, draw: Draw = normal) -> Array:
        """A one-hot sample [..., K], by the Gumbel-max trick."""
        gumbel = -jnp.log(-jnp.log(_uniforms(key, self.logits, draw)))
        index = jnp.argmax(self.logits + gumbel, axis=-1)
        return jax.nn.one_hot(index, self.logits.shape[-1], dtype=self.logits.dtype)

    def log_prob(self, x: Array) -> Array:
        """log probability in nats of a one-hot x [..., K] -> [...]; for probabilities x, its mean."""
        return (x * jax.nn.log_softmax(self.logits, axis=-1)).sum(-1)

    def kl(self, other: Categorical) -> Array:
        """KL(self || other) in nats, [..., K] -> [...]."""
        return self.log_prob(self.mean) - other.log_prob(self.mean)

    def entropy(self) -> Array:
        """Entropy in nats, [..., K] -> [...]."""
        return -self.log_prob(self.mean)
