"""From a network to a denoiser: x0_hat = head(skip x + out F(input x + shift, noise)).

What a network predicts (the clean data, the noise, the velocity, a mixture of them; a logit for bits) is a
choice of coefficients. A choice is a function `process -> (t -> Coefficients)`. With alpha, sigma at the
level t:

    x0      x0_hat = F
    eps     x0_hat = (x - sigma F)/alpha                                DDPM (arXiv 2006.11239)
    v       x0_hat = (alpha x - sigma F)/(alpha^2 + sigma^2)            Salimans and Ho (arXiv 2202.00512)
    edm     skip = alpha d^2/(sigma^2 + alpha^2 d^2), out = sigma d/sqrt(sigma^2 + alpha^2 d^2),
            d = sigma_data                                              Karras et al. (arXiv 2206.00364)
    bits    x0_hat = sigmoid(F(2x - 1, 4t));   categories: softmax over the last axis

The network sees x scaled to unit variance for data of variance sigma_data^2, and as noise label
log(sigma/alpha)/4, the ratio clamped to [1e-4, 1e4]; the per-step networks of 2015 take the level itself
(`timed`).

The networks that came before EDM expect what they were trained with (EDM, table 1), at the ratio
r = sigma/alpha and for x/alpha, whichever process they are used in:

    vp      eps, the label being (M - 1) t, t the level of Song's variance-preserving process at r
    iddpm   eps, the label being the step k - 1 of the discrete cosine chain whose ratio is nearest r
    ve      x0_hat = (x + sigma F(x/alpha))/alpha, the label being log(r/2)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from diffusion_jax.levels import canonical, expand
from diffusion_jax.processes.gaussian import Gaussian, at_once
from diffusion_jax.processes.schedules import vp_cosine, vp_linear
from diffusion_jax.types import Array, Coefficients, Denoiser

At = Callable[[Array], Coefficients]


def noise_label(process: Gaussian, t: Array) -> Array:
    """log(sigma/alpha)/4 with the ratio clamped to [1e-4, 1e4]: it and its derivatives are finite."""
    alpha, sigma = process.alpha(t), process.sigma(t)
    inside = (sigma > 1e-4 * alpha) & (sigma < 1e4 * alpha)
    ratio = jnp.where(inside, sigma, 1.0) / jnp.where(inside, alpha, 1.0)
    ends = jnp.where(sigma <= 1e-4 * alpha, jnp.log(1e-4), jnp.log(1e4))
    return 0.25 * jnp.where(inside, jnp.log(ratio), ends)


def _scale(process: Gaussian, t: Array, sigma_data: float = 1.0) -> Array:
    """1/sqrt(alpha^2 sigma_data^2 + sigma^2): brings x_t to unit variance."""
    return jax.lax.rsqrt(process.alpha(t) ** 2 * sigma_data**2 + process.sigma(t) ** 2)


def x0(process: Gaussian) -> At:
    """The network predicts the clean data."""
    return lambda t: Coefficients(0.0, 1.0, _scale(process, t), noise_label(process, t))


def _require_signal(process: Gaussian, name: str) -> None:
    with at_once():
        end = process.alpha(jnp.ones(()))
    if not isinstance(end, Tracer) and float(end) <= 0:
        raise ValueError(
            f"coefficients {name!r} need alpha(1) > 0: use 'v', 'x0' or 'edm', "
            "or the discrete chain (steps=T)"
        )


def eps(process: Gaussian) -> At:
    """The network predicts the noise. Raises ValueError where alpha(1) = 0, which leaves x0 undetermined."""
    _require_signal(process, "eps")

    def at(t: Array) -> Coefficients:
        alpha = process.alpha(t)
        return Coefficients(1 / alpha, -process.sigma(t) / alpha, _scale(process, t), noise_label(process, t))

    return at


def v(process: Gaussian) -> At:
    """The network predicts the velocity alpha eps - sigma x0."""

    def at(t: Array) -> Coefficients:
        alpha, sigma = process.alpha(t), process.sigma(t)
        power = alpha**2 + sigma**2
        return Coefficients(alpha / power, -sigma / power, _scale(process, t), noise_label(process, t))

    return at


def edm(process: Gaussian, sigma_data: float = 0.5) -> At:
    """EDM's preconditioning: unit-variance input and target, F's error damped where x_t is nearly clean.

    Raises ValueError unless sigma_data > 0.
    """
    if sigma_data <= 0:
        raise ValueError(f"sigma_data must be positive, got {sigma_data}")

    def at(t: Array) -> Coefficients:
        alpha, sigma = process.alpha(t), process.sigma(t)
        scale = _scale(process, t, sigma_data)
        skip = alpha * sigma_data**2 * scale**2
        return Coefficients(skip, sigma * sigma_data * scale, scale, noise_label(process, t))

    return at


def vp(process: Gaussian, beta_min: float = 0.1, beta_max: float = 20.0, steps: int = 1000) -> At:
    """The networks of Song et al. (arXiv 2011.13456), VP; EDM, table 1. Raises ValueError where alpha(1) = 0.

    beta_min, beta_max: of the process they were trained with; steps: M, the scale of their label.
    """
    own, inner = vp_linear(beta_min, beta_max), eps(process)
    return lambda t: inner(t)._replace(noise=(steps - 1) * own.time(process.ratio(t)))


def ve(process: Gaussian) -> At:
    """The networks of Song et al. (arXiv 2011.13456), VE; EDM, table 1. Raises ValueError where alpha(1) = 0.

    The input is not scaled to unit variance.
    """
    _require_signal(process, "ve")

    def at(t: Array) -> Coefficients:
        alpha = process.alpha(t)
        label = 4 * noise_label(process, t) - jnp.log(2.0)
        return Coefficients(1 / alpha, process.sigma(t) / alpha, 1 / alpha, label)

    return at


def iddpm(process: Gaussian, steps: int = 1000) -> At:
    """The networks of improved DDPM and ADM (arXiv 2102.09672, 2105.05233), with a label for each step.

    EDM (arXiv 2206.00364), table 1 and appendix C.3: the label belongs to the nearest sigma of the chain.
    Raises ValueError where alpha(1) = 0.
    """
    inner = eps(process)
    with at_once():
        ratios = vp_cosine(steps=steps).ratio(jnp.linspace(0.0, 1.0, steps + 1))
        between = (ratios[1:] + ratios[:-1]) / 2

    def at(t: Array) -> Coefficients:
        step = jnp.searchsorted(between.astype(t.dtype), jax.lax.stop_gradient(process.ratio(t)))
        return inner(t)._replace(noise=(step - 1).astype(t.dtype))

    return at


def bits(process: Any) -> At:
    """A sigmoid head over F(2x - 1, 4t): the probability of a one."""
    del process
    return lambda t: Coefficients(0.0, 1.0, 2.0, 4 * t, -1.0, jax.nn.sigmoid)


def categories(process: Any) -> At:
    """A softmax head over F(2x - 1, 4t): the probabilities of the categories."""
    del process
    return lambda t: Coefficients(0.0, 1.0, 2.0, 4 * t, -1.0, jax.nn.softmax)


def timed(process: Any, coefficients: Callable[[Any], At]) -> At:
    """`coefficients` with the level t itself as noise label, for networks with a read-out for each step."""
    inner = coefficients(process)
    return lambda t: inner(t)._replace(noise=t)


def _lift(value: Any, x: Array) -> Any:
    return expand(value, x) if jnp.ndim(value) else value


def presented(c: Coefficients, x: Array, t: Array) -> tuple[Array, Array]:
    """What a network sees of x [B, T, ...] at level t [#B, #T]: its input, and the noise label [#B, #T]."""
    return _lift(c.input, x) * x + c.shift, jnp.broadcast_to(c.noise, t.shape)


def known_level(t: Any, x: Array) -> Array:
    """The level as [#B, #T]; raises ValueError for one outside [0, 1] where its value is known."""
    # by numpy: within a trace, jax would make a tracer of a level that is known
    if not isinstance(t, Tracer) and not ((np.asarray(t) >= 0) & (np.asarray(t) <= 1)).all():
        raise ValueError(
            f"a level lies in [0, 1], got {t}; the level of a noise ratio sigma/alpha is process.time(ratio)"
        )
    return canonical(t, x)


def evaluate(
    network: Callable[[Array, Array], Array], at: At, x: Array, t: Any
) -> tuple[Array, Array | None]:
    """x0_hat, and the variance part of a network whose last axis is twice the data's (else None); like x.

    network: (x [B, T, ...], noise [#B, #T]) -> [B, T, ...] or [B, T, ..., 2C]. Raises ValueError for
    another shape, and for a level outside [0, 1] where its value is known.
    """
    t = known_level(t, x)
    c = at(t)
    out = network(*presented(c, x, t))
    rest = None
    if out.shape == x.shape[:-1] + (2 * x.shape[-1],):
        out, rest = jnp.split(out, 2, axis=-1)
    elif out.shape != x.shape:
        raise ValueError(
            f"a network must keep the shape {x.shape} or double its last axis; it gave {out.shape}"
        )
    mean = _lift(c.skip, x) * x + _lift(c.out, x) * out.astype(x.dtype)
    return (mean if c.head is None else c.head(mean)), (None if rest is None else rest.astype(x.dtype))


def precondition(
    network: Callable[[Array, Array], Array], process: Any, coefficients: Callable[[Any], At]
) -> Denoiser:
    """The denoiser of a network: (x_t [B, T, ...], t) -> x0_hat.

    network: (x, noise [#B, #T]) -> F, with parameters and conditions closed over.
    coefficients: one of this module's choices, for example `x0`.
    """
    at = coefficients(process)
    return lambda x, t: evaluate(network, at, x, t)[0]


EXAMPLES: dict[str, dict[str, Any]] = {
    "x0": {},
    "eps": {},
    "v": {},
    "edm": {},
    "vp": {},
    "ve": {},
    "iddpm": {"steps": 100},
    "bits": {},
    "categories": {},
    "timed": {"coefficients": "x0"},
}
