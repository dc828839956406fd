"""Gaussian processes whose schedule is trained: betas (2015) and a monotone log-SNR (VDM).

Both are pytrees. The fields that are trained are named by `learned_fields`; an objective keeps them in
`params["process"]` and rebuilds the process with `dataclasses.replace`, so that a schedule is one more
parameter.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from diffusion_jax.processes.gaussian import Gaussian, root_sigmoid
from diffusion_jax.processes.tabulated import Tabulated
from diffusion_jax.types import Array


def learned_fields(process: Any) -> dict[str, Any]:
    """The trained fields of a process by name; empty for a fixed one."""
    return {name: getattr(process, name) for name in getattr(process, "LEARNED", ())}


@dataclasses.dataclass(frozen=True, eq=False)
class LearnedBeta(Tabulated):
    """beta_1 fixed, beta_k = logistic(raw_k) for k = 2..T; ratio(t) between the steps as in `Tabulated`.

    raw: [T - 1]
    """

    LEARNED: ClassVar[tuple[str, ...]] = ("raw",)
    raw: Any
    beta_1: float

    @property
    def table(self) -> Array:
        """log(sigma^2/alpha^2) at t = 1/T .. 1, [T]."""
        log_kept = jax.nn.log_sigmoid(-jnp.asarray(self.raw))
        first = jnp.log1p(-jnp.full((1,), self.beta_1, log_kept.dtype))
        log_alpha_bar = jnp.cumsum(jnp.concatenate([first, log_kept]))
        return jnp.log(-jnp.expm1(log_alpha_bar)) - log_alpha_bar


jax.tree_util.register_dataclass(LearnedBeta, data_fields=["raw"], meta_fields=["beta_1"])


def learned_beta(steps: int = 40, beta_1: float = 1e-4, alpha_bar_end: float = 1e-3) -> Gaussian:
    """Trainable betas with beta_1 held fixed: gradient ascent on the bound with frozen noise.

    Sohl-Dickstein et al. (arXiv 1503.03585), section 2.4.1 (without a fixed beta_1 the bound is maximised by
    a degenerate first step). Training starts from a log-SNR that is linear in the step, from beta_1 to a
    final alpha_bar_T of `alpha_bar_end`. Raises ValueError for steps < 2 or values outside (0, 1).
    """
    if steps < 2:
        raise ValueError(f"learned betas need at least 2 steps, got {steps}")
    if not (0 < beta_1 < 1 and 0 < alpha_bar_end < 1 - beta_1):
        raise ValueError(
            f"need 0 < beta_1 < 1 and 0 < alpha_bar_end < 1 - beta_1, got {beta_1}, {alpha_bar_end}"
        )
    return LearnedBeta(jnp.asarray(_raw_of_linear_log_snr(steps, beta_1, alpha_bar_end)), beta_1)


def _raw_of_linear_log_snr(steps: int, beta_1: float, alpha_bar_end: float) -> np.ndarray:
    gamma = np.linspace(
        np.log(beta_1) - np.log1p(-beta_1), np.log1p(-alpha_bar_end) - np.log(alpha_bar_end), steps
    )
    log_kept = np.diff(-np.logaddexp(0.0, gamma))
    return np.log(-np.expm1(log_kept)) - log_kept


@dataclasses.dataclass(frozen=True, eq=False)
class MonotoneLogSNR(Gaussian):
    """gamma(t) = -log SNR, increasing from ends[0] (just above t = 0) to ends[1] (t = 1); clean at t = 0.

    ends:  [2]
    inner: the shape between the ends, g(t) = |a| t + sum_j |c_j| sigmoid(|w_j| t + b_j), scaled to [0, 1]
    """

    LEARNED: ClassVar[tuple[str, ...]] = ("ends", "inner")
    ends: Any
    inner: Any

    def _shape(self, t: Array) -> Array:
        t = jnp.asarray(t)[..., None]
        lift = (1,) * (t.ndim - 1) + (-1,)
        slope, offset, height = (
            jnp.reshape(self.inner[name], lift) for name in ("slope", "offset", "height")
        )
        bumps = jnp.abs(height) * jax.nn.sigmoid(jnp.abs(slope) * t + offset)
        return jnp.abs(self.inner["linear"]) * t[..., 0] + bumps.mean(-1)

    def gamma(self, t: Array) -> Array:
        """-log SNR for t > 0, shaped like t."""
        low, high = self._shape(jnp.arange(2))
        return self.ends[0] + (self.ends[1] - self.ends[0]) * (self._shape(t) - low) / (high - low)

    def alpha(self, t: Array) -> Array:
        return jnp.where(t > 0, root_sigmoid(-self.gamma(t)), 1.0)

    def sigma(self, t: Array) -> Array:
        return jnp.where(t > 0, root_sigmoid(self.gamma(t)), 0.0)

    def log_snr(self, t: Array) -> Array:
        return jnp.where(t > 0, -self.gamma(t), jnp.inf)

    def time(self, ratio: Array) -> Array:
        """By bisection; not differentiable with respect to the schedule."""
        ratio = jnp.asarray(ratio)
        wanted = 2 * jnp.log(ratio)

        def halve(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = bracket
            middle = 0.5 * (low + high)
            below = self.gamma(middle) < wanted
            return jnp.where(below, middle, low), jnp.where(below, high, middle)

        low, high = jax.lax.fori_loop(0, 50, halve, (jnp.zeros_like(ratio), jnp.ones_like(ratio)))
        return jax.lax.stop_gradient(0.5 * (low + high))


jax.tree_util.register_dataclass(MonotoneLogSNR, data_fields=["ends", "inner"], meta_fields=[])


def vdm(gamma_min: float = -13.3, gamma_max: float = 7.0, hidden: int = 256) -> Gaussian:
    """VDM's learned monotone log-SNR; gamma = -log SNR starts linear between gamma_min and gamma_max.

    Kingma et al. (arXiv 2107.00630), appendix H and I. The paper's gamma_max is 5; 7 keeps the prior's
    divergence below 1e-3 nats a dimension. The signal-to-noise ratio is finite just above t = 0, where data
    begin: a bound's t_1 lies there. Raises ValueError unless gamma_min < gamma_max and hidden >= 1.
    """
    if gamma_min >= gamma_max or hidden < 1:
        raise ValueError(
            f"need gamma_min < gamma_max and hidden >= 1, got {gamma_min}, {gamma_max}, {hidden}"
        )
    centres = (np.arange(hidden) + 0.5) / hidden
    slope = np.full(hidden, 16.0)
    inner = {
        "linear": jnp.ones(()),
        "slope": jnp.asarray(slope),
        "offset": jnp.asarray(-slope * centres),
        "height": jnp.full((hidden,), 0.1),
    }
    return MonotoneLogSNR(jnp.array([gamma_min, gamma_max]), inner)


EXAMPLES: dict[str, dict[str, Any]] = {"learned_beta": {"steps": 20}, "vdm": {"hidden": 16}}
