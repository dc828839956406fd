r"""Grids of levels: `[steps + 1]`, falling from exactly 1 to exactly 0.

A grid places the steps in the process's own level t. Those that place them by the ratio r = sigma/alpha
take the process and go through `process.time(ratio)`: their N = steps ratios fall from sigma_max to
sigma_min, then comes 0. The first entry is set to exactly 1, where the prior is; to start at another sigma,
build the process with it (`edm(sigma_max=20)`). `sigma_max=None` means min(ratio(1), 1e4).

All can be traced: only `steps` must be a Python integer.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from diffusion_jax.processes.gaussian import Gaussian
from diffusion_jax.sampling.ode import require_gaussian
from diffusion_jax.types import Array


def linear_grid(steps: int, first: float | None = None) -> Array:
    """t_i = 1 - i/steps, the uniform grid. `first` replaces t_1, the last level before 0.

    In 2015's process, with alpha_bar(t) = 1 - t, it is the schedule beta_t = 1/(T-t+1) of arXiv 1503.03585,
    and `first` is then the variance of the first step. Raises ValueError unless 0 < first < 2/steps.
    """
    _check(steps)
    times = jnp.linspace(1.0, 0.0, steps + 1)
    if first is None:
        return times
    if steps < 2:
        raise ValueError("a grid of one step has no level between 1 and 0 that `first` could replace")
    if not 0 < first < 2 / steps:
        raise ValueError(f"first must lie between 0 and the level above it, {2 / steps}; got {first}")
    return times.at[-2].set(first)


def cosine_grid(steps: int) -> Array:
    """t_i = cos^2(pi i / (2 steps)), dense at both ends.

    In 2015's process, with alpha_bar(t) = 1 - t, it is the cosine schedule (arXiv 2102.09672) without offset.
    """
    _check(steps)
    times = jnp.cos(jnp.pi / 2 * jnp.linspace(0.0, 1.0, steps + 1)) ** 2
    return times.at[-1].set(0.0)


def log_snr_grid(
    process: Gaussian, steps: int, sigma_min: float = 0.002, sigma_max: float | None = None
) -> Array:
    """Log-SNR falls by equal amounts: the ratios are geometric from sigma_max to sigma_min, then 0."""
    return exponential_grid(process, steps, sigma_min, sigma_max)


def exponential_grid(
    process: Gaussian, steps: int, sigma_min: float = 0.002, sigma_max: float | None = None, rho: float = 1.0
) -> Array:
    """log r falls from log sigma_max to log sigma_min as u^rho, u linear from 1 to 0; rho = 1 is geometric.

    k-diffusion's "polyexponential" grid.
    """
    last, highest = _ends(process, steps, sigma_min, sigma_max)
    u = jnp.linspace(1.0, 0.0, steps) ** rho
    return _from_ratios(process, last * jnp.exp(u * jnp.log(highest / last)))


def karras_grid(
    process: Gaussian, steps: int, sigma_min: float = 0.002, sigma_max: float | None = None, rho: float = 7.0
) -> Array:
    """r^(1/rho) falls linearly from sigma_max to sigma_min, then 0: EDM (arXiv 2206.00364), equation 5."""
    last, highest = _ends(process, steps, sigma_min, sigma_max)
    u = jnp.linspace(1.0, 0.0, steps)
    return _from_ratios(process, (last ** (1 / rho) + u * (highest ** (1 / rho) - last ** (1 / rho))) ** rho)


def _check(steps: int) -> None:
    if not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps must be a positive integer, got {steps!r}")


def _ends(process: Gaussian, steps: int, sigma_min: float, sigma_max: float | None) -> tuple[Array, Array]:
    _check(steps)
    require_gaussian(process, "a grid of ratios")
    if isinstance(sigma_min, int | float) and sigma_min <= 0:
        raise ValueError(f"sigma_min must be positive, got {sigma_min}")
    if isinstance(sigma_max, int | float) and sigma_max <= sigma_min:
        raise ValueError(f"sigma_max must exceed sigma_min = {sigma_min}, got {sigma_max}")
    highest = jnp.minimum(process.ratio(jnp.ones(())), 1e4) if sigma_max is None else jnp.asarray(sigma_max)
    return jnp.asarray(sigma_min), highest


def _from_ratios(process: Gaussian, ratios: Array) -> Array:
    times = jnp.append(process.time(ratios), 0.0)
    return times.at[0].set(1.0)


EXAMPLES: dict[str, dict[str, Any]] = {
    "linear_grid": {"steps": 4},
    "cosine_grid": {"steps": 4},
    "log_snr_grid": {"process": "vp_cosine", "steps": 4},
    "exponential_grid": {"process": "edm", "steps": 4},
    "karras_grid": {"process": "edm", "steps": 4},
}
