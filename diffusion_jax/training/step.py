r"""The training step: one for all objectives, and the one place where a loss is reduced.

With values v, weights w (the objective's `Loss.weight` times the batch's `mask`) over samples b, tokens i and
all micro-batches m on all devices,

    loss = sum_{m,b,i} w v / max(sum_{m,b,i} w, 1),

and each metric alike. w does not depend on the parameters, so the gradient of the numerator is accumulated
over micro-batches and divided once, at the end: the result is that of the whole batch. An objective may
include the mask in its weight or not; it is 0/1, so that applying it twice changes nothing.

Precision: parameters, gradients, moments and averages are float32. Computing in bfloat16 is the network's
`dtype` argument (flax's `dtype` beside a float32 `param_dtype`); levels and losses stay in float32.

A step is sound (`finite`) where its loss and its updates are finite, and no finite entry of its gradient is
so large that the square overflows: Adam would never move that parameter again. An entry that is not finite
makes updates that are not, unless the optimiser sanitises it: then training goes on, and `grad_norm`, taken
before, tells. A loss that is not finite always ends a run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from diffusion_jax.training.ema import Decay
from diffusion_jax.training.state import State
from diffusion_jax.types import Array, Batch, Key, Loss, Objective, Params, PyTree, Variables

RESERVED = ("loss", "grad_norm", "finite")
"""Metrics that the step adds to the objective's."""

Step = Callable[[State, Batch, Key], tuple[State, dict[str, Array]]]


def make_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    microbatches: int = 1,
    decay: Decay | None = None,
    profiles: Sequence[Decay] = (),
    shardings: State | None = None,
) -> Step:
    """The jitted `(state, batches, root) -> (state, metrics)`, which does n steps in one call.

    Args:
        objective: only its `loss` is used.
        optimizer: any optax transformation.
        microbatches: pieces into which each batch is cut, one after the other on the device. Sample i goes
            to piece i mod microbatches, which leaves every sample on its device. `Variables.state` goes
            through the pieces in order.
        decay: of the moving average (see `ema`); needed if and only if the state has one.
        profiles: the decays of the state's further averages.
        shardings: where the new state lives; by default where XLA puts it. The metrics go where the step
            counter goes.

    Returns:
        A function of the state (donated: its buffers are reused and must not be read again), n stacked
        batches with leaves [n, B, ...], and the root key. Step n has the key `fold_in(root, n)`, and its
        micro-batch m folds in m. The metrics have the shape [n]: the objective's, `loss`, `grad_norm` (the
        global norm before the optimiser sanitises and clips) and `finite`, whether the step is sound.

    Raises:
        ValueError: while tracing, if a batch is no multiple of `microbatches`, if the loss has not the shape
            [B, #T], or if a metric of the objective takes a reserved name.
    """

    def one(state: State, batch: Batch, root: Key) -> tuple[State, dict[str, Array]]:
        key = jax.random.fold_in(root, state.step)
        carried, grads, metrics = _gradients(objective, microbatches, state, key, batch)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        grad_norm = optax.tree.norm(grads)
        finite_part = jax.tree.map(lambda g: jnp.where(jnp.isfinite(g), g, 0), grads)
        sound = jnp.isfinite(metrics["loss"]) & jnp.isfinite(optax.tree.norm(finite_part))
        metrics |= {"grad_norm": grad_norm, "finite": sound & jnp.isfinite(optax.tree.norm(updates))}
        params = optax.apply_updates(state.params, updates)
        done = state.step + 1
        average = state.ema if decay is None else _follow(state.ema, params, decay(done))
        further = tuple(_follow(old, params, keep(done)) for old, keep in zip(state.profiles, profiles))
        return State(done, params, carried, opt_state, average, further), metrics

    def many(state: State, batches: Batch, root: Key) -> tuple[State, dict[str, Array]]:
        return _scan(lambda state, batch: one(state, batch, root), state, batches)

    if shardings is None:
        return jax.jit(many, donate_argnums=0)
    return jax.jit(many, donate_argnums=0, out_shardings=(shardings, shardings.step))


def _follow(average: Params, params: Params, keep: Array) -> Params:
    return jax.tree.map(lambda e, p: e + (1 - keep) * (p - e), average, params)


def _gradients(
    objective: Objective, microbatches: int, state: State, key: Key, batch: Batch
) -> tuple[PyTree, Params, dict[str, Array]]:
    """(the next `Variables.state`, the gradients of the loss, the metrics) of one batch."""

    def numerator(params: Params, carried: PyTree, key: Key, piece: Batch) -> tuple[Array, Any]:
        loss = objective.loss(Variables(params, carried), key, piece)
        sums = _sums(loss, piece)
        return sums["loss"][0], (sums, loss.state)

    def accumulate(carry: tuple[PyTree, Params], inputs: tuple[Array, Batch]) -> tuple[Any, Any]:
        carried, total = carry
        index, piece = inputs
        gradient = jax.grad(numerator, has_aux=True)
        grads, (sums, carried) = gradient(state.params, carried, jax.random.fold_in(key, index), piece)
        return (carried, jax.tree.map(jnp.add, total, grads)), sums

    pieces = jax.tree.map(lambda x: _cut(x, microbatches), batch)
    start = (state.state, jax.tree.map(jnp.zeros_like, state.params))
    (carried, grads), sums = _scan(accumulate, start, (jnp.arange(microbatches), pieces))
    totals = {name: (jnp.sum(top), jnp.maximum(jnp.sum(bottom), 1)) for name, (top, bottom) in sums.items()}
    grads = jax.tree.map(lambda g: g / totals["loss"][1].astype(g.dtype), grads)
    return carried, grads, {name: top / bottom for name, (top, bottom) in totals.items()}


def _scan(body: Callable[[Any, Any], Any], carry: Any, inputs: Any) -> Any:
    """`lax.scan`, without a loop where there is one round.

    XLA on CPU computes the gradients of convolutions some twenty times slower inside a loop than outside one.
    """
    if jax.tree.leaves(inputs)[0].shape[0] > 1:
        return jax.lax.scan(body, carry, inputs)
    carry, output = body(carry, jax.tree.map(lambda x: x[0], inputs))
    return carry, jax.tree.map(lambda x: x[None], output)


def _sums(loss: Loss, batch: Batch) -> dict[str, tuple[Array, Array]]:
    """(sum of weight times value, sum of weights) of the loss and of each metric, in float32."""
    taken = sorted(set(loss.metrics) & set(RESERVED))
    if taken:
        raise ValueError(f"metrics of an objective must not be called {taken}: the training step adds these")
    weight = jnp.asarray(loss.weight, jnp.float32)
    if "mask" in batch:
        weight = weight * jnp.asarray(batch["mask"], jnp.float32)
    weight = jax.lax.stop_gradient(weight)
    sums = {}
    for name, value in {"loss": loss.value, **loss.metrics}.items():
        if jnp.ndim(value) != 2 or weight.ndim != 2:
            raise ValueError(
                f"an objective's values and weights have the shape [B, #T]; "
                f"{name!r} has {jnp.shape(value)}, its weight {weight.shape}"
            )
        value, w = jnp.broadcast_arrays(jnp.asarray(value, jnp.float32), weight)
        # A token that carries no loss may hold anything, an infinity included, which times 0 is NaN.
        sums[name] = (jnp.sum(jnp.where(w > 0, w * value, 0)), jnp.sum(w))
    return sums


def _cut(x: Array, pieces: int) -> Array:
    """[B, ...] -> [pieces, B / pieces, ...]; strided, so that every device cuts its own samples."""
    if x.shape[0] % pieces:
        raise ValueError(f"a batch of {x.shape[0]} cannot be cut into {pieces} micro-batches")
    return jnp.swapaxes(x.reshape(x.shape[0] // pieces, pieces, *x.shape[1:]), 0, 1)
