"""What objectives share: the network of an objective, its conditions, and the terms of a bound."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from diffusion_jax.levels import canonical, expand, token_sum
from diffusion_jax.preconditioning import At, evaluate, presented
from diffusion_jax.processes.learned import learned_fields
from diffusion_jax.types import Array, Batch, Denoiser, Key, Memory, Network, PyTree, Variables

NOT_CONDITIONS = ("x", "mask", "target", "seed", "context")


def conditions(batch: Batch) -> dict[str, Any]:
    """What a network may look at besides x: the batch without `NOT_CONDITIONS`."""
    return {name: value for name, value in batch.items() if name not in NOT_CONDITIONS}


def hide_labels(key: Key, batch: Batch, share: float) -> Batch:
    """The batch with each label replaced by -1 (none) with probability `share`.

    Ho and Salimans (arXiv 2207.12598). Raises ValueError for a share outside [0, 1] or a batch without
    labels.
    """
    if not 0 <= share <= 1 or "label" not in batch:
        raise ValueError(f"hiding a share {share} of the labels needs 0 <= share <= 1 and batch['label']")
    hidden = jax.random.bernoulli(key, share, batch["label"].shape)
    return {**batch, "label": jnp.where(hidden, -1, batch["label"])}


def check_batch(batch: Batch) -> None:
    """Raises ValueError or TypeError unless batch["x"] is a floating [B, T, ...] of rank 3 or more."""
    if "x" not in batch:
        raise ValueError(f"a batch needs the key 'x'; it has {sorted(batch)}")
    x = batch["x"]
    if x.ndim < 3:
        raise ValueError(f"batch['x'] must be [B, T, ...] (an image is [B, 1, H, W, C]), got shape {x.shape}")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"batch['x'] must be floating, scaled as the data set says; got {x.dtype}")


def initialise(network: Any, process: Any, key: Key, batch: Batch) -> Variables:
    """Variables of a linen `network` and of the learned fields of `process`.

    params: {"network": ..., "process": learned fields}; state: {"network": the network's other collections}.
    """
    check_batch(batch)
    x = batch["x"]
    variables = dict(network.init(key, x, jnp.zeros(x.shape[:2]), conditions(batch)))
    params = {"network": variables.pop("params")}
    fields = learned_fields(process)
    if fields:
        params["process"] = jax.tree.map(jnp.array, fields)
    return Variables(params, {"network": variables})


def with_fields(process: Any, params: PyTree) -> Any:
    """The process with its learned fields taken from params["process"], where there are any."""
    return dataclasses.replace(process, **params["process"]) if "process" in params else process


def memory_of(network: Any, at: At, variables: Variables, batch: Batch) -> Memory | None:
    """The memory of a network with methods `start` and `extend`; None where it has none, or is not causal.

    The network sees x as its denoiser does, preconditioned by `at`. Conditions of a call come on top of
    those of the batch, which must hold for every token (such as labels).
    """
    if not hasattr(network, "extend") or not getattr(network, "causal", True):
        return None
    collections, known = _collections(variables), conditions(batch)

    def init(count: int) -> Any:
        return network.apply(collections, count, jnp.result_type(float), method="start")

    def extend(memory: Any, condition: Batch, x: Array, noise: Array) -> tuple[Array, Any]:
        given = {**known, **conditions(condition)}
        return network.apply(collections, x, noise, given, memory, method="extend")

    def denoiser(memory: Any, condition: Batch) -> Denoiser:
        return lambda x, t: evaluate(lambda x, noise: extend(memory, condition, x, noise)[0], at, x, t)[0]

    def update(memory: Any, condition: Batch, x: Array, t: Any) -> Any:
        t = canonical(t, x)
        return extend(memory, condition, *presented(at(t), x, t))[1]

    return Memory(init, denoiser, update)


def _collections(variables: Variables) -> dict[str, Any]:
    return {"params": variables.params["network"], **variables.state["network"]}


def applied(network: Any, variables: Variables, batch: Batch, dropout: Key | None = None) -> Network:
    """The network as a function (x, noise) -> out; training mode where a dropout key is given."""
    known = conditions(batch)
    collections = _collections(variables)
    rngs = None if dropout is None else {"dropout": dropout}

    def call(x: Array, noise: Array) -> Array:
        return network.apply(collections, x, noise, known, train=dropout is not None, rngs=rngs)

    return call


def pair_kl(
    process: Any, x0: Array, x_t: Array, x0_hat: Array, t: Array, s: Array, variance: Array | None
) -> Array:
    """KL( q(x_s | x_t, x_0) || p(x_s | x_t) ) in nats, summed over each token's features: [B, T].

    0 < s <= t, [#B, #T]; variance: of the Gaussian reverse step, None for the posterior's own.
    Sohl-Dickstein et al. 2015 (arXiv 1503.03585), eq. 14; DDPM (arXiv 2006.11239), eq. 5.
    """
    return token_sum(process.posterior(x_t, x0, t, s).kl(process.reverse(x_t, x0_hat, t, s, variance)))


def continuous_rate(process: Any, x0: Array, x0_hat: Array, t: Array) -> Array:
    """The bound's pairs in the limit of infinitely many, in nats a unit of t: [B, T].

    1/2 d(-log SNR)/dt |eps - eps_hat|^2, summed over each token's features, to be integrated from t_1 to 1.
    VDM (arXiv 2107.00630), eq. 17-19. t > 0, [#B, #T]; Gaussian processes.
    """
    log_snr, slope = jax.jvp(process.log_snr, (t,), (jnp.ones_like(t),))
    return token_sum(expand(-0.5 * slope * jnp.exp(log_snr), x0) * (x0 - x0_hat) ** 2)


def prior_kl(process: Any, x0: Array) -> Array:
    """KL( q(x_1 | x_0) || p(x_1) ) in nats, summed over each token's features: [B, T]."""
    return token_sum(process.marginal(x0, jnp.ones(())).kl(process.prior(x0.shape)))
