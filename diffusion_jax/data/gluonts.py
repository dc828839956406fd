"""Folders as GluonTS writes them, such as those of its repository of data sets: nothing is downloaded here.

    metadata.json or metadata/metadata.json    {"freq": "B", "prediction_length": 30, ...}
    train/*.json, test/*.json                  a JSON object a line, {"start": "1990-01-01", "target": [...]};
                                               also .jsonl, and either packed with gzip (.gz)

A line is one feature, and the lines in their order are the features of one multivariate series. The test
split has D lines for each of its rolling windows, one window after the other, each the whole series up to the
end of what is to be forecast.

The sets of Diffusion Forcing (arXiv 2407.01392, table 2):

    name in GluonTS      features  steps  horizon  frequency
    exchange_rate_nips          8   6071       30  B
    solar_nips                137   7009       24  H
    electricity_nips          370   5833       24  H
    traffic_nips              963   4001       24  H
    taxi_30min               1214   1488       24  30min
    wiki-rolling_nips        2000    792       30  D      (the last 2000 of 9535)
"""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from diffusion_jax.data.pipeline import integer
from diffusion_jax.data.series import Forecasts, forecasts

EXAMPLES = {"gluonts_folder": {"folder": "gluonts"}}

SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz")


class Frequency(NamedTuple):
    """Lags and calendar periods, in steps, of series of one frequency; the lags are Diffusion Forcing's."""

    lags: tuple[int, ...]
    periods: tuple[float, ...]


FREQUENCIES = {
    "D": Frequency((1, 7, 14), (7, 365.25)),
    "H": Frequency((1, 24, 168), (24, 168)),
    "30min": Frequency((1, 4, 12, 24, 48), (48, 336)),
    "min": Frequency((1, 4, 12, 24, 48), (60, 1440)),
    "B": Frequency((1, 2), (5, 261)),
    "M": Frequency((1, 12), (12,)),
}
_SPELLINGS = {"h": "H", "T": "min", "30T": "30min", "ME": "M"}


def gluonts_folder(
    folder: str | os.PathLike,
    context: int | None = None,
    horizon: int | None = None,
    lags: Sequence[int] | None = None,
    periods: Sequence[float] | None = None,
    features: int | None = None,
) -> Forecasts:
    """The multivariate series of a GluonTS folder, x `[B, T, D]`, with its own rolling test windows.

    Args:
        folder: with metadata, train and test.
        context: known steps of a window; None takes the horizon, as Diffusion Forcing does.
        horizon: None takes `prediction_length`.
        lags, periods: in steps; None takes those of the frequency (`FREQUENCIES`).
        features: only the last so many are used; None for all.

    Raises:
        FileNotFoundError: there is no such folder, or a part of it is missing.
        ValueError: a line that is no series; series that differ in length, or that a test window does not
            go on with; a frequency without lags and periods; numbers out of range.
    """
    root = Path(folder).expanduser().absolute()
    about = _metadata(root)
    if horizon is None:
        if "prediction_length" not in about:
            raise ValueError(f"{root}: the metadata have no prediction_length; give a horizon")
        horizon = about["prediction_length"]
    horizon = integer("horizon", horizon, 1)
    known = _frequency(root, about, lags is None or periods is None)
    train = _lines(root / "train")
    width = len(train)
    rows = _lines(root / "test")
    if len(rows) % width:
        raise ValueError(
            f"{root}: {len(rows)} test series do not make whole windows of the {width} features of train"
        )
    windows = [_together(root, rows[i : i + width]) for i in range(0, len(rows), width)]
    past = _together(root, train)
    whole = max(windows, key=len)
    for part in (past, *windows):
        if len(part) > len(whole) or not np.array_equal(part, whole[: len(part)], equal_nan=True):
            raise ValueError(
                f"{root}: the test series must go on with the training series; one of {len(part)} steps is "
                f"no beginning of that of {len(whole)}"
            )
    context = horizon if context is None else integer("context", context, 1)
    if features is not None:
        whole = whole[:, -integer("features", features, 1, width + 1) :]
    return forecasts(
        whole,
        train=len(past),
        starts=[len(window) - horizon - context for window in windows],
        context=context,
        horizon=horizon,
        lags=known.lags if lags is None else lags,
        periods=known.periods if periods is None else periods,
        description=f"The GluonTS data set {root.name}: {whole.shape[1]} series, frequency {about['freq']}.",
    )


def _metadata(root: Path) -> dict[str, Any]:
    places = (root / "metadata.json", root / "metadata" / "metadata.json")
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise FileNotFoundError(
            f"{root} is no GluonTS data set: it has neither metadata.json nor metadata/metadata.json"
        )
    about = json.loads(found.read_text(encoding="utf-8"))
    if "freq" not in about and "time_granularity" not in about:
        raise ValueError(f"{found} names no freq")
    return {"freq": about.get("time_granularity"), **about}


def _frequency(root: Path, about: dict[str, Any], needed: bool) -> Frequency:
    name = re.sub(r"^1(?=\D)", "", str(about["freq"]))
    name = _SPELLINGS.get(name, name)
    if name not in FREQUENCIES and needed:
        raise ValueError(
            f"{root}: give lags and periods for the frequency {about['freq']!r}; "
            f"known are {', '.join(FREQUENCIES)}"
        )
    return FREQUENCIES.get(name, Frequency((), ()))


def _lines(folder: Path) -> list[np.ndarray]:
    """The target of every line of every file, in order."""
    files = sorted(path for path in folder.glob("*") if path.name.endswith(SUFFIXES) and path.name[0] != ".")
    if not files:
        raise FileNotFoundError(f"{folder} has no file that ends in {', '.join(SUFFIXES)}")
    targets = []
    for path in files:
        text = (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8")
        with text as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    # missing values are written as the string "NaN"
                    target = np.asarray(json.loads(line)["target"], np.float64)
                except (KeyError, TypeError, ValueError) as error:
                    raise ValueError(f"{path}, line {number} is no series with a target ({error})") from error
                if target.ndim != 1 or not target.size:
                    raise ValueError(f"{path}, line {number}: a target is a list of numbers, one feature")
                targets.append(target)
    return targets


def _together(root: Path, targets: list[np.ndarray]) -> np.ndarray:
    """[N, D] of D features [N]."""
    lengths = {len(target) for target in targets}
    if len(lengths) > 1:
        raise ValueError(f"{root}: the features of a window differ in length: {sorted(lengths)}")
    return np.stack(targets, 1)
