r"""Does a trained denoiser reach the least loss there is? For data whose law is known and jointly normal.

Its loss lambda(t) |x0_hat - x0|^2 and that of the exact denoiser (`objectives.linear_gaussian`), on the same
sequences, levels and noise. Metrics:

    loss, optimal    mean over tokens of the two
    ratio            loss/optimal; 1 is the limit, and ratio_se its standard error over sequences
    ratio_1, ...     the same among tokens whose level lies in the first, second, ... of `bins` equal parts of
                     [0, 1]; None where none of them carries loss
    expected         what `optimal` is on average, in closed form at the levels drawn
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffusion_jax.evaluation.batches import whole_batches
from diffusion_jax.evaluation.compiling import compiled
from diffusion_jax.evaluation.outcome import Bind, Evaluation, Outcome
from diffusion_jax.levels import of_process, token_sum
from diffusion_jax.objectives.linear_gaussian import expected_error, posterior
from diffusion_jax.objectives.weights import Weight
from diffusion_jax.types import Array, Key, Levels


def optimal_loss(
    levels: Levels | Callable[..., Levels],
    weight: Callable[[Any], Weight],
    copies: int = 8,
    bins: int = 4,
    batch_size: int = 250,
) -> Evaluation:
    """The loss on the test split beside that of the exact denoiser; see above.

    levels: law of levels, or process -> law. weight: process -> lambda. Best those of the training.
    copies: of each sequence, with levels and noise of their own.
    batch_size: sequences in a call; the test split is cut to whole batches.

    Raises ValueError for a data set without a law (attribute `law`) of its own shape, numbers below 1, or a
    test split smaller than a batch.
    """
    if min(copies, bins, batch_size) < 1:
        raise ValueError(
            f"copies, bins and batch_size must be at least 1, got {copies}, {bins} and {batch_size}"
        )

    def evaluation(bind: Bind, dataset: Any, key: Key) -> Outcome:
        law = getattr(dataset, "law", None)
        if law is None or np.shape(law.mean) != dataset.info.shape:
            raise ValueError(
                f"the data set has no law of sequences {dataset.info.shape}; `autoregression` has one"
            )
        batches = whole_batches(dataset, "test", batch_size, "sequences")

        def score(key: Key, x0: Array) -> tuple[Array, ...]:
            """Level, loss, optimal and expected loss of every token, [copies B, T] each."""
            bound = bind({})
            assert bound.denoiser is not None
            process = bound.process
            x0 = jnp.tile(x0, (copies, 1, 1))
            shape = x0.shape[0], x0.shape[1]
            level_key, noise_key = jax.random.split(key)
            t = jnp.broadcast_to(of_process(levels, process)(level_key, shape), shape)
            x_t = process.marginal(x0, t).sample(noise_key)
            strength = jnp.where(t > 0, weight(process)(t), 0.0)  # a clean token carries no loss
            error = token_sum((bound.denoiser(x_t, t) - x0) ** 2)
            least = token_sum((posterior(law, process, x_t, t)[0] - x0) ** 2)
            expected = expected_error(law, process, t)
            return t, *(strength * one for one in (error, least, expected))

        run = compiled(score)
        found = [run(jax.random.fold_in(key, i), jnp.asarray(batch["x"])) for i, batch in batches]
        # every copy of a sequence counts for that sequence: [sequences, copies T]
        t, loss, optimal, expected = (
            np.concatenate([_by_sequence(np.asarray(one, np.float64), copies) for one in part])
            for part in zip(*found)
        )
        ratio = float(loss.sum() / optimal.sum())
        rest = (loss - ratio * optimal).mean(1)
        metrics: dict[str, Any] = {
            "loss": float(loss.mean()),
            "optimal": float(optimal.mean()),
            "expected": float(expected.mean()),
            "ratio": ratio,
            "ratio_se": float(rest.std() / optimal.mean() / np.sqrt(len(rest))),
            "sequences": len(rest),
        }
        place = np.minimum((t * bins).astype(int), bins - 1)
        for i in range(bins):
            inside = place == i
            least = optimal[inside].sum()
            metrics[f"ratio_{i + 1}"] = float(loss[inside].sum() / least) if least > 0 else None
        parts = [metrics[f"ratio_{i + 1}"] for i in range(bins)]
        shown = ", ".join("-" if one is None else f"{one:.3f}" for one in parts)
        text = (
            f"loss {metrics['loss']:.5g}, that of the exact denoiser on the same noise "
            f"{metrics['optimal']:.5g}: {ratio:.4f} +- {metrics['ratio_se']:.4f} times\n"
            f"in {bins} parts of the levels, from clean to noise: {shown}"
        )
        return Outcome(metrics, text)

    return evaluation


def _by_sequence(values: np.ndarray, copies: int) -> np.ndarray:
    """[copies B, T] -> [B, copies T]."""
    batch = len(values) // copies
    return values.reshape(copies, batch, -1).swapaxes(0, 1).reshape(batch, -1)


EXAMPLES: dict[str, dict[str, Any]] = {
    "optimal_loss": {
        "levels": {"name": "per_token", "levels": "uniform"},
        "weight": "v",
        "copies": 2,
        "bins": 2,
        "batch_size": 4,
    },
}
