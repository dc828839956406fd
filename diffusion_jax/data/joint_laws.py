"""Jointly normal laws of generated data sets, of which the exact denoiser is `objectives.linear_gaussian`."""

from __future__ import annotations

from typing import Any

from diffusion_jax.data import autoregression
from diffusion_jax.types import JointNormal


def autoregression_law(dims: int = 2, length: int = 16, seed: int = 0, radius: float = 0.9) -> JointNormal:
    """The law of `length` successive tokens of the data set `autoregression` of these arguments."""
    return autoregression.window_law(dims, length, seed, radius)


EXAMPLES: dict[str, dict[str, Any]] = {"autoregression_law": {"dims": 2, "length": 5}}
