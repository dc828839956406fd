"""What every regulariser of a guidance model is and sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from diffusion_jax.types import Array, Key, Params, PyTree, Variables


class Seen(NamedTuple):
    """A batch of N noised inputs and what the model made of them.

    t:        [N, #T], their levels
    features: [N, D], the network's embedding, which the head reads
    mean:     [N, K], the head's means, or its logits
    variance: [N, K], the head's variances, or None where it has none
    weight:   [N], 0 for the padding of a partial batch, else 1
    embed:    (collections of the network) -> [N, D], the same inputs' features by other variables, as after
              training
    """

    t: Array
    features: Array
    mean: Array
    variance: Array | None
    weight: Array
    embed: Callable[[PyTree], Array]


class Penalty(NamedTuple):
    """value: (), added to the mean loss; metrics: name -> (); state: the next state of the regulariser."""

    value: Array
    metrics: dict[str, Array]
    state: PyTree = ()


class Regulariser(NamedTuple):
    """What is added to the loss of a guidance model.

    init:    (key, fresh, features) -> Variables: its own; fresh: key -> collections of a newly drawn network
             of the same architecture; features: D
    loss:    (variables, params, train, context, targets) -> Penalty; params: of network and head; context:
             None unless wanted; targets: over how many the model's own loss is averaged
    context: whether it wants a context batch
    """

    init: Callable[[Key, Callable[[Key], PyTree], int], Variables]
    loss: Callable[[Variables, Params, Seen, Any, int], Penalty]
    context: bool


def no_variables(key: Key, fresh: Callable[[Key], PyTree], features: int) -> Variables:
    """The `init` of a regulariser that owns nothing."""
    del key, fresh, features
    return Variables({}, {})
