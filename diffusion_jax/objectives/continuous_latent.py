r"""Continuous latents learned with a denoiser: the control of DisCo-Diff's table 3 (arXiv 2407.03300).

As `latent`, but the encoder gives a Gaussian law of z in R^{m x k} for a clean sample x0,

    q(z | x0) = N(mu(x0), diag s(x0)^2),      z = mu + s eps,      s = log(1 + exp(r(x0))) / log 2,

mu and r being what it gives (r = 0 is a standard deviation of one, and none overflows). What keeps z from
saying everything is the divergence of q from N(0, I), as in variational autoencoders (arXiv 1312.6114). In
nats a sample, summed over the m k features of z,

    loss = denoising(x_t, z) + kl_weight KL(q(z | x0) || N(0, I)).

The denoiser sees z by a linear map of each latent's features (`latent_tokens`, codes=k), with probability
`dropout` null latents instead; the divergence counts for those samples too. The prior is a diffusion model of
z ~ q, which are data to it: trained beside, its loss added, no gradient reaching the encoder; or afterwards,
with `stop`, as all of the loss. The paper gives the weights .1 and 1 of the divergence, not their unit: here
it is beside a denoising loss in the unit of the objective inside, a sum over features unless that says
otherwise.

Small weights leave a law of z that its prior fits badly (oracle good, prior bad); large ones let q collapse
to N(0, I), when z says nothing.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from diffusion_jax.laws import Normal
from diffusion_jax.objectives.base import check_batch, conditions
from diffusion_jax.objectives.latent_parts import (
    added,
    begun,
    bound_with,
    check_shares,
    check_training,
    encoded,
    inside,
    mask_of,
    split,
    with_null,
)
from diffusion_jax.types import Array, Batch, Bound, Key, Latents, Loss, Objective, Variables


def gaussian(out: Array) -> Normal:
    """The law of z `[B, m, k]` that an encoder's `[B, m, 2k]` stand for: mu, then r; s is 1e-6 at least.

    Raises ValueError where the last axis is odd.
    """
    if out.shape[-1] % 2:
        raise ValueError(
            "an encoder of continuous latents gives means and standard deviations: codes must be twice the "
            f"features of a latent, got codes={out.shape[-1]}"
        )
    mean, raw = jnp.split(out, 2, axis=-1)
    return Normal(mean, jnp.maximum(jax.nn.softplus(raw) / math.log(2), 1e-6))


def divergence(law: Normal) -> Array:
    """KL(law || N(0, I)) in nats, summed over latents and features: [B]."""
    return law.kl(Normal(jnp.zeros_like(law.mean), jnp.ones_like(law.mean))).sum((1, 2))


def continuous_latent(
    objective: Objective,
    encoder: Any,
    latent_prior: Any = None,
    kl_weight: float = 1.0,
    dropout: float = 0.1,
    stop: bool = False,
) -> Objective:
    """An objective whose network sees continuous latents, with the latents' encoder and prior.

    objective:    of the denoiser, as for `latent`; its network takes latents of as many "codes" as a latent
                  has features, k
    encoder:      linen module (x, conditions, train) -> [B, m, 2k], one of `networks.encoder` with twice as
                  many codes
    latent_prior: such as `sampling.latent_prior.diffused`; None for a run that trains none
    kl_weight:    of the divergence in nats a sample
    dropout:      the share of training samples whose latents are null
    stop:         only the prior learns. Gradients of the rest are zero, which an optimiser with weight decay
                  does not respect: freeze "network" and "encoder" there

    Metrics: `kl`, KL(q(z | x0) || N(0, I)) in nats a sample; with a prior, `prior`, its loss; and, where the
    prior's is not all of the loss, `denoising`.

    `bind` takes batch["latents"], [B, m, k + 1] with the null flag last, or int [B, m] of -1 for null ones;
    where absent it draws them from the prior, by the rules of `latent`.

    Raises ValueError for a negative weight, shares outside [0, 1], `stop` without a prior; when initialised,
    for an encoder of an odd number of codes, a network without latents or of others, and a prior of others;
    in training, for a batch that holds latents already; in `bind`, for codes; when latents are drawn, for a
    model without a prior, and for temperatures and nuclei, which a law of this kind has not.
    """
    if kl_weight < 0:
        raise ValueError(f"kl_weight must not be negative, got {kl_weight}")
    check_shares(dropout, stop, latent_prior)

    def init(key: Key, batch: Batch) -> Variables:
        check_batch(batch)
        inner_key, encoder_key, prior_key = jax.random.split(key, 3)
        out, encoding = encoder.init_with_output(encoder_key, batch["x"], conditions(batch))
        z = gaussian(out).mean
        inner = begun(objective, inner_key, batch, z)
        params, others = split(encoding)
        params, state = {**inner.params, "encoder": params}, {"encoder": others}
        if latent_prior is not None:
            params["prior"], state["prior"] = latent_prior.init(prior_key, z, conditions(batch))
        return Variables(params, {**inner.state, "latents": state})

    def loss(variables: Variables, key: Key, batch: Batch) -> Loss:
        check_training(batch)
        inner_key, draw_key, null_key, encoder_key, prior_key = jax.random.split(key, 5)
        x, known, mask = batch["x"], conditions(batch), mask_of(batch)
        law = gaussian(encoded(encoder, variables, x, known, None if stop else encoder_key))
        z, kl = law.sample(draw_key), divergence(law)[:, None]
        metrics, own = {"kl": kl}, variables.state["latents"]
        surprise = jnp.zeros((x.shape[0], 1))
        if latent_prior is not None:
            data = jax.lax.stop_gradient(z)
            value, after = latent_prior.loss(_prior(variables), prior_key, data, known)
            metrics["prior"] = surprise = value[:, None]
            own = {**own, "prior": after}
        if stop:
            return Loss(surprise, mask, metrics, {**variables.state, "latents": own})
        dropped = jax.random.bernoulli(null_key, dropout, x.shape[:1])
        inner = objective.loss(inside(variables), inner_key, {**batch, "latents": with_null(z, dropped)})
        return added(inner, kl_weight * kl + surprise, mask, metrics, {**inner.state, "latents": own})

    def bind(variables: Variables, key: Key, batch: Batch) -> Bound:
        def sample(keys: Key, given: Batch, temperature: float = 1.0, top_p: float = 1.0) -> Array:
            if temperature != 1 or top_p != 1:
                raise ValueError(
                    "continuous latents are drawn from their prior as it is: temperature and top_p belong to "
                    f"discrete ones; got {temperature} and {top_p}"
                )
            return _flagged(latent_prior.sample(_prior(variables), keys, given))

        def extract(key: Key, x: Array, known: Batch) -> Array:
            return _flagged(gaussian(encoded(encoder, variables, x, known)).sample(key))

        model = Latents(None, extract, None if latent_prior is None else sample)
        if "latents" in batch:
            batch = {**batch, "latents": _no_codes(batch["latents"])}
        return bound_with(objective, variables, key, batch, model)

    return Objective(init, loss, bind)


def _prior(variables: Variables) -> Variables:
    return Variables(variables.params["prior"], variables.state["latents"]["prior"])


def _flagged(z: Array) -> Array:
    """z `[B, m, k]` as `[B, m, k + 1]`, none of it null."""
    return with_null(z, jnp.zeros(z.shape[0], bool))


def _no_codes(latents: Any) -> Array:
    """The latents; where they are codes that JAX traces, other than null, codes that are out of range."""
    traced, latents = isinstance(latents, Tracer), jnp.asarray(latents)
    if not jnp.issubdtype(latents.dtype, jnp.integer):
        return latents
    if not traced and (latents != -1).any():
        raise ValueError(
            "the latents of this model are continuous: floating [B, m, k + 1], the null flag last, or int "
            f"[B, m] of -1 for null; got codes up to {latents.max()}"
        )
    return jnp.where(latents == -1, -1, jnp.iinfo(latents.dtype).max)


EXAMPLES: dict[str, dict[str, Any]] = {
    "continuous_latent": {
        "objective": {
            "name": "denoising",
            "network": {
                "name": "mlp",
                "width": 16,
                "depth": 1,
                "latents": {
                    "name": "latent_tokens",
                    "count": 2,
                    "codes": 3,
                    "width": 8,
                    "depth": 0,
                    "heads": 2,
                },
            },
            "process": "edm",
            "coefficients": "edm",
            "levels": {"name": "per_sample", "levels": "lognormal"},
            "weight": "edm",
        },
        "encoder": {"name": "perceptron", "latents": 2, "codes": 6, "width": 8, "depth": 1},
        "latent_prior": {
            "name": "diffused",
            "latents": 2,
            "features": 3,
            "objective": {
                "name": "denoising",
                "network": {"name": "mlp", "width": 8, "depth": 1, "joint": True},
                "process": "edm",
                "coefficients": {"name": "edm", "sigma_data": 1.0},
                "levels": {"name": "per_sample", "levels": "lognormal"},
                "weight": {"name": "edm", "sigma_data": 1.0},
            },
            "sampler": "heun",
            "grid": {"name": "karras_grid", "steps": 2},
        },
    },
}
