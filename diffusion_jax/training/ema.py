"""How fast the moving average of the parameters forgets: functions `step -> decay`.

After step n (the first is n = 1) the average becomes ema + (1 - decay(n)) (params - ema).
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp

from diffusion_jax.types import Array

Decay = Callable[[Array], Array]
"""(step int () >= 1) -> decay () in [0, 1)."""


def constant(decay: float) -> Decay:
    """The same decay at every step. Raises ValueError unless 0 <= decay < 1."""
    _check(decay)
    return lambda step: jnp.full((), decay, jnp.float32)


def warmup(decay: float) -> Decay:
    """min(decay, (1 + n) / (10 + n)): a short run does not average over its initial values.

    Raises ValueError unless 0 <= decay < 1.
    """
    _check(decay)
    return lambda step: jnp.minimum(decay, (1.0 + step) / (10.0 + step)).astype(jnp.float32)


def _check(decay: float) -> None:
    if not 0 <= decay < 1:
        raise ValueError(f"the decay of a moving average must be in [0, 1), got {decay}")
