"""Compiling what closes over trained variables, without compiling them in.

`jax.jit` makes constants of the arrays that a function closes over. Those of a large network slow the
compiler, are folded, and stay in memory a second time. Here they are found by tracing and become arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, compiled once for every shape of its arguments.

    Arguments and results are trees of arrays. What it closes over is read at the first call of a shape.
    """
    programs: dict[Any, Callable[..., Any]] = {}

    def call(*arguments: Any) -> Any:
        leaves, tree = jax.tree.flatten(arguments)
        kind = tree, tuple(jax.typeof(leaf) for leaf in leaves)
        if kind not in programs:
            programs[kind] = _program(function, arguments)
        return programs[kind](leaves)

    return call


def _program(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Callable[[list[Any]], Any]:
    closed, result = jax.make_jaxpr(function, return_shape=True)(*arguments)
    structure = jax.tree.structure(result)
    run = jax.jit(lambda held, leaves: jaxpr_as_fun(ClosedJaxpr(closed.jaxpr, held))(*leaves))
    return lambda leaves: jax.tree.unflatten(structure, run(closed.consts, leaves))
