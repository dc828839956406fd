"""Evaluations on a held-out split: the bound K, the ODE's likelihood, and what two Gaussians reach."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

from diffusion_jax.evaluation.bound import Report, collect, equilibrium_null, evaluate_bound, normal_null
from diffusion_jax.evaluation.compiling import compiled
from diffusion_jax.evaluation.likelihood import log_likelihood
from diffusion_jax.evaluation.outcome import Bind, Evaluation, Outcome
from diffusion_jax.sampling.loop import walked
from diffusion_jax.types import Array, Batch, Bound, Key


def held_out_bound(
    split: str = "test",
    batch_size: int = 500,
    examples: int | None = None,
    copies: int = 1,
    exhaustive: bool = False,
    pairs: int | None = None,
    continuous: bool = False,
    grid: Any = None,
    decoder: Callable[..., Any] | None = None,
    variance: Callable[..., Any] | None = None,
) -> Evaluation:
    """K of the bound on a split, one clean pass, without labels (`label` -1 where the network knows classes).

    Args:
        split: of the data set.
        batch_size: examples in a call.
        examples: only the first so many, in whole batches; None for all.
        copies: estimates of each example with noise of their own, averaged.
        exhaustive: the split is all there is, not a sample: the standard error is that of the copies alone.
        pairs, continuous: see `bound_terms`.
        grid: another grid than the bound's; an array, or process -> array.
        decoder: another last step; (process, times) -> Decoder.
        variance: another fixed reverse variance; process -> variance.
    """

    def evaluation(bind: Bind, dataset: Any, key: Key) -> Outcome:
        bound = _changed(bind({}), grid, decoder, variance)
        info = dataset.info
        report = evaluate_bound(
            bound,
            _some(dataset.epoch(split, batch_size), examples, batch_size),
            key,
            pairs=pairs,
            continuous=continuous,
            unit=1.0 if bound.decoder is not None and bound.decoder.discrete else info.unit,
            null=_null(bound, info),
            copies=copies,
            exhaustive=exhaustive,
        )
        return _outcome(report, "variational bound")

    return evaluation


def ode_likelihood(
    split: str = "test",
    batch_size: int = 500,
    examples: int | None = None,
    start: float = 1e-5,
    probes: int | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-5,
) -> Evaluation:
    """The log-likelihood of the probability-flow ODE on a split; arguments as in `log_likelihood`.

    For data with grey levels the data set must dequantise them (x = 2 (v + u)/levels - 1, u uniform): the
    figure is then a density of the dequantised data, unbiased for it, and not a bound. The text and the
    metrics say whether it did, `probes` (None for the exact trace) and `sigma_min`, the ratio sigma/alpha at
    level `start`: with `edm(sigma_max=80)`, 0.002 is start = 2.5e-5. The bound needs no decoder and no times.

    Raises ValueError or TypeError for a process without a regular ODE.
    """

    def evaluation(bind: Bind, dataset: Any, key: Key) -> Outcome:
        bound, info = bind({}), dataset.info
        denoiser = bound.denoiser
        assert denoiser is not None

        def score(key: Key, x: Array) -> dict[str, Array]:
            value = log_likelihood(
                key, bound.process, denoiser, x, start=start, probes=probes, rtol=rtol, atol=atol
            )
            return {"nll": -value[None]}

        batches = _some(dataset.epoch(split, batch_size), examples, batch_size)
        report = collect(compiled(score), batches, key, unit=info.unit)
        sigma_min = float(bound.process.ratio(jnp.asarray(start)))
        stated = (
            f"probability-flow ODE from sigma_min = {sigma_min:.4g} (t = {start:g}), "
            f"{'exact trace' if probes is None else f'{probes} trace probes'}, rtol {rtol:g}; "
            f"{_NOISE[info.levels is None, info.dequantised]}"
        )
        metrics = {"sigma_min": sigma_min, "probes": probes, "dequantised": info.dequantised}
        return Outcome(report.record() | metrics, f"{stated}\n{report}")

    return evaluation


def gaussian_baselines(split: str = "test", patch: int = 8, batch_size: int = 512) -> Evaluation:
    """What two Gaussians reach on the same held-out pixels, fitted to the training split.

    independent: one mean and variance for all entries. full: a normal law, with its full covariance, of
    non-overlapping patches of `patch` x `patch` pixels, all channels, one law for all places. Bits an
    example, as K is.

    Raises ValueError for data that are not images which `patch` divides.
    """

    def evaluation(bind: Bind, dataset: Any, key: Key) -> Outcome:
        del bind, key
        train = _patches(dataset.epoch("train", batch_size), patch)
        test = _patches(dataset.epoch(split, batch_size), patch)
        metrics: dict[str, Any] = {}
        for name, mean, covariance in (
            ("independent", np.full(train.shape[-1], train.mean()), np.eye(train.shape[-1]) * train.var()),
            ("full", train.mean((0, 1)), np.cov(train.reshape(-1, train.shape[-1]).T)),
        ):
            each = _normal_bits(test, mean, covariance)
            metrics[name] = float(each.mean())
            metrics[f"{name}_se"] = float(each.std(ddof=1) / np.sqrt(each.size))
            metrics[f"{name}_per_dim"] = metrics[name] / test[0].size
            metrics[f"{name}_per_dim_se"] = metrics[f"{name}_se"] / test[0].size
        text = "\n".join(
            f"{name:12} {metrics[f'{name}_per_dim']:.4f} +- {metrics[f'{name}_per_dim_se']:.4f}"
            " bits a dimension"
            for name in ("independent", "full")
        )
        return Outcome(metrics, f"{text} (covariance of {patch}x{patch} patches)")

    return evaluation


def _normal_bits(x: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """log2 density of patches x [N, P, D], summed over an example's patches: [N]."""
    factor = np.linalg.cholesky(covariance)
    white = np.linalg.solve(factor, (x - mean).reshape(-1, x.shape[-1]).T)
    dimensions = x.shape[-1]
    each = -0.5 * (white**2).sum(0) - np.log(np.diag(factor)).sum() - 0.5 * dimensions * np.log(2 * np.pi)
    return each.reshape(x.shape[:2]).sum(1) / np.log(2)


def _patches(batches: Iterable[Batch], patch: int) -> np.ndarray:
    """Images [N, T, H, W, C] -> [N, patches of an example, patch * patch * C], float64."""
    found = []
    for batch in batches:
        x = np.asarray(batch["x"], np.float64)[np.asarray(batch["mask"])[:, 0] > 0]
        if x.ndim != 5 or x.shape[2] % patch or x.shape[3] % patch:
            raise ValueError(f"patches of {patch} need images [B, T, H, W, C] that it divides, got {x.shape}")
        n, t, h, w, c = x.shape
        x = x.reshape(n, t, h // patch, patch, w // patch, patch, c).transpose(0, 1, 2, 4, 3, 5, 6)
        found.append(x.reshape(n, -1, patch * patch * c))
    return np.concatenate(found)


def _changed(bound: Bound, grid: Any, decoder: Any, variance: Any) -> Bound:
    if grid is not None:
        if decoder is None:
            raise ValueError("another grid has another last step: give its decoder too")
        bound = bound._replace(times=walked(grid, bound.process))
    if decoder is not None:
        bound = bound._replace(decoder=decoder(bound.process, bound.times))
    if variance is not None:
        bound = bound._replace(variance=variance(bound.process))
    return bound


def _null(bound: Bound, info: Any) -> Callable[[Array], Array] | None:
    """The null law: the equilibrium of bits, or N(0, 1); none where the decoder gives probabilities."""
    if info.kind != "continuous":
        return equilibrium_null(bound.process)
    return None if bound.decoder is not None and bound.decoder.discrete else normal_null(0.0, 1.0)


def _some(batches: Iterable[Batch], examples: int | None, batch_size: int) -> Iterator[Batch]:
    count = None if examples is None else -(-examples // batch_size)
    return itertools.islice(iter(batches), count)


def _outcome(report: Report, what: str) -> Outcome:
    return Outcome(report.record(), f"{what}\n{report}")


_NOISE = {
    (False, True): "uniformly dequantised grey values",
    (False, False): "grey values that were not dequantised: their density has no limit as sigma_min falls",
    (True, False): "data without grey levels",
}

EXAMPLES: dict[str, dict[str, Any]] = {
    "held_out_bound": {"batch_size": 64},
    "ode_likelihood": {"batch_size": 64},
    "gaussian_baselines": {"patch": 4},
}
