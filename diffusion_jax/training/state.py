"""What training carries from step to step."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from diffusion_jax.types import Array, Params, PyTree, Variables


class State(NamedTuple):
    """The state of a training run. It holds no key: the key of step n is `fold_in(root, n)`.

    step:      int32 (), the number of steps done
    params:    trained parameters, float32
    state:     the objective's `Variables.state`: carried along, neither trained nor averaged
    opt_state: the optimiser's
    ema:       the moving average of `params`, or None where the run keeps none
    profiles:  further averages, from which others are put together after training (see `posthoc`)
    """

    step: Array
    params: Params
    state: PyTree
    opt_state: PyTree
    ema: Params | None
    profiles: tuple[Params, ...] = ()


def create(
    variables: Variables, optimizer: optax.GradientTransformation, averaged: bool, profiles: int = 0
) -> State:
    """The state before the first step.

    Args:
        variables: what the objective's `init` gave.
        optimizer: its `init` is called.
        averaged: whether to keep a moving average. It starts as a copy: where it shared its buffers with the
            parameters, donating the state to the step would donate them twice.
        profiles: how many further averages to keep.
    """

    def copied() -> Params:
        return jax.tree.map(jnp.copy, variables.params)

    return State(
        step=jnp.zeros((), jnp.int32),
        params=variables.params,
        state=variables.state,
        opt_state=optimizer.init(variables.params),
        ema=copied() if averaged else None,
        profiles=tuple(copied() for _ in range(profiles)),
    )


def variables(state: State, ema: bool = True) -> Variables:
    """What the objective's `bind` takes: the averaged parameters, if wanted and kept, else the raw ones."""
    return Variables(state.ema if ema and state.ema is not None else state.params, state.state)
