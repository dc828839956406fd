r"""What a guidance model says of an input, read linearly from the network's embedding of it.

    regression       of K targets: means m and variances v = softplus(raw) + floor; Gaussian likelihood,
                     -log p(y) = 1/(2K) sum_k [log(2 pi v_k) + (y_k - m_k)^2/v_k]
    reconstruction   the same, the targets being all numbers of the clean data: needs no labels, to train a
                     network before it sees any
    classification   logits of classes; -log softmax(logits)_label

A head's parameters stand under its own name, so that a run can start from another with another head
(`init_from`). The means are those of standardised targets.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from diffusion_jax.types import Array, Batch, Key, Params, Statistics


class Head(NamedTuple):
    """What is read from features [B, D].

    name:       under which its parameters stand
    reads:      keys of a batch that the network must not see
    check:      (batch) -> None; raises ValueError or TypeError for labels that do not fit
    targets:    (batch) -> over how many targets the loss is averaged
    init:       (key, D, batch) -> parameters
    statistics: (parameters, features) -> Statistics, or logits [B, K]
    loss:       (statistics, batch) -> [B], in nats
    error:      (statistics, batch) -> [B], mean squared error, or 1 where the class is wrong
    """

    name: str
    reads: tuple[str, ...]
    check: Callable[[Batch], None]
    targets: Callable[[Batch], int]
    init: Callable[[Key, int, Batch], Params]
    statistics: Callable[[Params, Array], Any]
    loss: Callable[[Any, Batch], Array]
    error: Callable[[Any, Batch], Array]


def regression(targets: int = 1, floor: float = 1e-6) -> Head:
    """Means and variances of batch["target"] [B, K], standardised.

    targets: K. floor: the least variance.

    Raises ValueError for counts below 1 and a floor that is not positive; when used, ValueError or TypeError
    for labels that are missing, of another shape, not floating, and, where known, constant or not finite.
    """
    if targets < 1:
        raise ValueError(f"targets must be at least 1, got {targets}")

    def check(batch: Batch) -> None:
        target = _label(batch, "target", "regression", f"floating [B, {targets}]")
        if not jnp.issubdtype(target.dtype, jnp.floating):
            raise TypeError(f"batch['target'] must be floating, got {target.dtype}")
        if target.shape != (len(batch["x"]), targets):
            raise ValueError(
                f"batch['target'] must be [B, {targets}] = {(len(batch['x']), targets)}, got {target.shape}"
            )
        if isinstance(target, Tracer):
            return
        known = np.asarray(target)
        if not np.isfinite(known).all():
            raise ValueError("batch['target'] is not finite")
        if len(known) > 1 and (known == known[:1]).all(0).any():
            k = int((known == known[:1]).all(0).argmax())
            raise ValueError(
                f"target {k} is {known[0, k]:.6g} in all {len(known)} samples: there is nothing to learn"
            )

    return _normal("regression", check, lambda batch: batch["target"], lambda batch: targets, floor)


def reconstruction(floor: float = 1e-6) -> Head:
    """Means and variances of the clean data, flattened [B, T ...]; needs no labels.

    floor: the least variance. Raises ValueError where it is not positive.
    """

    def wanted(batch: Batch) -> Array:
        return batch["x"].reshape(len(batch["x"]), -1)

    return _normal(
        "reconstruction", lambda batch: None, wanted, lambda batch: math.prod(batch["x"].shape[1:]), floor
    )


def classification(classes: int) -> Head:
    """Logits of batch["label"], int [B] in 0 ... classes - 1.

    Raises ValueError for fewer than two classes; when used, ValueError or TypeError for labels that are
    missing, of another shape, not integers, and, where known, out of range or all the same.
    """
    if classes < 2:
        raise ValueError(f"classes must be at least 2, got {classes}")

    def check(batch: Batch) -> None:
        label = _label(batch, "label", "classification", "integer [B]")
        if not jnp.issubdtype(label.dtype, jnp.integer):
            raise TypeError(f"batch['label'] must be integers, got {label.dtype}")
        if label.shape != (len(batch["x"]),):
            raise ValueError(f"batch['label'] must be [B] = ({len(batch['x'])},), got {label.shape}")
        if isinstance(label, Tracer):
            return
        known = np.asarray(label)
        if known.min() < 0 or known.max() >= classes:
            raise ValueError(f"labels lie in 0..{classes - 1}, got values in {known.min()}..{known.max()}")
        if len(known) > 1 and (known == known[0]).all():
            raise ValueError(f"all {len(known)} samples have the label {known[0]}: there is nothing to learn")

    def loss(logits: Array, batch: Batch) -> Array:
        each = jnp.take_along_axis(jax.nn.log_softmax(logits), batch["label"][:, None], axis=1)
        return -each[:, 0]

    def error(logits: Array, batch: Batch) -> Array:
        return (logits.argmax(-1) != batch["label"]).astype(logits.dtype)

    return Head(
        "classification",
        ("label",),
        check,
        lambda batch: 1,
        lambda key, size, batch: _dense(key, size, classes),
        _read,
        loss,
        error,
    )


def functions(statistics: Any) -> tuple[Array, Array | None]:
    """What a regulariser acts on: means [B, K] and variances [B, K]; logits and None."""
    if isinstance(statistics, Statistics):
        return statistics.mean, statistics.variance
    return statistics, None


def mixture(statistics: Any) -> Any:
    """E models' statistics, leaves [E, B, K], as one: mean and variance of the mixture of normals.

    v = mean(v_e) + var(m_e): deep ensembles (arXiv 1612.01474), section 2.4. Of logits, the logarithms of the
    mean probabilities.
    """
    if isinstance(statistics, Statistics):
        mean = statistics.mean.mean(0)
        return Statistics(mean, statistics.variance.mean(0) + statistics.mean.var(0))
    return jax.nn.logsumexp(jax.nn.log_softmax(statistics), axis=0) - math.log(len(statistics))


def _normal(
    name: str,
    check: Callable[[Batch], None],
    wanted: Callable[[Batch], Array],
    targets: Callable[[Batch], int],
    floor: float,
) -> Head:
    if floor <= 0:
        raise ValueError(f"floor must be positive, got {floor}")

    def statistics(params: Params, features: Array) -> Statistics:
        mean, raw = jnp.split(_read(params, features), 2, axis=1)
        return Statistics(mean, jax.nn.softplus(raw) + floor)

    def loss(found: Statistics, batch: Batch) -> Array:
        squares = (wanted(batch) - found.mean) ** 2
        return 0.5 * (jnp.log(2 * math.pi * found.variance) + squares / found.variance).mean(1)

    def error(found: Statistics, batch: Batch) -> Array:
        return ((wanted(batch) - found.mean) ** 2).mean(1)

    def init(key: Key, size: int, batch: Batch) -> Params:
        return _dense(key, size, 2 * targets(batch))

    return Head(name, (), check, targets, init, statistics, loss, error)


def _label(batch: Batch, name: str, head: str, wanted: str) -> Array:
    if name not in batch:
        raise ValueError(
            f"{head} needs the labels batch[{name!r}], {wanted}; the batch has {', '.join(sorted(batch))}"
        )
    return batch[name]


def _dense(key: Key, size: int, outputs: int) -> Params:
    kernel = jax.nn.initializers.lecun_normal()(key, (size, outputs))
    return {"kernel": kernel, "bias": jnp.zeros((outputs,))}


def _read(params: Params, features: Array) -> Array:
    return features @ params["kernel"] + params["bias"][None]


EXAMPLES: dict[str, dict[str, Any]] = {
    "regression": {"targets": 2},
    "reconstruction": {},
    "classification": {"classes": 3},
}
