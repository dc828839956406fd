r"""The context regulariser: a guidance model that is uncertain wherever it has no labels.

Context-guided diffusion (arXiv 2407.11942), after function-space empirical Bayes (arXiv 2312.17162). M
unlabelled inputs, each noised to a level t_i of its own, are embedded by a fixed random network, phi_i, and
the model's functions f (every mean, and every variance after its softplus) have there the prior N(m, K),

    K_ij = sqrt(s(t_i) s(t_j)) phi_i . phi_j + delta_ij tau(t_i),
    s(t) = s_0 r(1 - t),   tau(t) = tau_0 r(t)                                  (`objectives.ramps`)

Of -log N(f; m, K) only what depends on the model is kept, half the squared Mahalanobis distance,

    R = 1/2 sum_f (f - m)^T K^-1 (f - m),

by one Cholesky factorisation. Inputs that the random network holds for alike should have alike f: the scale
says how much f may vary along the features, the diagonal how much besides. R is divided by the number of
training samples and of targets, as the likelihood is: the sum of both is then a mean negative log posterior.
The gradient goes through f alone.

In float32 the factorisation fails where the diagonal is too small a share of K_ii, from about tau_0/s_0 =
1e-3 downwards with the paper's networks. The penalty is then NaN, which ends training; the metrics
`least_diagonal`, the least tau(t_i)/K_ii, with `at_level` and `at_scale`, t_i and s(t_i) there, tell why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.scipy.linalg import solve_triangular

from diffusion_jax.objectives.ramps import Ramp
from diffusion_jax.objectives.regularisers.base import Penalty, Regulariser, Seen
from diffusion_jax.types import Array, Key, Params, PyTree, Variables


def covariance(features: Array, scale: Array, diagonal: Array) -> Array:
    """K [M, M] of features [M, D], scale s [M] and diagonal tau [M]; see the head of the module."""
    scaled = jnp.sqrt(scale)[:, None] * features
    return scaled @ scaled.T + jnp.diag(diagonal)


def distances(covariance: Array, residuals: Array) -> Array:
    """Squared Mahalanobis distances [F] of the columns of residuals [M, F] under K [M, M]; NaN if K is not
    positive."""
    factor = jnp.linalg.cholesky(covariance)
    return (solve_triangular(factor, residuals, lower=True) ** 2).sum(0)


def context(
    ramp: Ramp,
    examples: int,
    scale: float = 1.0,
    diagonal: float = 1.0,
    mean: float = 0.0,
    variance: float = 1.0,
    weight: float = 1.0,
    initial: bool = False,
) -> Regulariser:
    """The context regulariser of the head of this module; needs batch["context"].

    ramp:     r(t)
    examples: the number of training samples, by which R is divided
    scale:    s_0 of the covariance
    diagonal: tau_0 of the covariance
    mean:     prior mean of the means (of standardised targets) and of logits
    variance: prior mean of the variances, in units of variance
    weight:   of the penalty. The paper's experiment with small molecules has 512/M
    initial:  the features are those of the network itself before its first step, which `init_from` may have
              trained before; by default those of another network, drawn at random

    Metrics: `context`, the penalty; `least_diagonal`, `at_level` and `at_scale`, see above.

    Raises ValueError for counts and strengths that are not positive, for a ramp that makes the covariance
    not positive at a level, and where values are known for one that is not in float32; each says at which
    level and scale.
    """
    if examples < 1 or scale < 0 or diagonal <= 0 or variance < 0 or weight < 0:
        raise ValueError(
            "need examples >= 1, diagonal > 0, and scale, variance and weight that are not negative; got "
            f"examples={examples}, diagonal={diagonal}, scale={scale}, variance={variance}, weight={weight}"
        )
    _check_ramp(ramp, scale, diagonal)

    def init(key: Key, fresh: Callable[[Key], PyTree], features: int) -> Variables:
        del features
        state = {"frozen": fresh(key)}
        return Variables({}, {**state, "started": jnp.zeros((), bool)} if initial else state)

    def frozen_of(variables: Variables, params: Params) -> PyTree:
        frozen = variables.state["frozen"]
        if not initial:
            return frozen
        started = variables.state["started"]
        now = jax.tree.map(lambda old, own: jnp.where(started, old, own), frozen["params"], params["network"])
        return {**frozen, "params": now}

    def loss(variables: Variables, params: Params, train: Seen, context: Seen, targets: int) -> Penalty:
        del train
        frozen = jax.lax.stop_gradient(frozen_of(variables, params))
        phi = jax.lax.stop_gradient(context.embed(frozen)).astype(jnp.float32)
        t = context.t.mean(1)
        s, tau = scale * ramp(1 - t), diagonal * ramp(t)
        matrix = covariance(phi, s, tau)
        _check_positive(matrix, t, s, tau)
        residuals = context.mean - mean
        if context.variance is not None:
            residuals = jnp.concatenate([residuals, context.variance - variance], axis=1)
        value = weight * 0.5 * distances(matrix, residuals).sum() / (examples * targets)
        share = tau / jnp.diagonal(matrix)
        least = share.argmin()
        metrics = {
            "context": value,
            "least_diagonal": share[least],
            "at_level": t[least],
            "at_scale": s[least],
        }
        state = {"frozen": frozen, "started": jnp.ones((), bool)} if initial else variables.state
        return Penalty(value, metrics, state)

    return Regulariser(init, loss, True)


def _check_ramp(ramp: Ramp, scale: float, diagonal: float) -> None:
    levels = np.linspace(0, 1, 101, dtype=np.float32)
    tau, s = (
        diagonal * np.asarray(ramp(jnp.asarray(levels))),
        scale * np.asarray(ramp(jnp.asarray(1 - levels))),
    )
    bad = ~((tau > 0) & (s >= 0))
    if bad.any():
        i = int(bad.argmax())
        raise ValueError(
            f"the covariance of the context is not positive at level t = {levels[i]:.3g}: the diagonal "
            f"tau(t) is {tau[i]:.3g} and must be positive, the scale s(t) is {s[i]:.3g} and must not be "
            "negative"
        )


def _check_positive(matrix: Array, t: Array, s: Array, tau: Array) -> None:
    """Raises ValueError, where values are known, for a matrix that float32 cannot factorise."""
    if isinstance(matrix, Tracer) or bool(jnp.isfinite(jnp.linalg.cholesky(matrix)).all()):
        return
    own = jnp.diagonal(matrix)
    i = int((tau / own).argmin())
    raise ValueError(
        f"the covariance of {len(own)} context inputs is not positive in {matrix.dtype}: at level "
        f"t = {t[i]:.3g} the diagonal tau(t) = {tau[i]:.3g} is {tau[i] / own[i]:.3g} of K_ii, with the scale "
        f"s(t) = {s[i]:.3g}; raise `diagonal` or lower `scale`"
    )


EXAMPLES: dict[str, dict[str, Any]] = {"context": {"ramp": "sigmoid", "examples": 100}}
