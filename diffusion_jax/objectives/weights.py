r"""Weights lambda(t) of a squared error of x0, one for each published loss: `process -> (t -> lambda)`.

An error of x0 is an error of everything else, up to a factor of the level. With r = sigma/alpha and
SNR = 1/r^2, what is minimised is lambda(t) |x0 - x0_hat|^2:

    x0           1
    eps          SNR                                 DDPM's simple loss; VP and VE of Song et al.
    v            SNR (1 + r^2)^2 alpha^2             the velocity alpha eps - sigma x0 (arXiv 2202.00512)
    slope        (alpha' - sigma' alpha/sigma)^2     dx/dt: flow matching (arXiv 2210.02747)
    edm          (sigma^2 + alpha^2 d^2)/(sigma d)^2, d = sigma_data: the error of F under EDM's
                 preconditioning (arXiv 2206.00364, table 1)
    edm_monotonic  edm, and more of it at high noise (below; arXiv 2303.00848)
    min_snr      min(SNR, gamma)                     arXiv 2303.09556
    soft_min_snr SNR gamma/(SNR + gamma)             arXiv 2401.11605
    fused_snr    gamma Fh w(SNR)/w(gamma F)          arXiv 2407.01392, for sequences

Levels have any shape; at t = 0 most weights are infinite, and the caller takes care.

What is minimised also depends on how often a level is drawn. With l = log SNR, whose density is p where the
levels are drawn, the loss is E_l[lambda |x0 - x0_hat|^2] = int w(l) |eps - eps_hat|^2 dl with

    w(l) = p(l) lambda(l) / SNR,

a variational bound of augmented data where w does not rise with l (Kingma and Gao, arXiv 2303.00848). That of
EDM, N(l; 2.4, 2.4^2) (e^-l + d^2)/d^2, rises up to its maximum l* = -3.3 (r = 5.2) and falls after it.
`edm_monotonic` is EDM's lambda at l >= l*, and below it what keeps w at w(l*):

    lambda = SNR (1 + r*^2/d^2) p(l*)/p(l),     r >= r*.

A token of a sequence is also known from its past. With S_i = min(SNR_i/gamma, 1), U_i = SNR_i/gamma and the
running average C_0 = S_0, C_i = g C_{i-1} + (1 - g) S_i, what token i has to go on is

    Fh_i = 1 - (1 - g C_{i-1}) (1 - S_i),     F_i = 1 - (1 - g C_{i-1}) (1 - U_i),     C_{-1} = 0,

which `fused_snr` puts in the place of min(SNR, gamma)/gamma and of SNR/gamma. An error of x0 weighs gamma Fh,
one of eps Fh/F, one of v gamma Fh/(gamma F + 1): as min-SNR's min(SNR, gamma)/w(SNR), w the factor between
that error and x0's. The paper writes C_{i-1} where its code has g C_{i-1}; then g = 0 does not give min-SNR.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from diffusion_jax.processes.gaussian import Gaussian, quotient
from diffusion_jax.types import Array

Weight = Callable[[Array], Array]
"""t -> lambda(t), shaped like t."""


def x0(process: Gaussian) -> Weight:
    """The error of the clean data itself."""
    del process
    return jnp.ones_like


def eps(process: Gaussian) -> Weight:
    """The error of the noise: DDPM's simple loss (arXiv 2006.11239, eq. 14), 1/sigma^2 of EDM's VP and VE."""
    return lambda t: (process.alpha(t) / process.sigma(t)) ** 2


def v(process: Gaussian) -> Weight:
    """The error of the velocity alpha eps - sigma x0: Salimans and Ho (arXiv 2202.00512)."""
    return lambda t: (process.alpha(t) ** 2 / process.sigma(t) + process.sigma(t)) ** 2


def slope(process: Gaussian) -> Weight:
    """The error of dx/dt along the path: flow matching (arXiv 2210.02747), rectified flow (2209.03003)."""

    def weight(t: Array) -> Array:
        alpha, alpha_rate = jax.jvp(process.alpha, (t,), (jnp.ones_like(t),))
        sigma, sigma_rate = jax.jvp(process.sigma, (t,), (jnp.ones_like(t),))
        return (alpha_rate - sigma_rate * alpha / sigma) ** 2

    return weight


def edm(process: Gaussian, sigma_data: float = 0.5) -> Weight:
    """EDM's lambda, 1/c_out^2: at every level an untrained network has the same loss.

    Raises ValueError unless sigma_data > 0.
    """
    if sigma_data <= 0:
        raise ValueError(f"sigma_data must be positive, got {sigma_data}")
    return lambda t: (process.alpha(t) / process.sigma(t)) ** 2 + 1 / sigma_data**2


def edm_monotonic(process: Gaussian, sigma_data: float = 0.5, mean: float = -1.2, std: float = 1.2) -> Weight:
    """EDM's lambda up to the noise where w is largest, and beyond it w held there: VDM++ (arXiv 2303.00848).

    For levels of the law `lognormal(mean, std)`, whose density p is: w, not lambda, is what is constant. Only
    with that law is it VDM++'s objective; the paper draws levels otherwise, which changes the variance alone.
    For images of other sides than 64 the paper shifts w along log SNR by 2 log(64/side): `mean` plus
    log(side/64), in the law too, and `sigma_data` times side/64 (here, not in the preconditioning).

    lambda is infinite where alpha is 0. Raises ValueError unless sigma_data and std are positive, and where w
    has two maxima.
    """
    if sigma_data <= 0 or std <= 0:
        raise ValueError(f"sigma_data and std must be positive, got {sigma_data} and {std}")
    width, top = 2 * std**2, _crest(sigma_data, mean, std)
    below = edm(process, sigma_data)
    level = math.log1p((math.exp(top) / sigma_data) ** 2) - (top - mean) ** 2 / width - 2 * mean - width

    def weight(t: Array) -> Array:
        # the square is completed, so that no infinity is subtracted from another
        log_ratio = -process.log_snr(t) / 2
        above = jnp.exp(level + (log_ratio - mean - width) ** 2 / width)
        return jnp.where(log_ratio < top, below(t), above)

    return weight


def _crest(sigma_data: float, mean: float, std: float) -> float:
    """log r where log w = -(log r - mean)^2/(2 std^2) + log(1 + r^2/sigma_data^2) is largest.

    Both slopes are 0 where log r = mean + 2 std^2 S(2 log(r/sigma_data)), S the logistic function, which
    rises: iterated from either end of its range it comes to the first and to the last maximum.
    """
    ends = [mean, mean + 2 * std**2]
    for _ in range(10_000):
        ends = [mean + 2 * std**2 / (1 + math.exp(-2 * (end - math.log(sigma_data)))) for end in ends]
    if ends[1] - ends[0] > 1e-6:
        raise ValueError(
            f"with sigma_data={sigma_data}, mean={mean} and std={std} the weighting of EDM has two maxima, "
            f"at the ratios {math.exp(ends[0]):.4g} and {math.exp(ends[1]):.4g}: none to hold it from"
        )
    return ends[0]


def min_snr(process: Gaussian, gamma: float = 5.0) -> Weight:
    """min(SNR, gamma), Hang et al. (arXiv 2303.09556), whatever the network predicts.

    Raises ValueError unless gamma > 0.
    """
    _check(gamma)
    return lambda t: jnp.minimum((process.alpha(t) / process.sigma(t)) ** 2, gamma)


def soft_min_snr(process: Gaussian, gamma: float = 4.0) -> Weight:
    """SNR gamma/(SNR + gamma), Crowson et al. (arXiv 2401.11605); gamma = 1/sigma_data^2 there.

    Raises ValueError unless gamma > 0.
    """
    _check(gamma)
    return lambda t: gamma / (1 + gamma * (process.sigma(t) / process.alpha(t)) ** 2)


def fused_snr(
    process: Gaussian,
    gamma: float = 5.0,
    decay: float = 0.9,
    bidirectional: bool = False,
    discounted: bool = True,
    weight: Callable[[Gaussian], Weight] = x0,
) -> Weight:
    """Fused min-SNR of sequences, Diffusion Forcing (arXiv 2407.01392): [B, T] -> [B, T].

    Args:
        process: a Gaussian process.
        gamma: where the signal-to-noise ratio is cut.
        decay: g, the share of the running average that a token hands on. Published for one frame a token;
            for several, its power.
        bidirectional: the average of past and future, for networks that see both (arXiv 2502.06764).
        discounted: g C as in the published code, or C as in the paper.
        weight: the error that is weighed, x0, eps or v.

    Clean tokens count as S = 1; their own weight has no meaning, the caller leaves it out.

    Raises ValueError unless gamma > 0 and decay lies in [0, 1], and for levels that are not [B, T].
    """
    _check(gamma)
    if not 0 <= decay <= 1:
        raise ValueError(f"decay must lie in [0, 1], got {decay}")
    of = weight(process)

    def lambda_(t: Array) -> Array:
        if t.ndim != 2:
            raise ValueError(f"fused_snr looks along the tokens: levels must be [B, T], got shape {t.shape}")
        own = jnp.where(t > 0, t, 1.0)
        ratio = (process.alpha(own) / process.sigma(own)) ** 2 / gamma
        share = jnp.where(t > 0, jnp.minimum(ratio, 1.0), 1.0)
        around = _history(share, decay)
        if bidirectional:
            around = (around + _history(share[:, ::-1], decay)[:, ::-1]) / 2
        around = decay * around if discounted else around
        fused = ratio + around * (1 - ratio)
        same = process.time(1 / jnp.sqrt(gamma * fused))
        return gamma * (share + around * (1 - share)) * quotient(of(own), of(same), 1.0)

    return lambda_


def _history(share: Array, decay: float) -> Array:
    """C_{i-1} for every token i of [B, T]: 0 for the first."""

    def body(average: Array, now: Array) -> tuple[Array, Array]:
        return decay * average + (1 - decay) * now, average

    _, past = jax.lax.scan(body, share[:, 0], share[:, 1:].T)
    return jnp.concatenate([jnp.zeros_like(share[:, :1]), past.T], axis=1)


def _check(gamma: float) -> None:
    if gamma <= 0:
        raise ValueError(f"gamma must be positive, got {gamma}")


EXAMPLES: dict[str, dict[str, Any]] = {
    "x0": {},
    "eps": {},
    "v": {},
    "slope": {},
    "edm": {},
    "edm_monotonic": {},
    "min_snr": {},
    "soft_min_snr": {},
    "fused_snr": {},
}
