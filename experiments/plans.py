"""Plans through a maze as they denoise, near tokens first where the run's planner has a lag.

    python -m experiments.plans --workdir runs/medium --out docs/images/plans.png

The plans are made as the run's evaluation `single` says (or another one), from the starts of its episodes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from diffusion_jax.build import build
from diffusion_jax.environments.mazes import CENTRE
from diffusion_jax.evaluation.compiling import compiled
from diffusion_jax.evaluation.maze_planning import resting, starts_and_goals
from diffusion_jax.evaluation.planner import Guidance, plan
from diffusion_jax.evaluation.samples import plans_picture
from diffusion_jax.sampling.schedules import pyramid
from experiments import machine, runner


def plans(
    trained: runner.Trained, evaluation: str, count: int, moments: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions [N, K, n, 2] of N plans at K moments, the levels [K, n] there, and the goals [N, 2].

    Raises ValueError for a run without such an evaluation.
    """
    spec: dict[str, Any] = dict(trained.plan.config["evaluation"].get(evaluation) or {})
    if spec.get("name") not in ("maze_planning", "diffused_actions"):
        raise ValueError(f"the run's config has no evaluation {evaluation!r} that says how to plan")
    bound, info = trained.given({}), trained.plan.dataset.info
    code, tokens = info.codec, info.shape[0]
    grid = build("grid", spec["grid"], process=bound.process)
    guidance = Guidance(**{k: v for k, v in spec.items() if k in Guidance.__dataclass_fields__})
    starts, goals = starts_and_goals(code.maze, count, spec.get("seed", 0), spec.get("multi", False))
    known = code.encode(resting(starts, code.stack))
    lag = spec.get("lag", 0.0)

    def path(key: jax.Array, known: jax.Array, starts: jax.Array, goals: jax.Array) -> jax.Array:
        sampler = build("sampler", spec["sampler"])
        here = starts[:, :2]
        _, states = plan(
            key, bound, code, sampler, grid, lag, guidance, known, here, goals, tokens, lambda state: state.x
        )
        return states

    states = compiled(path)(jax.random.key(seed), known, starts, goals)
    rows = np.linspace(0, len(states) - 1, moments).round().astype(int)
    ways = [np.asarray(code.decode(states[row])["position"]) for row in rows]
    taken = pyramid(len(grid) - 1, tokens - 1, lag)[rows]
    levels = np.concatenate([np.zeros((moments, 1)), np.asarray(grid)[taken]], axis=1)
    return np.stack(ways, axis=1), np.repeat(levels, code.stack, axis=1), np.asarray(goals)


def main(arguments: Sequence[str] | None = None) -> None:
    """Plans, writes the picture and says where it is."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.plans",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workdir", required=True, metavar="DIR", help="the run's folder")
    parser.add_argument("--evaluation", default="single", metavar="NAME", help="default: single")
    parser.add_argument("--count", type=int, default=3, help="plans; default: 3")
    parser.add_argument("--moments", type=int, default=6, help="panels of each; default: 6")
    parser.add_argument("--seed", type=int, default=0, help="of the noise; default: 0")
    parser.add_argument("--out", type=Path, metavar="PNG", help="default: DIR/plans.png")
    options = parser.parse_args(arguments)
    out = options.out or Path(options.workdir) / "plans.png"
    try:
        if options.count < 1 or options.moments < 2:
            raise ValueError("there must be 1 plan and 2 moments at least")
        machine.start()
        trained = runner.load(options.workdir)
        ways, levels, goals = plans(trained, options.evaluation, options.count, options.moments, options.seed)
    except (OSError, TypeError, ValueError) as error:
        sys.exit(f"error: {error}")
    walls = trained.plan.dataset.info.codec.maze.walls
    titles = [f"mean level {level:.2f}" for level in levels.mean(1)]
    plans_picture(out, walls, ways - CENTRE, levels, goals - CENTRE, titles=titles)
    print(f"{len(ways)} plans in {out}")


if __name__ == "__main__":
    main()
