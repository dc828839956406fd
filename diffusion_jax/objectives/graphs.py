r"""Graphs of nodes with positions, as tokens: their centre of mass, nodes that are not there, their number.

Around another objective, which is given the process on the subspace of centred positions of the nodes that
are there (`processes.centred`), a batch at a time. Which these are is a condition, batch["present"] [B, N];
the network sees it too, noise and samples are 0 elsewhere. So diffuse Hoogeboom et al. (arXiv 2203.17003)
and, with rings for atoms, GaUDI.

To guide them, a predictor on graphs needs none of this: what is invariant sees no centre of mass
(`networks.predictor.invariant`). It takes `present` from its batch as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffusion_jax.processes.centred import centred
from diffusion_jax.processes.gaussian import Gaussian
from diffusion_jax.types import Array, Batch, Bound, Key, Loss, Objective, Variables


def drawn_nodes(keys: Key, sizes: Sequence[float]) -> Array:
    """Which nodes are there in graphs of random size: [B, N], the first n being 1, the others 0.

    keys: [B]. sizes: N weights, of the sizes n = 1 ... N, such as a histogram of the training data.

    Raises ValueError unless the weights are finite, not negative, and one is positive.
    """
    weights = _weights(sizes)
    with np.errstate(divide="ignore"):
        logits = jnp.asarray(np.log(weights), jnp.float32)
    largest = jax.vmap(lambda key: jax.random.categorical(key, logits))(keys)
    return (jnp.arange(len(weights))[None] <= largest[:, None]).astype(jnp.float32)


def _weights(sizes: Sequence[float]) -> np.ndarray:
    weights = np.asarray(sizes, np.float64)
    if weights.ndim != 1 or not (np.isfinite(weights) & (weights >= 0)).all() or not weights.any():
        raise ValueError(f"sizes are weights of 1, 2, ... nodes, not all of them 0; got {sizes}")
    return weights


def graphs(
    objective: Callable[..., Objective],
    process: Gaussian,
    positions: int = 3,
    sizes: Sequence[float] | None = None,
) -> Objective:
    """An objective on graphs x [B, N, positions + F], whose positions have their mean at 0.

    objective: of a denoiser, such as `denoising`, waiting for its process: (process=...) -> objective. In a
               config, its spec has none. Its levels must be one a sample
    process:   a Gaussian process without learned fields
    positions: how many of the first entries of a node are its position
    sizes:     weights of 1, 2, ... N nodes, for samples whose batch has no `present`; None: all N are there

    Without `present`, all nodes of a training batch are there. Nodes that are not should have mask 0.

    `bind` takes batch["present"], or draws the number of nodes of sample i by the key `key[i]`, or folded
    from a single key by batch["seed"][i]. The process that it gives, Bound.process, is that of these nodes,
    its `present`, and its `draw` is noise for samplers that take one. The denoiser's estimate has its centre
    at 0, whatever the centre of x_t.

    Raises TypeError for an objective that has a process already, or one that is not Gaussian; ValueError for
    sizes that are no weights, a `present` that is not [B, N] and, when binding, for samples whose number of
    nodes cannot be drawn, as the batch holds neither `present` nor `seed`.
    """
    if isinstance(objective, Objective) or not callable(objective):
        raise TypeError(
            "graphs gives its objective a process for each batch: hand over one that waits for it (a spec "
            f"without `process`); got {type(objective).__name__}"
        )
    plain = objective(process=centred(process, None, positions))
    if sizes is not None:
        _weights(sizes)

    def on(present: Array | None) -> tuple[Any, Objective]:
        own = centred(process, present, positions)
        return own, objective(process=own)

    def loss(variables: Variables, key: Key, batch: Batch) -> Loss:
        return on(batch.get("present"))[1].loss(variables, key, batch)

    def bind(variables: Variables, key: Key, batch: Batch) -> Bound:
        present = batch.get("present")
        if present is None and sizes is not None:
            present = drawn_nodes(_keys(key, batch), sizes)
            batch = {**batch, "present": present}
        own, inner = on(present)
        bound = inner.bind(variables, key, batch)
        denoiser = bound.denoiser
        if denoiser is None:
            return bound

        def denoise(x: Array, t: Array) -> Array:
            return own.centre(denoiser(own.centre(x), t))

        return bound._replace(denoiser=denoise)

    return Objective(plain.init, loss, bind)


def _keys(key: Key, batch: Batch) -> Key:
    """A key for each sample, other than what else is drawn by these."""
    if not key.ndim:
        if "seed" not in batch:
            raise ValueError(
                "numbers of nodes are drawn for samples with a `seed`: the batch has neither `present` nor "
                f"`seed`, only: {', '.join(sorted(batch)) or 'nothing'}"
            )
        key = jax.vmap(jax.random.fold_in, (None, 0))(key, batch["seed"])
    return jax.vmap(jax.random.fold_in, (0, None))(key, 1)


EXAMPLES: dict[str, dict[str, Any]] = {
    "graphs": {
        "objective": {
            "name": "denoising",
            "network": {"name": "egnn", "width": 8, "depth": 1},
            "coefficients": "v",
            "levels": {"name": "per_sample", "levels": "low_discrepancy"},
            "weight": "eps",
        },
        "process": "vp_cosine",
    },
}
