"""What every evaluation is and gives.

An evaluation is a component of the kind `evaluation`: a factory whose product is called as
`(bind, dataset, key) -> Outcome`, with `bind(conditions) -> Bound` (what trained variables give for a
batch of conditions, `{}` for none), a built data set and one key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from diffusion_jax.types import Batch, Bound, Key


class Outcome(NamedTuple):
    """What an evaluation found.

    metrics: flat and JSON-able; the standard error of `name` is `name_se`
    text:    the same for people, several lines
    """

    metrics: dict[str, Any]
    text: str


Bind = Callable[[Batch], Bound]
Evaluation = Callable[[Bind, Any, Key], Outcome]
