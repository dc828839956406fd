r"""Samples of a known law, guided by a trained predictor, and what is true of them.

The generator is the exact denoiser of a finite support (`objectives.exact`) under the predictor's process,
so that all that goes wrong is the predictor's doing. At each scale w, for samples of p(x) exp(w J) as far as
a gradient gives them (`sampling.transforms.predictors.preference`), the data set's own `truth` of each gives

    <name>@w          its mean over samples
    <name>_median@w   its median

and `predicted@w` is the mean of J's first target as the model sees the clean samples, in the same units:
where it is far from `target_0@w`, guidance went where the model is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffusion_jax.evaluation.calibration import predictor_of
from diffusion_jax.evaluation.compiling import compiled
from diffusion_jax.evaluation.outcome import Bind, Evaluation, Outcome
from diffusion_jax.objectives.exact import posterior_moments
from diffusion_jax.sampling.loop import fitted, sample
from diffusion_jax.sampling.transforms.gradients import classifier
from diffusion_jax.sampling.transforms.predictors import preference, up_to
from diffusion_jax.types import Array, Bound, Key, Sampler, Support


def guided_support(
    support: Support,
    sampler: Sampler | Callable[..., Sampler],
    grid: Any,
    weights: Sequence[float] = (1.0,),
    scales: Sequence[float] = (0.0, 1.0, 2.0, 4.0),
    caution: float = 0.0,
    high: float = 10.0,
    count: int = 500,
) -> Evaluation:
    """See above.

    support: the law of the data. sampler, grid: what draws, and the levels it walks, an array or
    process -> array. weights, caution: of the preference. scales: w >= 0. high: the largest sigma/alpha
    that is guided. count: samples at each scale.

    Raises ValueError for a count below 1, a model without a predictor, and a data set without a `truth`.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")

    def evaluation(bind: Bind, dataset: Any, key: Key) -> Outcome:
        truth, targets = getattr(dataset, "truth", None), getattr(dataset, "targets", None)
        if truth is None or targets is None:
            raise ValueError("this data set does not know what is true of a sample: it has no `truth`")

        def draw(key: Key, scale: Array) -> tuple[Array, Array]:
            process, predictor = predictor_of(bind)
            start_key, key = jax.random.split(key)

            def exact(x: Array, t: Array) -> Array:
                return posterior_moments(support, process, x, t)[0]

            liked = preference(predictor, weights, caution)
            denoiser = classifier(process, exact, liked, up_to(process, scale, high))
            x = process.prior((count, *dataset.info.shape)).sample(start_key)
            times = jnp.asarray(grid(process) if callable(grid) else grid)
            x = sample(key, denoiser, fitted(sampler, Bound(process, denoiser)), x, times)
            return x, predictor(x, jnp.zeros(())).mean[:, 0]

        run, metrics, lines = compiled(draw), {}, []
        for scale in scales:
            x, mean = run(key, jnp.asarray(float(scale)))
            found = {name: np.asarray(values, np.float64) for name, values in truth(np.asarray(x)).items()}
            found["predicted"] = targets.mean[0] + targets.std[0] * np.asarray(mean, np.float64)
            for name, values in found.items():
                metrics[f"{name}@{scale:g}"] = float(np.nanmean(values))
                metrics[f"{name}_median@{scale:g}"] = float(np.nanmedian(values))
            shown = ", ".join(f"{name} {metrics[f'{name}@{scale:g}']:.4g}" for name in found)
            lines.append(f"scale {scale:g}: {shown}")
        return Outcome(metrics, "\n".join(lines))

    return evaluation


EXAMPLES: dict[str, dict[str, Any]] = {
    "guided_support": {
        "support": {"name": "swiss_roll_curve", "points": 16},
        "sampler": "euler",
        "grid": {"name": "linear_grid", "steps": 4},
        "scales": [0.0, 1.0],
        "count": 8,
    },
}
