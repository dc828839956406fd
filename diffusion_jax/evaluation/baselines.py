r"""What forecasts of a series are compared with: classical ones, as sample paths.

A baseline is a factory whose product `fit(x [N, D])` sees the training part and gives a forecaster
`(rng, history [n, D], horizon, paths) -> [paths, horizon, D]`, whose parameters stay as fitted. The first two
are statsmodels' (`pip install 'diffusion_jax[forecasting]'`):

    vector_autoregression   x_n = c + sum_{l <= p} A_l x_{n-l} + e, e ~ N(0, Sigma); p by Akaike's criterion
    exponential_smoothing   each feature alone: a level and, where Akaike's criterion prefers them, a damped
                            trend or a season; normal errors (Hyndman et al. 2008, ETS with additive errors)
    persistence             the last value, and the moves of a random stretch of the training part from there
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

Forecaster = Callable[[np.random.Generator, np.ndarray, int, int], np.ndarray]
"""(rng, history [n, D], horizon, paths) -> sample paths [paths, horizon, D]."""

Baseline = Callable[[np.ndarray], Forecaster]
"""x [N, D], the training part -> a forecaster."""


def vector_autoregression(max_lags: int = 12) -> Baseline:
    """statsmodels' VAR with a constant; for a single feature its AutoReg, which is the same model.

    max_lags: the largest order p that is tried; statsmodels lowers it where there are too few steps.

    Raises ValueError for max_lags below 1, ModuleNotFoundError without statsmodels.
    """
    if max_lags < 1:
        raise ValueError(f"max_lags must be at least 1, got {max_lags}")

    def fit(x: np.ndarray) -> Forecaster:
        coefficients, constant, covariance = _one(x, max_lags) if x.shape[1] == 1 else _many(x, max_lags)
        order, width = len(coefficients), x.shape[1]
        root = np.linalg.cholesky(covariance)

        def paths_of(rng: np.random.Generator, history: np.ndarray, horizon: int, paths: int) -> np.ndarray:
            path = np.broadcast_to(history[len(history) - order :], (paths, order, width))
            errors = rng.standard_normal((horizon, paths, width)) @ root.T
            for error in errors:
                past = path[:, len(path[0]) - order :][:, ::-1]
                new = constant + np.einsum("lij,slj->si", coefficients, past) + error
                path = np.concatenate([path, new[:, None]], 1)
            return path[:, order:]

        return paths_of

    return fit


def _many(x: np.ndarray, max_lags: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A [p, D, D], c [D], Sigma [D, D]."""
    from statsmodels.tsa.api import VAR

    # an equation of order p has 1 + p D numbers, which must be fewer than the steps it is fitted to
    found = VAR(x).fit(maxlags=max(1, min(max_lags, (len(x) // 2 - 1) // (x.shape[1] + 1))), ic="aic")
    return np.asarray(found.coefs), np.asarray(found.intercept), np.asarray(found.sigma_u)


def _one(x: np.ndarray, max_lags: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from statsmodels.tsa.ar_model import AutoReg, ar_select_order

    order = max(ar_select_order(x[:, 0], min(max_lags, len(x) // 4), ic="aic").ar_lags or [0])
    found = AutoReg(x[:, 0], order).fit()
    constant, *slopes = np.asarray(found.params)
    return np.reshape(slopes, (-1, 1, 1)), np.array([constant]), np.array([[found.sigma2]])


def exponential_smoothing(season: int | None = None) -> Baseline:
    """statsmodels' ETS with additive errors, a model for each feature; see above.

    season: steps of a period to be tried, at least 2; None for none.

    Raises ValueError for a shorter season, ModuleNotFoundError without statsmodels.
    """
    if season is not None and season < 2:
        raise ValueError(f"a season has at least 2 steps, got {season}")
    kinds: list[dict[str, Any]] = [{}, {"trend": "add", "damped_trend": True}]
    if season is not None:
        kinds += [kind | {"seasonal": "add", "seasonal_periods": season} for kind in kinds]

    def fit(x: np.ndarray) -> Forecaster:
        chosen = [_smoothing(feature, kinds) for feature in x.T]

        def paths_of(rng: np.random.Generator, history: np.ndarray, horizon: int, paths: int) -> np.ndarray:
            from statsmodels.tsa.exponential_smoothing.ets import ETSModel

            found = np.empty((paths, horizon, history.shape[1]))
            for i, (kind, parameters, std) in enumerate(chosen):
                state: Any = ETSModel(history[:, i], error="add", **kind).smooth(parameters)
                errors = std * rng.standard_normal((horizon, paths))
                drawn = state.simulate(horizon, anchor="end", repetitions=paths, random_errors=errors)
                found[..., i] = np.asarray(drawn).reshape(horizon, paths).T
            return found

        return paths_of

    return fit


def _smoothing(x: np.ndarray, kinds: list[dict[str, Any]]) -> tuple[dict[str, Any], np.ndarray, float]:
    """The kind of the least AIC, its parameters, and the standard deviation of its errors."""
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an optimiser that stops early: the AIC judges what it found
        fits: list[Any] = [(kind, ETSModel(x, error="add", **kind).fit(disp=False)) for kind in kinds]
    kind, best = min(fits, key=lambda one: one[1].aic)
    return kind, np.asarray(best.params), float(np.sqrt(best.scale))


def persistence() -> Baseline:
    """Path s is x_n + (x_{m + h} - x_m), h = 1 ... horizon, with m random in the training part.

    The forecaster raises ValueError where the training part is shorter than the horizon.
    """

    def fit(x: np.ndarray) -> Forecaster:
        def paths_of(rng: np.random.Generator, history: np.ndarray, horizon: int, paths: int) -> np.ndarray:
            if len(x) <= horizon:
                raise ValueError(f"{len(x)} steps of training show no move over {horizon} steps")
            start = rng.integers(len(x) - horizon, size=(paths, 1))
            return history[-1] + x[start + np.arange(1, horizon + 1)] - x[start]

        return paths_of

    return fit


EXAMPLES: dict[str, dict[str, Any]] = {
    "vector_autoregression": {"max_lags": 2},
    "exponential_smoothing": {},
    "persistence": {},
}
