r"""Samples of a generator, guided by a trained predictor, and what is true of each of them.

The model that is evaluated is the predictor; the generator is another run,

    {"name": "guided_samples", "generator": {"run": "runs/materials_generator"}, "sampler": ..., "grid": ...}

At each scale w, for samples of p(x) exp(w J) as far as a gradient gives them
(`sampling.transforms.predictors.preference`), the data set's own `truth` of each gives

    <name>@w            its mean over the samples that have it: all are valid or not, but molecules have a gap
    <name>_median@w     its median
    objective@w         J of the true targets over the sum of its |w_k|, without caution: sum_k w_k target_k /
                        sum_k |w_k|, in standard deviations; objective_median@w, objective_best@w of the best
    predicted@w         the mean of the first target as the model sees the samples that have it, in its own
                        units: where it is far from `target_0@w`, guidance went where the model is wrong

A metric of which no sample knows anything is None.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffusion_jax.evaluation.calibration import predictor_of
from diffusion_jax.evaluation.compiling import compiled
from diffusion_jax.evaluation.outcome import Bind, Outcome
from diffusion_jax.evaluation.truths import known_values, shown, summaries, truth_function
from diffusion_jax.processes.schedules import vp_cosine
from diffusion_jax.sampling.loop import fitted, sample, walked
from diffusion_jax.sampling.transforms.gradients import classifier
from diffusion_jax.sampling.transforms.predictors import clipped, preference, up_to
from diffusion_jax.types import Array, Bound, Key, Sampler

Generator = Callable[[Any], Bound]
"""The process of the predictor -> a bound with process and denoiser."""


class Guided(NamedTuple):
    """x: samples [N, T, ...]; mean: what the predictor says of them, clean, [N, K], standardised."""

    x: np.ndarray
    mean: np.ndarray


def drawer(
    bind: Bind,
    generator: Generator,
    shape: Sequence[int],
    *,
    sampler: Sampler | Callable[..., Sampler],
    grid: Any,
    weights: Sequence[float] = (1.0,),
    caution: float = 0.0,
    limit: float | None = None,
    high: float = 10.0,
    count: int = 128,
    batch_size: int = 512,
) -> Callable[[Key, float], Guided]:
    """(key, scale) -> `count` guided samples; compiles once. Sample i depends on the key and on i alone.

    bind: of the predictor. generator: see `Generator`. shape: of a sample. sampler, grid: what draws, and the
    levels it walks, an array or process -> array. weights, caution: of the preference. limit: the largest
    norm of a sample's gradient, before it is scaled; None for any. high: the largest sigma/alpha that is
    guided. batch_size: samples in a call.

    Raises ValueError for counts below 1, a model without a predictor, a generator without a denoiser, and
    where generator and predictor were trained with other levels.
    """
    if count < 1 or batch_size < 1:
        raise ValueError(f"count and batch_size must be at least 1, got {count} and {batch_size}")
    batch = min(count, batch_size)
    adjust = None if limit is None else clipped(limit)

    def draw(key: Key, index: Array, scale: Array) -> tuple[Array, Array]:
        process, predictor = predictor_of(bind)
        bound = generator(process)
        if bound.denoiser is None:
            raise ValueError("the generator has no denoiser: it must be a run that can be sampled")
        keys = jax.vmap(jax.random.split)(jax.vmap(jax.random.fold_in, (None, 0))(key, index))
        liked = preference(predictor, weights, caution)
        guide = up_to(bound.process, scale, high)
        denoiser = classifier(bound.process, bound.denoiser, liked, guide, adjust)
        bound = bound._replace(denoiser=denoiser)
        x = bound.process.prior((batch, *shape)).sample(keys[:, 0])
        x = sample(keys[:, 1], denoiser, fitted(sampler, bound), x, walked(grid, bound.process))
        return x, predictor(x, jnp.zeros(())).mean

    run = compiled(draw)

    def call(key: Key, scale: float) -> Guided:
        _check_levels(predictor_of(bind)[0], generator)
        parts = [
            run(key, jnp.arange(first, first + batch), jnp.asarray(float(scale)))
            for first in range(0, count, batch)
        ]
        x, mean = (np.concatenate([np.asarray(part[i]) for part in parts])[:count] for i in (0, 1))
        return Guided(x, mean)

    return call


def truth_of(dataset: Any, guided: Guided, weights: Sequence[float]) -> dict[str, np.ndarray]:
    """What is true of samples, each [N]: the data set's `truth`, `objective` and `predicted`.

    Raises ValueError for a data set without `truth`, or weights that do not fit its targets.
    """
    truth, targets = truth_function(dataset), dataset.targets
    if len(weights) != len(targets.names):
        raise ValueError(f"{len(targets.names)} targets need as many weights, got {len(weights)}")
    found = {name: np.asarray(values, np.float64) for name, values in truth(guided.x).items()}
    # the truth may be of fewer targets than the predictor is trained on
    known = {k: weight for k, weight in enumerate(weights) if weight}
    units = {k: (found[f"target_{k}"] - targets.mean[k]) / targets.std[k] for k in known}
    total = sum(abs(weight) for weight in known.values()) or 1.0
    found["objective"] = sum((known[k] / total * units[k] for k in known), np.zeros(len(guided.x)))
    predicted = targets.mean[0] + targets.std[0] * guided.mean[:, 0].astype(np.float64)
    found["predicted"] = np.where(np.isfinite(found["target_0"]), predicted, np.nan)
    return found


def scored(
    draw: Callable[[Key, float], Guided],
    dataset: Any,
    scales: Sequence[float],
    weights: Sequence[float],
    key: Key,
) -> Outcome:
    """The metrics of the head of this module, at each scale from the same noise."""
    metrics: dict[str, Any] = {}
    lines = []
    for scale in scales:
        found = truth_of(dataset, draw(key, scale), weights)
        for name, value in summaries(found).items():
            metrics[f"{name}@{scale:g}"] = value
        best = known_values(found["objective"])
        metrics[f"objective_best@{scale:g}"] = float(best.max()) if len(best) else None
        means = {name: metrics[f"{name}@{scale:g}"] for name in found}
        lines.append(f"scale {scale:g}: {shown(means)}")
    return Outcome(metrics, "\n".join(lines))


@dataclass(frozen=True)
class GuidedSamples:
    """An evaluation of guidance; what it scores can be drawn again. Fields as the arguments of `drawer`.

    generator: see `Generator`. scales: w >= 0, each from the same noise.
    """

    generator: Generator
    sampler: Sampler | Callable[..., Sampler]
    grid: Any
    weights: Sequence[float]
    scales: Sequence[float]
    caution: float
    limit: float | None
    high: float
    count: int
    batch_size: int

    def drawer(self, bind: Bind, dataset: Any) -> Callable[[Key, float], Guided]:
        """`drawer` of a model, for samples of the data set's shape. Raises as that does."""
        return drawer(
            bind,
            self.generator,
            dataset.info.shape,
            sampler=self.sampler,
            grid=self.grid,
            weights=self.weights,
            caution=self.caution,
            limit=self.limit,
            high=self.high,
            count=self.count,
            batch_size=self.batch_size,
        )

    def __call__(self, bind: Bind, dataset: Any, key: Key) -> Outcome:
        """The metrics of the head of this module. Raises as `drawer` and `truth_of`."""
        return scored(self.drawer(bind, dataset), dataset, self.scales, self.weights, key)


def guided_samples(
    generator: Bound,
    sampler: Sampler | Callable[..., Sampler],
    grid: Any,
    weights: Sequence[float] = (1.0,),
    scales: Sequence[float] = (0.0, 1.0, 2.0, 3.0, 4.0),
    caution: float = 0.0,
    limit: float | None = None,
    high: float = 10.0,
    count: int = 128,
    batch_size: int = 512,
) -> GuidedSamples:
    """See above.

    generator: what a finished run gives, with process and denoiser; its process must have the levels of the
    predictor's. scales: w >= 0. Other arguments as of `drawer`.

    Raises TypeError for a generator that is no run; when used, as `drawer` and `truth_of`.
    """
    if not isinstance(generator, Bound):
        raise TypeError(f"generator must be a run, {{'run': workdir}}, got {type(generator).__name__}")
    return GuidedSamples(
        lambda process: generator,
        sampler,
        grid,
        weights,
        scales,
        caution,
        limit,
        high,
        count,
        batch_size,
    )


def _check_levels(process: Any, generator: Generator) -> None:
    t = jnp.linspace(0.0, 1.0, 9)
    ours, theirs = (
        np.stack([np.asarray(one.alpha(t)), np.asarray(one.sigma(t))])
        for one in (process, generator(process).process)
    )
    if not np.allclose(ours, theirs, atol=1e-3):
        raise ValueError(
            "the predictor was trained with other levels than the generator: both need the same process; at "
            f"t = 1/2 alpha is {ours[0, 4]:.4g} of one and {theirs[0, 4]:.4g} of the other"
        )


def _shrunk(x: Array, t: Array) -> Array:
    del t
    return 0.5 * x


EXAMPLES: dict[str, dict[str, Any]] = {
    "guided_samples": {
        "generator": Bound(vp_cosine(), _shrunk),  # in a config {"run": workdir}
        "sampler": "euler",
        "grid": {"name": "linear_grid", "steps": 4},
        "scales": [0.0, 1.0],
        "limit": 10.0,
        "count": 8,
    },
}
