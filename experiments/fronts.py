"""One metric of guided samples against another, over the scales of guidance, from records: Pareto fronts.

    python -m experiments.fronts experiments/results/context_guided/materials_{none,context}_s*.json \
        --out docs/images/materials_fronts.png

Of both metrics larger is better. What no other point of the table is as good as in both, and better in one,
is marked by a star, and filled in the picture. Records of one name but for the seed at its end (`_s0`,
`_s1`, ...) are averaged.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from diffusion_jax.evaluation.property_pictures import fronts_picture, undominated
from experiments import markdown
from experiments.profiles import profiles

Fronts = dict[str, list[tuple[str, float, float]]]


def fronts(paths: Sequence[Path], across: str, up: str) -> Fronts:
    """Name of the runs -> points (scale, x, y).

    Raises FileNotFoundError for a record that does not exist, ValueError where none has both metrics.
    """
    x, y = profiles(paths, [across]), profiles(paths, [up])
    found: Fronts = {}
    for name in (name for name in x if name in y):
        heights = {scale: value for scale, value, _ in y[name]}
        points = [(f"{scale:g}", value, heights[scale]) for scale, value, _ in x[name] if scale in heights]
        if points:
            found[name] = points
    if not found:
        raise ValueError(f"no record has both {across} and {up} at the same scales")
    return found


def table(found: Fronts) -> str:
    """The fronts as Markdown, a row for each run and a column for each scale: x, y."""
    every = [(x, y) for points in found.values() for _, x, y in points]
    best = {point for point, is_best in zip(every, undominated(every)) if is_best}
    scales = sorted({scale for points in found.values() for scale, _, _ in points}, key=float)
    lines = []
    for name, points in found.items():
        at = {scale: f"{x:.3g}, {y:.3g}" + " *" * ((x, y) in best) for scale, x, y in points}
        lines.append([name, *(at.get(scale, "") for scale in scales)])
    return markdown.table(["", *scales], lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table and, where asked, draws the picture."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.fronts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("records", type=Path, nargs="+", metavar="RECORD")
    parser.add_argument(
        "--across", default="guided/novel", metavar="NAME", help="<evaluation>/<name>, default: guided/novel"
    )
    parser.add_argument(
        "--up", default="guided/objective_median", metavar="NAME", help="default: guided/objective_median"
    )
    parser.add_argument("--out", type=Path, metavar="PNG", help="default: no picture")
    options = parser.parse_args(arguments)
    try:
        found = fronts(options.records, options.across, options.up)
        print(table(found))
        if options.out is not None:
            across, up = (name.split("/")[-1].replace("_", " ") for name in (options.across, options.up))
            fronts_picture(options.out, found, across=across, up=up)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
