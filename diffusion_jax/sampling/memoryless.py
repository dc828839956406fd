"""Samplers that remember nothing but the sample itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from diffusion_jax.types import Array, Denoiser, Key, Sampler


class State(NamedTuple):
    """x: [B, T, ...]."""

    x: Array


def memoryless(step: Callable[[Key, Denoiser, Array, Array, Array], Array]) -> Sampler:
    """The sampler of a step (key, denoiser, x, t, s) -> x; t, s are [#B, #T]."""
    return Sampler(
        init=lambda x, t: State(x),
        step=lambda key, denoiser, state, t, s: State(step(key, denoiser, state.x, t, s)),
    )
