"""The prior of the parameters, and sums of regularisers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from diffusion_jax.objectives.regularisers.base import Penalty, Regulariser, Seen, no_variables
from diffusion_jax.types import Array, Key, Params, PyTree, Variables


def l2(examples: int, variance: float = 1.0) -> Regulariser:
    """|theta|^2/(2 variance), the parameters of network and head having the prior N(0, variance).

    Divided by the number of training samples and of targets, as the likelihood is. Weight decay, which does
    not enter the moments of an optimiser, is the optimiser's (`adamw`).

    examples: the number of training samples. The metric `l2` is the penalty.

    Raises ValueError unless both are positive.
    """
    if examples < 1 or variance <= 0:
        raise ValueError(f"need examples >= 1 and variance > 0, got {examples} and {variance}")

    def loss(variables: Variables, params: Params, train: Seen, context: Any, targets: int) -> Penalty:
        del train, context
        square = sum((jnp.sum(leaf**2) for leaf in jax.tree.leaves(params)), jnp.zeros(()))
        value = square / (2 * variance * examples * targets)
        return Penalty(value, {"l2": value}, variables.state)

    return Regulariser(no_variables, loss, False)


def total(regulariser: Sequence[Regulariser]) -> Regulariser:
    """The sum of several regularisers.

    Raises ValueError, when used, where two of them have a metric of the same name.
    """
    members = list(regulariser)

    def init(key: Key, fresh: Callable[[Key], PyTree], features: int) -> Variables:
        keys = jax.random.split(key, max(len(members), 1))
        each = [one.init(own, fresh, features) for one, own in zip(members, keys)]
        return Variables(
            {str(i): one.params for i, one in enumerate(each)},
            {str(i): one.state for i, one in enumerate(each)},
        )

    def loss(variables: Variables, params: Params, train: Seen, context: Any, targets: int) -> Penalty:
        value: Array = jnp.zeros(())
        metrics: dict[str, Array] = {}
        state = {}
        for i, one in enumerate(members):
            own = Variables(variables.params[str(i)], variables.state[str(i)])
            penalty = one.loss(own, params, train, context, targets)
            twice = sorted(set(metrics) & set(penalty.metrics))
            if twice:
                raise ValueError(f"two regularisers have the metrics {twice}")
            value, metrics = value + penalty.value, metrics | penalty.metrics
            state[str(i)] = penalty.state
        return Penalty(value, metrics, state)

    return Regulariser(init, loss, any(one.context for one in members))


EXAMPLES: dict[str, dict[str, Any]] = {
    "l2": {"examples": 100},
    "total": {"regulariser": ["coral", {"name": "l2", "examples": 100}]},
}
