r"""How right a regression model is about targets, and about how right it is: within its data and beyond.

On each split, noised to each of the levels t, for standardised targets, their mean over targets:

    nll@t       -log p(y | x_t) in nats
    rmse@t      sqrt E (y - m)^2
    std@t       sqrt E v, what the model expects of that
    z@t         sqrt E (y - m)^2/v: 1 where it is right about itself, more where it is too sure
    within@t    the share of targets within 1.96 sqrt(v) of m; 0.95 for a normal law

and without `@t` the same of all levels together. Metrics are called <split>_<name>. The mean of `nll` over
levels on a shifted split is what context-guided diffusion (arXiv 2407.11942) selects models by.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffusion_jax.evaluation.batches import known_of
from diffusion_jax.evaluation.compiling import compiled
from diffusion_jax.evaluation.outcome import Bind, Evaluation, Outcome
from diffusion_jax.types import Array, Batch, Key, Statistics


def predictor_of(bind: Bind, conditions: Batch | None = None) -> tuple[Any, Callable[[Array, Array], Any]]:
    """The process and the predictor of a guidance model; raises ValueError for a model without one."""
    bound = bind(conditions or {})
    if bound.predictor is None:
        raise ValueError("this model predicts no targets: its objective must be `guidance`")
    return bound.process, bound.predictor


def calibration(
    splits: Sequence[str] = ("test",), levels: Sequence[float] = (0.0, 0.25, 0.5, 0.75), batch_size: int = 500
) -> Evaluation:
    """See above.

    splits: of the data set, with targets. levels: t in [0, 1]. batch_size: samples in a call.

    Raises ValueError for levels outside [0, 1], a model without a predictor, or a split without targets;
    TypeError for a model of classes.
    """
    if not all(0 <= t <= 1 for t in levels) or not levels:
        raise ValueError(f"levels lie in [0, 1], got {list(levels)}")

    def evaluation(bind: Bind, dataset: Any, key: Key) -> Outcome:
        predictor_of(bind)

        def predict(key: Key, x0: Array, known: Batch) -> tuple[Array, Array]:
            process, predictor = predictor_of(bind, known)
            each = []
            for i, t in enumerate(levels):
                x_t = process.marginal(x0, jnp.asarray(t, x0.dtype)).sample(jax.random.fold_in(key, i))
                each.append(predictor(x_t, jnp.asarray(t, x0.dtype)))
            if not all(isinstance(one, Statistics) for one in each):
                raise TypeError("calibration is of regression, with means and variances")
            return jnp.stack([one.mean for one in each]), jnp.stack([one.variance for one in each])

        run, metrics, lines = compiled(predict), {}, []
        for split in splits:
            parts = []
            for i, batch in enumerate(dataset.epoch(split, batch_size)):
                if "target" not in batch:
                    raise ValueError(f"the split {split!r} has no targets")
                real = np.asarray(batch["mask"]).max(1) > 0
                mean, variance = run(jax.random.fold_in(key, i), jnp.asarray(batch["x"]), known_of(batch))
                parts.append([np.asarray(one, np.float64)[:, real] for one in (mean, variance)])
                parts[-1].append(np.asarray(batch["target"], np.float64)[None, real])
            mean, variance, y = (np.concatenate([part[i] for part in parts], 1) for i in range(3))
            found = scores(mean, variance, np.broadcast_to(y, mean.shape), levels)
            metrics |= {f"{split}_{name}": value for name, value in found.items()}
            lines.append(
                f"{split}: -log p {found['nll']:.4g} nats, error {found['rmse']:.4g} (expected "
                f"{found['std']:.4g}), {100 * found['within']:.1f} % within 95 %"
            )
        return Outcome(metrics, "\n".join(lines))

    return evaluation


def scores(
    mean: np.ndarray, variance: np.ndarray, y: np.ndarray, levels: Sequence[float]
) -> dict[str, float]:
    """The metrics of means, variances and targets [L, N, K] at L levels; see the head of the module."""
    square = (y - mean) ** 2
    z = square / variance
    each = {"nll": 0.5 * (np.log(2 * np.pi * variance) + z), "within": (z < 1.96**2).astype(float)}
    roots = {"rmse": square, "std": variance, "z": z}
    found = {}
    for name, values in {**each, **roots}.items():
        finish = np.sqrt if name in roots else float
        found[name] = float(finish(values.mean()))
        found |= {f"{name}@{t:g}": float(finish(one.mean())) for t, one in zip(levels, values)}
    return found


EXAMPLES: dict[str, dict[str, Any]] = {"calibration": {"levels": [0.5], "batch_size": 16}}
