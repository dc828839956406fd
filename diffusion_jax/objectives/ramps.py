r"""How the pull of a context set depends on the level: ramps r(t), t in [0, 1], that rise from data to noise.

    sigmoid    r(t) = sigmoid(slope (t - 1/2)) + floor        the paper's: slope 7, floor 0.1
    linear     r(t) = t + floor
    constant   r(t) = 1

Context-guided diffusion (arXiv 2407.11942) takes tau(t) = tau_0 r(t) for the diagonal of its covariance and
s(t) = s_0 r(1 - t) for its scale. t is the level of the process, so that the ramp means most for processes
whose levels are spread evenly over what the noise hides, such as the variance-preserving ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from diffusion_jax.types import Array

Ramp = Callable[[Array], Array]
"""t of any shape -> r(t), shaped like t."""


def sigmoid(slope: float = 7.0, floor: float = 0.1) -> Ramp:
    """sigmoid(slope (t - 1/2)) + floor. Raises ValueError for a negative slope or floor."""
    if slope < 0 or floor < 0:
        raise ValueError(f"slope and floor must not be negative, got {slope} and {floor}")
    return lambda t: jax.nn.sigmoid(slope * (t - 0.5)) + floor


def linear(floor: float = 0.1) -> Ramp:
    """t + floor. Raises ValueError for a negative floor."""
    if floor < 0:
        raise ValueError(f"floor must not be negative, got {floor}")
    return lambda t: t + floor


def constant() -> Ramp:
    """1 at every level."""
    return jnp.ones_like


EXAMPLES: dict[str, dict[str, Any]] = {"sigmoid": {}, "linear": {}, "constant": {}}
