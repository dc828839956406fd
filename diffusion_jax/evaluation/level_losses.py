r"""The loss of a denoiser level by level: where on the way from noise to data it knows how much.

At each sigma/alpha asked for, on noise of its own,

    loss@s = E lambda |x0_hat(x_t, t) - x0|^2,

the sum over the features of a token, the mean over tokens and samples, and loss@s_se its standard error over
samples. With EDM's weight a network that knows nothing has the loss D, the number of features, at all levels
(arXiv 2206.00364, figure 5a).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffusion_jax.evaluation.compiling import compiled
from diffusion_jax.evaluation.outcome import Bind, Evaluation, Outcome
from diffusion_jax.levels import token_sum
from diffusion_jax.objectives.weights import Weight
from diffusion_jax.types import Array, Batch, Bound, Key


def known_of(batch: Batch) -> dict[str, Any]:
    """The conditions of a batch of the data set."""
    return {"label": jnp.asarray(batch["label"])} if "label" in batch else {}


def loss_at(key: Key, bound: Bound, weight: Callable[[Any], Weight], x0: Array, ratio: Any) -> Array:
    """lambda |x0_hat - x0|^2 of x0 [B, T, ...] noised to sigma/alpha = ratio, mean over tokens: [B]."""
    assert bound.denoiser is not None
    t = bound.process.time(jnp.asarray(ratio, x0.dtype)).reshape(1, 1)
    x_t = bound.process.marginal(x0, t).sample(key)
    return (weight(bound.process)(t) * token_sum((bound.denoiser(x_t, t) - x0) ** 2)).mean(1)


def level_losses(
    weight: Callable[[Any], Weight],
    ratios: Sequence[float] = (0.05, 0.2, 1.0, 5.0, 20.0),
    split: str = "test",
    batch_size: int = 250,
    labels: bool = False,
) -> Evaluation:
    """See above.

    weight: process -> lambda; the same for models that are to be compared. ratios: sigma/alpha, at levels
    that the process has. split: of the data set, cut to whole batches of `batch_size`. labels: the model is
    conditional on the label.

    Raises ValueError for a split smaller than a batch.
    """

    def evaluation(bind: Bind, dataset: Any, key: Key) -> Outcome:
        if dataset.info.splits[split] < batch_size:
            raise ValueError(
                f"the {split} split has {dataset.info.splits[split]} samples, less than a batch of "
                f"{batch_size}"
            )

        def score(key: Key, x0: Array, known: Batch, ratio: Array) -> Array:
            return loss_at(key, bind(known), weight, x0, ratio)

        run = compiled(score)
        found: list[list[np.ndarray]] = [[] for _ in ratios]
        for i, batch in enumerate(dataset.epoch(split, batch_size)):
            if not np.asarray(batch["mask"]).all():
                continue
            x0, known = jnp.asarray(batch["x"]), known_of(batch) if labels else {}
            for place, ratio in enumerate(ratios):
                own = jax.random.fold_in(jax.random.fold_in(key, i), place)
                found[place].append(np.asarray(run(own, x0, known, jnp.asarray(ratio, x0.dtype))))
        losses = np.asarray([np.concatenate(parts) for parts in found], np.float64)
        errors = losses.std(1, ddof=1) / np.sqrt(losses.shape[1])
        metrics: dict[str, Any] = {"samples": losses.shape[1]}
        for ratio, mean, error in zip(ratios, losses.mean(1), errors, strict=True):
            metrics |= {f"loss@{ratio:g}": float(mean), f"loss@{ratio:g}_se": float(error)}
        lines = [f"sigma/alpha {ratio:g}: loss {metrics[f'loss@{ratio:g}']:.4g}" for ratio in ratios]
        return Outcome(metrics, "\n".join(lines))

    return evaluation


EXAMPLES: dict[str, dict[str, Any]] = {
    "level_losses": {"weight": "edm", "ratios": [0.2, 5.0], "batch_size": 8},
}
