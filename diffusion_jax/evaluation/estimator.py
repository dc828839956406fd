"""The variance of the one-level estimate of VDM's continuous bound, under two schedules with the same ends.

The continuous bound depends on a schedule through its ends alone (Kingma et al., arXiv 2107.00630,
section 5.1); the shape between them sets the variance of the estimate that training uses. Compared are
the trained shape and the straight line in log-SNR, on the same network, data and draws.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffusion_jax.evaluation.compiling import compiled
from diffusion_jax.evaluation.outcome import Bind, Evaluation, Outcome
from diffusion_jax.objectives.base import continuous_rate
from diffusion_jax.processes.learned import MonotoneLogSNR
from diffusion_jax.sampling.transforms.under import under
from diffusion_jax.types import Array, Bound, Key


def estimator_variance(split: str = "test", batch_size: int = 512, draws: int = 64) -> Evaluation:
    """Mean and variance of the estimate from one level t ~ U(t_1, 1) for each example, in bits/dim.

    draws: of a level for each example. Raises TypeError for a process other than `vdm`.
    """

    def evaluation(bind: Bind, dataset: Any, key: Key) -> Outcome:
        learned = bind({})
        if not isinstance(learned.process, MonotoneLogSNR):
            raise TypeError(f"estimator_variance compares shapes of the process vdm; got {learned.process!r}")
        metrics: dict[str, Any] = {}
        for name, bound in (("learned", learned), ("linear", straightened(learned))):
            values = _estimates(bound, dataset.epoch(split, batch_size), key, draws)
            count = values.size
            metrics[f"{name}_mean"] = float(values.mean())
            metrics[f"{name}_mean_se"] = float(values.std(ddof=1) / math.sqrt(count))
            metrics[f"{name}_variance"] = float(values.var(ddof=1))
            metrics[f"{name}_variance_se"] = float(
                ((values - values.mean()) ** 2).std(ddof=1) / math.sqrt(count)
            )
        text = "one-level estimate of the continuous loss, bits/dim: " + "; ".join(
            f"{name} log-SNR: mean {metrics[f'{name}_mean']:.4f} +- {metrics[f'{name}_mean_se']:.4f}, "
            f"variance {metrics[f'{name}_variance']:.4f} +- {metrics[f'{name}_variance_se']:.4f}"
            for name in ("learned", "linear")
        )
        return Outcome(metrics, text)

    return evaluation


def straightened(bound: Bound) -> Bound:
    """The same model with a log-SNR that is linear in t between the same ends."""
    inner = {**bound.process.inner, "height": jnp.zeros_like(bound.process.inner["height"])}
    straight = dataclasses.replace(bound.process, inner=inner)
    assert bound.denoiser is not None
    return bound._replace(process=straight, denoiser=under(bound.denoiser, bound.process, straight))


def _estimates(bound: Bound, batches: Any, key: Key, draws: int) -> np.ndarray:
    def once(key: Key, x0: Array) -> Array:
        assert bound.denoiser is not None
        assert bound.times is not None
        first = bound.times[-2]
        level_key, noise_key = jax.random.split(key)
        t = first + (1 - first) * jax.random.uniform(level_key, (x0.shape[0], 1))
        x_t = bound.process.marginal(x0, t).sample(noise_key)
        rate = continuous_rate(bound.process, x0, bound.denoiser(x_t, t), t)
        return (1 - first) * rate.sum(1) / (x0[0].size * math.log(2))

    run, found = compiled(once), []
    for i, batch in enumerate(batches):
        rows = np.asarray(batch["mask"]).sum(1) > 0
        x0 = jnp.asarray(batch["x"])
        keys = jax.random.split(jax.random.fold_in(key, i), draws)
        found += [np.asarray(run(k, x0), np.float64)[rows] for k in keys]
    return np.concatenate(found)


EXAMPLES: dict[str, dict[str, Any]] = {"estimator_variance": {"batch_size": 64, "draws": 2}}
