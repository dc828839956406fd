r"""Sequential Monte Carlo: samples of a chain reweighted by any potential, exactly as their number grows.

The chain of a denoiser and a stochastic sampler has the law p(x_1 .. x_0), each step p(x_s | x_t). Wanted is

    p(x_0) r(x_0) / Z,      Z = E_p[r(x_0)],

for any r >= 0: a likelihood, a reward, a constraint. K particles carry a guess of what r will be, a
*potential* phi_t(x_t) with phi_0 = r; a particle that moves from t to s by a proposal q(x_s | x_t) has its
weight multiplied by

    w = phi_s(x_s) p(x_s | x_t) / (phi_t(x_t) q(x_s | x_t)),

and starts with phi_1(x_1). Where the effective sample size, 1/sum of the squared normalised weights, falls
below a share of K, particles are drawn anew in proportion to their weights. The factors telescope: any
potential is right in the limit of many particles, and for any number of them the estimate of Z is unbiased.
What is good about a potential is only the variance it leaves.

    proposal                       weights                      name
    the sampler's own step         phi_s/phi_t                  Feynman-Kac steering (arXiv 2501.06848)
    `twisted`: guided ancestral    phi_s/phi_t times p/q        twisted diffusion sampler (arXiv 2306.17775)

`lookahead` is the usual potential: r at the estimate x0_hat(x_t). Being narrower than E[r(x_0) | x_t] it is
too sure of itself at high noise, and a guide that follows it leaves weights p/q with heavy tails: the
estimate of Z is then too small nearly always and far too large now and then. Give a likelihood the width that
x_0 has at level t, or scale it down there, and let the guide follow the potential:

    twisted(process, lambda denoiser: classifier(process, denoiser, potential))

A deterministic sampler gives copies that never part: use one that draws.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from diffusion_jax.laws import Normal
from diffusion_jax.levels import normal, token_sum
from diffusion_jax.sampling.loop import advance, checked, settled, step_key
from diffusion_jax.sampling.transforms.checks import require_callable, shaped
from diffusion_jax.types import Array, Denoiser, Draw, Key, Sampler

Potential = Callable[[Array, Array], Array]
"""(x [N, T, ...], t [#N, #T]) -> log phi_t(x) [N], in nats; -inf where it is impossible."""


class Particles(NamedTuple):
    """Weighted samples of B problems, K each.

    x:              [B, K, T, ...]
    log_weights:    [B, K]; their exponentials sum to 1 over K (equal where all are impossible)
    log_normaliser: [B], the logarithm of an unbiased estimate of Z
    ess:            [S + 1, B], effective sample size at each level of the grid, before resampling there
    """

    x: Array
    log_weights: Array
    log_normaliser: Array
    ess: Array


class Twisted(NamedTuple):
    """x: [B, T, ...]; log_ratio: [B, T], log p/q of all steps so far, in nats."""

    x: Array
    log_ratio: Array


def particles(
    key: Key,
    denoiser: Denoiser,
    sampler: Sampler,
    x: Array,
    times: Array,
    potential: Potential,
    resample_below: float = 0.5,
) -> Particles:
    """Takes K particles of each of B problems through the grid, weighting and resampling them.

    The denoiser, the sampler and the potential see the particles as a batch of N = B K, problem by problem;
    conditions that differ between problems are closed over repeated K times. A step costs what the sampler's
    costs, and the potential.

    Args:
        key: one key, or [B] keys, a seed for each problem.
        denoiser: (x_t, t [#N, #T]) -> x0_hat, unguided: it and the sampler define p.
        sampler: one that draws: `ancestral` for p's own steps, or `twisted`. A state with a field
            `log_ratio` [N, T] says how far its proposals are from p's steps.
        x: [B, K, T, ...] at level times[0], from `process.prior(shape).sample(key)` where that is 1.
        times: falling levels, [S+1] or [S+1, #B, #T].
        potential: (x [N, T, ...], t [#N, #T]) -> log phi_t(x), [N]; at the last level, log r.
        resample_below: share of K; 0 never resamples (importance sampling), 1 whenever weights differ.

    Raises TypeError and ValueError as `sample`; ValueError for x without an axis of particles, a share
    outside [0, 1], or a potential that is not [N].
    """
    require_callable("particles", denoiser=denoiser, potential=potential)
    if x.ndim < 4:
        raise ValueError(f"particles are [B, K, T, ...], with at least one axis of features; got {x.shape}")
    if not 0 <= resample_below <= 1:
        raise ValueError(f"resample_below is a share of the particles, in [0, 1]; got {resample_below}")
    problems, count = x.shape[:2]
    levels = checked(key, x[:, 0], times, rises=False)
    if levels.shape[1] > 1:
        levels = jnp.repeat(levels, count, axis=1)
    step = advance(sampler)

    def log_potential(x: Array, t: Array) -> Array:
        value = shaped("the log potential", potential(x, t), x.shape[:1])
        return value.astype(levels.dtype).reshape(problems, count)

    def body(carry: tuple[Any, ...], now: tuple[Array, Array, Array]) -> tuple[tuple[Any, ...], Array]:
        state, before, log_weights, log_z = carry
        i, t, s = now
        move_key, resample_key = (step_key(step_key(key, i), part) for part in (0, 1))
        ess, total = _effective(log_weights), _log_mean(log_weights)
        chosen = ess < resample_below * count
        ancestors = jnp.where(
            chosen[:, None], _systematic(resample_key, log_weights), jnp.arange(count)[None, :]
        )
        state = jax.tree.map(lambda leaf: _gather(leaf, ancestors), state)
        before = jnp.take_along_axis(before, ancestors, 1)
        log_z = log_z + jnp.where(chosen, total, 0.0)
        log_weights = jnp.where(chosen[:, None], 0.0, log_weights)
        moved = step(_of_particles(move_key, count), denoiser, state, t, s)
        after = log_potential(moved.x, s)
        gain = after - before + _log_ratio(moved, state).reshape(problems, count)
        # a particle that was impossible stays so, where the difference would be inf - inf
        log_weights = jnp.where(before == -jnp.inf, -jnp.inf, log_weights + gain)
        return (moved, after, log_weights, log_z), ess

    state = sampler.init(x.reshape(-1, *x.shape[2:]), levels[0])
    first = log_potential(state.x, levels[0])
    steps = jnp.arange(len(levels) - 1)
    start = (state, first, first, jnp.zeros(problems, levels.dtype))
    (state, _, log_weights, log_z), ess = jax.lax.scan(body, start, (steps, levels[:-1], levels[1:]))
    return Particles(
        x=state.x.reshape(x.shape),
        log_weights=_log_shares(log_weights),
        log_normaliser=log_z + _log_mean(log_weights),
        ess=jnp.concatenate([ess, _effective(log_weights)[None]]),
    )


def twisted(
    process: Any,
    transform: Callable[[Denoiser], Denoiser],
    variance: Callable[[Array, Array, Array], Array] | None = None,
    draw: Draw = normal,
) -> Sampler:
    """Ancestral sampling of a guided denoiser that remembers how far it strays from the unguided one.

    A step draws from q = reverse(x_t, guided x0_hat) and adds log p(x_s | x_t) - log q(x_s | x_t) to
    `log_ratio`, p = reverse(x_t, x0_hat). Where p is a point mass (the Gaussians' step to level 0) nothing
    else can be proposed, and q = p. Two evaluations of the denoiser a step, one of them under the transform.

    Args:
        process: any process.
        transform: denoiser -> denoiser, such as `lambda d: classifier(process, d, potential)`. Any is right
            in the limit of many particles; one that follows the potential needs few.
        variance: (x_t, t, s) -> variance of p's step and of q's, as of `ancestral`.
        draw: (key, x) -> standard normal noise like x.
    """
    require_callable("twisted", transform=transform)

    def init(x: Array, t: Array) -> Twisted:
        return Twisted(x, jnp.zeros(x.shape[:2], jnp.promote_types(x.dtype, jnp.float32)))

    def step(key: Key, denoiser: Denoiser, state: Twisted, t: Array, s: Array) -> Twisted:
        x = state.x
        chosen = None if variance is None else variance(x, t, s)
        model = process.reverse(x, denoiser(x, t), t, s, variance=chosen)
        proposal = process.reverse(x, transform(denoiser)(x, t), t, s, variance=chosen)
        if isinstance(model, Normal):
            proposal = proposal._replace(mean=jnp.where(model.std == 0, model.mean, proposal.mean))
        moved = proposal.sample(key, draw)
        log_ratio = token_sum(_log_prob(model, moved) - _log_prob(proposal, moved))
        return Twisted(moved, state.log_ratio + log_ratio)

    return Sampler(init, step)


def lookahead(denoiser: Denoiser, log_r: Callable[[Array], Array]) -> Potential:
    """The potential log r(x0_hat(x_t, t)), which is log r(x_0) at level 0.

    log_r: x0 [N, T, ...] -> [N], in nats. One evaluation of the denoiser.
    """
    require_callable("lookahead", denoiser=denoiser, log_r=log_r)
    estimate = settled(denoiser)
    return lambda x, t: log_r(estimate(x, t))


def resampled(key: Key, result: Particles) -> Array:
    """Equally weighted samples [B, K, T, ...] of weighted ones, by systematic resampling.

    key: one key, or [B] keys. For means, the weighted particles themselves are more precise.
    """
    ancestors = _systematic(key, result.log_weights)
    flat = result.x.reshape(-1, *result.x.shape[2:])
    return _gather(flat, ancestors).reshape(result.x.shape)


def _of_particles(key: Key, count: int) -> Key:
    """One key as it is; [B] keys as [B K], a key for each particle."""
    return key if key.ndim == 0 else jax.vmap(lambda k: jax.random.split(k, count))(key).reshape(-1)


def _systematic(key: Key, log_weights: Array) -> Array:
    """Ancestors [B, K], each particle K times its normalised weight often, rounded up or down at random."""
    problems, count = log_weights.shape
    shares = jnp.cumsum(jnp.exp(_log_shares(log_weights)), axis=1)
    shares = shares / shares[:, -1:]
    if key.ndim:
        offset = jax.vmap(lambda k: jax.random.uniform(k, (1,), shares.dtype))(key)
    else:
        offset = jax.random.uniform(key, (problems, 1), shares.dtype)
    places = (offset + jnp.arange(count, dtype=shares.dtype)[None, :]) / count
    places = jnp.minimum(places, 1 - jnp.finfo(shares.dtype).epsneg)
    return jax.vmap(lambda share, place: jnp.searchsorted(share, place, side="right"))(shares, places)


def _gather(leaf: Array, ancestors: Array) -> Array:
    """The rows of a leaf [B K, ...] that are the ancestors [B, K] of each problem."""
    problems, count = ancestors.shape
    return leaf[(ancestors + count * jnp.arange(problems)[:, None]).reshape(-1)]


def _log_prob(law: Any, x: Array) -> Array:
    """Of p or q; where they are the same point mass, something finite that is the same for both."""
    if isinstance(law, Normal):
        law = law._replace(std=jnp.where(law.std == 0, 1.0, law.std))
    return law.log_prob(x)


def _log_ratio(moved: Any, state: Any) -> Array:
    """log p/q of the step, [N]; 0 where the state keeps no `log_ratio`."""
    if not hasattr(moved, "log_ratio"):
        return jnp.zeros(len(moved.x))
    return (moved.log_ratio - state.log_ratio).sum(1)


def _log_shares(log_weights: Array) -> Array:
    """Weights normalised over particles, [B, K]; equal ones where all are impossible."""
    alive = (log_weights > -jnp.inf).any(1, keepdims=True)
    return jax.nn.log_softmax(jnp.where(alive, log_weights, 0.0), axis=1)


def _effective(log_weights: Array) -> Array:
    """1/sum of the squared normalised weights, [B]; 0 where all are impossible."""
    alive = (log_weights > -jnp.inf).any(1)
    return jnp.where(alive, 1 / jnp.exp(2 * _log_shares(log_weights)).sum(1), 0.0)


def _log_mean(log_weights: Array) -> Array:
    return jax.nn.logsumexp(log_weights, axis=1) - jnp.log(log_weights.shape[1])
