r"""Domain adaptation with the context set as the second domain: features that do not tell the two apart.

`coral`               |C - C'|^2/(4 D^2), C and C' the covariances of the D features of labelled and of
                      context inputs: deep CORAL (arXiv 1607.01719), eq. 1-3
`domain_adversarial`  a linear classifier learns from the features which of the two sets an input is of; the
                      network learns the opposite, its gradient being reversed: arXiv 1505.07818. It sees
                      the features' directions, for no error is so large that longer ones would not raise it
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from diffusion_jax.objectives.regularisers.base import Penalty, Regulariser, Seen, no_variables
from diffusion_jax.types import Array, Key, Params, PyTree, Variables


def coral(weight: float = 1.0) -> Regulariser:
    """weight times the distance of covariances; needs batch["context"]. The metric `coral` is without weight.

    Raises ValueError for a negative weight.
    """
    _check_weight(weight)

    def loss(variables: Variables, params: Params, train: Seen, context: Seen, targets: int) -> Penalty:
        del params, targets
        size = train.features.shape[1]
        apart = _covariance(train) - _covariance(context)
        value = (apart**2).sum() / (4 * size**2)
        return Penalty(weight * value, {"coral": value}, variables.state)

    return Regulariser(no_variables, loss, True)


def domain_adversarial(weight: float = 1.0) -> Regulariser:
    """The mean error of the classifier of domains, in nats; its gradient to the features is times -weight.

    The classifier sees each input's features over their root mean square. Needs batch["context"]. Both sets
    count alike, whatever their sizes. The metric `domain` is the error: log 2 where the sets cannot be told
    apart.

    Raises ValueError for a negative weight.
    """
    _check_weight(weight)

    def init(key: Key, fresh: Callable[[Key], PyTree], features: int) -> Variables:
        del fresh
        kernel = jax.nn.initializers.lecun_normal()(key, (features, 1))
        return Variables({"kernel": kernel, "bias": jnp.zeros((1,))}, {})

    def loss(variables: Variables, params: Params, train: Seen, context: Seen, targets: int) -> Penalty:
        del params, targets

        def logit(features: Array) -> Array:
            features = features / jnp.sqrt((features**2).mean(1, keepdims=True) + 1e-6)
            reversed_ = -weight * features + jax.lax.stop_gradient((1 + weight) * features)
            return (reversed_ @ variables.params["kernel"])[:, 0] + variables.params["bias"]

        first = _mean(jax.nn.softplus(logit(train.features)), train.weight)
        second = _mean(jax.nn.softplus(-logit(context.features)), context.weight)
        value = 0.5 * (first + second)
        return Penalty(value, {"domain": value}, variables.state)

    return Regulariser(init, loss, True)


def _check_weight(weight: float) -> None:
    if weight < 0:
        raise ValueError(f"weight must not be negative, got {weight}")


def _mean(values: Array, weight: Array) -> Array:
    """The mean over samples of [N, ...] that have weight."""
    shaped = weight.reshape((-1,) + (1,) * (values.ndim - 1))
    return jnp.where(shaped > 0, values, 0.0).sum(0) / jnp.maximum(weight.sum(), 1)


def _covariance(seen: Seen) -> Array:
    """The covariance of the features [D, D], of samples that have weight; unbiased."""
    centred = seen.features - _mean(seen.features, seen.weight)[None]
    centred = jnp.where(seen.weight[:, None] > 0, centred, 0.0)
    return centred.T @ centred / jnp.maximum(seen.weight.sum() - 1, 1)


EXAMPLES: dict[str, dict[str, Any]] = {"coral": {}, "domain_adversarial": {}}
