"""The variational bound, for every process: the 2015 bound K, DDPM's, VDM's.

With a grid 1 = t_T > ... > t_1 > t_0 = 0,

    -log p(x_0) <= -K = KL( q(x_1 | x_0) || prior )                                       prior
                      + sum over pairs of E KL( q(x_s | x_t, x_0) || p(x_s | x_t) )       pairs
                      - E log p(x_0 | x_{t_1})                                            decoder

where the pairs (t, s) are the neighbours of the grid with s >= t_1. With the fixed kernel as decoder this is
eq. 14 of Sohl-Dickstein et al. 2015 (arXiv 1503.03585) in its general form (the entropies of the paper are
the decoder's and the prior's terms in closed form); with the discretised Gaussian it is DDPM's (arXiv
2006.11239, eq. 5); with the softmax, VDM's (arXiv 2107.00630, eq. 11). Infinitely many pairs give VDM's
continuous loss (eq. 17),

    1/2 E_t [ d(-log SNR)/dt  SNR(t) |x_0 - x0_hat|^2 ].

A training step draws one pair (t, s) for each sample and multiplies its divergence by the number of pairs.
The loss is in nats per dimension of a token (a one-hot vector is one dimension).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from diffusion_jax.levels import expand, low_discrepancy, per_sample, token_sum
from diffusion_jax.objectives.base import (
    applied,
    check_batch,
    continuous_rate,
    hide_labels,
    initialise,
    pair_kl,
    prior_kl,
    with_fields,
)
from diffusion_jax.objectives.pairs import Pairs, even
from diffusion_jax.objectives.terms import Step, Term, bound
from diffusion_jax.preconditioning import evaluate
from diffusion_jax.processes.gaussian import Gaussian
from diffusion_jax.processes.variances import small
from diffusion_jax.types import Array, Batch, Bound, Decoder, Key, Levels, Loss, Objective, Variables


def elbo(
    network: Any,
    process: Any,
    grid: Any,
    decoder: Callable[..., Decoder],
    coefficients: Callable[[Any], Any],
    variance: Callable[[Any], Any] = small,
    term: Term | None = None,
    levels: Levels | None = None,
    pairs: Pairs | None = None,
    continuous: bool = False,
    minimise_variance: bool = False,
    unlabelled: float = 0.0,
) -> Objective:
    """The variational bound as an objective.

    network:      linen module (x, noise, conditions, train) -> F
    process:      any process; the fields of a learned one are trained with the network
    grid:         [S + 1], falling from 1 to 0, S >= 2; or process -> grid
    decoder:      (process, times) -> Decoder of the last step; one that takes `variance` gets that below
    coefficients: process -> coefficients (preconditioning)
    variance:     process -> variance of Gaussian reverse steps (processes.variances)
    term:         what is minimised: `bound()` (default), `simple()`, `hybrid()`
    levels:       law of u in [0, 1], mapped to the steps, 0 to the cleanest; default one a sample, of low
                  discrepancy over the batch
    pairs:        `even()` (default) or `importance()`; the latter's histories are carried in `state`
    continuous:   the limit of infinitely many pairs between t_1 and 1 (Gaussian; variance small). The grid
                  then serves sampling and evaluation, and its t_1.
    minimise_variance:
                  train the fields named `inner` of a learned process to minimise the variance of the
                  estimate (VDM, appendix I.2); its other fields stay on the bound
    unlabelled:   the share of training samples whose label is hidden (-1), so that one network gives the
                  bound without labels and draws with them

    Raises ValueError for options that exclude each other.
    """
    term = bound() if term is None else term
    levels = per_sample(low_discrepancy()) if levels is None else levels
    pairs = even() if pairs is None else pairs
    if continuous and not isinstance(process, Gaussian):
        raise ValueError(f"the continuous bound is that of a Gaussian process, not of {process!r}")
    # A spec comes as a partial that waits for the process.
    own_variance = getattr(variance, "func", variance) is small
    if continuous and not own_variance:
        raise ValueError("the continuous bound has no reverse variance of its own: leave `variance` at small")
    if minimise_variance and "inner" not in getattr(process, "LEARNED", ()):
        raise ValueError("minimise_variance needs a process with learned field 'inner', such as vdm")
    takes_variance = "variance" in inspect.signature(decoder).parameters

    def grid_of(process: Any) -> Array:
        times = jnp.asarray(grid(process) if callable(grid) else grid)
        if times.ndim != 1 or times.shape[0] < 3:
            raise ValueError(f"a bound needs a grid [S + 1] of at least 2 steps, got shape {times.shape}")
        return times

    def decoder_of(process: Any, times: Array, reverse: Callable[..., Array] | None) -> Decoder:
        if takes_variance and not own_variance and reverse is not None:
            return decoder(process, times, variance=reverse)
        return decoder(process, times)

    def drawn_pairs(process: Any) -> int:
        """How many steps are drawn from: the last one only where the network decodes."""
        times = grid_of(process)
        return times.shape[0] - 1 - (not decoder_of(process, times, None).learned)

    def init(key: Key, batch: Batch) -> Variables:
        variables = initialise(network, process, key, batch)
        return variables._replace(state={**variables.state, "pairs": pairs.init(drawn_pairs(process))})

    def estimate(variables: Variables, key: Key, batch: Batch) -> tuple[Array, dict[str, Array], Any]:
        level_key, noise_key, dropout_key, decoder_key, label_key = jax.random.split(key, 5)
        batch = hide_labels(label_key, batch, unlabelled) if unlabelled else batch
        x0 = batch["x"]
        current = with_fields(process, variables.params)
        times = grid_of(current).astype(x0.dtype)
        features = current.prior(x0.shape).entropy()[0, 0].size
        u = levels(level_key, (x0.shape[0], x0.shape[1]))
        fixed_decoder = decoder_of(current, times, None)

        if continuous:
            count, index = 1, jnp.zeros(u.shape, jnp.int32)
            t = s = times[-2] + (1 - times[-2]) * u
            weight = jnp.broadcast_to(1 - times[-2], u.shape)
        else:
            count = drawn_pairs(process)
            index, weight = pairs.draw(variables.state["pairs"], 1 - u, count)
            t, s = times[index], times[index + 1]
        x_t = current.marginal(x0, t).sample(noise_key)
        call = applied(network, variables, batch, dropout_key)
        x0_hat, raw = evaluate(call, coefficients(current), x_t, t)

        def reverse_variance(x: Array, t: Array, s: Array) -> Array:
            return variance(current)(x, t, s, raw)

        def noise_error() -> Array:
            if not isinstance(current, Gaussian):
                raise ValueError(f"the error of the noise needs a Gaussian process, not {current!r}")
            snr = (current.alpha(t) / jnp.maximum(current.sigma(t), jnp.finfo(x0.dtype).tiny)) ** 2
            return token_sum(expand(snr, x0) * (x0 - x0_hat) ** 2) / features

        def divergence(x0_hat: Array) -> Array:
            if continuous:
                return continuous_rate(current, x0, x0_hat, t) / features
            last = index == times.shape[0] - 2
            inner = jnp.where(last, 0.5 * t, s)
            spread = None if own_variance else reverse_variance(x_t, t, inner)
            value = pair_kl(current, x0, x_t, x0_hat, t, inner, spread)
            if fixed_decoder.learned:
                final = decoder_of(current, times, reverse_variance).log_prob(x0, x_t, x0_hat)
                value = jnp.where(last, -final, value)
            return value / features

        rest = prior_kl(current, x0)
        if fixed_decoder.expected is not None:
            rest = rest - fixed_decoder.expected(x0)
        elif not fixed_decoder.learned or continuous:
            x_1 = current.marginal(x0, times[-2]).sample(decoder_key)
            guess = (
                evaluate(call, coefficients(current), x_1, times[-2])[0] if fixed_decoder.learned else None
            )
            rest = rest - fixed_decoder.log_prob(x0, x_1, guess)

        part = divergence(x0_hat)
        step = Step(
            part, lambda: divergence(jax.lax.stop_gradient(x0_hat)), noise_error, weight, rest / features
        )
        metrics = {"nats_per_dim": jax.lax.stop_gradient(bound()(step))}
        state = variables.state
        if not continuous:
            seen = jax.lax.stop_gradient(jnp.broadcast_to(part, x0.shape[:2]))
            seen = seen.mean(1, keepdims=True) if index.shape[1] == 1 else seen
            state = {**state, "pairs": pairs.update(state["pairs"], index, seen)}
        return term(step), metrics, state

    def loss(variables: Variables, key: Key, batch: Batch) -> Loss:
        check_batch(batch)
        weight = jnp.broadcast_to(jnp.asarray(batch.get("mask", 1.0), batch["x"].dtype), batch["x"].shape[:2])
        if not minimise_variance:
            value, metrics, state = estimate(variables, key, batch)
            return Loss(value, weight, metrics, state)
        # Two views of one estimate: XLA merges their forward passes, only the cotangents differ.
        stop = jax.lax.stop_gradient
        fields = variables.params["process"]
        ends = {**fields, "inner": stop(fields["inner"])}
        value, metrics, state = estimate(_with_process(variables, ends), key, batch)
        inner = {**stop(fields), "inner": fields["inner"]}
        frozen = variables._replace(params=stop(variables.params))
        again, _, _ = estimate(_with_process(frozen, inner), key, batch)
        scale = 2 * stop(again) / jnp.maximum(jnp.abs(stop(again)).mean(), 1e-8)
        return Loss(value + scale * (again - stop(again)), weight, metrics, state)

    def bind(variables: Variables, key: Key, batch: Batch) -> Bound:
        del key
        current = with_fields(process, variables.params)
        times = grid_of(current)
        call = applied(network, variables, batch)
        at = coefficients(current)

        def denoiser(x_t: Array, t: Array) -> Array:
            return evaluate(call, at, x_t, t)[0]

        def reverse_variance(x_t: Array, t: Array, s: Array) -> Array:
            raw = None if own_variance else evaluate(call, at, x_t, t)[1]
            return jnp.broadcast_to(variance(current)(x_t, t, s, raw), x_t.shape)

        spread = None if own_variance else reverse_variance
        final = decoder_of(current, times, spread)
        return Bound(current, denoiser, spread, final, None, times)

    return Objective(init, loss, bind)


def _with_process(variables: Variables, fields: dict[str, Any]) -> Variables:
    return variables._replace(params={**variables.params, "process": fields})


EXAMPLES: dict[str, dict[str, Any]] = {
    "elbo": {
        "network": {"name": "mlp", "width": 16, "depth": 1},
        "process": "vp_linear",
        "grid": {"name": "linear_grid", "steps": 8},
        "decoder": "fixed_kernel",
        "coefficients": "x0",
    },
}
