"""Frechet distance against evaluations of the denoiser, from a record: a table, and a picture of it.

    python -m experiments.curves experiments/results/edm/digits_samplers.json --out docs/images/edm_curve.png

The record is one with a `frechet_curve` among its evaluations: `evaluation.json` in the folder of a run, or
one that a table keeps.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffusion_jax.evaluation.samples import curves_picture
from experiments import markdown, records

Curves = dict[str, list[tuple[float, float, float | None]]]


def curves(metrics: Mapping[str, Any]) -> dict[str, Curves]:
    """Evaluation -> method -> points (NFE, distance, its standard error), by NFE, of a record's metrics."""
    found: dict[str, Curves] = {}
    for name, value in metrics.items():
        place = re.fullmatch(r"([^/]+)/(.+)/nfe=([0-9.e+]+)", name)
        if place:
            evaluation, method, nfe = place.groups()
            point = float(nfe), value, metrics.get(f"{name}_se")
            found.setdefault(evaluation, {}).setdefault(method, []).append(point)
    return {one: {name: sorted(points) for name, points in of.items()} for one, of in found.items()}


def table(found: Curves) -> str:
    """The curves as Markdown, a row for each and a column for each x, such as a number of evaluations."""
    columns = sorted({point[0] for points in found.values() for point in points})
    lines = []
    for name, points in found.items():
        at = {x: f"{y:.4g}" + ("" if se is None else f" ± {se:.2g}") for x, y, se in points}
        lines.append([name, *(at.get(x, "") for x in columns)])
    return markdown.table(["", *(f"{x:g}" for x in columns)], lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table and, where asked, draws the picture."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.curves",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("record", type=Path, metavar="RECORD")
    parser.add_argument("--evaluation", metavar="NAME", help="where the record has several curves")
    parser.add_argument("--out", type=Path, metavar="PNG", help="default: no picture")
    options = parser.parse_args(arguments)
    try:
        record = records.read(options.record)
        if record is None:
            raise ValueError(f"there is no record {options.record}")
        found = curves(record["metrics"])
        wanted = options.evaluation or next(iter(found), None)
        if wanted not in found:
            there = ", ".join(found) or "none"
            raise ValueError(f"{options.record} has no curve {wanted or ''}; there are: {there}")
        print(table(found[wanted]))
        if options.out is not None:
            up = "Frechet distance"
            curves_picture(options.out, found[wanted], across="evaluations of the denoiser", up=up)
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
