"""How fast the moving average of the parameters forgets: functions `step -> decay`.

After step n (the first is n = 1) the average becomes ema + (1 - decay(n)) (params - ema).

`power` keeps the profile of arXiv 2312.02696 (EDM2), section 3.1: with beta(n) = (1 - 1/n)^(gamma+1) the
parameters of step n weigh (n/N)^(gamma+1) - ((n-1)/N)^(gamma+1) after N steps, the integral over that step of
the density (gamma+1) t^gamma / N^(gamma+1) on [0, N]. Its standard deviation relative to N is

    sigma_rel = sqrt(gamma + 1) / ((gamma + 2) sqrt(gamma + 3)),

at most 1/sqrt(12), that of the plain mean (gamma = 0).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from diffusion_jax.types import Array

Decay = Callable[[Array], Array]
"""(step int () >= 1) -> decay () in [0, 1)."""

EXAMPLES: dict[str, dict[str, Any]] = {
    "constant": {"decay": 0.9},
    "half_life": {"images": 1000, "batch_size": 32},
    "power": {"sigma_rel": 0.1},
    "warmup": {"decay": 0.9},
}


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


def half_life(images: float, batch_size: int, ramp: float | None = 0.05) -> Decay:
    """The weight of old parameters halves with every `images` training images (arXiv 2206.00364, EDM).

    Early on it halves with every `ramp` times the images seen before the step, where that is less; the first
    step copies the parameters.

    Args:
        images: the half-life in images.
        batch_size: images in a step, that of the training.
        ramp: the half-life as a share of the images seen, or None for no such limit.

    Raises ValueError unless all three are positive.
    """
    if not (images > 0 and batch_size > 0 and (ramp is None or ramp > 0)):
        raise ValueError(
            "images, batch_size and ramp must be positive (ramp may be None), "
            f"got images={images}, batch_size={batch_size}, ramp={ramp}"
        )

    def decay(step: Array) -> Array:
        steps = jnp.float32(images / batch_size)
        if ramp is not None:
            steps = jnp.minimum(steps, ramp * (step - 1.0))
        return jnp.exp2(-1 / steps)

    return decay


def power(sigma_rel: float) -> Decay:
    """The profile t^gamma that has the relative width `sigma_rel`; see the head of the module.

    The first step copies the parameters. Raises ValueError unless 0 < sigma_rel <= 1/sqrt(12).
    """
    exponent = gamma(sigma_rel) + 1
    return lambda step: jnp.exp(exponent * jnp.log1p(-1.0 / step))


def gamma(sigma_rel: float) -> float:
    """The exponent of the power profile of relative width `sigma_rel`.

    It is the largest root of (g + 2)^2 (g + 3) = (g + 1) / sigma_rel^2. Raises ValueError unless
    0 < sigma_rel <= 1/sqrt(12).
    """
    if not 0 < sigma_rel <= 1 / math.sqrt(12):
        raise ValueError(
            f"the relative width sigma_rel must be in (0, {1 / math.sqrt(12):.4f}], got {sigma_rel}"
        )
    precision = sigma_rel**-2
    return float(np.roots([1, 7, 16 - precision, 12 - precision]).real.max())


def _check(decay: float) -> None:
    if not 0 <= decay < 1:
        raise ValueError(f"the decay of a moving average must be in [0, 1), got {decay}")
