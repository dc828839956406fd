"""Euler's method on the probability-flow ODE: EDM's algorithm 1 (arXiv 2206.00364) uncorrected."""

from __future__ import annotations

from typing import Any

from diffusion_jax.levels import expand
from diffusion_jax.processes.gaussian import Gaussian
from diffusion_jax.sampling.memoryless import memoryless
from diffusion_jax.sampling.ode import drift, require_flow
from diffusion_jax.types import Array, Denoiser, Key, Sampler


def euler(process: Gaussian) -> Sampler:
    """First order, deterministic, one evaluation a step.

    Raises TypeError where the process is not Gaussian, ValueError where alpha'(1) or sigma'(1) is infinite.
    """
    require_flow(process, "euler")

    def step(key: Key, denoiser: Denoiser, x: Array, t: Array, s: Array) -> Array:
        return x + expand(s - t, x) * drift(process, x, denoiser(x, t), t)

    return memoryless(step)


EXAMPLES: dict[str, dict[str, Any]] = {"euler": {"process": "edm"}}
