"""What is true of a generator's samples: the data set's own `truth` of each.

    <name>          its mean over the samples that have it
    <name>_median   its median
    real_<name>, real_<name>_median   the same of training examples, drawn at random

A metric of which no sample knows anything is None.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from diffusion_jax.evaluation.drawing import Grid, Method, drawer
from diffusion_jax.evaluation.outcome import Bind, Evaluation, Outcome
from diffusion_jax.evaluation.truths import shown, summaries, truth_function
from diffusion_jax.types import Key


def true_samples(
    sampler: Method, grid: Grid, count: int = 256, batch_size: int = 512, real: int = 2000
) -> Evaluation:
    """See above.

    sampler, grid, count, batch_size: as of `drawing.drawer`. real: so many training examples at most are told
    the truth of.

    Raises as `drawer`, and ValueError for a data set without a `truth`.
    """

    def evaluation(bind: Bind, dataset: Any, key: Key) -> Outcome:
        truth = truth_function(dataset)
        draw = drawer(
            bind, dataset.info, sampler=sampler, grid=grid, count=count, labels=False, batch_size=batch_size
        )
        drawn = draw(key)
        total = dataset.info.splits["train"]
        (every,) = dataset.epoch("train", total)
        chosen = np.random.default_rng(0).permutation(total)[:real]
        metrics: dict[str, Any] = {}
        lines = []
        for before, x, present in (
            ("", drawn.x, drawn.present),
            ("real_", every["x"][chosen], every["present"][chosen] if "present" in every else None),
        ):
            found = truth(np.asarray(x)) if present is None else truth(np.asarray(x), np.asarray(present))
            metrics |= {before + name: value for name, value in summaries(found).items()}
            lines.append(shown({before + name: metrics[before + name] for name in found}))
        return Outcome(metrics, "\n".join(lines))

    return evaluation


EXAMPLES: dict[str, dict[str, Any]] = {
    "true_samples": {"sampler": "euler", "grid": {"name": "linear_grid", "steps": 4}, "count": 8}
}
