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
from diffusion_jax.types import Array, Batch, Bound, Key, Latents, Loss, Memory, Objective, PyTree, Variables


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


def with_null(weights: Array, dropped: Array) -> Array:
    """Weights `[B, m, k]` as `[B, m, k + 1]`, the last code being null: 1 where dropped, bool `[B]`."""
    null = jax.nn.one_hot(weights.shape[-1], weights.shape[-1] + 1, dtype=weights.dtype)
    given = jnp.pad(weights, ((0, 0), (0, 0), (0, 1)))
    return jnp.where(dropped[:, None, None], null[None, None], given)


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
    if not 0 <= dropout <= 1:
        raise ValueError(f"dropout is a share in [0, 1], got {dropout}")
    if stop and prior is None:
        raise ValueError("with stop only the prior learns, so that there must be one")

    def at_step(step: Array) -> Array | float:
        if final_temperature is None:
            return temperature
        return temperature * (final_temperature / temperature) ** jnp.minimum(step / decay_steps, 1.0)

    def init(key: Key, batch: Batch) -> Variables:
        check_batch(batch)
        inner_key, encoder_key, prior_key = jax.random.split(key, 3)
        logits, encoding = encoder.init_with_output(encoder_key, batch["x"], conditions(batch))
        count, size, codes = logits.shape
        null = with_null(jnp.zeros_like(logits), jnp.ones(count, bool))
        inner = objective.init(inner_key, {**batch, "latents": null})
        paths = jax.tree_util.tree_leaves_with_path(inner.params)
        if not any("latents" in jax.tree_util.keystr(path) for path, _ in paths):
            raise ValueError(
                "the network of the objective takes no latents: build it with latents=latent_tokens(...)"
            )
        params, others = _split(encoding)
        params, state = {**inner.params, "encoder": params}, {"step": jnp.int32(0), "encoder": others}
        if prior is not None:
            prior.check_codebook(size, codes)
            blank = jnp.zeros((count, size), jnp.int32)
            params["prior"], state["prior"] = _split(prior.init(prior_key, blank, conditions(batch)))
        return Variables(params, {**inner.state, "latents": state})

    def encode(variables: Variables, x: Array, known: Batch, drop: Key | None = None) -> Array:
        rngs = None if drop is None else {"dropout": drop}
        return encoder.apply(_joined(variables, "encoder"), x, known, train=drop is not None, rngs=rngs)

    def chosen(key: Key, logits: Array) -> Array:
        if extraction == 0:
            return logits.argmax(-1)
        return jax.random.categorical(key, logits / extraction)

    def log_prob(variables: Variables, codes: Array, known: Batch, drop: Key | None = None) -> Array:
        rngs = None if drop is None else {"dropout": drop}
        logits = prior.apply(_joined(variables, "prior"), codes, known, train=drop is not None, rngs=rngs)
        each = jnp.take_along_axis(jax.nn.log_softmax(logits), codes[..., None], axis=-1)
        return each.sum((1, 2))

    def loss(variables: Variables, key: Key, batch: Batch) -> Loss:
        check_batch(batch)
        if "latents" in batch:
            raise ValueError("the latents of training are the encoder's: leave `latents` out of the batch")
        inner_key, draw_key, null_key, code_key, encoder_key, prior_key = jax.random.split(key, 6)
        x, known = batch["x"], conditions(batch)
        own = variables.state["latents"]
        state = {**variables.state, "latents": {**own, "step": own["step"] + 1}}
        logits = encode(variables, x, known, None if stop else encoder_key)
        entropy = jax.scipy.special.entr(jax.nn.softmax(logits)).sum(-1).mean(-1)
        metrics = {"entropy": jax.lax.stop_gradient(entropy)[:, None]}
        mask = jnp.broadcast_to(jnp.asarray(batch.get("mask", 1.0), x.dtype), x.shape[:2])
        surprise = jnp.zeros((x.shape[0], 1))
        if prior is not None:
            codes = chosen(code_key, jax.lax.stop_gradient(logits))
            surprise = -log_prob(variables, codes, known, prior_key)[:, None]
            metrics["prior"] = surprise
        if stop:
            return Loss(surprise, mask, metrics, state)
        z = relaxed(draw_key, logits, at_step(own["step"]), hard)
        dropped = jax.random.bernoulli(null_key, dropout, x.shape[:1])
        inner = objective.loss(_inner(variables), inner_key, {**batch, "latents": with_null(z, dropped)})
        state = {**inner.state, "latents": state["latents"]}
        if prior is None:
            return inner._replace(metrics={**inner.metrics, **metrics}, state=state)
        metrics["denoising"] = jnp.where(inner.weight > 0, inner.value, 0.0)
        value = metrics["denoising"] + surprise
        return Loss(value, mask, {**inner.metrics, **metrics}, state)

    def bind(variables: Variables, key: Key, batch: Batch) -> Bound:
        known = {name: value for name, value in conditions(batch).items() if name != "latents"}

        def sample(keys: Key, given: Batch, temperature: float = 1.0, top_p: float = 1.0) -> Array:
            return prior.sample(_joined(variables, "prior"), keys, given, temperature, top_p)

        def drawn(count: int) -> Array:
            if prior is None:
                raise ValueError(
                    "this model was trained without a prior to draw latents from: give `latents` (-1 for "
                    "null), or train a prior on it (stop=True, init_from)"
                )
            seeds = jnp.asarray(batch.get("seed", jnp.arange(count)))
            keys = key if key.ndim else jax.vmap(jax.random.fold_in, (None, 0))(key, seeds)
            return sample(keys, known)

        def given(latents: Array) -> Bound:
            return objective.bind(_inner(variables), key, {**batch, "latents": latents})

        latents = Latents(
            lambda x, known: encode(variables, x, known),
            lambda key, x, known: chosen(key, encode(variables, x, known)),
            None if prior is None else sample,
            None if prior is None else lambda codes, known: log_prob(variables, codes, known),
        )
        count = key.shape[0] if key.ndim else _count(batch)
        if "latents" in batch:
            bound = given(batch["latents"])
        elif prior is not None and count is not None:
            bound = given(drawn(count))
        else:
            bound = _postponed(objective.bind(_inner(variables), key, batch), given, drawn)
        return bound._replace(latents=latents)

    return Objective(init, loss, bind)


def _split(variables: PyTree) -> tuple[PyTree, PyTree]:
    """The parameters of a linen module, and its other collections."""
    return variables["params"], {name: tree for name, tree in variables.items() if name != "params"}


def _joined(variables: Variables, name: str) -> PyTree:
    return {"params": variables.params[name], **variables.state["latents"][name]}


def _inner(variables: Variables) -> Variables:
    """What belongs to the objective of the denoiser."""
    params = {name: tree for name, tree in variables.params.items() if name not in ("encoder", "prior")}
    return Variables(params, {name: tree for name, tree in variables.state.items() if name != "latents"})


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


def _with_latents(memory: Memory, drawn: Any) -> Memory:
    """A memory that also remembers the latents of its sequences, drawn at the start."""

    def update(pair: Any, condition: Batch, x: Array, t: Any) -> Any:
        past, latents = pair
        return memory.update(past, {**condition, "latents": latents}, x, t), latents

    return Memory(
        lambda count: (memory.init(count), drawn(count)),
        lambda pair, condition: memory.denoiser(pair[0], {**condition, "latents": pair[1]}),
        update,
    )


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
