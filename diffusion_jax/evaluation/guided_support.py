r"""Samples of a known law, guided by a trained predictor, and what is true of them.

The generator is the exact denoiser of a finite support (`objectives.exact`) under the predictor's process,
so that all that goes wrong is the predictor's doing. Metrics are those of `guided_samples`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from diffusion_jax.evaluation.guided_samples import GuidedSamples
from diffusion_jax.objectives.exact import posterior_moments
from diffusion_jax.types import Array, Bound, Sampler, Support


def guided_support(
    support: Support,
    sampler: Sampler | Callable[..., Sampler],
    grid: Any,
    weights: Sequence[float] = (1.0,),
    scales: Sequence[float] = (0.0, 1.0, 2.0, 4.0),
    caution: float = 0.0,
    high: float = 10.0,
    count: int = 500,
) -> GuidedSamples:
    """See above.

    support: the law of the data. scales: w >= 0. Other arguments as of `guided_samples.drawer`.

    Raises ValueError for a count below 1, a model without a predictor, and a data set without a `truth`.
    """

    def generator(process: Any) -> Bound:
        def exact(x: Array, t: Array) -> Array:
            return posterior_moments(support, process, x, t)[0]

        return Bound(process, exact)

    return GuidedSamples(
        generator,
        sampler,
        grid,
        weights,
        scales,
        caution,
        limit=None,
        high=high,
        count=count,
        batch_size=count,
    )


EXAMPLES: dict[str, dict[str, Any]] = {
    "guided_support": {
        "support": {"name": "swiss_roll_curve", "points": 16},
        "sampler": "euler",
        "grid": {"name": "linear_grid", "steps": 4},
        "scales": [0.0, 1.0],
        "count": 8,
    },
}
