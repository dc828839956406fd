"""Long roll-outs of runs beside the data: time runs downwards, a row is a token.

    python -m experiments.rollouts --workdir runs/rollout runs/rollout_tf --names mine teacher_forced
    python -m experiments.rollouts --workdir runs/rollout --rows 200 --out docs/images/rollout.png

For each run two panels, the first and the last tokens of one sequence that goes on from the same tokens of
the test split; the first panel of all shows how that went on itself. They are drawn as the evaluation
`rollout` of the run says.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from diffusion_jax.build import build
from diffusion_jax.evaluation.long_rollout import roller
from diffusion_jax.evaluation.samples import panels_picture
from experiments import machine, runner

_BUILT = ("sampler", "grid", "schedule")
_KEPT = ("stabilise", "fresh", "even")


def rolled(trained: runner.Trained, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The first test sequence as the run goes on from its first tokens, and as it went on: two of [L, ...].

    Raises ValueError for a run without an evaluation `rollout`.
    """
    spec = dict(trained.plan.config["evaluation"].get("rollout") or {})
    if spec.pop("name", None) != "long_rollout":
        raise ValueError("the run's config has no evaluation `rollout` that says how to draw")
    shape = trained.plan.dataset.info.shape
    made = {name: build(name, spec[name]) for name in _BUILT if spec.get(name) is not None}
    roll = roller(trained.given, shape, **made, **{name: spec[name] for name in _KEPT if name in spec})
    start, length = spec.get("start") or shape[0], spec.get("length", 2000)
    truth = trained.plan.dataset.sources["test"].series["x"][:1, : start + length]
    return roll(jax.random.key(seed), truth[:, :start], length)[0], truth[0, start:]


def main(arguments: Sequence[str] | None = None) -> None:
    """Rolls out, writes the picture and says where it is."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.rollouts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workdir", required=True, nargs="+", metavar="DIR", help="the runs' folders")
    parser.add_argument("--names", nargs="+", metavar="NAME", help="of the runs; default: their folders'")
    parser.add_argument("--rows", type=int, default=120, metavar="N", help="tokens in a panel, default: 120")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--out", type=Path, metavar="PNG", help="default: rollout.png in the first folder")
    options = parser.parse_args(arguments)
    names = options.names or [Path(folder).name for folder in options.workdir]
    out = options.out or Path(options.workdir[0]) / "rollout.png"
    panels: dict[str, np.ndarray] = {}
    try:
        if len(names) != len(set(names)) or len(names) != len(options.workdir):
            raise ValueError(f"a name of its own for each of {len(options.workdir)} runs is needed: {names}")
        if options.rows < 1:
            raise ValueError(f"a panel shows at least one token, got {options.rows}")
        machine.start()
        for name, folder in zip(names, options.workdir, strict=True):
            x, truth = rolled(runner.load(folder), options.seed)
            rows = min(options.rows, len(x))
            panels.setdefault("the data", truth[-rows:, None])
            panels[f"{name}:\n1 to {rows}"] = x[:rows, None]
            panels[f"{name}:\n{len(x) - rows + 1} to {len(x)}"] = x[-rows:, None]
    except (OSError, TypeError, ValueError) as error:
        sys.exit(f"error: {error}")
    low, high = np.quantile(panels["the data"], (0.0, 1.0))
    panels_picture(out, panels, limits=(float(low), float(high)))
    print(f"{len(names)} runs beside the data in {out}")


if __name__ == "__main__":
    main()
