r"""Grids of levels: `[steps + 1]`, falling from exactly 1 to exactly 0; `restart_grid` alone also rises.

A grid places the steps in the process's own level t. Those that place them by the ratio r = sigma/alpha
take the process and go through `process.time(ratio)`: their N = steps ratios fall from sigma_max to
sigma_min, then comes 0. The first entry is set to exactly 1, where the prior is; to start at another sigma,
build the process with it (`edm(sigma_max=20)`). `sigma_max=None` means min(ratio(1), 1e4).

EDM (arXiv 2206.00364, table 1) calls the placing of steps the discretisation; `vp_grid`, `ve_grid`,
`iddpm_grid` and `karras_grid` are its four columns, and each goes with every process.

All can be traced: only numbers of steps must be Python integers. Values are checked where they are known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax.core import Tracer

from diffusion_jax.processes.gaussian import Gaussian, at_once
from diffusion_jax.processes.schedules import vp_cosine
from diffusion_jax.sampling.ode import require_gaussian
from diffusion_jax.types import Array

VP_SIGMA_MIN = math.sqrt(math.expm1(0.1e-3 + 0.5 * 19.9e-6))
"""The ratio of `vp_linear()` at t = 1e-3, 0.0105."""


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
    return _from_ratios(process, _karras(last, highest, steps, rho))


def vp_grid(
    process: Gaussian,
    steps: int,
    sigma_min: float = VP_SIGMA_MIN,
    sigma_max: float | None = None,
    last: float = 1e-3,
) -> Array:
    """The ratios of the linear-beta process at u falling linearly from 1 to `last`, then 0.

    log(1 + r^2) is a parabola in u through 0 at u = 0, made to pass through sigma_max at u = 1 and
    sigma_min at u = last: EDM (arXiv 2206.00364), table 1, VP, where `last` is epsilon_s. With the default
    sigma_min and `vp_linear()`, the levels are t = u.

    Raises ValueError where last is outside (0, 1), or sigma_min so large that the parabola would turn.
    """
    lowest, highest = _ends(process, steps, sigma_min, sigma_max)
    if not 0 < last < 1:
        raise ValueError(f"last must lie in (0, 1), got {last}")
    low, high = jnp.log1p(lowest**2), jnp.log1p(highest**2)
    if _known(low, high) and low >= last * (2 - last) * high:
        limit = jnp.sqrt(jnp.expm1(last * (2 - last) * high))
        raise ValueError(f"with last = {last} sigma_min must be below {limit:.4g}, got {sigma_min}")
    curve = (high - low / last) / (1 - last)
    u = jnp.linspace(1.0, last, steps)
    return _from_ratios(process, jnp.sqrt(jnp.expm1(u * (high + (u - 1) * curve))))


def ve_grid(process: Gaussian, steps: int, sigma_min: float = 0.02, sigma_max: float | None = None) -> Array:
    """`log_snr_grid` down to 0.02: EDM (arXiv 2206.00364), table 1, VE, where r^2 is geometric."""
    return log_snr_grid(process, steps, sigma_min, sigma_max)


def iddpm_grid(
    process: Gaussian, steps: int, sigma_min: float = 0.002, sigma_max: float | None = None
) -> Array:
    """Evenly spaced among the 1,000 ratios of `vp_cosine(steps=1000)` within [sigma_min, sigma_max], then 0.

    The nearest of them by index: EDM (arXiv 2206.00364), table 1, iDDPM, with its levels u_j.

    Raises ValueError where fewer than `steps` ratios lie within.
    """
    lowest, highest = _ends(process, steps, sigma_min, sigma_max)
    ratios = vp_cosine(steps=1000).ratio(jnp.arange(1000, 0, -1) / 1000)
    # the ends count as within, whatever the rounding
    above = (ratios > highest * (1 + 1e-6)).sum()
    within = (ratios >= lowest * (1 - 1e-6)).sum() - above
    if _known(within) and within < steps:
        raise ValueError(
            f"only {within} ratios lie between sigma_min and sigma_max, too few for {steps} steps"
        )
    index = above + jnp.round(jnp.linspace(0.0, 1.0, steps) * (within - 1)).astype(int)
    return _from_ratios(process, ratios[index])


def restart_grid(
    process: Gaussian,
    steps: int,
    intervals: Sequence[Sequence[Any]],
    sigma_min: float = 0.002,
    sigma_max: float | None = None,
    rho: float = 7.0,
) -> Array:
    """`karras_grid` that climbs back on its way down: Restart (arXiv 2306.14878), algorithm 1, for `restart`.

    Args:
        process: a Gaussian process.
        steps: N_main, of the grid without intervals.
        intervals: each (count, repeats, low, high) = (N_restart, K, t_min, t_max): once the grid is at its
            ratio nearest to `low`, it climbs to `high` and falls back in a Karras grid of `count` ratios
            (both ends counted), `repeats` times. Intervals at the same ratio follow one another.
        sigma_min, sigma_max, rho: as in `karras_grid`.

    Returns:
        [steps + 1 + sum of count * repeats]. With `restart` each interval costs 2 (count - 1) repeats
        evaluations, beside the 2 steps - 1 of the rest.

    Raises ValueError for intervals of fewer than two ratios or no repeats, or that lead nowhere.
    """
    lowest, highest = _ends(process, steps, sigma_min, sigma_max)
    main = _karras(lowest, highest, steps, rho)
    ratios, places = [main, jnp.zeros(1)], [jnp.arange(steps + 1.0)]
    for count, repeats, low, high in intervals:
        if not (isinstance(count, int) and count >= 2 and isinstance(repeats, int) and repeats >= 1):
            raise ValueError(f"an interval has at least 2 ratios and 1 repeat, got {count!r} and {repeats!r}")
        place = jnp.argmin(abs(main - low))
        if _known(main, high) and not main[place] < high <= highest:
            raise ValueError(
                f"an interval climbs from the grid's ratio nearest to low = {low}, {main[place]:.4g}, to "
                f"high, at most {highest:.4g}; got high = {high}"
            )
        ratios.append(jnp.tile(_karras(main[place], high, count, rho), repeats))
        places.append(jnp.full(count * repeats, place + 0.5))
    order = jnp.argsort(jnp.concatenate(places), stable=True)
    times = process.time(jnp.concatenate(ratios)[order])
    return times.at[0].set(1.0).at[-1].set(0.0)


def _check(steps: int) -> None:
    if not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps must be a positive integer, got {steps!r}")


def _known(*values: Any) -> bool:
    return not any(isinstance(value, Tracer) for value in values)


def _ends(process: Gaussian, steps: int, sigma_min: float, sigma_max: float | None) -> tuple[Array, Array]:
    """The lowest and the highest ratio, after all that can be wrong with them has been ruled out."""
    _check(steps)
    require_gaussian(process, "a grid of ratios")
    with at_once():
        top = process.ratio(jnp.ones(()))
        highest = jnp.minimum(top, 1e4) if sigma_max is None else jnp.asarray(sigma_max)
        if _known(sigma_min) and sigma_min <= 0:
            raise ValueError(f"sigma_min must be positive, got {sigma_min}")
        if _known(sigma_min, highest) and highest <= sigma_min:
            raise ValueError(f"sigma_max must exceed sigma_min = {sigma_min}, got {highest:.6g}")
        if _known(top, highest) and highest > top * (1 + 1e-5):
            raise ValueError(
                f"sigma_max must not exceed sigma/alpha at level 1, here {top:.6g}; got {highest:.6g}"
            )
    return jnp.asarray(sigma_min), highest


def _karras(last: Array, highest: Any, steps: int, rho: float) -> Array:
    u = jnp.linspace(1.0, 0.0, steps)
    return (last ** (1 / rho) + u * (highest ** (1 / rho) - last ** (1 / rho))) ** rho


def _from_ratios(process: Gaussian, ratios: Array) -> Array:
    times = jnp.append(process.time(ratios), 0.0)
    return times.at[0].set(1.0)


EXAMPLES: dict[str, dict[str, Any]] = {
    "linear_grid": {"steps": 4},
    "cosine_grid": {"steps": 4},
    "log_snr_grid": {"process": "vp_cosine", "steps": 4},
    "exponential_grid": {"process": "edm", "steps": 4},
    "karras_grid": {"process": "edm", "steps": 4},
    "vp_grid": {"process": "vp_linear", "steps": 4},
    "ve_grid": {"process": "ve", "steps": 4},
    "iddpm_grid": {"process": "edm", "steps": 4},
    "restart_grid": {"process": "edm", "steps": 4, "intervals": [[3, 2, 0.06, 0.3]]},
}
