r"""Several guidance models of one kind as one: a deep ensemble (arXiv 1612.01474).

Each member has variables, levels and noise of its own, and the loss is the mean of theirs. What is bound
predicts with the mixture of their distributions (`objectives.heads.mixture`), whose variance also holds how
much the means differ. Members that were trained one by one are put together by `experiments.ensemble`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from diffusion_jax.objectives.heads import mixture
from diffusion_jax.types import Array, Batch, Bound, Key, Loss, Objective, PyTree, Variables


def ensemble(objective: Objective, members: int = 5) -> Objective:
    """`members` models of `objective`, such as `guidance`; the variables of the i-th stand under str(i).

    Metrics are the members' means. Raises ValueError for fewer than one member and, when bound, for an
    objective that gives no predictor.
    """
    if members < 1:
        raise ValueError(f"members must be at least 1, got {members}")
    names = [str(i) for i in range(members)]

    def member(variables: Variables, name: str) -> Variables:
        return Variables(variables.params[name], variables.state[name])

    def init(key: Key, batch: Batch) -> Variables:
        each = {name: objective.init(one, batch) for name, one in zip(names, jax.random.split(key, members))}
        return Variables(
            {name: one.params for name, one in each.items()}, {name: one.state for name, one in each.items()}
        )

    def loss(variables: Variables, key: Key, batch: Batch) -> Loss:
        keys = jax.random.split(key, members)
        each = [objective.loss(member(variables, name), one, batch) for name, one in zip(names, keys)]

        def mean(*leaves: Array) -> Array:
            return sum(leaves[1:], leaves[0]) / members

        return Loss(
            mean(*(one.value for one in each)),
            each[0].weight,
            jax.tree.map(mean, *(one.metrics for one in each)),
            {name: one.state for name, one in zip(names, each)},
        )

    def bind(variables: Variables, key: Key, batch: Batch) -> Bound:
        bounds = [objective.bind(member(variables, name), key, batch) for name in names]
        predictors = [one.predictor for one in bounds if one.predictor is not None]
        if len(predictors) < members:
            raise ValueError("an ensemble is of objectives that give predictors, such as `guidance`")
        return bounds[0]._replace(predictor=_together(predictors))

    return Objective(init, loss, bind)


def _together(predictors: list[Callable[[Array, Array], PyTree]]) -> Callable[[Array, Array], PyTree]:
    def predict(x_t: Array, t: Any) -> PyTree:
        each = [one(x_t, t) for one in predictors]
        return mixture(jax.tree.map(lambda *leaves: jnp.stack(leaves), *each))

    return predict


EXAMPLES: dict[str, dict[str, Any]] = {
    "ensemble": {
        "objective": {
            "name": "guidance",
            "predictor": {"name": "perceptron", "width": 8, "depth": 1},
            "process": "vp_cosine",
            "coefficients": "x0",
            "levels": {"name": "per_sample", "levels": "low_discrepancy"},
            "head": {"name": "regression", "targets": 2},
        },
        "members": 2,
    },
}
