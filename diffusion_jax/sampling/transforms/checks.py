"""What a transform can see of bad input: callables, scales, shapes."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from diffusion_jax.types import Array


def require_callable(name: str, **functions: Any) -> None:
    """Raises TypeError unless every one of the functions can be called; `name` is who asks."""
    for argument, function in functions.items():
        if not callable(function):
            raise TypeError(f"{name} needs a function as `{argument}`, got {function!r}")


def require_scale(name: str, scale: Any) -> None:
    """Raises ValueError unless the scale is (), [B] or [B, T] and, where it is known, not negative."""
    if jnp.ndim(scale) > 2:
        raise ValueError(f"{name}: a scale is (), [B] or [B, T]; got shape {jnp.shape(scale)}")
    if not isinstance(scale, Tracer) and not (np.asarray(scale) >= 0).all():
        raise ValueError(f"{name}: a scale must not be negative, got {scale}")


def shaped(what: str, out: Array, shape: tuple[int, ...]) -> Array:
    """The array itself. Raises ValueError where its shape is another than expected; `what` it should be."""
    if jnp.shape(out) != shape:
        raise ValueError(f"{what} should have shape {shape}, got {jnp.shape(out)}")
    return out
