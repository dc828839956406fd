"""The bound K of trained variables on data: every pair of the grid, one clean pass, with its standard error.

K = log-likelihood bound of an example in nats (higher is better), and from it

    bits         K / ln 2, the paper's unit (Sohl-Dickstein et al. 2015, arXiv 1503.03585, table 1)
    K - L_null   gain over independent entries: the isotropic normal law, or the equilibrium of bits
    bits/dim     log2(unit) - K / (D ln 2): negative log-likelihood of one grey value, for data of which
                 one unit of x is `unit` grey levels (1 where the decoder gives probabilities of grey values)

A density bound with the fixed kernel cannot exceed -D/2 log2(2 pi e beta_1), whatever the data, so beta_1
is always given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffusion_jax.evaluation.compiling import compiled
from diffusion_jax.levels import token_sum
from diffusion_jax.objectives.base import continuous_rate, pair_kl, prior_kl
from diffusion_jax.types import Array, Batch, Bound, Key

LN2 = math.log(2)


class Terms(NamedTuple):
    """-K of each token in nats, in its three parts: [B, T] each."""

    prior: Array
    pairs: Array
    decoder: Array

    @property
    def total(self) -> Array:
        return self.prior + self.pairs + self.decoder


def bound_terms(
    key: Key, bound: Bound, x0: Array, pairs: int | None = None, continuous: bool = False
) -> Terms:
    """The three parts of -K for each token, in nats.

    Args:
        key: one key. The noise of every pair is drawn anew.
        bound: a Bound with process, denoiser, decoder and times.
        x0: data [B, T, ...].
        pairs: None evaluates all pairs of the grid (S - 1 calls of the denoiser), exact but for the noise; a
            number draws so many for each sample, stratified over the grid, and scales: an unbiased estimate.
        continuous: the limit of infinitely many pairs between t_1 and 1 (VDM; Gaussian processes with their
            small variance), estimated from `pairs` levels for each sample, stratified.

    Raises:
        ValueError: the bound lacks a part, `pairs` is less than 1, or `continuous` has no number of pairs.
    """
    process, denoiser, decoder = bound.process, bound.denoiser, bound.decoder
    if process is None or denoiser is None or decoder is None or bound.times is None:
        parts = ("process", "denoiser", "decoder", "times")
        absent = [part for part in parts if getattr(bound, part) is None]
        raise ValueError(f"to evaluate a bound it needs {', '.join(parts)}; it lacks {absent}")
    if pairs is not None and pairs < 1:
        raise ValueError(f"pairs must be at least 1, got {pairs}")
    if continuous and (pairs is None or bound.variance is not None):
        raise ValueError(
            "the continuous bound needs `pairs`, a number of levels, and takes no reverse variance"
        )
    times = jnp.asarray(bound.times, x0.dtype)
    count = times.shape[0] - 2
    calls = count if pairs is None else pairs

    def pair(total: Array, i: Array) -> tuple[Array, None]:
        level_key, noise_key = jax.random.split(jax.random.fold_in(key, i))
        if pairs is None:
            index = jnp.full((x0.shape[0], 1), i)
        else:
            place = (i + jax.random.uniform(level_key, (x0.shape[0], 1))) / calls
            if continuous:
                t = times[-2] + (1 - times[-2]) * place
                x_t = process.marginal(x0, t).sample(noise_key)
                rate = continuous_rate(process, x0, denoiser(x_t, t), t)
                return total + (1 - times[-2]) / count * rate, None
            index = jnp.minimum((place * count).astype(jnp.int32), count - 1)
        t, s = times[index], times[index + 1]
        x_t = process.marginal(x0, t).sample(noise_key)
        variance = None if bound.variance is None else bound.variance(x_t, t, s)
        return total + pair_kl(process, x0, x_t, denoiser(x_t, t), t, s, variance), None

    zero = jnp.zeros(x0.shape[:2], x0.dtype)
    total, _ = jax.lax.scan(pair, zero, jnp.arange(calls))
    if decoder.expected is not None:
        last = decoder.expected(x0)
    else:
        t_1 = times[-2]
        x_1 = process.marginal(x0, t_1).sample(jax.random.fold_in(key, calls))
        last = decoder.log_prob(x0, x_1, denoiser(x_1, t_1) if decoder.learned else None)
    return Terms(prior_kl(process, x0), total * (count / calls), -last)


class Report(NamedTuple):
    """A mean over a test set with its standard error.

    count:      examples
    mean, se:   log-likelihood (bound) of an example, in nats
    null:       the same under the null law, or None
    dimensions: entries of an example
    unit:       grey levels in one unit of x (1: probabilities of grey values); None where there are none
    parts:      means in nats of the parts of -K
    beta_1:     noise variance of the last step t_1 -> 0, or None
    """

    count: int
    mean: float
    se: float
    null: float | None
    dimensions: int
    unit: float | None
    parts: dict[str, float]
    beta_1: float | None

    @property
    def bits(self) -> float:
        """K in bits an example."""
        return self.mean / LN2

    @property
    def bits_se(self) -> float:
        """Standard error of K in bits an example."""
        return self.se / LN2

    @property
    def gain(self) -> float | None:
        """K - L_null in bits an example."""
        return None if self.null is None else (self.mean - self.null) / LN2

    @property
    def bits_per_dim(self) -> float | None:
        """Negative log-likelihood of one grey value in bits; None for data without grey levels."""
        return None if self.unit is None else math.log2(self.unit) - self.mean / (self.dimensions * LN2)

    def record(self) -> dict[str, Any]:
        """Every figure, for a JSON record."""
        return {
            **{name: getattr(self, name) for name in self._fields if name != "parts"},
            **{f"{name}_nats": value for name, value in self.parts.items()},
            "bits": self.bits,
            "bits_se": self.bits_se,
            "gain_bits": self.gain,
            "bits_per_dim": self.bits_per_dim,
            "bits_per_dim_se": None if self.unit is None else self.bits_se / self.dimensions,
        }

    def __str__(self) -> str:
        lines = [
            f"K        {self.bits:.4f} +- {self.bits_se:.4f} bits an example"
            f" ({self.mean:.4f} nats, {self.count} examples)",
            f"         {self.bits / self.dimensions:.4f} +- {self.bits_se / self.dimensions:.4f}"
            f" bits a dimension, {self.dimensions} dimensions",
        ]
        if self.gain is not None and self.null is not None:
            lines.append(f"K-L_null {self.gain:.4f} bits an example (L_null {self.null / LN2:.4f})")
        if self.unit is not None:
            lines.append(
                f"NLL      {self.bits_per_dim:.4f} +- {self.bits_se / self.dimensions:.4f} bits/dim"
                f" of grey values = log2({self.unit:g}) - K/{self.dimensions}"
            )
        if self.beta_1 is not None:
            lines.append(f"beta_1   {self.beta_1:.3g}")
        lines.append(
            "parts    "
            + ", ".join(f"{name} {value / LN2:.4f}" for name, value in self.parts.items())
            + " bits"
        )
        return "\n".join(lines)


def collect(
    score: Callable[[Key, Array], dict[str, Array]],
    batches: Iterable[Batch],
    key: Key,
    *,
    unit: float | None = None,
    null: Callable[[Array], Array] | None = None,
    beta_1: float | None = None,
    exhaustive: bool = False,
    size: Callable[[Array], int] = lambda x: x[0].size,
) -> Report:
    """One pass over `batches`, every example counted once (rows and tokens masked out count nothing).

    Args:
        score: (key, x [B, T, ...]) -> {part: [copies, B, T]} in nats, whose negative sum is the bound,
            estimated so many times and averaged; jitted by the caller.
        batches: host batches with `x` and, for a partial last one, `mask` [B, T].
        key: batch i uses fold_in(key, i).
        unit: grey levels in one unit of x, for bits/dim.
        null: log-probability of x under the null law, [B, T] in nats.
        beta_1: noise variance of the last step, reported alongside.
        exhaustive: the examples are all there are, not a sample of a law: the standard error is that of the
            copies alone (there must be two or more), else that of the mean over examples.
        size: (x) -> how many dimensions an example has, for figures a dimension; by default its entries.

    Raises:
        ValueError: no example was seen, or a bound is not finite (the message names the example).
    """
    totals: list[np.ndarray] = []
    nulls: list[np.ndarray] = []
    parts: dict[str, list[np.ndarray]] = {}
    dimensions = 0
    for i, batch in enumerate(batches):
        x = jnp.asarray(batch["x"])
        mask = np.asarray(batch.get("mask", np.ones(x.shape[:2])), np.float64)
        rows = mask.sum(1) > 0
        dimensions = size(x)
        values = {name: np.asarray(v, np.float64) for name, v in score(jax.random.fold_in(key, i), x).items()}
        per_example = {name: np.where(mask > 0, v, 0.0).sum(2)[:, rows] for name, v in values.items()}
        for name, value in per_example.items():
            parts.setdefault(name, []).append(value.mean(0))
        total = -np.sum(list(per_example.values()), axis=0)
        finite = np.isfinite(total).all(0)
        if not finite.all():
            bad = int(np.flatnonzero(~finite)[0])
            seen = sum(earlier.shape[1] for earlier in totals)
            each_part = {name: value[0, bad] for name, value in per_example.items()}
            raise ValueError(
                f"the bound of example {seen + bad} is not finite; its parts in nats: {each_part}"
            )
        totals.append(total)
        if null is not None:
            nulls.append((np.where(mask > 0, np.asarray(null(x), np.float64), 0.0)).sum(1)[rows])
    if not totals:
        raise ValueError("no batches: the split is empty")
    copies = np.concatenate(totals, axis=1)
    each, count = copies.mean(0), copies.shape[1]
    if exhaustive:
        se = math.sqrt(copies.var(0, ddof=1).sum() / len(copies)) / count if len(copies) > 1 else math.nan
    else:
        se = float(each.std(ddof=1)) / math.sqrt(count) if count > 1 else math.nan
    return Report(
        count=count,
        mean=float(each.mean()),
        se=se,
        null=float(np.concatenate(nulls).mean()) if nulls else None,
        dimensions=dimensions,
        unit=unit,
        parts={name: float(np.concatenate(value).mean()) for name, value in parts.items()},
        beta_1=beta_1,
    )


def evaluate_bound(
    bound: Bound,
    batches: Iterable[Batch],
    key: Key,
    *,
    pairs: int | None = None,
    unit: float | None = None,
    null: Callable[[Array], Array] | None = None,
    continuous: bool = False,
    copies: int = 1,
    exhaustive: bool = False,
) -> Report:
    """K of `bound` on `batches`; see `bound_terms` for `pairs` and `continuous`, and `collect` for the rest.

    copies: estimates of each example, with noise of their own. Compiles once for a batch shape.
    Raises ValueError for copies below 1.
    """
    if copies < 1:
        raise ValueError(f"copies must be at least 1, got {copies}")

    def score(key: Key, x: Array) -> dict[str, Array]:
        terms = bound_terms(key, bound, jnp.tile(x, (copies,) + (1,) * (x.ndim - 1)), pairs, continuous)
        return {name: value.reshape(copies, *x.shape[:2]) for name, value in terms._asdict().items()}

    def size(x: Array) -> int:
        """A one-hot vector is one dimension."""
        return bound.process.prior(x.shape).entropy()[0].size

    return collect(
        compiled(score),
        batches,
        key,
        unit=unit,
        null=null,
        beta_1=first_variance(bound),
        exhaustive=exhaustive,
        size=size,
    )


def first_variance(bound: Bound) -> float | None:
    """beta_1 = sigma^2/(alpha^2 + sigma^2) at the grid's last level above 0; None without a sigma."""
    if not hasattr(bound.process, "sigma") or bound.times is None:
        return None
    t_1 = jnp.asarray(bound.times)[-2]
    sigma, alpha = float(bound.process.sigma(t_1)), float(bound.process.alpha(t_1))
    return sigma**2 / (alpha**2 + sigma**2)


def normal_null(mean: float, std: float) -> Callable[[Array], Array]:
    """The null law of continuous data: independent N(mean, std^2) entries. x [B, T, ...] -> nats [B, T].

    Data scaled to mean 0 and variance 1 have L_null = -1/2 log2(2 pi e) = -2.0471 bits a dimension.
    """
    if std <= 0:
        raise ValueError(f"std must be positive, got {std}")

    def log_prob(x: Array) -> Array:
        each = -0.5 * ((x - mean) / std) ** 2 - math.log(std) - 0.5 * math.log(2 * math.pi)
        return token_sum(each)

    return log_prob


def equilibrium_null(process: Any) -> Callable[[Array], Array]:
    """The null law of bits and categories: the process's equilibrium. x [B, T, ...] -> nats [B, T]."""
    return lambda x: token_sum(process.prior(x.shape).log_prob(x))
