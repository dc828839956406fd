r"""Denoising score matching: a weighted squared error of x0_hat, at levels drawn from a law.

    loss = sum over the features of a token of  lambda(t) |x0_hat(x_t, t) - x0|^2,   t ~ levels,

EDM (arXiv 2206.00364), eq. 2 and table 1; lambda is a choice of `weights`, the law one of `levels`. With
`levels = per_token(...)` it is Diffusion Forcing's loss (arXiv 2407.01392). Tokens at t = 0 carry none, nor
do those of mask 0.

With `uncertainty`, EDM2's (arXiv 2312.02696): a linear function u of Fourier features of the noise
label learns the size of the error, and the loss of a feature is lambda e^-u |x0_hat - x0|^2 + u: at its
minimum every level contributes alike. u is dropped once training is over.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from diffusion_jax.levels import expand, of_process, token_sum
from diffusion_jax.objectives.augmentation import Augmentation
from diffusion_jax.objectives.base import applied, check_batch, hide_labels, initialise, memory_of
from diffusion_jax.objectives.weights import Weight
from diffusion_jax.preconditioning import evaluate, noise_label
from diffusion_jax.processes.gaussian import Gaussian
from diffusion_jax.types import Array, Batch, Bound, Key, Levels, Loss, Objective, Variables


def denoising(
    network: Any,
    process: Gaussian,
    coefficients: Callable[[Any], Any],
    levels: Levels | Callable[..., Levels],
    weight: Callable[[Any], Weight],
    per_dimension: bool = False,
    unlabelled: float = 0.0,
    augmentation: Augmentation | None = None,
    uncertainty: int = 0,
    missing: bool = False,
) -> Objective:
    """Denoising score matching as an objective.

    network:       linen module (x, noise, conditions, train) -> F
    process:       a Gaussian process without learned fields (`elbo` trains schedules)
    coefficients:  process -> coefficients (preconditioning)
    levels:        law of training levels, or process -> law; levels of [B, 1] are one a sample
    weight:        process -> lambda (objectives.weights)
    per_dimension: the mean over a token's features instead of their sum, which is the paper's
    unlabelled:    the share of training samples whose label is hidden (-1), for classifier-free guidance
    augmentation:  of the data in training; its label becomes batch["augment"]
    uncertainty:   Fourier features of u; 0 for none, EDM2 has 128
    missing:       tokens of mask 0 are past the end of their sequence: what the network sees of them is pure
                   noise at level 1, and nothing of the padding

    The metric `mse` is the weighted error, without u.

    Raises TypeError for another process, ValueError for a share outside [0, 1] or a negative count.
    """
    if not isinstance(process, Gaussian) or getattr(process, "LEARNED", ()):
        raise TypeError(
            f"denoising needs a Gaussian process without learned fields, such as edm(); got {process!r}"
        )
    if not 0 <= unlabelled <= 1:
        raise ValueError(f"unlabelled is a share in [0, 1], got {unlabelled}")
    if uncertainty < 0:
        raise ValueError(f"uncertainty must be a number of features, or 0; got {uncertainty}")
    at, scale = coefficients(process), weight(process)
    law = of_process(levels, process)

    def init(key: Key, batch: Batch) -> Variables:
        network_key, feature_key = jax.random.split(key)
        variables = initialise(network, process, network_key, batch)
        if not uncertainty:
            return variables
        frequency_key, phase_key = jax.random.split(feature_key)
        features = {
            "frequencies": 2 * math.pi * jax.random.normal(frequency_key, (uncertainty,)),
            "phases": 2 * math.pi * jax.random.uniform(phase_key, (uncertainty,)),
        }
        weights = {"uncertainty": jnp.zeros((uncertainty,))}
        return Variables({**variables.params, **weights}, {**variables.state, "uncertainty": features})

    def log_size(variables: Variables, t: Array) -> Array:
        """u(t), shaped like t."""
        fixed = jax.tree.map(lambda leaf: leaf[None, None], variables.state["uncertainty"])
        angles = noise_label(process, t)[..., None] * fixed["frequencies"] + fixed["phases"]
        return jnp.sqrt(2 / uncertainty) * jnp.cos(angles) @ variables.params["uncertainty"]

    def loss(variables: Variables, key: Key, batch: Batch) -> Loss:
        check_batch(batch)
        level_key, noise_key, dropout_key, label_key, augment_key = jax.random.split(key, 5)
        batch = hide_labels(label_key, batch, unlabelled) if unlabelled else batch
        if augmentation is not None:
            x, label = augmentation(augment_key, batch["x"])
            batch = {**batch, "x": x, "augment": label}
        x0 = batch["x"]
        t = law(level_key, x0.shape[:2]).astype(x0.dtype)
        mask = jnp.broadcast_to(jnp.asarray(batch.get("mask", 1.0), x0.dtype), x0.shape[:2])
        if missing:
            t, x0 = jnp.where(mask > 0, t, 1.0), jnp.where(expand(mask > 0, x0), x0, 0.0)
        noisy = t > 0
        x_t = process.marginal(x0, t).sample(noise_key)
        x0_hat = evaluate(applied(network, variables, batch, dropout_key), at, x_t, t)[0]
        strength = jnp.where(noisy, scale(jnp.broadcast_to(t, x0.shape[:2])), 0.0)
        error = token_sum(expand(strength, x0) * (x0_hat - x0) ** 2)
        features = math.prod(x0.shape[2:])
        value = error
        if uncertainty:
            u = log_size(variables, t)
            value = jnp.exp(-u) * error + features * u
        if per_dimension:
            value, error = value / features, error / features
        carried = mask * noisy
        metrics = {"mse": jax.lax.stop_gradient(error)} if uncertainty else {}
        return Loss(jnp.where(noisy, value, 0.0), carried, metrics, variables.state)

    def bind(variables: Variables, key: Key, batch: Batch) -> Bound:
        del key
        call = applied(network, variables, batch)
        memory = memory_of(network, at, variables, batch)
        return Bound(process, lambda x_t, t: evaluate(call, at, x_t, t)[0], memory=memory)

    return Objective(init, loss, bind)


EXAMPLES: dict[str, dict[str, Any]] = {
    "denoising": {
        "network": {"name": "mlp", "width": 16, "depth": 1},
        "process": "edm",
        "coefficients": "edm",
        "levels": {"name": "per_sample", "levels": "lognormal"},
        "weight": "edm",
    },
}
