r"""Long roll-outs: whether a model that feeds on its own tokens stays in the law of the data, and how long.

Sequences of the test split are continued from their first tokens for thousands more, far beyond the window
that the model was trained on, and compared with how they went on themselves, block of time by block of time:

    marginal    Wasserstein-1 between the values of a feature, averaged over features
    increment   the same for the change of a feature from one token to the next
    off         share of tokens farther than `far` from every token of the training split (root mean square
                over the features): what never occurs

Blocks pool time and sequences. Sequences are independent, tokens are not, so that even a perfect model has a
distance: `floor_marginal` and `floor_increment` are those of one half of the test sequences from the other,
with half the sequences on each side, over all blocks.

A model trained at one level for all tokens (full-sequence diffusion) has not seen a clean history beside
noisy tokens. With `even` it is shown the history noised to the level of the new tokens
(`transforms.inpainting.evened`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffusion_jax.evaluation.compiling import compiled
from diffusion_jax.evaluation.drawing import Method
from diffusion_jax.evaluation.neighbours import nearest
from diffusion_jax.evaluation.outcome import Bind, Evaluation, Outcome
from diffusion_jax.sampling.loop import fitted, walked
from diffusion_jax.sampling.memories import window
from diffusion_jax.sampling.rollout import rollout
from diffusion_jax.sampling.schedules import full_sequence, levels_of
from diffusion_jax.sampling.transforms.inpainting import evened
from diffusion_jax.types import Array, Key

_REFERENCE = 20_000
"""Training tokens that a token is compared with."""


def roller(
    bind: Bind,
    shape: tuple[int, ...],
    *,
    sampler: Method,
    grid: Array | Callable[[Any], Array],
    schedule: np.ndarray | None = None,
    stabilise: float = 0.0,
    fresh: bool = True,
    even: bool = False,
) -> Callable[[Key, np.ndarray, int], np.ndarray]:
    """(key, start [N, C, ...], length) -> the `length` tokens that follow, [N, length, ...].

    Args:
        bind: conditions -> Bound. Its memory is used where it has one (causal networks), a sliding window
            otherwise, and with `even`.
        shape: (T, ...) of the sequences that it was trained on.
        sampler: what draws; a factory is given the bound's process, and its variance where it takes one.
        grid: levels from 1 to 0, an array or process -> array.
        schedule: int [M, n], how n new tokens are denoised together; None takes one token at a time.
        stabilise, fresh: as of `rollout`.
        even: shows the history at the level of the noisiest new token, freshly noised. Then start must fill
            the window: T - n tokens or more.

    What is returned raises as `rollout`, and ValueError for a start that does not fill the window.
    """

    def draw(key: Key, start: Array, length: int) -> Array:
        bound = bind({})
        assert bound.denoiser is not None
        levels = walked(grid, bound.process)
        matrix = full_sequence(len(levels) - 1, 1) if schedule is None else schedule
        count, memory = matrix.shape[1], bound.memory
        if even and start.shape[1] < shape[0] - count:
            raise ValueError(f"the history must fill the window: {shape[0] - count} tokens at least")
        if even or memory is None:
            roll_key, even_key = jax.random.split(key)
            denoiser = evened(bound.process, bound.denoiser, even_key) if even else bound.denoiser
            memory, key = window(lambda conditions: denoiser, bound.process, shape), roll_key
            start = start[:, -shape[0] :]
        method, times = fitted(sampler, bound), levels_of(levels, matrix)
        rolled = rollout(
            key,
            memory,
            method,
            start,
            times,
            -(-length // count),
            process=bound.process,
            stabilise=stabilise,
            fresh=fresh,
        )
        return rolled[:, :length]

    def call(key: Key, start: np.ndarray, length: int) -> np.ndarray:
        run = compiled(lambda key, start: draw(key, start, length))
        return np.asarray(run(key, jnp.asarray(start)))

    return call


def long_rollout(
    sampler: Method,
    grid: Array | Callable[[Any], Array],
    schedule: np.ndarray | None = None,
    stabilise: float = 0.0,
    fresh: bool = True,
    even: bool = False,
    length: int = 2000,
    count: int = 64,
    start: int | None = None,
    blocks: int = 10,
    far: float = 0.1,
) -> Evaluation:
    """Roll-outs of `length` tokens against the test sequences, see the head of the module.

    Args:
        sampler, grid, schedule, stabilise, fresh, even: as of `roller`.
        length: of a roll-out; `blocks` of them of equal length are compared.
        count: sequences, the first ones of the test split, at least 2.
        start: known tokens at the beginning; by default a window of them.
        blocks: of time.
        far: in units of x.

    For data whose test split is `Windows` of sequences `[N, L, ...]` with L >= start + length and N >= count.

    Metrics: `marginal`, `increment` and `off`, means over blocks, `_first` and `_last` of the first and last
    block, `_worst` of the worst, `/block=i` of each; the two floors; `sequences_off`, the share of sequences
    with more than half of their last block off.

    Raises ValueError for numbers out of range; when called, for sequences too short or too few.
    """
    if length % blocks or min(length, blocks) < 1 or count < 2 or far <= 0:
        raise ValueError(
            "long_rollout needs a length that its blocks share equally, two sequences and a positive `far`, "
            f"got length={length}, blocks={blocks}, count={count}, far={far}"
        )

    def evaluation(bind: Bind, dataset: Any, key: Key) -> Outcome:
        shape = dataset.info.shape
        known = shape[0] if start is None else start
        truth = _sequences(dataset, "test")
        if len(truth) < count or truth.shape[1] < known + length:
            raise ValueError(
                f"{count} test sequences of {known + length} tokens are needed, there are {truth.shape[:2]}"
            )
        truth = truth[:count, : known + length]
        roll = roller(
            bind,
            shape,
            sampler=sampler,
            grid=grid,
            schedule=schedule,
            stabilise=stabilise,
            fresh=fresh,
            even=even,
        )
        x = np.nan_to_num(roll(key, truth[:, :known], length), nan=1e6, posinf=1e6, neginf=-1e6)
        seen = _sequences(dataset, "train").reshape(-1, *shape[1:])
        seen = seen[np.random.default_rng(0).permutation(len(seen))[:_REFERENCE]]
        found = compared(x, truth[:, known:], blocks)
        apart = distances(x, seen) > far
        parts = np.stack(np.split(apart, blocks, axis=1))  # [blocks, N, length / blocks]
        found["off"] = parts.mean((1, 2))
        half = count // 2
        floor = compared(truth[:half, known:], truth[half : 2 * half, known:], blocks)
        metrics: dict[str, Any] = {}
        for name, values in found.items():
            metrics |= {
                name: float(values.mean()),
                f"{name}_first": float(values[0]),
                f"{name}_last": float(values[-1]),
                f"{name}_worst": float(values.max()),
            }
        metrics |= {f"floor_{name}": float(values.mean()) for name, values in floor.items()}
        metrics["sequences_off"] = float((parts[-1].mean(1) > 0.5).mean())
        for name, values in found.items():
            metrics |= {f"{name}/block={i}": round(float(value), 6) for i, value in enumerate(values)}
        return Outcome(metrics, _text(metrics, length, blocks, count))

    return evaluation


def compared(x: np.ndarray, truth: np.ndarray, blocks: int) -> dict[str, np.ndarray]:
    """`marginal` and `increment` of sequences [N, L, ...] and [M, L, ...] in each block of time: [blocks]."""
    return {
        "marginal": _apart(x, truth, blocks),
        "increment": _apart(np.diff(x, axis=1), np.diff(truth, axis=1), blocks),
    }


def distances(x: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Root mean square distance of every token [N, L, ...] to the nearest of `seen` [M, ...]: [N, L]."""
    flat, others = x.reshape(x.shape[0] * x.shape[1], -1), seen.reshape(len(seen), -1)
    return nearest(flat, others).reshape(x.shape[:2]) / np.sqrt(flat.shape[1])


def _apart(x: np.ndarray, truth: np.ndarray, blocks: int) -> np.ndarray:
    def sorted_features(part: np.ndarray) -> np.ndarray:
        return np.sort(part.reshape(part.shape[0] * part.shape[1], -1).astype(np.float64), axis=0)

    found = []
    for one, other in zip(np.array_split(x, blocks, 1), np.array_split(truth, blocks, 1), strict=True):
        a, b = sorted_features(one), sorted_features(other)
        places = (np.arange(max(len(a), len(b))) + 0.5) / max(len(a), len(b))
        a, b = (values[np.minimum((places * len(values)).astype(int), len(values) - 1)] for values in (a, b))
        found.append(np.abs(a - b).mean())
    return np.array(found)


def _sequences(dataset: Any, split: str) -> np.ndarray:
    source = dataset.sources[split]
    if not hasattr(source, "series"):
        raise ValueError("long roll-outs are compared with long sequences: the data must be windows of them")
    return source.series["x"]


def _text(metrics: dict[str, Any], length: int, blocks: int, count: int) -> str:
    lines = [f"{count} roll-outs of {length} tokens; each of {blocks} blocks of time, then the mean"]
    for name in ("marginal", "increment", "off"):
        values = " ".join(f"{value:.4f}" for value in [metrics[f"{name}/block={i}"] for i in range(blocks)])
        floor = f"   floor {metrics[f'floor_{name}']:.4f}" if f"floor_{name}" in metrics else ""
        lines.append(f"{name:10} {values}   {metrics[name]:.4f}{floor}")
    lines.append(f"sequences off the data at the end: {metrics['sequences_off']:.1%}")
    return "\n".join(lines)


EXAMPLES: dict[str, dict[str, Any]] = {
    "long_rollout": {
        "sampler": "ddim",
        "grid": {"name": "linear_grid", "steps": 2},
        "length": 4,
        "count": 2,
        "blocks": 2,
    }
}
