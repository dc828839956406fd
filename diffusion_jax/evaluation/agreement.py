"""Do samples read as what they were asked to be? A classifier of real data tells, its own error beside it."""

from __future__ import annotations

from typing import Any

import numpy as np

from diffusion_jax.evaluation.drawing import Grid, Method, drawer
from diffusion_jax.evaluation.outcome import Bind, Evaluation, Outcome
from diffusion_jax.types import Key


def class_agreement(sampler: Method, count: int = 500, grid: Grid = None) -> Evaluation:
    """The share of class-conditional samples to which a classifier trained on real data gives their class.

    Beside it, the share of held-out real examples that it classifies rightly: the limit for the samples. The
    classifier is a support-vector machine, scikit-learn's SVC with its defaults, on the raw pixels of the
    training split.

    Args:
        sampler: what draws; a factory is given the bound's process, and its variance where it takes one.
        count: how many samples, the classes in turn.
        grid: levels to walk, an array or process -> array; None takes the bound's grid and decoder.

    Raises ValueError for a data set without classes.
    """

    def evaluation(bind: Bind, dataset: Any, key: Key) -> Outcome:
        classes = dataset.info.classes
        if classes is None:
            raise ValueError("class_agreement needs a data set with classes")
        real, labels = _all(dataset, "train")
        held_out, truth = _all(dataset, "test")
        from sklearn.svm import SVC

        machine = SVC().fit(real, labels)
        wanted = np.arange(count) % classes
        draw = drawer(bind, dataset.info, sampler=sampler, grid=grid, count=count, labels=True)
        drawn = draw(key).x.reshape(count, -1)
        share = float((machine.predict(drawn) == wanted).mean())
        limit = float((machine.predict(held_out) == truth).mean())
        metrics = {
            "agreement": share,
            "agreement_se": float(np.sqrt(share * (1 - share) / count)),
            "real": limit,
            "real_se": float(np.sqrt(limit * (1 - limit) / len(truth))),
            "count": count,
        }
        return Outcome(
            metrics,
            f"a classifier of real data agrees with the class of {share:.1%} of {count} samples "
            f"(of {limit:.1%} of {len(truth)} held-out real examples)",
        )

    return evaluation


def _all(dataset: Any, split: str) -> tuple[np.ndarray, np.ndarray]:
    xs, labels = [], []
    for batch in dataset.epoch(split, 512):
        rows = np.asarray(batch["mask"]).sum(1) > 0
        xs.append(np.asarray(batch["x"])[rows].reshape(rows.sum(), -1))
        labels.append(np.asarray(batch["label"])[rows])
    return np.concatenate(xs), np.concatenate(labels)


EXAMPLES: dict[str, dict[str, Any]] = {"class_agreement": {"sampler": "ancestral", "count": 20}}
