r"""Discrete latents learned with a denoiser, and the prior over them: DisCo-Diff (arXiv 2407.03300).

An encoder reads the clean sample x0 and gives logits l_i of m latents of k codes; the denoiser sees their
relaxed draws beside x_t. With Gumbel noise g and a temperature tau (arXiv 1611.00712, 1611.01144),

    z_i = softmax((l_i + g_i)/tau)                        soft,
    z_i = onehot(argmax(l_i + g_i)), dz_i = d softmax     straight-through,

the loss is the denoiser's own, whichever objective it has: the gradient reaches the encoder through z alone,
and no other term keeps the codes in use. With probability `dropout` all latents of a sample are null, so that
the same denoiser also knows x_t alone (`sampling.transforms`: guidance from null to z). The prior learns

    -log p(c | label),   c_i ~ softmax(l_i / extraction),

the codes being data to it: no gradient reaches the encoder. It is trained beside the denoiser, its likelihood
added to every token's loss; or afterwards, by a second run with `stop` from the first's variables, in which
encoder and denoiser no longer change and the likelihood is all of the loss.

Latents are drawn from the prior, z ~ p, before sampling; the sampler then sees an ordinary denoiser.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from diffusion_jax.objectives.base import check_batch, conditions
from diffusion_jax.objectives.latent_parts import (
    added,
    begun,
    bound_with,
    check_shares,
    check_training,
    encoded,
    inside,
    joined,
    mask_of,
    split,
    with_null,
)
from diffusion_jax.types import Array, Batch, Bound, Key, Latents, Loss, Objective, Variables


def relaxed(key: Key, logits: Array, temperature: Array | float, hard: bool) -> Array:
    """Gumbel-softmax draws of codes: logits `[..., k] -> weights [..., k]` that sum to one.

    hard: one-hot, with the soft draw's gradient (straight-through).
    """
    noisy = logits + jax.random.gumbel(key, logits.shape, logits.dtype)
    soft = jax.nn.softmax(noisy / temperature)
    if not hard:
        return soft
    chosen = jax.nn.one_hot(noisy.argmax(-1), logits.shape[-1], dtype=soft.dtype)
    return chosen + (soft - jax.lax.stop_gradient(soft))


def latent(
    objective: Objective,
    encoder: Any,
    prior: Any = None,
    temperature: float = 1.0,
    final_temperature: float | None = None,
    decay_steps: int = 0,
    hard: bool = False,
    extraction: float = 0.01,
    dropout: float = 0.1,
    stop: bool = False,
) -> Objective:
    """An objective whose network sees discrete latents, with the latents' encoder and prior.

    objective:    of the denoiser, such as `denoising`, with any process and levels; its network must take
                  latents of the encoder's codebook (for example `mlp(latents=latent_tokens(m, k))`). Its
                  variables keep their names, so that a run without latents can be gone on from
    encoder:      linen module (x, conditions, train) -> logits [B, m, k], one of `networks.encoder`
    prior:        such as `networks.prior.autoregressive`; None for a run that trains none
    temperature:  tau
    final_temperature, decay_steps: tau falls to this, geometrically, over so many evaluations of the loss
                  (micro-batches); None for a constant tau
    hard:         one-hot latents with straight-through gradients, instead of soft ones
    extraction:   temperature of the codes that the prior learns: 0 for the most probable, 1 for the law of
                  the hard draws
    dropout:      the share of training samples whose latents are null
    stop:         only the prior learns. Their gradients are zero, which an optimiser with weight decay does
                  not respect: freeze "network" and "encoder" there

    Metrics: `entropy`, the encoder's for one latent, in nats; with a prior, `prior`, its -log p(c) in nats,
    and, where it is not all of the loss, `denoising`.

    `bind` takes batch["latents"]; where absent it draws them from the prior, row i by the key `key[i]`, or
    folded from a single key by batch["seed"][i], by default i. Where the batch does not tell the number of
    samples, they are drawn anew, alike, at each call of the denoiser: hand over `label`, `seed` or `latents`.

    Raises ValueError for temperatures that are not positive, shares outside [0, 1], `stop` without a prior;
    when initialised, for a network without latents or of another codebook, and a prior of another; in
    training, for a batch that holds latents already; when latents are drawn, for a model without a prior.
    """
    if temperature <= 0 or (final_temperature is not None and final_temperature <= 0) or extraction < 0:
        raise ValueError(
            "temperatures must be positive (extraction may be 0), got "
            f"temperature={temperature}, final_temperature={final_temperature}, extraction={extraction}"
        )
    if (final_temperature is not None) != (decay_steps > 0):
        raise ValueError(
            "a temperature that falls needs final_temperature and decay_steps > 0, got "
            f"final_temperature={final_temperature}, decay_steps={decay_steps}"
        )
    check_shares(dropout, stop, prior)

    def at_step(step: Array) -> Array | float:
        if final_temperature is None:
            return temperature
        return temperature * (final_temperature / temperature) ** jnp.minimum(step / decay_steps, 1.0)

    def init(key: Key, batch: Batch) -> Variables:
        check_batch(batch)
        inner_key, encoder_key, prior_key = jax.random.split(key, 3)
        logits, encoding = encoder.init_with_output(encoder_key, batch["x"], conditions(batch))
        count, size, codes = logits.shape
        inner = begun(objective, inner_key, batch, logits)
        params, others = split(encoding)
        params, state = {**inner.params, "encoder": params}, {"step": jnp.int32(0), "encoder": others}
        if prior is not None:
            prior.check_codebook(size, codes)
            blank = jnp.zeros((count, size), jnp.int32)
            params["prior"], state["prior"] = split(prior.init(prior_key, blank, conditions(batch)))
        return Variables(params, {**inner.state, "latents": state})

    def chosen(key: Key, logits: Array) -> Array:
        if extraction == 0:
            return logits.argmax(-1)
        return jax.random.categorical(key, logits / extraction)

    def log_prob(variables: Variables, codes: Array, known: Batch, drop: Key | None = None) -> Array:
        rngs = None if drop is None else {"dropout": drop}
        logits = prior.apply(joined(variables, "prior"), codes, known, train=drop is not None, rngs=rngs)
        each = jnp.take_along_axis(jax.nn.log_softmax(logits), codes[..., None], axis=-1)
        return each.sum((1, 2))

    def loss(variables: Variables, key: Key, batch: Batch) -> Loss:
        check_training(batch)
        inner_key, draw_key, null_key, code_key, encoder_key, prior_key = jax.random.split(key, 6)
        x, known = batch["x"], conditions(batch)
        own = variables.state["latents"]
        state = {**variables.state, "latents": {**own, "step": own["step"] + 1}}
        logits = encoded(encoder, variables, x, known, None if stop else encoder_key)
        entropy = jax.scipy.special.entr(jax.nn.softmax(logits)).sum(-1).mean(-1)
        metrics = {"entropy": jax.lax.stop_gradient(entropy)[:, None]}
        mask = mask_of(batch)
        surprise = jnp.zeros((x.shape[0], 1))
        if prior is not None:
            codes = chosen(code_key, jax.lax.stop_gradient(logits))
            surprise = -log_prob(variables, codes, known, prior_key)[:, None]
            metrics["prior"] = surprise
        if stop:
            return Loss(surprise, mask, metrics, state)
        z = relaxed(draw_key, logits, at_step(own["step"]), hard)
        dropped = jax.random.bernoulli(null_key, dropout, x.shape[:1])
        inner = objective.loss(inside(variables), inner_key, {**batch, "latents": with_null(z, dropped)})
        state = {**inner.state, "latents": state["latents"]}
        if prior is None:
            return inner._replace(metrics={**inner.metrics, **metrics}, state=state)
        return added(inner, surprise, mask, metrics, state)

    def bind(variables: Variables, key: Key, batch: Batch) -> Bound:
        def sample(keys: Key, given: Batch, temperature: float = 1.0, top_p: float = 1.0) -> Array:
            return prior.sample(joined(variables, "prior"), keys, given, temperature, top_p)

        def extract(key: Key, x: Array, known: Batch) -> Array:
            return chosen(key, encoded(encoder, variables, x, known))

        model = Latents(
            lambda x, known: encoded(encoder, variables, x, known),
            extract,
            None if prior is None else sample,
            None if prior is None else lambda codes, known: log_prob(variables, codes, known),
        )
        return bound_with(objective, variables, key, batch, model)

    return Objective(init, loss, bind)


EXAMPLES: dict[str, dict[str, Any]] = {
    "latent": {
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
        "encoder": {"name": "perceptron", "latents": 2, "codes": 3, "width": 8, "depth": 1},
        "prior": {"name": "autoregressive", "latents": 2, "codes": 3, "width": 8, "depth": 1, "heads": 2},
    },
}
