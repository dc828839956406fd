r"""Ancestral sampling: a draw of the reverse kernel p(x_s | x_t), step after step, for every process.

Sohl-Dickstein et al. (arXiv 1503.03585), section 2.2; DDPM (arXiv 2006.11239), algorithm 2; D3PM (arXiv
2107.03006) for categories. The kernel is the process's posterior at x0_hat, so it is exact for bits and
categories up to their independence within a step, and for Gaussians up to the shape of p(x0 | x_t).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from diffusion_jax.levels import normal
from diffusion_jax.sampling.memoryless import memoryless
from diffusion_jax.types import Array, Denoiser, Draw, Key, Sampler


def ancestral(
    process: Any,
    variance: Callable[[Array, Array, Array], Array] | None = None,
    factor: Callable[[Any, Array, Array], Any] | None = None,
    draw: Draw = normal,
) -> Sampler:
    """Stochastic, one evaluation a step.

    Args:
        process: any process.
        variance: (x_t, t, s) -> variance of the step, as `Bound.variance`; None is the posterior's. Only for
            Gaussian processes.
        factor: (law, t, s) -> law, a perturbation of each kernel before it is drawn from, as made in
            `sampling.products`: sampling the product of the model with another distribution.
        draw: (key, x) -> standard normal noise like x; bits and categories push it through their laws.
    """

    def step(key: Key, denoiser: Denoiser, x: Array, t: Array, s: Array) -> Array:
        chosen = None if variance is None else variance(x, t, s)
        law = process.reverse(x, denoiser(x, t), t, s, variance=chosen)
        if factor is not None:
            law = factor(law, t, s)
        return law.sample(key, draw)

    return memoryless(step)


EXAMPLES: dict[str, dict[str, Any]] = {"ancestral": {"process": "vp_cosine"}}
