"""The statistics of a Maze2D data set beside those of the published one.

The published numbers are the means and standard deviations by which Diffusion Forcing (arXiv 2407.01392)
normalises D4RL's `-v1` sets, in the settings of its code. A change of the goal shows in the data: the
observation is recorded twice.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from diffusion_jax.environments import mazes
from diffusion_jax.environments.point_mass import touches
from diffusion_jax.evaluation.outcome import Bind, Evaluation, Outcome
from diffusion_jax.types import Key

EXAMPLES = {"maze_statistics": {}}

_COLUMNS = ("x", "y", "vx", "vy", "ax", "ay")
_NAMES = (*(f"std_{one}" for one in _COLUMNS), "mean_x", "mean_y", "mean_reward")
PUBLISHED: dict[str, dict[str, float]] = {
    "u": dict(zip(_NAMES, (0.900, 0.709, 2.213, 2.468, 0.704, 0.751, 1.933, 2.374, 0.0813))),
    "medium": dict(zip(_NAMES, (1.337, 1.521, 2.341, 2.369, 0.740, 0.746, 3.509, 3.477, 0.0237))),
    "large": dict(zip(_NAMES, (1.807, 2.569, 2.437, 2.649, 0.725, 0.739, 3.730, 5.305, 0.0089))),
}


def maze_statistics(maze: Any = "u", split: str = "train") -> Evaluation:
    """Moments, rewards, goals, contacts and saturation of a split of the data set `maze2d`; no model is used.

    Metrics: `std_<c>` of c = x, y, vx, vy, ax, ay (position, velocity, action), `mean_x`, `mean_y`,
    `mean_reward`, `steps` in all, `steps_per_goal`, `longest_goal` in steps, `contact`, the share of steps in
    which the ball is within 4 mm of a wall or deeper (`point_mass.touches`), `saturated`, the share of action
    components at their limit.

    Args:
        maze: of the data set, see `environments.mazes.maze`.
        split: of the data set.

    The evaluation raises ValueError for a data set without whole series of 6 columns and rewards.
    """
    world = mazes.maze(maze)

    def evaluation(bind: Bind, dataset: Any, key: Key) -> Outcome:
        del bind, key
        series = getattr(dataset.sources.get(split), "series", {})
        if set(series) != {"x", "reward"} or series["x"].shape[2:] != (len(_COLUMNS),):
            raise ValueError(
                f"the split {split!r} holds no series of a maze: this is for the data set maze2d"
            )
        metrics = _statistics(world, series["x"], series["reward"])
        return Outcome(metrics, _text(world.name, metrics))

    return evaluation


def _statistics(maze: mazes.Maze, x: np.ndarray, reward: np.ndarray) -> dict[str, float]:
    rows = x.reshape(-1, x.shape[2])
    metrics = {f"std_{name}": float(std) for name, std in zip(_COLUMNS, rows.std(0, dtype=np.float64))}
    metrics |= {f"mean_{name}": float(mean) for name, mean in zip("xy", rows.mean(0, dtype=np.float64))}
    changed = (x[:, 1:, :4] == x[:, :-1, :4]).all(axis=2)
    gaps = [np.diff(np.flatnonzero(one), prepend=-1) for one in changed]
    return metrics | {
        "mean_reward": float(reward.mean(dtype=np.float64)),
        "steps": len(rows),
        "steps_per_goal": len(rows) / max(int(changed.sum()), 1),
        "longest_goal": int(max((gap.max() for gap in gaps if len(gap)), default=x.shape[1])),
        "contact": float(touches(maze, jnp.asarray(rows[:, :4])).mean()),
        "saturated": float((np.abs(rows[:, 4:]) == 1.0).mean()),
    }


def _text(name: str, metrics: dict[str, float]) -> str:
    published = PUBLISHED.get(name, {})
    lines = [f"Maze2D {name}: {metrics['steps']} steps", f"{'':<16}{'here':>12}{'published':>12}"]
    for metric, value in metrics.items():
        if metric != "steps":
            beside = f"{published[metric]:>12.4f}" if metric in published else ""
            lines.append(f"{metric:<16}{value:>12.4f}{beside}")
    return "\n".join(lines)
