r"""Guidance models: regression and classification on noised inputs, at all levels.

A network embeds x_t at its level t, and a head (`objectives.heads`) reads targets or classes from that,

    loss = E_t E_{x_t | x_0} [ -log p(y | x_t, t) ] + penalty,     t ~ levels,

for any process: classifier guidance (arXiv 2105.05233) needs such a model, as the generator is only asked at
noised inputs. The penalty is a `regulariser`; with `context` this is context-guided diffusion (arXiv
2407.11942), where the loss is a negative log posterior divided by the numbers of samples and targets.

What is bound is a predictor, (x_t, t) -> statistics; `sampling.transforms` makes guidance of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from diffusion_jax.levels import of_process
from diffusion_jax.objectives.base import check_batch, conditions
from diffusion_jax.objectives.heads import Head, functions
from diffusion_jax.objectives.regularisers.base import Regulariser, Seen
from diffusion_jax.preconditioning import At, known_level, presented
from diffusion_jax.processes.learned import learned_fields
from diffusion_jax.types import Array, Batch, Bound, Key, Levels, Loss, Objective, PyTree, Variables


def guidance(
    predictor: Any,
    process: Any,
    coefficients: Callable[[Any], At],
    levels: Levels | Callable[..., Levels],
    head: Head,
    regulariser: Regulariser | None = None,
) -> Objective:
    """A model of p(y | x_t, t) as an objective.

    predictor:    linen module (x, noise, conditions, train) -> features [B, D], one of `networks.predictor`
    process:      any process without learned fields, best that of the generator to be guided
    coefficients: process -> coefficients; of these, what the network sees of x_t and t
    levels:       law of training levels, or process -> law; levels of [B, 1] are one a sample
    head:         of regression or classification (`objectives.heads`)
    regulariser:  None for none; `context` and others want batch["context"], unlabelled inputs like x, in a
                  batch of its own size, which are noised to levels of their own

    Every sample counts once, however many tokens it has; those without a token of mask 1 do not. With
    micro-batches, a penalty is that of the micro-batch. Metrics: `nll`, `error` (mean squared, or the share
    of wrong classes), and the regulariser's.

    Raises TypeError for a learned process; when initialised, ValueError or TypeError for labels or a context
    set that are missing or do not fit, for constant labels where values are known, and for a network whose
    output is not [B, D].
    """
    if learned_fields(process):
        raise TypeError(f"a guidance model needs a process without learned fields, got {process!r}")
    at, law = coefficients(process), of_process(levels, process)
    wants_context = regulariser is not None and regulariser.context

    def known(batch: Batch) -> dict[str, Any]:
        return {name: value for name, value in conditions(batch).items() if name not in head.reads}

    def check(batch: Batch) -> None:
        check_batch(batch)
        head.check(batch)
        if wants_context:
            _check_context(batch, known)

    def init(key: Key, batch: Batch) -> Variables:
        check(batch)
        network_key, head_key, own_key = jax.random.split(key, 3)
        x, seen = batch["x"], known(batch)
        noise = jnp.zeros(x.shape[:2])
        features, collections = predictor.init_with_output(network_key, x, noise, seen)
        if features.ndim != 2:
            raise ValueError(
                f"a predictor gives features [B, D], this one {features.shape}; `networks.predictor.pooled` "
                "makes one of any network"
            )
        params, others = _split(collections)
        size = features.shape[1]
        variables = Variables(
            {"network": params, head.name: head.init(head_key, size, batch)}, {"network": others}
        )
        if regulariser is None:
            return variables
        own = regulariser.init(own_key, lambda key: dict(predictor.init(key, x, noise, seen)), size)
        return Variables(
            {**variables.params, "regulariser": own.params}, {**variables.state, "regulariser": own.state}
        )

    def noised(key: Key, batch: Batch) -> tuple[Array, Array]:
        """x_t and t of all the samples of a batch."""
        level_key, noise_key = jax.random.split(key)
        x = batch["x"]
        t = law(level_key, x.shape[:2]).astype(x.dtype)
        return process.marginal(x, t).sample(noise_key), t

    def embed(collections: PyTree, x_t: Array, t: Array, seen: Batch, dropout: Key | None = None) -> Array:
        rngs = None if dropout is None else {"dropout": dropout}
        x, noise = presented(at(t), x_t, t)
        return predictor.apply(collections, x, noise, seen, train=dropout is not None, rngs=rngs)

    def loss(variables: Variables, key: Key, batch: Batch) -> Loss:
        check(batch)
        noise_key, context_key, dropout_key = jax.random.split(key, 3)
        x_t, t = noised(noise_key, batch)
        sides = [(batch, x_t, t)]
        if wants_context:
            sides.append((batch["context"], *noised(context_key, batch["context"])))
        # One pass for both: a level a token where either has one.
        tokens = max(t.shape[1] for _, _, t in sides)
        levels_of = [jnp.broadcast_to(t, (len(x_t), tokens)) for _, x_t, t in sides]
        seen = [known(one) for one, _, _ in sides]
        features = embed(
            _collections(variables),
            jnp.concatenate([x_t for _, x_t, _ in sides]),
            jnp.concatenate(levels_of),
            jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *seen),
            dropout_key,
        )
        own, count = variables.params[head.name], len(x_t)
        found = head.statistics(own, features[:count])
        mask = jnp.broadcast_to(jnp.asarray(batch.get("mask", 1.0), x_t.dtype), x_t.shape[:2])
        share = _shares(mask)
        nll = head.loss(found, batch)[:, None] * share
        metrics = {"nll": nll, "error": head.error(found, batch)[:, None] * share}
        weight = (mask.max(1, keepdims=True) > 0).astype(x_t.dtype)
        if regulariser is None:
            return Loss(nll, weight, metrics, variables.state)

        def side(i: int, part: Array, given: Array) -> Seen:
            _, x_t, _ = sides[i]
            mean, variance = functions(head.statistics(own, part))
            return Seen(
                levels_of[i],
                part,
                mean,
                variance,
                given,
                lambda collections: embed(collections, x_t, levels_of[i], seen[i]),
            )

        context = None
        if wants_context:
            rest = features[count:]
            context = side(1, rest, jnp.ones(len(rest), rest.dtype))
        params = {"network": variables.params["network"], head.name: own}
        state = Variables(variables.params["regulariser"], variables.state["regulariser"])
        penalty = regulariser.loss(
            state, params, side(0, features[:count], weight[:, 0]), context, head.targets(batch)
        )
        for name, value in penalty.metrics.items():
            metrics[name] = jnp.broadcast_to(value, (count, 1))
        return Loss(nll + penalty.value, weight, metrics, {**variables.state, "regulariser": penalty.state})

    def bind(variables: Variables, key: Key, batch: Batch) -> Bound:
        del key
        seen, collections = known(batch), _collections(variables)

        def predict(x_t: Array, t: Any) -> Any:
            features = embed(collections, x_t, known_level(t, x_t), seen)
            return head.statistics(variables.params[head.name], features)

        return Bound(process, predictor=predict)

    return Objective(init, loss, bind)


def _check_context(batch: Batch, known: Callable[[Batch], dict[str, Any]]) -> None:
    """Raises ValueError or TypeError unless batch["context"] holds inputs like the batch's own."""
    if "context" not in batch:
        raise ValueError(
            "this regulariser needs batch['context'], a batch of unlabelled inputs (a config's `context`); "
            f"the batch has {', '.join(sorted(batch))}"
        )
    context = batch["context"]
    check_batch(context)
    if context["x"].shape[1:] != batch["x"].shape[1:]:
        raise ValueError(
            f"the context set has inputs of shape {context['x'].shape[1:]}, the training set of "
            f"{batch['x'].shape[1:]}: they must be alike"
        )
    ours, theirs = known(batch), known(context)
    if set(ours) != set(theirs):
        raise ValueError(
            f"the context set comes with the conditions {sorted(theirs)}, the training set with "
            f"{sorted(ours)}"
        )


def _shares(mask: Array) -> Array:
    """[B, 1]: what makes a mean over the tokens of mask 1 a mean over samples that have one."""
    tokens = mask.sum(1, keepdims=True)
    samples = jnp.maximum((tokens > 0).sum(), 1)
    return tokens.sum() / samples / jnp.maximum(tokens, 1)


def _split(variables: PyTree) -> tuple[PyTree, PyTree]:
    """The parameters of a linen module, and its other collections."""
    return variables["params"], {name: tree for name, tree in variables.items() if name != "params"}


def _collections(variables: Variables) -> PyTree:
    return {"params": variables.params["network"], **variables.state["network"]}


EXAMPLES: dict[str, dict[str, Any]] = {
    "guidance": {
        "predictor": {"name": "perceptron", "width": 16, "depth": 1},
        "process": "vp_cosine",
        "coefficients": "x0",
        "levels": {"name": "per_sample", "levels": "low_discrepancy"},
        "head": {"name": "regression", "targets": 2},
        "regulariser": {"name": "context", "ramp": "sigmoid", "examples": 100},
    },
}
