"""Optimisers as a config names them: optax's, with the settings that diffusion papers state.

Every factory takes

* `learning_rate`: the peak value; `warmup`: steps of linear rise from exactly 0 to it.
* `decay_steps`: the step at which a cosine has brought it to `final` times the peak; or `inverse_sqrt`: the
  step from which it falls as learning_rate / sqrt(step / inverse_sqrt) (EDM2, arXiv 2312.02696). None: it
  stays at the peak. The rise multiplies whichever it is.
* `sanitise`: entries of the gradient that are NaN become 0, infinite ones +-1e5, before all else (EDM, arXiv
  2206.00364). A run goes on after such a step, which without it ends the run (see `step`).
* `clip`: the global norm above which gradients are scaled down (None: never).
* `freeze`: a regular expression, or several, searched for in the paths of the parameters
  (`"encoder/Dense_0/kernel"`); what matches is not trained and does not count in the norm.

Each raises ValueError for numbers out of range, and, when the optimiser is initialised, for a `freeze` that
matches no parameter.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from diffusion_jax.types import Array, Params

EXAMPLES: dict[str, dict[str, Any]] = {
    "adam": {"learning_rate": 1e-3, "warmup": 2, "decay_steps": 10, "clip": 1.0},
    "adamw": {"learning_rate": 1e-3, "weight_decay": 0.01},
    "rmsprop": {"learning_rate": 1e-3},
    "sgd": {"learning_rate": 1e-2, "momentum": 0.9, "sanitise": True, "inverse_sqrt": 100},
}


def adam(
    learning_rate: float,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    warmup: int = 0,
    decay_steps: int | None = None,
    final: float = 0.0,
    inverse_sqrt: float | None = None,
    sanitise: bool = False,
    clip: float | None = None,
    freeze: str | Sequence[str] = (),
) -> optax.GradientTransformation:
    """Adam (Kingma and Ba 2015, arXiv:1412.6980). The shared arguments are described above."""
    rate = _rate(learning_rate, warmup, decay_steps, final, inverse_sqrt)
    return _around(optax.adam(rate, b1=b1, b2=b2, eps=eps), sanitise, clip, freeze)


def adamw(
    learning_rate: float,
    *,
    weight_decay: float,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    warmup: int = 0,
    decay_steps: int | None = None,
    final: float = 0.0,
    inverse_sqrt: float | None = None,
    sanitise: bool = False,
    clip: float | None = None,
    freeze: str | Sequence[str] = (),
) -> optax.GradientTransformation:
    """Adam with decoupled weight decay of all parameters (arXiv:1711.05101); it follows the learning rate."""
    rate = _rate(learning_rate, warmup, decay_steps, final, inverse_sqrt)
    return _around(
        optax.adamw(rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay), sanitise, clip, freeze
    )


def rmsprop(
    learning_rate: float,
    *,
    decay: float = 0.9,
    eps: float = 1e-8,
    momentum: float | None = None,
    warmup: int = 0,
    decay_steps: int | None = None,
    final: float = 0.0,
    inverse_sqrt: float | None = None,
    sanitise: bool = False,
    clip: float | None = None,
    freeze: str | Sequence[str] = (),
) -> optax.GradientTransformation:
    """RMSProp (Tieleman and Hinton 2012); `decay` is that of the mean of squares."""
    rate = _rate(learning_rate, warmup, decay_steps, final, inverse_sqrt)
    return _around(optax.rmsprop(rate, decay=decay, eps=eps, momentum=momentum), sanitise, clip, freeze)


def sgd(
    learning_rate: float,
    *,
    momentum: float | None = None,
    nesterov: bool = False,
    warmup: int = 0,
    decay_steps: int | None = None,
    final: float = 0.0,
    inverse_sqrt: float | None = None,
    sanitise: bool = False,
    clip: float | None = None,
    freeze: str | Sequence[str] = (),
) -> optax.GradientTransformation:
    """Stochastic gradient descent, with momentum where given."""
    rate = _rate(learning_rate, warmup, decay_steps, final, inverse_sqrt)
    return _around(optax.sgd(rate, momentum=momentum, nesterov=nesterov), sanitise, clip, freeze)


def _rate(
    peak: float, warmup: int, decay_steps: int | None, final: float, inverse_sqrt: float | None
) -> optax.Schedule:
    if peak < 0 or warmup < 0 or final < 0:
        raise ValueError(
            "learning_rate, warmup and final must not be negative, "
            f"got learning_rate={peak}, warmup={warmup}, final={final}"
        )
    if decay_steps is not None and inverse_sqrt is not None:
        raise ValueError(
            f"the rate falls as a cosine or as 1/sqrt(step), not as both: got decay_steps={decay_steps} "
            f"and inverse_sqrt={inverse_sqrt}"
        )
    if decay_steps is not None and decay_steps <= warmup:
        raise ValueError(f"decay_steps ({decay_steps}) must be more than warmup ({warmup})")
    if inverse_sqrt is not None and inverse_sqrt <= 0:
        raise ValueError(f"inverse_sqrt must be positive or None, got {inverse_sqrt}")

    def rate(step: Any) -> Array:
        value = jnp.asarray(peak, jnp.float32)
        if decay_steps is not None:
            cosine = optax.cosine_decay_schedule(peak, decay_steps - warmup, final)
            value = jnp.asarray(cosine(jnp.maximum(step - warmup, 0)))
        if inverse_sqrt is not None:
            value = value / jnp.sqrt(jnp.maximum(step / inverse_sqrt, 1.0))
        return value * jnp.minimum(step / warmup, 1.0) if warmup else value

    return rate


def _around(
    inner: optax.GradientTransformation, sanitise: bool, clip: float | None, freeze: str | Sequence[str]
) -> optax.GradientTransformation:
    first = [optax.stateless(lambda grads, _: jax.tree.map(_finite, grads))] if sanitise else []
    if clip is not None:
        if clip <= 0:
            raise ValueError(f"clip must be positive or None, got {clip}")
        first.append(optax.clip_by_global_norm(clip))
    if first:
        inner = optax.chain(*first, inner)
    patterns = [freeze] if isinstance(freeze, str) else list(freeze)
    if not patterns:
        return inner
    return optax.multi_transform(
        {"trained": inner, "frozen": optax.set_to_zero()}, lambda params: _labels(params, patterns)
    )


def _finite(grads: Array) -> Array:
    return jnp.nan_to_num(grads, nan=0.0, posinf=1e5, neginf=-1e5)


def _labels(params: Params, patterns: list[str]) -> Any:
    paths = [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, _ in jax.tree_util.tree_leaves_with_path(params)
    ]
    idle = [pattern for pattern in patterns if not any(re.search(pattern, path) for path in paths)]
    if idle:
        raise ValueError(f"freeze matches no parameter: {idle}; there are: {', '.join(paths)}")
    labels = ["frozen" if any(re.search(one, path) for one in patterns) else "trained" for path in paths]
    return jax.tree.unflatten(jax.tree.structure(params), labels)
