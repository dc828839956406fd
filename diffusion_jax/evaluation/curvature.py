r"""How straight the generative ODE is: the curvature of its curves, and the size of its Jacobian.

With v = dx/dt the drift (`sampling.ode`) and T = v/|v| along a solution x(t), features and tokens of a sample
together,

    curvature  = |dT/dt| / |dx/dt|,     dT/dt = dT(x, t) along (v, 1),
    jacobian   = |dv/dx|_F^2 / (dr/dt)^2,

the second with respect to r = sigma/alpha, so that neither depends on how fast t runs.

DisCo-Diff (arXiv 2407.03300, appendix F) steps back by dt = 0.001 instead of differentiating, and shows means
over curves; these are dominated by the few curves that pass between modes, so that medians stand beside them
here. A normal law with one standard deviation in all directions has straight lines in `edm`: curvature 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffusion_jax.evaluation.compiling import compiled
from diffusion_jax.evaluation.outcome import Bind, Evaluation, Outcome
from diffusion_jax.sampling.loop import fitted, sample_path
from diffusion_jax.sampling.ode import drift, require_flow
from diffusion_jax.types import Array, Denoiser, Key, Sampler


def bend(process: Any, denoiser: Denoiser, x: Array, t: Array) -> Array:
    """The curvature at x [B, T, ...] of the solution through it at level t (), 0 < t: [B]."""

    def velocity(x: Array, t: Array) -> Array:
        return drift(process, x, denoiser(x, t), jnp.reshape(t, (1, 1)))

    def direction(x: Array, t: Array) -> Array:
        v = velocity(x, t)
        return v / jnp.sqrt(_square(v)).reshape((-1,) + (1,) * (x.ndim - 1))

    v = velocity(x, t)
    _, turning = jax.jvp(direction, (x, t), (v, jnp.ones_like(t)))
    return jnp.sqrt(_square(turning) / _square(v))


def steepness(key: Key, process: Any, denoiser: Denoiser, x: Array, t: Array) -> Array:
    """|dv/dx|_F^2/(dr/dt)^2 at x [B, T, ...] and level t (), by |J u|^2 for one u ~ N(0, 1) a sample; [B]."""

    def velocity(x: Array) -> Array:
        return drift(process, x, denoiser(x, t), jnp.reshape(t, (1, 1)))

    _, moved = jax.jvp(velocity, (x,), (jax.random.normal(key, x.shape, x.dtype),))
    _, pace = jax.jvp(process.ratio, (t,), (jnp.ones_like(t),))
    return _square(moved) / pace**2


def _square(x: Array) -> Array:
    return (x**2).sum(tuple(range(1, x.ndim)))


def ode_curvature(
    sampler: Sampler | Callable[..., Sampler],
    grid: Array | Callable[[Any], Array],
    count: int = 1000,
    labels: bool = False,
    low: float = 0.0,
    high: float = math.inf,
) -> Evaluation:
    """Curvature and squared Jacobian norm at the levels of a grid, along curves drawn by a sampler.

    sampler: deterministic, such as `heun`; grid: levels or process -> levels; count: curves;
    labels: gives curve i the class i modulo their number;
    low, high: levels of the grid with low <= sigma/alpha <= high are told of. Where noise is far below the
    data's details the curves hardly move, and what is measured is the network's roughness over that.

    Metrics, for each such level but 0, `<name>@<sigma/alpha>`: `curvature` (median over curves),
    `curvature_mean`, `jacobian`; and `curvature`, the median over curves of the mean over these levels.

    Raises ValueError for a count below 1, a grid without such levels, and what `sampling.ode.require_flow`
    raises.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")

    def evaluation(bind: Bind, dataset: Any, key: Key) -> Outcome:
        info = dataset.info
        if labels and info.classes is None:
            raise ValueError("the data set has no classes to draw samples of")

        def run(key: Key) -> tuple[Array, Array, Array]:
            start_key, path_key, seed_key, probe_key = jax.random.split(key, 4)
            index = jnp.arange(count)
            known = {"label": index % info.classes} if labels else {}
            bound = bind({"seed": jax.random.bits(seed_key, (count,)), **known})
            process, denoiser = bound.process, bound.denoiser
            assert denoiser is not None
            require_flow(process, "ode_curvature")
            times = grid(process) if callable(grid) else jnp.asarray(grid)
            x = process.prior((count, *info.shape)).sample(start_key)
            method = fitted(sampler, bound)
            _, path = sample_path(path_key, denoiser, method, x, times, lambda state: state.x)
            levels, keys = times[:-1], jax.random.split(probe_key, len(times) - 1)

            def at(place: tuple[Array, Array, Array]) -> tuple[Array, Array]:
                key, x, t = place
                return bend(process, denoiser, x, t), steepness(key, process, denoiser, x, t)

            bends, steep = jax.lax.map(at, (keys, path[:-1], levels))
            return process.ratio(levels), bends, steep

        ratio, bends, steep = (np.asarray(one, np.float64) for one in compiled(run)(key))
        kept = (low <= ratio) & (ratio <= high)
        if not kept.any():
            raise ValueError(f"the grid has no level with {low:g} <= sigma/alpha <= {high:g}, but {ratio}")
        ratio, bends, steep = ratio[kept], bends[kept], steep[kept]
        metrics: dict[str, Any] = {}
        for place, at in enumerate(ratio):
            metrics[f"curvature@{at:.3g}"] = float(np.median(bends[place]))
            metrics[f"curvature_mean@{at:.3g}"] = float(bends[place].mean())
            metrics[f"jacobian@{at:.3g}"] = float(steep[place].mean())
        each = bends.mean(0)
        metrics |= {"curvature": float(np.median(each)), "curves": count}
        highest = int(np.argmax(np.median(bends, axis=1)))
        text = (
            f"curvature {metrics['curvature']:.4g} (median of {count} curves, mean over {len(ratio)} levels);"
            f" the median is highest, {np.median(bends[highest]):.4g}, at sigma/alpha = {ratio[highest]:.3g}"
        )
        return Outcome(metrics, text)

    return evaluation


EXAMPLES: dict[str, dict[str, Any]] = {
    "ode_curvature": {"sampler": "heun", "grid": {"name": "karras_grid", "steps": 3}, "count": 8},
}
