"""The Swiss roll with labels on its inner part alone, and the plane around it as context.

    y = theta + label_noise n,   n ~ N(0, 1),   theta the angle of the point's place on the roll

in radians, known for theta below START + labelled (STOP - START). Splits:

    train, test   points of the labelled part, with labels
    shifted       points of the rest of the roll, with the labels that they would have
    context       the square [-EDGE, EDGE]^2 evenly, without labels

It is the unit experiment of context-guided diffusion (arXiv 2407.11942): a model of y guides a generator of
the whole roll, and the truth is known for every point.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffusion_jax.data.pipeline import Arrays, Dataset, Examples, Info, integer, seed_of
from diffusion_jax.data.swiss_roll import NOISE, START, STOP, curve, curve_at
from diffusion_jax.data.targets import Targets, targets_of

EXAMPLES = {"labelled_roll": {"train": 64, "test": 32, "context": 48}}

EDGE = 2.5
"""Half the side of the square of the context; the roll's largest coordinate is 2.1."""


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelledRoll(Dataset):
    """Points with labels; see the head of the module.

    targets: of the labels
    border:  the angle where the labels end
    """

    targets: Targets
    border: float

    def truth(self, x: Any) -> Mapping[str, np.ndarray]:
        """What is true of points [N, 1, 2], each [N]: of the nearest place on the roll.

        target_0: the angle; shifted: 1 where it lies beyond the labels; away: the distance from the roll, in
        standard deviations of its noise.
        """
        line = curve(6000)
        points = np.asarray(x, np.float64).reshape(-1, 2)
        square = (points**2).sum(1)[:, None] - 2 * points @ line.T + (line**2).sum(1)[None]
        angle = START + (STOP - START) * (square.argmin(1) + 0.5) / len(line)
        return {
            "target_0": angle,
            "shifted": (angle > self.border).astype(float),
            "away": np.sqrt(np.maximum(square.min(1), 0)) / NOISE,
        }


def labelled_roll(
    train: int = 2000,
    test: int = 1000,
    context: int = 20_000,
    labelled: float = 0.5,
    label_noise: float = 0.1,
    seed: int = 0,
) -> LabelledRoll:
    """Points of the plane, x `[B, 1, 2]`, with `target` `[B, 1]`, standardised.

    Args:
        train, test, context: numbers of points; `shifted` has as many as `test`.
        labelled: the share of the roll that has labels, its inner part, in (0, 1).
        label_noise: standard deviation, in radians.
        seed: of the points.

    Raises:
        TypeError, ValueError: a number is not an integer, or out of range.
    """
    counts = {"train": train, "test": test, "shifted": test, "context": context}
    counts = {split: integer(split, count, 1) for split, count in counts.items()}
    if not 0 < labelled < 1 or label_noise < 0:
        raise ValueError(f"need 0 < labelled < 1 and label_noise >= 0, got {labelled} and {label_noise}")
    seed = seed_of(seed)
    border = START + labelled * (STOP - START)
    generators = {
        split: np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, stream]))
        for stream, split in enumerate(counts)
    }

    def points(split: str, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
        rng, count = generators[split], counts[split]
        theta = rng.uniform(low, high, count)
        x = curve_at(theta) + NOISE * rng.standard_normal((count, 2))
        return x.astype(np.float32)[:, None], (theta + label_noise * rng.standard_normal(count))[:, None]

    drawn = {
        "train": points("train", START, border),
        "test": points("test", START, border),
        "shifted": points("shifted", border, STOP),
    }
    targets = targets_of(["angle (rad)"], drawn["train"][1])
    examples: dict[str, Examples] = {
        split: {"x": x, "target": targets.standardised(y)} for split, (x, y) in drawn.items()
    }
    square = generators["context"].uniform(-EDGE, EDGE, (counts["context"], 1, 2))
    examples["context"] = {"x": square.astype(np.float32)}
    info = Info(
        shape=(1, 2),
        kind="continuous",
        levels=None,
        unit=None,
        centre=None,
        classes=None,
        splits=counts,
        description="Swiss roll in the plane, its angle as a label on the inner part, the plane as context.",
    )
    sources = {split: Arrays(one) for split, one in examples.items()}
    return LabelledRoll(info=info, sources=sources, targets=targets, border=border)
