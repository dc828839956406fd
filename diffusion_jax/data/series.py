"""Forecasting: windows of one long series `[N, D]`, with what is known of them before they are seen.

A window is `context` known steps and `horizon` steps to forecast, each a token. The first `train` steps are
the training part: every window inside it is an example, and every feature is given mean 0 and variance 1 on
it. A test window lies anywhere, but all that it forecasts comes after the training part.

`condition` `[B, T, C]` holds what is known of each token:

    calendar  cos(2 pi n/p), sin(2 pi n/p) of the step n of the series, for each of the `periods` p
    lags      x_{n - l}, D numbers for each lag l; 0 (the mean) where that is before the series begins, and
              where it is itself to be forecast, within the horizon

The transform of a series to what is forecast may leave an `offset` that is known in advance: for seasonal
differences y_n - y_{n-m} it is y_{n-m}, as long as the horizon is at most m.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffusion_jax.data.pipeline import Arrays, Dataset, Draw, Examples, Info, integer
from diffusion_jax.data.windows import Windows
from diffusion_jax.types import Series


@dataclass(frozen=True, eq=False, kw_only=True)
class Forecasts(Dataset):
    """A data set of windows of one series."""

    series: Series


@dataclass(frozen=True, eq=False)
class Known:
    """The `Encode` of windows: lags that lie within the horizon are hidden.

    seen: bool [T, C], which numbers of the condition are known at which token
    """

    seen: np.ndarray

    def __call__(self, examples: Examples, draw: Draw, training: bool) -> Examples:
        del draw, training
        batch = {"x": examples["x"].astype(np.float32)}
        if self.seen.shape[1]:
            batch["condition"] = np.where(self.seen, examples["condition"], 0).astype(np.float32)
        return batch


def forecasts(
    values: Any,
    *,
    train: int,
    starts: Sequence[int] | np.ndarray,
    context: int,
    horizon: int,
    lags: Sequence[int],
    periods: Sequence[float],
    description: str,
    offset: Any = 0.0,
) -> Forecasts:
    """The data set of a series `values` `[N, D]`; batches are x `[B, T, D]` and `condition` `[B, T, C]`.

    Args:
        values: in the units of reports, but for `offset`, which is what to add: a number, or [N, D].
        train: steps of the training part.
        starts: the first steps of the windows of the test split.
        context, horizon: T is their sum.
        lags: in steps. periods: in steps. C = 2 len(periods) + D len(lags); without any there is no
            `condition`.
        description: a sentence or two, with the source.

    Raises:
        TypeError: a count that is no integer.
        ValueError: values that are not finite or not [N, D]; a training part that is shorter than a window
            or longer than the series; a test window that leaves the series, or forecasts what was trained
            on; lags or periods that are not positive.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise ValueError(f"a series is finite numbers [N, D], at least one; got shape {values.shape}")
    context, horizon = integer("context", context, 1), integer("horizon", horizon, 1)
    steps, width = values.shape
    tokens, train = context + horizon, integer("train", train, 0)
    if not tokens <= train <= steps:
        raise ValueError(
            f"the training part has {train} of {steps} steps; it must hold a window of context {context} "
            f"and horizon {horizon}"
        )
    starts = np.asarray(starts, int)
    if not starts.size or starts.min() < 0 or starts.max() + tokens > steps:
        raise ValueError(f"test windows of {tokens} steps must lie within the series of {steps}")
    if starts.min() + context < train:
        raise ValueError(
            f"a test window that starts at {starts.min()} would forecast steps before {train}, "
            "which belong to the training part"
        )
    if any(integer("a lag", lag, 1) > steps for lag in lags) or any(period <= 0 for period in periods):
        raise ValueError(f"lags lie in 1 to {steps} and periods above 0; got {list(lags)}, {list(periods)}")
    mean, scale = values[:train].mean(0), values[:train].std(0)
    scale = np.where(scale > 0, scale, 1.0)  # a feature that never moved stays as it is
    x = (values - mean) / scale
    condition = np.concatenate([calendar(steps, periods), *(lagged(x, lag) for lag in lags)], axis=1)
    known = np.arange(tokens)[:, None] < context + np.repeat(np.asarray(lags, int), width)
    seen = np.concatenate([np.ones((tokens, 2 * len(periods)), bool), known], axis=1)

    examples = {"x": x.astype(np.float32)[None], "condition": condition.astype(np.float32)[None]}
    sources = {
        "train": Windows({name: leaf[:, :train] for name, leaf in examples.items()}, tokens),
        "test": Arrays(Windows(examples, tokens).gather(starts)),
    }
    info = Info(
        shape=(tokens, width),
        kind="continuous",
        levels=None,
        unit=None,
        centre=None,
        classes=None,
        splits={split: len(source) for split, source in sources.items()},
        description=description,
    )
    offset = mean + np.broadcast_to(np.asarray(offset, np.float64), values.shape)
    return Forecasts(info, sources, Known(seen), series=Series(x, offset, scale, train, starts, context))


def rolling(steps: int, test: int, stride: int, context: int, horizon: int) -> tuple[int, np.ndarray]:
    """The split by time, (train, starts): test windows roll by `stride` over the last `test` steps.

    Raises TypeError for numbers that are no integers, ValueError where the test part is shorter than the
    horizon or longer than the series.
    """
    test, stride = integer("test", test, 1), integer("stride", stride, 1)
    if not horizon <= test < steps:
        raise ValueError(
            f"the test part must have at least {horizon} and less than {steps} steps, got {test}"
        )
    train = steps - test
    return train, np.arange(train, steps - horizon + 1, stride) - context


def calendar(steps: int, periods: Sequence[float]) -> np.ndarray:
    """cos and sin of the phase of steps 0, 1, ... in each period: [steps, 2 len(periods)]."""
    angle = 2 * np.pi * np.arange(steps)[:, None] / np.asarray(periods, float)[None]
    return np.concatenate([np.cos(angle), np.sin(angle)], axis=1)


def lagged(x: np.ndarray, lag: int) -> np.ndarray:
    """x_{n - lag} for each n, [N, D]; 0 where n < lag."""
    return np.concatenate([np.zeros_like(x[:lag]), x[: len(x) - lag]])
