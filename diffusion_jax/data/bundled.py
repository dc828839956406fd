"""Three real series that come with statsmodels (`pip install 'diffusion_jax[forecasting]'`): no download.

    macrodata  the economy of the United States, 203 quarters from 1959: growth rates of seven series (Federal
               Reserve Bank of St. Louis), 100 times the difference of logarithms, and the differences of the
               interest rate and of unemployment; all in per cent or points of it
    sunspots   one number a year, 1700 to 2008 (SIDC); its square root, whose noise depends less on the level
    co2        weekly means at Mauna Loa in ppm, 1958 to 2001 (Keeling and Whorf); missing weeks are
               interpolated linearly; what is modelled is the difference to 52 weeks before, what is
               reported the concentration itself

Every one is split by time: the last `test` steps are forecast, in windows that roll by `stride`. `drop`
leaves out steps at the end, so that settings can be chosen without looking at the test part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from diffusion_jax.data.pipeline import integer
from diffusion_jax.data.series import Forecasts, forecasts, rolling

EXAMPLES = {"macrodata": {}, "sunspots": {}, "co2": {}}

GROWTH = ("realgdp", "realcons", "realinv", "realgovt", "realdpi", "cpi", "m1")
CHANGE = ("tbilrate", "unemp")
YEAR = 52


def macrodata(
    context: int = 8,
    horizon: int = 4,
    test: int = 40,
    stride: int = 1,
    lags: Sequence[int] = (),
    drop: int = 0,
) -> Forecasts:
    """Nine series of the economy, x `[B, T, 9]`, in quarters; see above.

    Raises:
        ModuleNotFoundError: statsmodels is missing.
        ValueError: numbers out of range (`series.forecasts`).
    """
    table = _table("macrodata")
    growth = 100 * np.diff(np.log(table[list(GROWTH)].to_numpy()), axis=0)
    values = np.concatenate([growth, np.diff(table[list(CHANGE)].to_numpy(), axis=0)], axis=1)
    values = values[: _kept(len(values), drop)]
    return _dataset(
        values,
        test,
        stride,
        context=context,
        horizon=horizon,
        lags=lags,
        periods=(4,),
        description="Economy of the United States, quarterly, 1959-2009 (FRED, by statsmodels): growth in %.",
    )


def sunspots(
    context: int = 22,
    horizon: int = 11,
    test: int = 77,
    stride: int = 1,
    lags: Sequence[int] = (),
    drop: int = 0,
) -> Forecasts:
    """Square roots of the yearly number of sunspots, x `[B, T, 1]`; see above.

    Raises as `macrodata`.
    """
    values = np.sqrt(_table("sunspots")[["SUNACTIVITY"]].to_numpy())
    values = values[: _kept(len(values), drop)]
    return _dataset(
        values,
        test,
        stride,
        context=context,
        horizon=horizon,
        lags=lags,
        periods=(),
        description="Square roots of the yearly sunspot number, 1700-2008 (SIDC, by statsmodels).",
    )


def co2(
    context: int = 26,
    horizon: int = 13,
    test: int = 442,
    stride: int = 3,
    lags: Sequence[int] = (52,),
    drop: int = 0,
) -> Forecasts:
    """Weekly CO2 above Mauna Loa, x `[B, T, 1]`; see above.

    Raises as `macrodata`, and ValueError for a horizon longer than a year.
    """
    if integer("horizon", horizon, 1) > YEAR:
        raise ValueError(f"the difference to {YEAR} weeks before is known for {YEAR} weeks, not {horizon}")
    ppm = _table("co2")[["co2"]].interpolate().to_numpy()
    ppm = ppm[: _kept(len(ppm), drop)]
    values = ppm[YEAR:] - ppm[:-YEAR]
    return _dataset(
        values,
        test,
        stride,
        offset=ppm[:-YEAR],
        context=context,
        horizon=horizon,
        lags=lags,
        periods=(365.25 / 7, 365.25 / 14),
        description="Weekly CO2 at Mauna Loa, ppm, 1958-2001 (Keeling and Whorf 2004, by statsmodels).",
    )


def _dataset(
    values: np.ndarray, test: int, stride: int, context: int, horizon: int, **given: Any
) -> Forecasts:
    """The series, whose last `test` steps are forecast in rolling windows; given: as of `forecasts`."""
    train, starts = rolling(len(values), test, stride, context, horizon)
    return forecasts(values, train=train, starts=starts, context=context, horizon=horizon, **given)


def _table(name: str) -> Any:
    try:
        import statsmodels.datasets as sets
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"the series {name!r} comes with statsmodels: pip install 'diffusion_jax[forecasting]'"
        ) from error
    return getattr(sets, name).load_pandas().data


def _kept(steps: int, drop: int) -> int:
    return steps - integer("drop", drop, 0, steps)
