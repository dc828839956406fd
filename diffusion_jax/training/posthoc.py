r"""Averages of the parameters that are chosen after training: post-hoc EMA (arXiv 2312.02696, section 3).

While a run trains it keeps a few averages with power profiles (see `ema.power`), and saves them now and then.
The average that was saved at step T with the exponent g weighs the parameters of step t by the density

    p_{T,g}(t) = (g + 1) t^g / T^(g+1),    0 <= t <= T.

Any other profile p is then approximated by the combination sum_i x_i p_i of the saved ones that is nearest in
L2 among those whose weights x_i sum to 1, and the same combination of saved parameters is, nearly, the
average that a run with that profile would have kept. With S = min(T_a, T_b), inner products are

    <p_a, p_b> = (a + 1) (b + 1) S^(a+b+1) / ((a + b + 1) T_a^(a+1) T_b^(b+1)).

Snapshots lie in workdir/profiles. Their number limits how well a profile is met: `Mixture.residual` says how
well, before any network is read. Widths between those that were tracked are easy (16 snapshots of 0.05 and
0.10 meet 0.075 to 0.4 %), narrower ones need more snapshots than wider ones.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from diffusion_jax.training import checkpoints
from diffusion_jax.training.ema import Decay, gamma, power
from diffusion_jax.types import Params


@dataclass(frozen=True)
class Tracking:
    """What a run keeps for later.

    Args:
        every: steps between snapshots; the last step of a run has one too.
        sigma_rel: relative widths of the averages, two or more (the published choice).

    Raises ValueError where `every` is not positive, where there are fewer than two widths, or two are equal,
    or as `ema.gamma`.
    """

    every: int
    sigma_rel: Sequence[float] = (0.05, 0.10)

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"the steps between snapshots must be at least 1, got {self.every}")
        if len(set(self.sigma_rel)) != len(self.sigma_rel) or len(self.sigma_rel) < 2:
            raise ValueError(f"two or more different sigma_rel are needed, got {list(self.sigma_rel)}")
        for one in self.sigma_rel:
            gamma(one)

    @property
    def decays(self) -> tuple[Decay, ...]:
        """Of the averages, in their order."""
        return tuple(power(one) for one in self.sigma_rel)

    def due(self, step: int, saved: int, last: bool) -> bool:
        """Whether a snapshot is to be saved after a step.

        One is due at or past each multiple of `every`, and at the last step of a run.

        Args:
            step: the number of steps done.
            saved: the step of the latest snapshot, or 0. None is due before it: a run that is resumed
                repeats, to the bit, what it has saved already.
            last: whether this is the run's last step.
        """
        return step > saved and (last or step // self.every > saved // self.every)


class Mixture(NamedTuple):
    """weights: [steps, widths], summing to 1; residual: the distance to the profile, relative to its norm."""

    weights: np.ndarray
    residual: float


def mixture(
    steps: Sequence[int], widths: Sequence[float], sigma_rel: float, step: int | None = None
) -> Mixture:
    """How saved averages combine to one of another width.

    Args:
        steps: at which averages were saved.
        widths: relative widths of the averages saved at each of them.
        sigma_rel: the width that is wanted.
        step: the step after which it is wanted; by default the last of `steps`.

    Raises ValueError where there are no steps or widths, or as `ema.gamma`.
    """
    if not len(steps) or not len(widths):
        raise ValueError("there are no averages to combine")
    end = max(steps) if step is None else step
    times = np.repeat(np.asarray(steps, np.float64) / end, len(widths))
    exponents = np.tile([gamma(one) for one in widths], len(steps))
    wanted = gamma(sigma_rel)
    gram = _inner(times[:, None], exponents[:, None], times[None], exponents[None])
    norms = np.sqrt(np.diag(gram))
    products = _inner(times, exponents, 1.0, wanted)
    gram /= norms[:, None] * norms[None]  # of profiles of norm 1, which keeps it well conditioned
    free, constraint = np.linalg.lstsq(gram, np.stack([products / norms, 1 / norms], 1), rcond=1e-13)[0].T
    excess = (np.sum(free / norms) - 1) / np.sum(constraint / norms)
    scaled = free - excess * constraint
    own = float(_inner(1.0, wanted, 1.0, wanted))
    squared = own - 2 * scaled @ (products / norms) + scaled @ gram @ scaled
    weights = (scaled / norms).reshape(len(steps), len(widths))
    return Mixture(weights, float(np.sqrt(max(squared, 0) / own)))


def reconstruct(
    workdir: str | os.PathLike[str], sigma_rel: float, step: int | None = None
) -> tuple[Params, Mixture]:
    """The average of relative width `sigma_rel` of a run that tracked averages, and how it was put together.

    Args:
        workdir: the run's folder.
        sigma_rel: in (0, 1/sqrt(12)].
        step: of a snapshot, after which the average is wanted; by default the last.

    Returns:
        The parameters, float32 NumPy arrays in dicts and lists, and the `Mixture` of the snapshots up to
        `step`. Only the sum and one snapshot are held in memory.

    Raises:
        FileNotFoundError: the run has no snapshots, or none at `step` (the message lists those it has).
        ValueError: as `ema.gamma`, or a snapshot cannot be read; it may be deleted.
    """
    saved = checkpoints.saved_profiles(workdir)
    if not saved or (step is not None and step not in saved):
        wanted = "no averages" if step is None else f"no averages of step {step}"
        raise FileNotFoundError(
            f"{Path(workdir).absolute()} has {wanted} (see training.posthoc); it has: {saved or 'none'}"
        )
    steps = [one for one in saved if step is None or one <= step]
    widths, _ = checkpoints.load_profiles(workdir, steps[0])
    found = mixture(steps, widths, sigma_rel)
    total = None
    for one, weights in zip(steps, found.weights):
        _, profiles = checkpoints.load_profiles(workdir, one)
        for weight, profile in zip(weights, profiles):
            # In float64: weights of both signs cancel.
            term = jax.tree.map(lambda x, w=weight: w * np.asarray(x, np.float64), profile)
            total = term if total is None else jax.tree.map(np.add, total, term)
    return jax.tree.map(lambda x: x.astype(np.float32), total), found


def _inner(time_a: Any, gamma_a: Any, time_b: Any, gamma_b: Any) -> np.ndarray:
    """The inner product of two profiles, arrays or numbers; times may be in any unit."""
    shorter = np.log(np.minimum(time_a, time_b))
    exponent = (gamma_a + gamma_b + 1) * shorter
    exponent = exponent - (gamma_a + 1) * np.log(time_a) - (gamma_b + 1) * np.log(time_b)
    return (gamma_a + 1) * (gamma_b + 1) / (gamma_a + gamma_b + 1) * np.exp(exponent)
