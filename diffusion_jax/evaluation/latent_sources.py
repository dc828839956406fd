"""Evaluations of a model with latents, the latents coming from elsewhere than a plain draw.

    {"name": "from_encoder", "evaluation": {"name": "frechet", ...}}

`from_encoder` is the oracle: those of real samples. `without_latents` takes the null ones. `from_prior`
is what the model does by itself, colder if asked. Only the evaluation inside knows what is measured. It must
say how many samples there are: by labels, or by seeds, as all evaluations that draw samples do.

With `guidance` g > 0 the denoiser is D + g (D - D_null) at levels with low <= sigma/alpha <= high
(arXiv 2407.03300, appendix B); 0 is D alone.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffusion_jax.evaluation.latent_use import latents_of
from diffusion_jax.evaluation.level_losses import known_of
from diffusion_jax.evaluation.outcome import Bind, Evaluation, Outcome
from diffusion_jax.objectives.latent_parts import null_like
from diffusion_jax.sampling.transforms.extrapolation import Guide, mixed
from diffusion_jax.types import Array, Batch, Bound, Key


def from_prior(
    evaluation: Evaluation,
    temperature: float = 1.0,
    top_p: float = 1.0,
    guidance: float = 0.0,
    low: float = 0.0,
    high: float = math.inf,
) -> Evaluation:
    """`evaluation` with latents drawn from the prior at a temperature and within a nucleus.

    Raises ValueError, when evaluated, for a model without latents or prior, and for a temperature or nucleus
    of continuous ones.
    """

    def around(bind: Bind, dataset: Any, key: Key) -> Outcome:
        model = latents_of(bind)
        sample = model.sample
        if sample is None:
            raise ValueError("this model was trained without a prior to draw latents from")

        def drawn(conditions: Batch) -> Array:
            known = {name: value for name, value in conditions.items() if name != "seed"}
            return sample(_keys(conditions), known, temperature, top_p)

        return evaluation(_given(bind, drawn, guidance, low, high), dataset, key)

    return around


def from_encoder(
    evaluation: Evaluation,
    split: str = "test",
    batch_size: int = 250,
    labels: bool = False,
    guidance: float = 0.0,
    low: float = 0.0,
    high: float = math.inf,
) -> Evaluation:
    """`evaluation` with the latents of samples of a split, picked by the seeds: the oracle.

    split: of the data set, in batches of `batch_size`. labels: picked among samples of the same label.

    Raises ValueError, when evaluated, for a model without latents, and for labels that the split has not.
    """

    def around(bind: Bind, dataset: Any, key: Key) -> Outcome:
        model = latents_of(bind)
        rows, classes = [], []
        for i, batch in enumerate(dataset.epoch(split, batch_size)):
            real = np.asarray(batch["mask"])[:, 0] > 0
            known = known_of(batch) if labels else {}
            found = model.extract(jax.random.fold_in(key, i), jnp.asarray(batch["x"]), known)
            rows.append(np.asarray(found)[real])
            classes.append(np.asarray(batch["label"])[real] if labels else np.zeros(real.sum(), int))
        everyone, classes = np.concatenate(rows), np.concatenate(classes)
        order, counts = np.argsort(classes, kind="stable"), np.bincount(classes)
        if not counts.all():
            raise ValueError(f"the {split} split has no samples of the labels {np.flatnonzero(counts == 0)}")
        table, many = jnp.asarray(everyone[order]), jnp.asarray(counts)
        first = jnp.asarray(np.cumsum(counts) - counts)

        def picked(conditions: Batch) -> Array:
            keys = _keys(conditions)
            row = conditions["label"] if labels else jnp.zeros(keys.shape[0], int)
            return table[first[row] + jax.vmap(lambda k, n: jax.random.randint(k, (), 0, n))(keys, many[row])]

        return evaluation(_given(bind, picked, guidance, low, high), dataset, key)

    return around


def without_latents(evaluation: Evaluation) -> Evaluation:
    """`evaluation` with null latents.

    Raises ValueError, when evaluated, for a model without latents.
    """

    def around(bind: Bind, dataset: Any, key: Key) -> Outcome:
        row = null_like(_one(bind, dataset))
        return evaluation(
            lambda known: bind({**known, "latents": jnp.repeat(row, _samples(known), axis=0)}), dataset, key
        )

    return around


def _given(bind: Bind, source: Any, guidance: float, low: float, high: float) -> Bind:
    """`bind` with latents of the source, conditions -> latents, and guidance from null ones."""

    def given(conditions: Batch) -> Bound:
        latents = source(conditions)
        bound = bind({**conditions, "latents": latents})
        if guidance == 0:
            return bound
        null = bind({**conditions, "latents": null_like(latents)}).denoiser
        assert bound.denoiser is not None
        assert null is not None
        return bound._replace(denoiser=mixed(bound.process, bound.denoiser, Guide(null, guidance, low, high)))

    return given


def _one(bind: Bind, dataset: Any) -> Array:
    """Zeros, shaped like the latents of one sample."""
    x = jax.ShapeDtypeStruct((1, *dataset.info.shape), jnp.result_type(float))
    like = jax.eval_shape(lambda x: latents_of(bind).extract(jax.random.key(0), x, {}), x)
    return jnp.zeros(like.shape, like.dtype)


def _samples(conditions: Batch) -> int:
    for name in ("seed", "label"):
        if name in conditions:
            return jnp.shape(conditions[name])[0]
    raise ValueError(
        "this evaluation does not say how many samples it wants latents for: no seeds, no labels"
    )


def _keys(conditions: Batch) -> Key:
    count = _samples(conditions)
    seeds = jnp.asarray(conditions.get("seed", jnp.arange(count)))
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), seeds)


EXAMPLES: dict[str, dict[str, Any]] = {
    "from_prior": {
        "evaluation": {
            "name": "ode_curvature",
            "sampler": "heun",
            "grid": {"name": "linear_grid", "steps": 2},
            "count": 4,
        },
    },
    "from_encoder": {
        "evaluation": {
            "name": "ode_curvature",
            "sampler": "heun",
            "grid": {"name": "linear_grid", "steps": 2},
            "count": 4,
        },
        "batch_size": 20,
    },
    "without_latents": {
        "evaluation": {
            "name": "ode_curvature",
            "sampler": "heun",
            "grid": {"name": "linear_grid", "steps": 2},
            "count": 4,
        },
    },
}
