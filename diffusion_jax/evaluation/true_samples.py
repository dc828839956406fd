"""What is true of a generator's samples: the data set's own `truth` of each.

    <name>          its mean over the samples that have it
    <name>_median   its median
    real_<name>, real_<name>_median   the same of the training split

A metric of which no sample knows anything is None.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from diffusion_jax.evaluation.drawing import Grid, Method, drawer
from diffusion_jax.evaluation.outcome import Bind, Evaluation, Outcome
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
        truth = getattr(dataset, "truth", None)
        if truth is None:
            raise ValueError("this data set does not know what is true of a sample: it has no `truth`")
        draw = drawer(
            bind, dataset.info, sampler=sampler, grid=grid, count=count, labels=False, batch_size=batch_size
        )
        first = next(iter(dataset.epoch("train", min(real, dataset.info.splits["train"]))))
        metrics: dict[str, Any] = {}
        lines = []
        for before, x in (("", draw(key).x), ("real_", first["x"])):
            for name, values in truth(np.asarray(x)).items():
                known = values[np.isfinite(values)]
                for kind, summary in (("", np.mean), ("_median", np.median)):
                    metrics[f"{before}{name}{kind}"] = float(summary(known)) if len(known) else None
            lines.append(
                ", ".join(
                    f"{name} {value:.4g}"
                    for name, value in metrics.items()
                    if name.startswith("real_") == bool(before)
                    and not name.endswith("_median")
                    and value is not None
                )
            )
        return Outcome(metrics, "\n".join(lines))

    return evaluation


EXAMPLES: dict[str, dict[str, Any]] = {
    "true_samples": {"sampler": "euler", "grid": {"name": "linear_grid", "steps": 4}, "count": 8}
}
