"""What objectives with latents share, whatever the latents are: null ones, the objective inside, the bound.

Latents reach the network as rows `[B, m, k + 1]`: weights of k codes, or k features, and last the null flag.
Variables of the objective inside keep their names; beside them are params "encoder" and "prior", and the
state "latents" with what else these two carry.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from diffusion_jax.objectives.base import check_batch, conditions
from diffusion_jax.types import Array, Batch, Bound, Key, Latents, Loss, Memory, Objective, PyTree, Variables


def with_null(rows: Array, dropped: Array) -> Array:
    """Rows `[B, m, k]` as `[B, m, k + 1]`, null where dropped, bool `[B]`: 0 but for a last entry of 1."""
    null = jax.nn.one_hot(rows.shape[-1], rows.shape[-1] + 1, dtype=rows.dtype)
    given = jnp.pad(rows, ((0, 0), (0, 0), (0, 1)))
    return jnp.where(dropped[:, None, None], null[None, None], given)


def null_like(latents: Array) -> Array:
    """Null latents for codes int `[B, m]` (-1), or for rows `[B, m, k + 1]`."""
    if jnp.issubdtype(latents.dtype, jnp.integer):
        return jnp.full_like(latents, -1)
    return with_null(latents[..., :-1], jnp.ones(latents.shape[0], bool))


def check_shares(dropout: float, stop: bool, prior: Any) -> None:
    """Raises ValueError for a dropout outside [0, 1], and for `stop` without a prior."""
    if not 0 <= dropout <= 1:
        raise ValueError(f"dropout is a share in [0, 1], got {dropout}")
    if stop and prior is None:
        raise ValueError("with stop only the prior learns, so that there must be one")


def check_training(batch: Batch) -> None:
    """Raises what `check_batch` raises, and ValueError for a batch that holds latents already."""
    check_batch(batch)
    if "latents" in batch:
        raise ValueError("the latents of training are the encoder's: leave `latents` out of the batch")


def begun(objective: Objective, key: Key, batch: Batch, rows: Array) -> Variables:
    """Variables of the objective inside, whose network is shown null latents like `rows` `[B, m, k]`.

    Raises ValueError where the network takes none, or others.
    """
    null = with_null(jnp.zeros_like(rows), jnp.ones(rows.shape[0], bool))
    variables = objective.init(key, {**batch, "latents": null})
    paths = jax.tree_util.tree_leaves_with_path(variables.params)
    if not any("latents" in jax.tree_util.keystr(path) for path, _ in paths):
        raise ValueError(
            "the network of the objective takes no latents: build it with latents=latent_tokens(...)"
        )
    return variables


def split(variables: PyTree) -> tuple[PyTree, PyTree]:
    """The parameters of a linen module, and its other collections."""
    return variables["params"], {name: tree for name, tree in variables.items() if name != "params"}


def joined(variables: Variables, name: str) -> PyTree:
    """The collections of the linen module "encoder" or "prior"."""
    return {"params": variables.params[name], **variables.state["latents"][name]}


def inside(variables: Variables) -> Variables:
    """What belongs to the objective inside."""
    params = {name: tree for name, tree in variables.params.items() if name not in ("encoder", "prior")}
    return Variables(params, {name: tree for name, tree in variables.state.items() if name != "latents"})


def encoded(encoder: Any, variables: Variables, x: Array, known: Batch, drop: Key | None = None) -> Array:
    """What the encoder says of clean data; in training mode where there is a key for its dropout."""
    rngs = None if drop is None else {"dropout": drop}
    return encoder.apply(joined(variables, "encoder"), x, known, train=drop is not None, rngs=rngs)


def mask_of(batch: Batch) -> Array:
    """The tokens that carry loss, `[B, T]`."""
    x = batch["x"]
    return jnp.broadcast_to(jnp.asarray(batch.get("mask", 1.0), x.dtype), x.shape[:2])


def added(inner: Loss, own: Array, mask: Array, metrics: dict[str, Array], state: PyTree) -> Loss:
    """The loss inside plus a sample's own, `[B, 1]`, which tokens without the former have as well.

    The metric `denoising` is the loss inside.
    """
    denoising = jnp.where(inner.weight > 0, inner.value, 0.0)
    return Loss(denoising + own, mask, {**inner.metrics, **metrics, "denoising": denoising}, state)


def bound_with(objective: Objective, variables: Variables, key: Key, batch: Batch, model: Latents) -> Bound:
    """The bound of the objective inside, seeing batch["latents"] or, where absent, draws of `model`.

    Row i is drawn by the key `key[i]`, or folded from a single key by batch["seed"][i], by default i.
    """
    known = {name: value for name, value in conditions(batch).items() if name != "latents"}

    def drawn(count: int) -> Array:
        if model.sample is None:
            raise ValueError(
                "this model was trained without a prior to draw latents from: give `latents` (-1 for "
                "null), or train a prior on it (stop=True, init_from)"
            )
        seeds = jnp.asarray(batch.get("seed", jnp.arange(count)))
        keys = key if key.ndim else jax.vmap(jax.random.fold_in, (None, 0))(key, seeds)
        return model.sample(keys, known)

    def given(latents: Array) -> Bound:
        return objective.bind(inside(variables), key, {**batch, "latents": latents})

    count = key.shape[0] if key.ndim else _count(batch)
    if "latents" in batch:
        bound = given(batch["latents"])
    elif model.sample is not None and count is not None:
        bound = given(drawn(count))
    else:
        bound = _postponed(objective.bind(inside(variables), key, batch), given, drawn)
    return bound._replace(latents=model)


def _count(batch: Batch) -> int | None:
    """The number of samples that the batch speaks of, or None where it says nothing."""
    leaves = jax.tree.leaves({name: value for name, value in batch.items() if name != "context"})
    return leaves[0].shape[0] if leaves else None


def _postponed(plain: Bound, given: Any, drawn: Any) -> Bound:
    """The bound that draws its latents when it sees how many samples there are; `plain` has none."""
    denoiser, variance, predictor, memory = plain.denoiser, plain.variance, plain.predictor, plain.memory
    if denoiser is not None:
        plain = plain._replace(denoiser=lambda x, t: given(drawn(x.shape[0])).denoiser(x, t))
    if variance is not None:
        plain = plain._replace(variance=lambda x, t, s: given(drawn(x.shape[0])).variance(x, t, s))
    if predictor is not None:
        plain = plain._replace(predictor=lambda x, t: given(drawn(x.shape[0])).predictor(x, t))
    if memory is not None:
        plain = plain._replace(memory=_with_latents(memory, drawn))
    return plain


def _with_latents(memory: Memory, drawn: Callable[[int], Array]) -> Memory:
    """A memory that also remembers the latents of its sequences, drawn at the start."""

    def update(pair: Any, condition: Batch, x: Array, t: Any) -> Any:
        past, latents = pair
        return memory.update(past, {**condition, "latents": latents}, x, t), latents

    return Memory(
        lambda count: (memory.init(count), drawn(count)),
        lambda pair, condition: memory.denoiser(pair[0], {**condition, "latents": pair[1]}),
        update,
    )
