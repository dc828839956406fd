"""How samples compare with the training split: Frechet and kernel distance, precision, recall, and copies.

Samples and data are rounded to grey values first (`grey`). An extractor makes features of them, and the
figures are those of `frechet`, `kernel_distance` and `neighbours`. Samples are drawn several times over, with
a seed each; a figure is the mean over the seeds and its standard error their spread. Beside it stands the
same figure of held-out real data.

A Frechet distance falls as the number of examples grows, so held-out examples, which are fewer than the
samples, are compared with blocks of as many samples (`matched`). A model that copies its training set has
perfect scores: what tells is the mean distance of a sample to the nearest training example (`nearest`,
Euclidean, on images from -1 to 1), to be read beside that of held-out data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffusion_jax.evaluation.compiling import compiled
from diffusion_jax.evaluation.drawing import Grid, Method, drawer
from diffusion_jax.evaluation.extractors import Extractor
from diffusion_jax.evaluation.frechet import Statistics, frechet_distance, load_statistics, statistics
from diffusion_jax.evaluation.grey import images
from diffusion_jax.evaluation.kernel_distance import kernel_distance
from diffusion_jax.evaluation.neighbours import nearest, precision_recall
from diffusion_jax.evaluation.outcome import Bind, Evaluation, Outcome
from diffusion_jax.types import Batch, Key


def frechet(
    sampler: Method,
    extractor: Extractor,
    grid: Grid = None,
    count: int = 5000,
    seeds: int = 3,
    labels: bool = False,
    batch_size: int = 500,
    held_out: str | None = "test",
    reference: str | None = None,
    examples: int = 50_000,
) -> Evaluation:
    """Every score of samples of a model, with the evaluations of the denoiser that one of them cost (`nfe`).

    Metrics: `frechet` and its lowest over the seeds (`lowest`, which EDM reports), `matched`, `kernel`,
    `precision`, `recall`, `nearest`; those of held-out data as `real_matched` and so on; `nfe`, `count`,
    `seeds`. There is no `matched` where the held-out examples are more than the samples.

    Args:
        sampler: what draws; a factory is given the bound's process, and its variance where it takes one.
        extractor: makes the features.
        grid: levels to walk, an array or process -> array; None takes the bound's grid and decoder.
        count: samples for each seed.
        seeds: how often they are drawn.
        labels: gives the samples the classes in turn, for a model that knows them.
        batch_size: samples or examples in a call.
        held_out: a split of real data to compare with, or None.
        reference: an npz file with the statistics (`mu`, `sigma`) to measure the Frechet distance from; None
            takes the whole training split.
        examples: how many of the training split are compared with one by one, which all but the Frechet
            distance needs.

    Raises ValueError for counts below 1, statistics of another extractor, samples that are not finite, and
    labels of data without classes; warns where a covariance is singular.
    """
    _check_seeds(seeds)

    def evaluation(bind: Bind, dataset: Any, key: Key) -> Outcome:
        info = dataset.info
        measure = _measure(extractor, info, batch_size)
        given = None if reference is None else load_statistics(reference, extractor.name)
        train = measure(dataset.epoch("train", batch_size), examples)
        train = train if given is None else train._replace(statistics=given)
        real = None if held_out is None else measure(dataset.epoch(held_out, batch_size), examples)
        draw = drawer(
            bind, info, sampler=sampler, grid=grid, count=count, labels=labels, batch_size=batch_size
        )
        rows = []
        for seed in range(seeds):
            drawn = draw(jax.random.fold_in(key, seed))
            found = measure(_batches(drawn.x, batch_size), count)
            row = _scores(found, train) | {"nfe": drawn.evaluations}
            if real is not None and count >= len(real.features):
                blocks = np.array_split(found.features, count // len(real.features))
                distances = [_distance(block, train.statistics) for block in blocks]
                row["matched"] = float(np.mean(distances))
            rows.append(row)
        metrics: dict[str, Any] = {}
        for name in rows[0]:
            metrics[name], metrics[f"{name}_se"] = _mean([row[name] for row in rows])
        metrics["lowest"] = min(row["frechet"] for row in rows)
        if real is not None:
            scores = _scores(real, train)
            scores["matched"] = scores.pop("frechet")
            metrics |= {f"real_{name}": value for name, value in scores.items()}
            metrics["real_count"] = len(real.features)
        metrics |= {"count": count, "seeds": seeds}
        return Outcome(metrics, _text(extractor.name, metrics))

    return evaluation


def frechet_curve(
    methods: Mapping[str, Mapping[str, Any]],
    extractor: Extractor,
    count: int = 5000,
    seeds: int = 3,
    labels: bool = False,
    batch_size: int = 500,
    reference: str | None = None,
) -> Evaluation:
    """The Frechet distance of samples against evaluations of the denoiser, for several methods.

    Metrics: `<method>/nfe=<n>`, with its standard error, n being counted while the samples are drawn.

    Args:
        methods: name -> {"sampler": as in `frechet`, "grid": one such grid or a list of them}; in a config,
            {"heun": {"sampler": "heun", "grid": [{"name": "karras_grid", "steps": 9}, ...]}}. With a
            "process" beside them the method samples in that one instead of the bound's.
        extractor, count, seeds, labels, batch_size, reference: as in `frechet`.

    Raises ValueError as `frechet`, for a method without sampler and grid, and where two grids of a method
    take the same number of evaluations.
    """
    _check_seeds(seeds)
    for name, method in methods.items():
        if set(method) - {"process"} != {"sampler", "grid"}:
            raise ValueError(
                f"method {name!r} must have a sampler and a grid, and may have a process; "
                f"it has {sorted(method)}"
            )
    if not methods:
        raise ValueError("frechet_curve needs at least one method")

    def evaluation(bind: Bind, dataset: Any, key: Key) -> Outcome:
        info = dataset.info
        measure = _measure(extractor, info, batch_size)
        if reference is None:
            target = measure(dataset.epoch("train", batch_size), 0).statistics
        else:
            target = load_statistics(reference, extractor.name)
        metrics: dict[str, Any] = {}
        lines = [f"{extractor.name} Frechet distance of {count} samples against NFE"]
        for name, method in methods.items():
            grids = method["grid"]
            for grid in grids if isinstance(grids, list | tuple) else [grids]:
                draw = drawer(
                    bind,
                    info,
                    sampler=method["sampler"],
                    grid=grid,
                    count=count,
                    labels=labels,
                    batch_size=batch_size,
                    process=method.get("process"),
                )
                found = [draw(jax.random.fold_in(key, seed)) for seed in range(seeds)]
                place = f"{name}/nfe={np.mean([drawn.evaluations for drawn in found]):g}"
                if place in metrics:
                    raise ValueError(f"two grids of a method take the same number of evaluations: {place}")
                distances = [
                    frechet_distance(measure(_batches(drawn.x, batch_size), 0).statistics, target)
                    for drawn in found
                ]
                metrics[place], metrics[f"{place}_se"] = _mean(distances)
                lines.append(f"{place:24} {_shown(metrics, place)}")
        return Outcome(metrics, "\n".join(lines))

    return evaluation


class _Examples(NamedTuple):
    """Statistics of the features of all examples; features [n, D] and flat images [n, ...] of the first n."""

    statistics: Statistics
    features: np.ndarray
    images: np.ndarray


def _measure(extractor: Extractor, info: Any, batch_size: int) -> Callable[[Iterable[Batch], int], _Examples]:
    """(batches, how many examples to keep) -> _Examples; one compilation for all."""
    run = compiled(extractor.features)

    def measure(batches: Iterable[Batch], keep: int) -> _Examples:
        features: list[np.ndarray] = [np.zeros((0, 0))]
        flat: list[np.ndarray] = [np.zeros((0, 0))]

        def stream() -> Iterator[np.ndarray]:
            kept = 0
            for batch in batches:
                rows = np.asarray(batch["mask"]).sum(1) > 0
                x = images(batch["x"], info)
                found = np.asarray(run(jnp.asarray(x)))[rows]
                if kept < keep:
                    features.append(found[: keep - kept])
                    flat.append(x[rows][: keep - kept].reshape(len(features[-1]), -1))
                    kept += len(features[-1])
                yield found

        whole = statistics(stream(), extractor.name)
        return _Examples(whole, *(np.concatenate(part[1:] or part) for part in (features, flat)))

    return measure


def _batches(x: np.ndarray, batch_size: int) -> Iterator[Batch]:
    """Samples [N, T, ...] as a data set gives its examples: padded batches with a mask."""
    for first in range(0, len(x), batch_size):
        part = x[first : first + batch_size]
        padding = [(0, batch_size - len(part))]
        yield {
            "x": np.pad(part, padding + [(0, 0)] * (x.ndim - 1)),
            "mask": np.pad(np.ones(part.shape[:2]), [*padding, (0, 0)]),
        }


def _scores(found: _Examples, train: _Examples) -> dict[str, float]:
    precision, recall = precision_recall(train.features, found.features)
    return {
        "frechet": frechet_distance(found.statistics, train.statistics),
        "kernel": kernel_distance(found.features, train.features)[0],
        "precision": precision,
        "recall": recall,
        "nearest": float(nearest(found.images, train.images).mean()),
    }


def _distance(features: np.ndarray, target: Statistics) -> float:
    return frechet_distance(statistics([features], target.extractor), target)


def _mean(values: Sequence[float]) -> tuple[float, float | None]:
    """(mean, its standard error, or None for a single value)."""
    spread = float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else None
    return float(np.mean(values)), spread


def _check_seeds(seeds: int) -> None:
    if seeds < 1:
        raise ValueError(f"seeds must be at least 1, got {seeds}")


def _shown(metrics: Mapping[str, Any], name: str) -> str:
    error = metrics.get(f"{name}_se")
    return f"{metrics[name]:.4g}" + ("" if error is None else f" +- {error:.2g}")


def _text(extractor: str, metrics: Mapping[str, Any]) -> str:
    what = {
        "frechet": f"{extractor} Frechet distance",
        "matched": "of as many samples as held-out examples",
        "kernel": "kernel distance",
        "precision": "precision",
        "recall": "recall",
        "nearest": "distance to the nearest training example",
    }
    lines = [f"{metrics['count']} samples, {metrics['seeds']} seeds, NFE {metrics['nfe']:g}"]
    for name, words in what.items():
        if name in metrics:
            lines.append(f"{words}: {_shown(metrics, name)}")
            if f"real_{name}" in metrics:
                lines[-1] += f" ({metrics['real_count']} held-out: {metrics[f'real_{name}']:.4g})"
    return "\n".join(lines)


EXAMPLES: dict[str, dict[str, Any]] = {
    "frechet": {
        "sampler": "ddim",
        "grid": {"name": "linear_grid", "steps": 2},
        "extractor": "pixels",
        "count": 40,
        "seeds": 2,
    },
    "frechet_curve": {
        "methods": {"ddim": {"sampler": "ddim", "grid": [{"name": "linear_grid", "steps": 2}]}},
        "extractor": "pixels",
        "count": 40,
        "seeds": 1,
    },
}
