r"""Guidance by what a trained predictor says of the noised data: log_probs and adjustments for `classifier`.

A regression model of p(y | x_t) says means m_k and variances v_k (`objectives.guidance`). They guide towards
larger J, with weights w_k and a caution c (risk aversion),

    J(x_t, t) = sum_k w_k m_k - c sum_k |w_k| sqrt(v_k),

which is sampling from p(x) exp(J(x)) where J of the means stands for log E[exp J(x) | x_t]: exactly so for a
normal J of a variance that does not depend on x_t. c > 0 is pessimistic, which keeps samples where the model
is sure; c < 0 is optimistic, as in the experiment with materials of context-guided diffusion (arXiv
2407.11942), c = -1. A negative w_k lowers a property.

The papers bring the gradient of J to size in two ways: GaUDI and that experiment by a largest norm for each
sample, 10 (`clipped`, which is before the scale; theirs is after it, and their steps are the posterior's
deviation times that, where the score's are its square: their scales are not ours); MOOD (arXiv 2206.07632)
to the L1 norm of the score, sample by sample (`score_sized`), whose scale is then a share of it, and may fall
with the level: scale = (t, J) -> w_0 0.1^t.

The true log p(y | x_t) has a gradient that vanishes with alpha, which sigma^2/alpha makes up for. That of a
trained model does not quite, so that its guidance should end where there is no signal left (`up_to`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from diffusion_jax.processes.gaussian import Gaussian, quotient, safe_sqrt
from diffusion_jax.sampling.transforms.checks import require_callable, require_scale, shaped
from diffusion_jax.sampling.transforms.gradients import Adjust, Scale
from diffusion_jax.types import Array, Statistics

LogProb = Callable[[Array, Array], Array]
"""(x [B, T, ...], t [#B, #T]) -> [B], up to a constant."""


def preference(
    predictor: Callable[[Array, Array], Statistics], weights: Sequence[float], caution: float = 0.0
) -> LogProb:
    """J of the head of this module, as a log_prob.

    predictor: `Bound.predictor` of a regression. weights: [K], of the standardised targets: of a property in
    its own units, its weight there times its deviation. caution: in standard deviations.

    Raises TypeError for a predictor that cannot be called and, when called, for one that gives no variances;
    ValueError for weights that do not fit its targets.
    """
    require_callable("preference", predictor=predictor)
    w = jnp.asarray(weights, jnp.float32)
    if w.ndim != 1:
        raise ValueError(f"preference: weights are [K], one for each target; got shape {w.shape}")

    def log_prob(x: Array, t: Array) -> Array:
        found = predictor(x, t)
        if not isinstance(found, Statistics):
            raise TypeError(
                "preference is for regression, with means and variances; of a classification, class_log_prob"
            )
        shaped("preference: the predictor's mean", found.mean, (x.shape[0], w.shape[0]))
        return found.mean @ w - caution * jnp.sqrt(found.variance) @ jnp.abs(w)

    return log_prob


def class_log_prob(predictor: Callable[[Array, Array], Array], label: Array) -> LogProb:
    """log p(label | x_t) of a classification, label int () or [B].

    Raises TypeError for a predictor that cannot be called, or labels that are not integers.
    """
    require_callable("class_log_prob", predictor=predictor)
    wanted = jnp.asarray(label)
    if not jnp.issubdtype(wanted.dtype, jnp.integer):
        raise TypeError(f"class_log_prob: labels are integers, got {wanted.dtype}")

    def log_prob(x: Array, t: Array) -> Array:
        each = jax.nn.log_softmax(predictor(x, t))
        index = jnp.broadcast_to(wanted, x.shape[:1])[:, None]
        return jnp.take_along_axis(each, index, axis=1)[:, 0]

    return log_prob


def clipped(limit: float) -> Adjust:
    """The gradient, each sample's scaled down to the norm `limit` where it is longer.

    The scale of guidance comes after: to clip what is scaled, put the scale into the weights.

    Raises ValueError unless limit > 0.
    """
    if limit <= 0:
        raise ValueError(f"clipped: limit must be positive, got {limit}")

    def adjust(gradient: Array, score: Array) -> Array:
        del score
        axes = tuple(range(1, gradient.ndim))
        norm = safe_sqrt((gradient**2).sum(axes, keepdims=True))
        return gradient * jnp.minimum(1.0, quotient(limit, norm, 1.0))

    return adjust


def score_sized() -> Adjust:
    """The gradient, each sample's scaled to the L1 norm of its score, (alpha x0_hat - x)/sigma^2."""

    def adjust(gradient: Array, score: Array) -> Array:
        axes = tuple(range(1, gradient.ndim))
        wanted, own = (jnp.abs(one).sum(axes, keepdims=True) for one in (score, gradient))
        return gradient * quotient(wanted, own, 0.0)

    return adjust


def up_to(process: Gaussian, weight: Array | float, high: float) -> Scale:
    """The scale `weight`, (), [B] or [B, T], where sigma/alpha is at most `high`, else 0.

    Raises ValueError for a negative weight, or unless high > 0.
    """
    require_scale("up_to", weight)
    if high <= 0:
        raise ValueError(f"up_to: high must be positive, got {high}")
    given = jnp.asarray(weight)
    given = given.reshape(given.shape + (1,) * (2 - given.ndim))
    # without the ratio, which is infinite where there is no signal
    return lambda t, log_probs: jnp.where(process.sigma(t) <= high * process.alpha(t), given, 0.0)
