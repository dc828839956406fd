r"""Priors over continuous latents z in R^{m x k}: a diffusion model of their own, and how it is drawn from.

`diffused` takes any objective whose data are then z, m tokens of k features, such as `denoising` with a
transformer, which sees the place of each token: the prior of the continuous control of DisCo-Diff (arXiv
2407.03300, table 3), a diffusion transformer (arXiv 2212.09748) on the latents. Nothing rescales z: a
process and coefficients suit it whose data have a standard deviation near one, as z has by its divergence
from N(0, I).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from diffusion_jax.sampling.loop import fitted, sample
from diffusion_jax.types import Array, Batch, Key, Objective, PyTree, Sampler, Variables


class LatentPrior(NamedTuple):
    """A law of latents z [B, m, k] given `label`, as `continuous_latent` trains and draws it.

    init:   (key, z, conditions) -> Variables
    loss:   (variables, key, z, conditions) -> (value [B], state), the next `Variables.state`
    sample: (variables, keys [B], conditions) -> z
    """

    init: Callable[[Key, Array, Batch], Variables]
    loss: Callable[[Variables, Key, Array, Batch], tuple[Array, PyTree]]
    sample: Callable[[Variables, Key, Batch], Array]


def diffused(
    latents: int,
    features: int,
    objective: Objective,
    sampler: Sampler | Callable[..., Sampler],
    grid: Array | Callable[..., Array],
) -> LatentPrior:
    """A diffusion model of latents.

    latents:   m
    features:  of each, k
    objective: of its denoiser, such as `denoising`; the network sees `label` and, as `condition` [B, m, m],
               the place of each token: `transformer(condition=m)`, or a network that does not ask, such as
               `mlp(joint=True)`
    sampler:   what draws; a factory is given the process
    grid:      levels, or process -> levels

    A sample's loss is the mean of the objective's over the tokens that carry any.

    Raises ValueError for counts below 1 and for latents of another shape.
    """
    if latents < 1 or features < 1:
        raise ValueError(f"latents and features must be at least 1, got {latents} and {features}")

    def given(known: Batch, count: int) -> dict[str, Any]:
        places = jnp.broadcast_to(jnp.eye(latents)[None], (count, latents, latents))
        return {"condition": places, **({"label": known["label"]} if "label" in known else {})}

    def batch_of(z: Array, known: Batch) -> dict[str, Any]:
        if z.shape[1:] != (latents, features):
            raise ValueError(
                f"the prior is over {latents} latents of {features} features; got latents of "
                f"{z.shape[1]} x {z.shape[2]}"
            )
        return {"x": z, **given(known, z.shape[0])}

    def init(key: Key, z: Array, known: Batch) -> Variables:
        return objective.init(key, batch_of(z, known))

    def loss(variables: Variables, key: Key, z: Array, known: Batch) -> tuple[Array, PyTree]:
        found = objective.loss(variables, key, batch_of(z, known))
        value, weight = (jnp.broadcast_to(one, z.shape[:2]) for one in (found.value, found.weight))
        carried = jnp.where(weight > 0, weight * value, 0.0).sum(1)
        return carried / jnp.maximum(weight.sum(1), 1.0), found.state

    def draw(variables: Variables, keys: Key, known: Batch) -> Array:
        start, walk = jax.vmap(jax.random.split, out_axes=1)(keys)
        bound = objective.bind(variables, keys, given(known, keys.shape[0]))
        assert bound.denoiser is not None
        z = bound.process.prior((keys.shape[0], latents, features)).sample(start)
        times = grid(bound.process) if callable(grid) else jnp.asarray(grid)
        return sample(walk, bound.denoiser, fitted(sampler, bound), z, times)

    return LatentPrior(init, loss, draw)


EXAMPLES: dict[str, dict[str, Any]] = {
    "diffused": {
        "latents": 2,
        "features": 3,
        "objective": {
            "name": "denoising",
            "network": {"name": "transformer", "width": 8, "depth": 1, "heads": 2, "condition": 2},
            "process": "edm",
            "coefficients": {"name": "edm", "sigma_data": 1.0},
            "levels": {"name": "per_sample", "levels": "lognormal"},
            "weight": {"name": "edm", "sigma_data": 1.0},
        },
        "sampler": "heun",
        "grid": {"name": "karras_grid", "steps": 2},
    },
}
