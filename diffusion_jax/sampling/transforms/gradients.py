r"""Guidance by a gradient: a potential of the noisy data, or an energy of the estimate, moves the estimate.

Tweedie's formula, grad log q(x_t) = (alpha x0_hat - x_t)/sigma^2, applied to q(x_t) and to
q(x_t | y) proportional to q(x_t) p(y | x_t), gives for each token, at its own level,

    E[x0 | x_t, y] = E[x0 | x_t] + sigma^2/alpha grad_{x_t} log p(y | x_t).

`classifier`   log p(y | x_t) is given, a classifier of noisy data: Dhariwal and Nichol (arXiv 2105.05233).
               With the exact one and scale 1 the result is the exact conditional denoiser.
`energy`       log p(y | x_t) is replaced by -scale E(x0_hat(x_t)), the gradient going through the denoiser:
               reconstruction guidance (Ho et al., arXiv 2204.03458), DPS (Chung et al., arXiv 2209.14687).
               As d x0_hat/d x_t = alpha/sigma^2 Cov[x0 | x_t], this is x0_hat - scale Cov[x0 | x_t] grad E:
               not exact, because it ignores the spread of x0 around x0_hat, and too strong where that is
               wide. `sampling.particles` corrects it.

For E = |y - A x0_hat|^2 / (2 noise^2), the negative log-likelihood of y = A x0 + noise, scale 1 is the
statistical one. The papers' own are functions (t, E) -> scale: `residual_scale` and `snr_scale`.

Where alpha is nearly 0 the factor sigma^2/alpha grows without limit while the gradient vanishes: levels of a
ratio sigma/alpha above 1e4 are shown to the guide as the level of 1e4, where networks' noise labels end too.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from diffusion_jax.levels import canonical, expand
from diffusion_jax.processes.gaussian import Gaussian, quotient, safe_sqrt
from diffusion_jax.sampling.loop import settled
from diffusion_jax.sampling.ode import require_gaussian
from diffusion_jax.sampling.transforms.checks import require_callable, require_scale, shaped
from diffusion_jax.types import Array, Denoiser

Scale = Callable[[Array, Array], Array]
"""(t [#B, #T], energies [B]) -> scale of shape (), [B] or [B, T]."""

Adjust = Callable[[Array, Array], Array]
"""(gradient, score), both like x -> the gradient to follow instead."""


def classifier(
    process: Gaussian,
    denoiser: Denoiser,
    log_prob: Callable[[Array, Array], Array],
    scale: Array | float | Scale = 1.0,
    adjust: Adjust | None = None,
) -> Denoiser:
    """x0_hat + scale sigma^2/alpha grad_x log_prob(x, t).

    Args:
        process: a Gaussian process.
        denoiser: the denoiser to guide.
        log_prob: (x [B, T, ...], t [#B, #T]) -> [B], in nats: log p(y | x_t) up to a constant; of a trained
            predictor, `preference` or `class_log_prob`.
        scale: >= 0, of shape (), [B] or [B, T], or a function (t, log_probs [B]) -> such a scale. Above 1 it
            sharpens p(y | x_t) to its power.
        adjust: of the gradient before it is scaled, such as `clipped` and `score_sized`; None for none.

    Raises TypeError where the process is not Gaussian or a function cannot be called, ValueError for a
    negative scale and, when called, for a log_prob that is not [B].
    """
    require_gaussian(process, "classifier")
    require_callable("classifier", denoiser=denoiser, log_prob=log_prob)
    if adjust is not None:
        require_callable("classifier", adjust=adjust)
    if not callable(scale):
        require_scale("classifier", scale)

    def denoise(x: Array, t: Array) -> Array:
        t = canonical(t, x)
        level, factor = _conversion(process, t)

        def total(x: Array) -> tuple[Array, Array]:
            each = shaped("classifier: log_prob", log_prob(x, level), x.shape[:1])
            return each.sum(), each

        gradient, each = jax.grad(total, has_aux=True)(x)
        x0_hat = denoiser(x, t)
        if adjust is not None:
            alpha, sigma = expand(process.alpha(level), x), expand(process.sigma(level), x)
            gradient = adjust(gradient, quotient(alpha * x0_hat - x, sigma**2, 0.0))
        weight = canonical(scale(level, each) if callable(scale) else scale, x)
        push = expand(weight * factor, x) * gradient
        return jnp.where(expand(t > 0, x), x0_hat + push, x0_hat)

    return denoise


def energy(
    process: Gaussian,
    denoiser: Denoiser,
    cost: Callable[[Array], Array],
    scale: Array | float | Scale = 1.0,
) -> Denoiser:
    """x0_hat - scale sigma^2/alpha grad_x cost(x0_hat(x, t)).

    One evaluation of the denoiser and one pass back through it.

    Args:
        process: a Gaussian process.
        denoiser: the denoiser to guide; differentiable.
        cost: x0_hat [B, T, ...] -> [B], low where the data should be. For the samples' independence it must
            not mix them. Clean tokens (level 0) enter as they are.
        scale: >= 0, of shape (), [B] or [B, T], or a function (t, costs [B]) -> such a scale.

    Raises TypeError where the process is not Gaussian or a function cannot be called, ValueError for a
    negative scale and, when called, for a cost that is not [B].
    """
    require_callable("energy", denoiser=denoiser, cost=cost)

    def costs(x0_hat: Array, level: Array) -> Array:
        del level
        return shaped("energy: cost", cost(x0_hat), x0_hat.shape[:1])

    return descended("energy", process, denoiser, costs, scale)


def descended(
    name: str,
    process: Gaussian,
    denoiser: Denoiser,
    costs: Callable[[Array, Array], Array],
    scale: Array | float | Scale,
) -> Denoiser:
    """x0_hat - scale sigma^2/alpha grad_x costs(x0_hat(x, t), t): what `energy` and `monte_carlo` share.

    Args:
        name: who asks, for messages.
        costs: (x0_hat [B, T, ...], t [#B, #T]) -> [B].
        process, denoiser, scale: as of `energy`.

    Raises TypeError where the process is not Gaussian, ValueError for a negative scale.
    """
    require_gaussian(process, name)
    if not callable(scale):
        require_scale(name, scale)
    estimate = settled(denoiser)

    def denoise(x: Array, t: Array) -> Array:
        t = canonical(t, x)
        level, factor = _conversion(process, t)

        def total(x: Array) -> tuple[Array, tuple[Array, Array]]:
            x0_hat = estimate(x, level)
            each = costs(x0_hat, level)
            return each.sum(), (x0_hat, each)

        gradient, (x0_hat, each) = jax.grad(total, has_aux=True)(x)
        weight = canonical(scale(level, each) if callable(scale) else scale, x)
        return jnp.where(expand(t > 0, x), x0_hat - expand(weight * factor, x) * gradient, x0_hat)

    return denoise


def residual_scale(weight: float) -> Scale:
    """weight / sqrt(cost), for `energy` with the cost |y - A x0_hat|^2: DPS (arXiv 2209.14687), section 3.2.

    DPS adds its gradient to x, this to x0_hat: its published weights do not carry over. Raises ValueError for
    a negative weight.
    """
    require_scale("residual_scale", weight)
    return lambda t, costs: quotient(weight, safe_sqrt(costs), 0.0)


def snr_scale(process: Gaussian, weight: float) -> Scale:
    """weight alpha^2/sigma^2, for `energy` with the cost |y - A x0_hat|^2 / 2.

    Ho et al. (arXiv 2204.03458), equation 7: p(y | x_t) taken as N(A x0_hat, sigma^2/alpha^2). Raises
    ValueError for a negative weight.
    """
    require_scale("snr_scale", weight)
    return lambda t, costs: weight * quotient(process.alpha(t) ** 2, process.sigma(t) ** 2, 0.0)


def _conversion(process: Gaussian, t: Array) -> tuple[Array, Array]:
    """The level that the guide sees, and sigma^2/alpha there; both shaped like t."""
    level = jnp.minimum(t, process.time(jnp.full_like(t, 1e4)))
    return level, process.sigma(level) ** 2 / process.alpha(level)
