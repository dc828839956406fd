"""Fan charts of a run's forecasts: what was known, bands of its sample paths, and what came.

    python -m experiments.fans --workdir runs/co2 --out docs/images/forecast_co2.png
    python -m experiments.fans --workdir runs/macrodata --windows 0 18 36 --features 0 2 5

The paths are drawn as the run's evaluation `forecast` says. The bands hold 50 and 90 % of them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from diffusion_jax.build import build
from diffusion_jax.evaluation.forecast import forecaster, windows_of
from diffusion_jax.evaluation.samples import fan_picture
from experiments import machine, runner


def fans(trained: runner.Trained, chosen: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Past [V, P, D], paths [S, V, H, D] and future [V, H, D] of test windows, in the units of reports.

    Raises ValueError for a run without an evaluation `forecast`, or windows that do not exist.
    """
    spec = dict(trained.plan.config["evaluation"].get("forecast") or {})
    if spec.pop("name", None) != "forecast":
        raise ValueError("the run's config has no evaluation `forecast` that says how to draw")
    windows = windows_of(trained.plan.dataset, spec.pop("context", None))
    if chosen.min() < 0 or chosen.max() >= len(windows.x):
        raise ValueError(f"windows are numbered 0 to {len(windows.x) - 1}, got {chosen.tolist()}")
    made = {name: build(name, spec.pop(name)) for name in ("sampler", "grid", "schedule") if spec.get(name)}
    draw = forecaster(trained.given, windows, **made, **{k: v for k, v in spec.items() if v is not None})
    drawn = draw(jax.random.key(seed), chosen)
    few = windows._replace(x=windows.x[chosen], offset=windows.offset[chosen])
    return few.values(few.x)[:, : few.context], few.values(drawn), few.values(few.future)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draws, writes the picture and says where it is."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.fans",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workdir", required=True, metavar="DIR", help="the run's folder")
    parser.add_argument("--windows", type=int, nargs="+", metavar="W", help="default: four, evenly spread")
    parser.add_argument("--features", type=int, nargs="+", metavar="I", help="default: the first three")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--out", type=Path, metavar="PNG", help="default: DIR/fans.png")
    options = parser.parse_args(arguments)
    out = options.out or Path(options.workdir) / "fans.png"
    try:
        machine.start()
        trained = runner.load(options.workdir)
        info = trained.plan.dataset.info
        count, width = info.splits["test"], info.shape[-1]
        spread = np.unique(np.linspace(0, count - 1, min(4, count)).round().astype(int))
        chosen = np.array(options.windows) if options.windows else spread
        features = options.features or list(range(min(3, width)))
        if not all(0 <= i < width for i in features):
            raise ValueError(f"features are numbered 0 to {width - 1}, got {features}")
        past, paths, future = (one[..., features] for one in fans(trained, chosen, options.seed))
    except (OSError, TypeError, ValueError) as error:
        sys.exit(f"error: {error}")
    titles = [f"window {w}" for w in chosen]
    fan_picture(out, past, paths, future, names=[f"feature {i}" for i in features], titles=titles)
    print(f"{len(chosen)} windows with {len(paths)} paths each in {out}")


if __name__ == "__main__":
    main()
