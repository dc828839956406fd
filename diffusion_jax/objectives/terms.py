"""What of a bound is minimised: the bound itself, the unweighted squared error, or both.

A term is a function `Step -> value [B, T]`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from diffusion_jax.types import Array


class Step(NamedTuple):
    """One drawn step of the bound, for a term to turn into a loss. All values are [B, T], per dimension.

    part:     the step's part of -K, in nats, not yet weighted
    detached: () -> the same, without gradient through the mean x0_hat
    error:    () -> |eps - eps_hat|^2, the squared error of the noise; ValueError where there is none
    weight:   1/p of the step: the number of pairs where they are drawn uniformly
    rest:     prior and decoder terms that no network enters, in nats
    """

    part: Array
    detached: Callable[[], Array]
    error: Callable[[], Array]
    weight: Array
    rest: Array


Term = Callable[[Step], Array]


def bound() -> Term:
    """The bound itself: an unbiased estimate of -K."""
    return lambda step: step.weight * step.part + step.rest


def simple() -> Term:
    """L_simple: the squared error of the noise, unweighted; Gaussian. DDPM (arXiv 2006.11239), eq. 14."""
    return lambda step: step.error()


def hybrid(share: float = 0.001) -> Term:
    """L_simple + share * bound in bits, the mean detached in the bound, which so trains the variance alone.

    Improved DDPM (arXiv 2102.09672), eq. 16. Raises ValueError unless share > 0.
    """
    if share <= 0:
        raise ValueError(f"share must be positive, got {share}")
    return lambda step: step.error() + share / math.log(2) * step.weight * step.detached()


EXAMPLES: dict[str, dict[str, Any]] = {"bound": {}, "simple": {}, "hybrid": {}}
