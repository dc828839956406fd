"""What guidance models of points of the plane predict there: pictures of mean and deviation, level by level.

    python -m experiments.plane --workdir runs/roll --out docs/images/roll_plane.png
    python -m experiments.plane --workdir runs/roll_none runs/roll --levels 0 0.5

Each run has two rows. Labelled points are white, those of the split `shifted` red. Units are those of the
labels.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from diffusion_jax.evaluation.plane import plane_picture, square
from experiments import machine, runner

_EDGE, _CELLS, _POINTS = 2.5, 80, 1000


def fields(trained: runner.Trained, levels: Sequence[float]) -> np.ndarray:
    """Means and deviations of the first target over the square, in its own units: [2, L, H, W].

    Raises ValueError for a run that predicts no targets of points of the plane.
    """
    data = trained.plan.dataset
    predictor, targets = trained.given({}).predictor, getattr(data, "targets", None)
    if predictor is None or targets is None or tuple(data.info.shape) != (1, 2):
        raise ValueError("the run predicts no targets of points of the plane")
    x = jnp.asarray(square(_EDGE, _CELLS))
    predict = jax.jit(lambda t: predictor(x, t))
    found = [predict(jnp.asarray(float(t))) for t in levels]
    mean = [targets.mean[0] + targets.std[0] * np.asarray(one.mean)[:, 0] for one in found]
    deviation = [targets.std[0] * np.sqrt(np.asarray(one.variance)[:, 0]) for one in found]
    return np.stack([mean, deviation]).reshape(2, len(levels), _CELLS, _CELLS)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draws, writes the picture and says where it is."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.plane",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workdir", required=True, nargs="+", metavar="DIR", help="folders of runs")
    parser.add_argument("--levels", type=float, nargs="+", metavar="T", default=[0.0, 0.25, 0.5, 0.75])
    parser.add_argument("--out", type=Path, metavar="PNG", help="default: plane.png in the first folder")
    options = parser.parse_args(arguments)
    out = options.out or Path(options.workdir[0]) / "plane.png"
    try:
        if not all(0 <= t <= 1 for t in options.levels):
            raise ValueError(f"levels lie in [0, 1], got {options.levels}")
        machine.start()
        runs = {Path(one).name: runner.load(one) for one in options.workdir}
        drawn = {name: fields(trained, options.levels) for name, trained in runs.items()}
        data = next(iter(runs.values())).plan.dataset
        points = {
            colour: next(iter(data.epoch(split, min(_POINTS, data.info.splits[split]))))["x"]
            for colour, split in (("white", "train"), ("red", "shifted"))
            if split in data.info.splits
        }
    except (OSError, TypeError, ValueError) as error:
        sys.exit(f"error: {error}")
    titles = [f"t = {t:g}" for t in options.levels]
    plane_picture(out, drawn, titles, _EDGE, points=points, name=f"of {data.targets.names[0]}")
    print(f"{len(drawn)} runs at {len(titles)} levels in {out}")


if __name__ == "__main__":
    main()
