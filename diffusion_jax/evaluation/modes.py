r"""Samples of a mixture whose modes are known: their weights, and Wasserstein distances to exact samples.

A sample belongs to the mode whose centre is nearest. With w the shares of the samples, p = 1/M those of the
law, and fresh exact samples of each mode, as many as were drawn there,

    modes        how many modes are hit, at least `least` of p N times
    variation    1/2 sum |w - p|, the total variation of the weights
    within       sqrt(sum_j w_j W2^2(samples in mode j, exact ones)), exact transport: assignments
    wasserstein  W2 between all N samples and N exact ones, N/M in each mode (stratified)
    outside      the share farther from every centre than `far` standard deviations

The empirical W2 of exact samples is not zero: `floor_` metrics are those of exact samples in the model's
place, with weights drawn (iid) and stratified; a distance below them cannot be told from the truth.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from diffusion_jax.evaluation.drawing import drawer
from diffusion_jax.evaluation.outcome import Bind, Evaluation, Outcome
from diffusion_jax.types import Key, Sampler, Support


def transport(a: np.ndarray, b: np.ndarray) -> float:
    """The squared Wasserstein-2 distance of two sets of N points [N, D], by an optimal assignment."""
    from scipy.optimize import linear_sum_assignment

    cost = ((a[:, None] - b[None]) ** 2).sum(-1)
    return float(cost[linear_sum_assignment(cost)].mean())


def known_modes(
    support: Support,
    sampler: Sampler | Callable[..., Sampler],
    grid: Any = None,
    count: int = 1000,
    labels: bool = False,
    least: float = 0.1,
    far: float = 4.0,
) -> Evaluation:
    """See above.

    support: the modes, its points, each normal with its standard deviation. sampler, grid, count, labels: see
    `drawing.drawer`. The assignments take N^3: count is at most some thousands.

    Raises ValueError for points of another shape than the data set's.
    """
    centres = np.asarray(support.points, np.float64)

    def evaluation(bind: Bind, dataset: Any, key: Key) -> Outcome:
        info = dataset.info
        if centres.shape[1:] != tuple(info.shape):
            raise ValueError(f"modes are {centres.shape[1:]}, the data set's samples {tuple(info.shape)}")
        draw_key, seed_key = jax.random.split(key)
        draw = drawer(bind, info, sampler=sampler, grid=grid, count=count, labels=labels)
        rng = np.random.default_rng(np.asarray(jax.random.bits(seed_key, (4,))).tolist())
        x = np.asarray(draw(draw_key).x, np.float64).reshape(count, -1)
        metrics = distances(x, support, rng, least, far)
        flat = centres.reshape(len(centres), -1)
        for name, modes in (
            ("iid", rng.integers(len(flat), size=count)),
            ("stratified", np.arange(count) % len(flat)),
        ):
            exact = flat[modes] + support.std * rng.standard_normal((count, flat.shape[1]))
            metrics[f"floor_{name}"] = distances(exact, support, rng, least, far)["wasserstein"]
        text = (
            f"{metrics['modes']} of {len(flat)} modes, weights off by {metrics['variation']:.4f}, "
            f"{metrics['outside']:.4f} outside\n"
            f"W2 {metrics['wasserstein']:.4f} (exact samples: {metrics['floor_iid']:.4f}, stratified "
            f"{metrics['floor_stratified']:.4f}), within modes {metrics['within']:.4f}"
        )
        return Outcome(metrics, text)

    return evaluation


def distances(
    x: np.ndarray, support: Support, rng: np.random.Generator, least: float = 0.1, far: float = 4.0
) -> dict[str, Any]:
    """The metrics of samples x [N, D] of the law of `support`; see the head of the module."""
    centres = np.asarray(support.points, np.float64).reshape(len(support.points), -1)
    away = np.sqrt(((x[:, None] - centres[None]) ** 2).sum(-1))
    mode, count = away.argmin(1), len(x)

    def exact(modes: np.ndarray) -> np.ndarray:
        return centres[modes] + support.std * rng.standard_normal((len(modes), x.shape[1]))

    share = np.bincount(mode, minlength=len(centres)) / count
    fresh = exact(mode)
    within = [share[j] * transport(x[mode == j], fresh[mode == j]) for j in np.flatnonzero(share)]
    return {
        "modes": int((share >= least / len(centres)).sum()),
        "variation": float(0.5 * np.abs(share - 1 / len(centres)).sum()),
        "within": float(np.sqrt(sum(within))),
        "wasserstein": float(np.sqrt(transport(x, exact(np.arange(count) % len(centres))))),
        "outside": float((away.min(1) > far * support.std).mean()),
        "samples": count,
    }


EXAMPLES: dict[str, dict[str, Any]] = {
    "known_modes": {
        "support": {"name": "swiss_roll_curve", "points": 4},
        "sampler": "ancestral",
        "count": 8,
    },
}
