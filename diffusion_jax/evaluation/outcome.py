"""What every evaluation is and gives.

An evaluation is a component of the kind `evaluation`: a factory whose product is called as
`(bound, dataset, key) -> Outcome`, with what trained variables give, a built data set and one key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from diffusion_jax.types import Bound, Key


class Outcome(NamedTuple):
    """What an evaluation found.

    metrics: flat and JSON-able; the standard error of `name` is `name_se`
    text:    the same for people, several lines
    """

    metrics: dict[str, Any]
    text: str


Evaluation = Callable[[Bound, Any, Key], Outcome]
