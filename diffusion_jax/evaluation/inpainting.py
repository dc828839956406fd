"""Inpainting against the truth: points of the plane whose first coordinate is known, the second drawn.

For data that are one of N points blurred by normal noise c (`types.Support`), the law of the second
coordinate y given the first, x, is exact: a mixture of N(p_y, c^2) with weights proportional to
N(x; p_x, c^2). Draws of a method are compared with it by the Wasserstein-1 distance, by a two-sample
Kolmogorov-Smirnov test, and by the share of draws off the support: farther than 5 c from every point p_y
whose weight is above 1e-6 of the largest.

Two methods:

    product_inpainting   2015's: a delta on the known coordinate multiplies every reverse kernel
                         (arXiv 1503.03585, section 2.5). Each kernel is exact, the chain is not.
    token_inpainting     the two coordinates are two tokens, the known one at level 0, with a joint
                         denoiser: exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffusion_jax.evaluation.compiling import compiled
from diffusion_jax.evaluation.outcome import Bind, Evaluation, Outcome
from diffusion_jax.sampling.ancestral import ancestral
from diffusion_jax.sampling.loop import sample, walked
from diffusion_jax.sampling.products import delta
from diffusion_jax.types import Array, Key, Sampler, Support

_FAR = 5.0
_LIKELY = 1e-6


def product_inpainting(
    support: Support, known: tuple[float, ...] = (-1.0, 0.0, 0.5, 1.0), count: int = 2000
) -> Evaluation:
    """2015's inpainting of the bound's own chain, for each known value of the first coordinate.

    support: the law of the data, points [N, 1, 2]; known: values of x; count: draws for each.
    """

    def draw(bind: Bind, key: Key, x: float) -> Array:
        bound = bind({})
        assert bound.denoiser is not None
        assert bound.decoder is not None
        assert bound.times is not None
        values = jnp.zeros((count, 1, 2)).at[..., 0].set(x)
        mask = jnp.zeros((count, 1, 2), bool).at[..., 0].set(True)
        factor = delta(values, mask)
        chain = ancestral(bound.process, bound.variance, factor)
        start_key, path_key, last_key = jax.random.split(key, 3)
        start = factor(bound.process.prior(values.shape), jnp.ones(()), jnp.ones(())).sample(start_key)
        x_1 = sample(path_key, bound.denoiser, chain, start, bound.times[:-1])
        guess = bound.denoiser(x_1, bound.times[-2]) if bound.decoder.learned else None
        return bound.decoder.sample(last_key, x_1, guess)[:, 0, 1]

    return _evaluation(draw, support, known, "2015 product of kernels")


def token_inpainting(
    support: Support,
    sampler: Sampler | Callable[..., Sampler],
    grid: Array | Callable[[Any], Array],
    known: tuple[float, ...] = (-1.0, 0.0, 0.5, 1.0),
    count: int = 2000,
) -> Evaluation:
    """The coordinates as two tokens, [B, 2, 1], the known one at level 0.

    support: points [N, 2, 1]; sampler, grid: of the second token; factories are given the bound's process.
    """

    def draw(bind: Bind, key: Key, x: float) -> Array:
        bound = bind({})
        assert bound.denoiser is not None
        method = sampler if isinstance(sampler, Sampler) else sampler(bound.process)
        times = walked(grid, bound.process)
        levels = jnp.stack([jnp.zeros_like(times), times], -1)[:, None, :]
        start_key, path_key = jax.random.split(key)
        start = bound.process.prior((count, 2, 1)).sample(start_key).at[:, 0].set(x)
        return sample(path_key, bound.denoiser, method, start, levels)[:, 1, 0]

    return _evaluation(draw, support, known, "known coordinate as a clean token")


def _evaluation(
    draw: Callable[[Bind, Key, float], Array], support: Support, known: tuple[float, ...], what: str
) -> Evaluation:
    points = np.asarray(support.points, np.float64).reshape(len(support.points), -1)
    if points.shape[1] != 2:
        raise ValueError(
            f"inpainting is compared on points of the plane; the support has {points.shape[1]} entries"
        )

    def evaluation(bind: Bind, dataset: Any, key: Key) -> Outcome:
        del dataset
        from scipy import stats

        run = compiled(lambda key, x: draw(bind, key, x))
        metrics: dict[str, Any] = {}
        lines = [what]
        for i, x in enumerate(known):
            y = np.asarray(run(jax.random.fold_in(key, i), jnp.float32(x)), np.float64)
            truth, centres = conditional(points, support.std, x, len(y), np.random.default_rng(i))
            far = np.abs(y[:, None] - centres).min(1) > _FAR * support.std
            _, ks_p = np.asarray(stats.ks_2samp(y, truth))
            found = {
                "off_support": float(far.mean()),
                "off_support_se": float(np.sqrt(far.mean() * (1 - far.mean()) / len(y))),
                "wasserstein": float(stats.wasserstein_distance(y, truth)),
                "ks_p": float(ks_p),
            }
            metrics |= {f"x={x:g}/{name}": value for name, value in found.items()}
            lines.append(
                f"x = {x:5g}: off the support {found['off_support']:.1%} +- {found['off_support_se']:.1%}, "
                f"Wasserstein-1 {found['wasserstein']:.4f}, two-sample p {found['ks_p']:.3g}"
            )
        return Outcome(metrics, "\n".join(lines))

    return evaluation


def conditional(
    points: np.ndarray, std: float, x: float, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draws [count] of the second coordinate given that the first is x, and the points' likely values of it.

    points: [N, 2], equally probable, blurred by normal noise `std`.
    """
    log_weight = -0.5 * ((x - points[:, 0]) / std) ** 2
    weight = np.exp(log_weight - log_weight.max())
    chosen = rng.choice(len(points), count, p=weight / weight.sum())
    return points[chosen, 1] + std * rng.standard_normal(count), points[weight > _LIKELY, 1]


EXAMPLES: dict[str, dict[str, Any]] = {
    "product_inpainting": {"support": {"name": "swiss_roll_curve", "points": 64}, "count": 16},
    "token_inpainting": {
        "support": {"name": "swiss_roll_coordinates", "points": 64},
        "sampler": "heun",
        "grid": {"name": "linear_grid", "steps": 4},
        "count": 16,
    },
}
