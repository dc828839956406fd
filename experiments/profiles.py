"""Metrics against the level of noise, from records: a table, and a picture of it.

    python -m experiments.profiles experiments/results/disco_diff/toy_{plain,soft}_s*.json \
        --metric curvature/curvature --out runs/curvature.png

A metric that an evaluation measures at several sigma/alpha is stored as `<evaluation>/<name>@<sigma/alpha>`:
the loss of `level_losses` and `latent_use`, the curvature and the Jacobian of `ode_curvature`, the exchange
of `latent_swap`, whose levels are shares of the steps. Records of one name but for the seed at its end
(`_s0`, `_s1`, ...) are averaged; the standard error is then that of their spread.
"""

from __future__ import annotations

import argparse
import math
import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffusion_jax.evaluation.samples import curves_picture
from experiments import records

Profile = list[tuple[float, float, float | None]]


def profile(metrics: Mapping[str, Any], metric: str) -> dict[float, tuple[float, float | None]]:
    """Level -> (value, standard error or None) of a record's metric; {} where it has none."""
    found = {}
    for name, value in metrics.items():
        place = re.fullmatch(re.escape(metric) + r"@([0-9.e+-]+)", name)
        if place and value is not None:
            found[float(place[1])] = value, metrics.get(f"{name}_se")
    return found


def mean(profiles: Sequence[Mapping[float, tuple[float, float | None]]]) -> Profile:
    """The mean over runs at the levels that all have: points (level, value, standard error or None)."""
    points: Profile = []
    for level in sorted(set.intersection(*(set(one) for one in profiles))):
        values = [one[level][0] for one in profiles]
        error = profiles[0][level][1]
        if len(values) > 1:
            error = math.sqrt(statistics.variance(values) / len(values))
        points.append((level, statistics.mean(values), error))
    return points


def profiles(paths: Sequence[Path], metrics: Sequence[str]) -> dict[str, Profile]:
    """Name of the runs, and of the metric where there are several -> points.

    Raises FileNotFoundError for a record that does not exist, ValueError where none has a metric.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for path in paths:
        record = records.read(path)
        if record is None:
            raise FileNotFoundError(f"there is no record {path}")
        groups.setdefault(re.sub(r"_s\d+$", "", path.stem), []).append(record["metrics"])
    found = {}
    for name, runs in groups.items():
        for metric in metrics:
            points = [one for run in runs if (one := profile(run, metric))]
            if points:
                label = name if len(metrics) == 1 else f"{name}, {metric.split('/')[-1]}"
                found[label] = mean(points)
    if not found:
        raise ValueError(
            f"no record has {' or '.join(metrics)} at levels; there are: {', '.join(_known(groups))}"
        )
    return found


def table(found: Mapping[str, Profile]) -> str:
    """The profiles as Markdown, a row for each run and a column for each level."""
    columns = sorted({point[0] for points in found.values() for point in points})
    lines = [["", *(f"{level:g}" for level in columns)], ["---"] * (len(columns) + 1)]
    for name, points in found.items():
        at = {level: f"{y:.4g}" + ("" if se is None else f" ± {se:.2g}") for level, y, se in points}
        lines.append([name, *(at.get(level, "") for level in columns)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table and, where asked, draws the picture."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.profiles",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("records", type=Path, nargs="+", metavar="RECORD")
    parser.add_argument(
        "--metric", required=True, nargs="+", metavar="NAME", help="<evaluation>/<name>, without @"
    )
    parser.add_argument("--across", default="sigma/alpha", metavar="TEXT", help="what the levels are")
    parser.add_argument("--out", type=Path, metavar="PNG", help="default: no picture")
    options = parser.parse_args(arguments)
    try:
        found = profiles(options.records, options.metric)
        print(table(found))
        if options.out is not None:
            up = " and ".join(metric.split("/")[-1] for metric in options.metric)
            curves_picture(options.out, found, across=options.across, up=up)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def _known(groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    names = {name for runs in groups.values() for run in runs for name in run}
    return sorted({name.split("@")[0] for name in names if "@" in name and not name.endswith("_se")})


if __name__ == "__main__":
    main()
