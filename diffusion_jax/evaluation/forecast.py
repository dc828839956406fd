r"""Forecasts as sample paths, and their scores beside those of baselines on the same windows.

The first `context` tokens of a window stand at level 0, the others start from the prior and are taken to
level 0 by any sampler, grid and scheduling matrix: Diffusion Forcing (arXiv 2407.01392, section 4.4). That
the past is known is a choice of levels; no network needs to be told.

Metrics of every method, over the test split:

    crps            mean CRPS of an entry, of the paths as they are, in units of x: one is a standard
                    deviation of the training part where the data set is a `Series`
    crps_sum        of the sum over features, in the units of reports (`crps`), with the standard error it
                    would have if windows were independent of each other, which overlapping ones are not
    coverage_50     how often a value lies in the central half of its paths; should be 0.5
    coverage_90     should be 0.9
    windows, paths  how many

Where the law of windows is known (a data set's `law`, jointly normal), so is the best forecast: the future
given the context is normal with

    mean m_f + S_fc S_cc^-1 (x_c - m_c),   covariance S_ff - S_fc S_cc^-1 S_cf,

and a model's metrics hold the scores of its exact quantiles on the very same targets, `optimal_crps` and
`optimal_crps_sum`, and `ratio`, crps_sum over the latter. The chance in S = 100 paths of that law costs about
one per cent, so 1.01 is the ratio to be hoped for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffusion_jax.evaluation.baselines import Baseline
from diffusion_jax.evaluation.compiling import compiled
from diffusion_jax.evaluation.crps import LEVELS, coverage, crps, crps_normal, pinball, quantiles
from diffusion_jax.evaluation.drawing import Method
from diffusion_jax.evaluation.outcome import Bind, Evaluation, Outcome
from diffusion_jax.sampling.loop import fitted, sample, walked
from diffusion_jax.sampling.schedules import full_sequence, levels_of, with_known
from diffusion_jax.types import Array, JointNormal, Key


class Windows(NamedTuple):
    """The windows of the test split.

    x:       [W, T, D], as the model sees them
    known:   conditions, leaves [W, ...]
    offset:  [W, T, D]
    scale:   [D]; offset + scale x is a value in the units of reports
    context: how many tokens are known; H = T - context
    """

    x: np.ndarray
    known: dict[str, np.ndarray]
    offset: np.ndarray
    scale: np.ndarray
    context: int

    @property
    def future(self) -> np.ndarray:
        """What is to be forecast, [W, H, D], as the model sees it."""
        return self.x[:, self.context :]

    def values(self, x: np.ndarray) -> np.ndarray:
        """The last n tokens of every window, [..., W, n, D], from x to the units of reports."""
        return self.offset[:, self.offset.shape[1] - x.shape[-2] :] + self.scale * np.asarray(x, np.float64)


def windows_of(dataset: Any, context: int | None = None) -> Windows:
    """The test split as windows.

    Args:
        dataset: with windows x [T, D]; its `series` (`types.Series`), if it has one, says what is known and
            how x is reported.
        context: known tokens, for a data set without a series; None there takes half of them.

    Raises ValueError for data that are no [T, D], a context that leaves nothing to forecast or to know, or
    another one than the series has.
    """
    shape, series = dataset.info.shape, getattr(dataset, "series", None)
    if len(shape) != 2:
        raise ValueError(f"what is forecast are windows [T, D]; the data have the shape {shape}")
    if series is not None and context not in (None, series.context):
        raise ValueError(f"the windows of this data set have a context of {series.context}, not {context}")
    known = shape[0] // 2 if context is None else context
    known = known if series is None else series.context
    if not 1 <= known < shape[0]:
        raise ValueError(f"the context must be 1 to {shape[0] - 1} of {shape[0]} tokens, got {known}")
    batch = dict(next(iter(dataset.epoch("test", dataset.info.splits["test"]))))
    x = np.asarray(batch.pop("x"))
    batch.pop("mask")
    offset, scale = np.zeros_like(x, np.float64), np.ones(shape[1])
    if series is not None:
        steps = series.starts[:, None] + np.arange(shape[0])
        offset, scale = series.offset[steps], series.scale
    return Windows(x, batch, offset, scale, known)


def forecaster(
    bind: Bind,
    windows: Windows,
    *,
    sampler: Method,
    grid: Array | Callable[[Any], Array],
    schedule: np.ndarray | None = None,
    paths: int = 100,
    batch_size: int = 2000,
) -> Callable[[Key, np.ndarray], np.ndarray]:
    """(key, numbers of windows [V]) -> sample paths of them, [paths, V, H, D], as the model sees them.

    Path s of window w depends on the key, w and s alone. Compiles once.

    Args:
        bind: conditions -> Bound.
        sampler: what draws; a factory is given the bound's process, and its variance where it takes one.
        grid: levels from 1 to 0, an array or process -> array.
        schedule: a scheduling matrix int [M, H] over the grid's steps (`sampling.schedules`); None takes all
            tokens together.
        paths: S. batch_size: paths in a call, at least one window's.

    Raises ValueError for counts below 1 or a matrix that does not suit the horizon or the grid.
    """
    if paths < 1 or batch_size < 1:
        raise ValueError(f"paths and batch_size must be at least 1, got {paths} and {batch_size}")
    tokens = windows.x.shape[1]
    horizon, past = tokens - windows.context, np.arange(tokens) < windows.context
    if schedule is not None and schedule.shape[1] != horizon:
        raise ValueError(f"the matrix has {schedule.shape[1]} columns for a horizon of {horizon}")
    share = min(max(batch_size // paths, 1), len(windows.x))

    def draw(key: Key, index: Array, x: Array, known: dict[str, Array]) -> Array:
        x, known = jax.tree.map(lambda leaf: jnp.repeat(leaf, paths, axis=0), (x, known))
        bound = bind(known)
        assert bound.denoiser is not None
        times = walked(grid, bound.process)
        matrix = full_sequence(len(times) - 1, horizon) if schedule is None else schedule
        own = jax.vmap(lambda w: jax.random.split(jax.random.fold_in(key, w), paths))(index).reshape(-1)
        keys = jax.vmap(jax.random.split)(own)
        noise = bound.process.prior(x.shape).sample(keys[:, 0])
        start = jnp.where(jnp.asarray(past)[None, :, None], x, noise)
        levels = levels_of(times, with_known(matrix, past))
        drawn = sample(keys[:, 1], bound.denoiser, fitted(sampler, bound), start, levels)
        return drawn[:, windows.context :].reshape(share, paths, horizon, -1)

    run = compiled(draw)

    def call(key: Key, chosen: np.ndarray) -> np.ndarray:
        parts = []
        for first in range(0, len(chosen), share):
            index = np.resize(chosen[first : first + share], share)
            known = {name: jnp.asarray(leaf[index]) for name, leaf in windows.known.items()}
            parts.append(np.asarray(run(key, jnp.asarray(index), jnp.asarray(windows.x[index]), known)))
        return np.concatenate(parts)[: len(chosen)].swapaxes(0, 1)

    return call


def forecast(
    sampler: Method,
    grid: Array | Callable[[Any], Array],
    schedule: np.ndarray | None = None,
    context: int | None = None,
    paths: int = 100,
    batch_size: int = 2000,
) -> Evaluation:
    """The scores of a model's sample paths on the test split; see above.

    sampler, grid, schedule, paths, batch_size: as in `forecaster`; context: as in `windows_of`.

    Raises ValueError as those do.
    """

    def evaluation(bind: Bind, dataset: Any, key: Key) -> Outcome:
        windows = windows_of(dataset, context)
        draw = forecaster(
            bind,
            windows,
            sampler=sampler,
            grid=grid,
            schedule=schedule,
            paths=paths,
            batch_size=batch_size,
        )
        outcome = _outcome(draw(key, np.arange(len(windows.x))), windows)
        law = getattr(dataset, "law", None)
        if law is None:
            return outcome
        best = optimum(law, windows)
        ratio = outcome.metrics["crps_sum"] / best["optimal_crps_sum"]
        text = f"the best forecast has CRPS_sum {best['optimal_crps_sum']:.4g}; ratio {ratio:.3f}"
        return Outcome({**outcome.metrics, **best, "ratio": ratio}, f"{outcome.text}\n{text}")

    return evaluation


def optimum(law: JointNormal, windows: Windows) -> dict[str, float]:
    """`optimal_crps` and `optimal_crps_sum` on the windows' targets, for windows that follow `law`.

    Raises ValueError for a law of windows of another shape.
    """
    from scipy.stats import norm

    tokens, width = np.shape(law.mean)
    if (tokens, width) != windows.x.shape[1:]:
        raise ValueError(f"the law is of windows {(tokens, width)}, the data are {windows.x.shape[1:]}")
    known, horizon = windows.context * width, tokens - windows.context
    mean = np.asarray(law.mean, np.float64).reshape(-1)
    covariance = np.asarray(law.covariance, np.float64).reshape(mean.size, mean.size)
    gain = np.linalg.solve(covariance[:known, :known], covariance[:known, known:])
    past = windows.x[:, : windows.context].reshape(len(windows.x), -1) - mean[:known]
    centre = (mean[known:] + past @ gain).reshape(-1, horizon, width)
    spread = (covariance[known:, known:] - covariance[known:, :known] @ gain).reshape(
        horizon, width, horizon, width
    )
    each = np.einsum("hdhd->hd", spread)
    of_sum = np.einsum("hdhe,d,e->h", spread, windows.scale, windows.scale)
    total = windows.values(centre).sum(-1)
    exact = total + np.sqrt(of_sum) * norm.ppf(LEVELS)[:, None, None]
    return {
        "optimal_crps": float(crps_normal(centre, np.sqrt(each), windows.future).mean()),
        "optimal_crps_sum": _sum_score(exact, windows.values(windows.future).sum(-1))[0],
    }


def baseline_forecast(baseline: Baseline, paths: int = 100) -> Evaluation:
    """The scores of a baseline (`evaluation.baselines`), fitted to the training part of a series.

    For each window it sees the whole series up to the forecast, where a model sees the context alone.

    Raises ValueError for a data set without a series, or paths below 1.
    """
    if paths < 1:
        raise ValueError(f"paths must be at least 1, got {paths}")

    def evaluation(bind: Bind, dataset: Any, key: Key) -> Outcome:
        del bind
        series = getattr(dataset, "series", None)
        if series is None:
            raise ValueError("a baseline is fitted to one long series; this data set has none")
        windows = windows_of(dataset)
        horizon = windows.x.shape[1] - windows.context
        draw = baseline(series.x[: series.train])
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        drawn = [draw(rng, series.x[: start + windows.context], horizon, paths) for start in series.starts]
        return _outcome(np.stack(drawn, 1), windows)

    return evaluation


def _outcome(drawn: np.ndarray, windows: Windows) -> Outcome:
    """The scores of paths [S, W, H, D], as the model sees them."""
    values, target = windows.values(drawn), windows.values(windows.future)
    total, error = _sum_score(quantiles(values.sum(-1)), target.sum(-1))
    metrics: dict[str, Any] = {
        "crps": float(crps(drawn, windows.future).mean()),
        "crps_sum": total,
        "crps_sum_se": error,
        "coverage_50": coverage(values, target, 0.5),
        "coverage_90": coverage(values, target, 0.9),
        "windows": target.shape[0],
        "paths": len(drawn),
    }
    text = [
        f"{len(drawn)} paths of {target.shape[1]} steps for each of {target.shape[0]} windows",
        f"CRPS_sum {total:.4g} +- {error:.2g}, CRPS of an entry {metrics['crps']:.4g}",
        f"inside the central 50 %: {metrics['coverage_50']:.1%}; 90 %: {metrics['coverage_90']:.1%}",
    ]
    return Outcome(metrics, "\n".join(text))


def _sum_score(predicted: np.ndarray, target: np.ndarray) -> tuple[float, float]:
    """CRPS_sum and its standard error over windows: quantiles [Q, W, H] of the sum, targets [W, H]."""
    loss, size = pinball(predicted, target, LEVELS).mean(0).sum(1), np.abs(target).sum(1)
    if not size.sum() > 0:
        raise ValueError("the sum over features is 0 in every window: a loss relative to it is undefined")
    score = loss.sum() / size.sum()
    return float(score), float((loss - score * size).std() / size.mean() / len(size) ** 0.5)


EXAMPLES: dict[str, dict[str, Any]] = {
    "forecast": {
        "sampler": "ddim",
        "grid": {"name": "linear_grid", "steps": 2},
        "schedule": {"name": "pyramid", "steps": 2, "length": 2, "lag": 1.0},
        "paths": 5,
        "batch_size": 20,
    },
    "baseline_forecast": {"baseline": "persistence", "paths": 5},
}
