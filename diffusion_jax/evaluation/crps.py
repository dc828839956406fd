r"""The continuous ranked probability score of a forecast that is given as sample paths.

    CRPS(F, y) = integral of (F(z) - 1[y <= z])^2 dz = E|X - y| - 1/2 E|X - X'|,   X, X' ~ F independent,

Gneiting and Raftery 2007 (JASA 102, eq. 20-21). For a point forecast it is the absolute error. Two estimates
from S samples, with sorted x_(1) <= ... <= x_(S) and sum_{i<j} |x_i - x_j| = sum_i (2i - S - 1) x_(i):

    exact of the empirical law   mean|x_i - y| - 1/S^2 sum_{i<j} |x_i - x_j|             (`fair=False`)
    fair, unbiased for F         mean|x_i - y| - 1/(S (S - 1)) sum_{i<j} |x_i - x_j|     (`fair=True`)

The first is what is usually reported; it exceeds the second by E|X - X'|/(2S) on average.

The CRPS is also twice the mean pinball loss over all quantile levels. Forecasting papers report `crps_sum`,
that mean over the 19 levels .05, .10, ..., .95, on the sum over features, for B windows of H steps:

    CRPS_sum = 1/19 sum_q [ sum_{b,h} 2 |(y_bh - z_bh(q)) (1[y_bh <= z_bh(q)] - q)| / sum_{b,h} |y_bh| ]

with y the sum over features of the target and z(q) the q-quantile of that of the paths, the sorted path
number round((S - 1) q). Quantiles and normalisation (one division for all windows together) are those of
GluonTS's evaluator; that Diffusion Forcing's table (arXiv 2407.01392, table 2) was made with every one of
its settings is likely, not documented: compare with care.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

LEVELS = tuple(round(0.05 * i, 2) for i in range(1, 20))
"""The 19 quantile levels of `crps_sum`."""


def crps(samples: Any, target: Any, fair: bool = False) -> np.ndarray:
    """The CRPS of every entry, in the units of the target: samples [S, ...], target [...] -> [...].

    fair: the unbiased estimate for the law that the samples come from, instead of the score of the samples.

    Raises ValueError where the shapes do not fit, or there are fewer than 2 samples for the fair one.
    """
    x, y = _checked(samples, target)
    count = len(x)
    if fair and count < 2:
        raise ValueError("the fair CRPS needs at least 2 samples")
    rank = (2 * np.arange(1, count + 1) - count - 1).reshape(-1, *[1] * y.ndim)
    # differences from the target: sums of large numbers would lose the small spread
    spread = (rank * np.sort(x - y, axis=0)).sum(0)
    return np.abs(x - y).mean(0) - spread / (count * (count - 1) if fair else count**2)


def crps_normal(mean: Any, std: Any, target: Any) -> np.ndarray:
    """The CRPS of N(mean, std^2) in closed form, shapes broadcast.

    s (w (2 Phi(w) - 1) + 2 phi(w) - 1/sqrt(pi)) with w = (y - mean)/s: Gneiting et al. 2005 (Monthly Weather
    Review 133, eq. 5). Raises ValueError unless std > 0.
    """
    from scipy.stats import norm

    mean, std, target = (np.asarray(one, np.float64) for one in (mean, std, target))
    if not (std > 0).all():
        raise ValueError(f"std must be positive, got {std.min()}")
    w = (target - mean) / std
    return std * (w * (2 * norm.cdf(w) - 1) + 2 * norm.pdf(w) - 1 / np.sqrt(np.pi))


def quantiles(samples: Any, levels: Sequence[float] = LEVELS) -> np.ndarray:
    """Quantiles of paths [S, ...] at Q levels: [Q, ...], each the sorted path number round((S - 1) q).

    Raises ValueError for levels outside (0, 1), or no samples.
    """
    q = _levels(levels)
    x = np.asarray(samples, np.float64)
    if x.ndim < 1 or not len(x):
        raise ValueError(f"samples must be [S, ...] with S >= 1, got shape {x.shape}")
    return np.sort(x, axis=0)[np.round((len(x) - 1) * q).astype(int)]


def pinball(predicted: Any, target: Any, levels: Sequence[float] = LEVELS) -> np.ndarray:
    """Twice the pinball loss, 2 |(y - z)(1[y <= z] - q)|, of quantiles z [Q, ...] for y [...]: [Q, ...].

    Its mean over evenly spaced levels is close to the CRPS. Raises ValueError where the shapes do not fit.
    """
    q = _levels(levels)
    z, y = _checked(predicted, target)
    if len(z) != len(q):
        raise ValueError(f"there are {len(q)} levels and {len(z)} quantiles")
    return 2 * np.abs((y - z) * ((y <= z) - q.reshape(-1, *[1] * y.ndim)))


def weighted_pinball(predicted: Any, target: Any, levels: Sequence[float] = LEVELS) -> float:
    """`pinball`, summed over all entries, divided by the sum of |target|, mean over levels; see above.

    predicted: [Q, ...]; target: [...]. Raises ValueError where the shapes do not fit or the target is 0.
    """
    size = np.abs(np.asarray(target, np.float64)).sum()
    if size == 0:
        raise ValueError("the target is 0 everywhere: a loss relative to it is undefined")
    return float(pinball(predicted, target, levels).sum() / size / len(levels))


def crps_sum(samples: Any, target: Any) -> float:
    """CRPS_sum of paths: samples [S, B, H, D], target [B, H, D]; S = 100 in the papers.

    Raises ValueError where the shapes do not fit or the summed target is 0 everywhere.
    """
    x, y = _checked(samples, target)
    if y.ndim != 3:
        raise ValueError(f"the target must be [B, H, D], windows x steps x features; got shape {y.shape}")
    return weighted_pinball(quantiles(x.sum(-1)), y.sum(-1))


def coverage(samples: Any, target: Any, share: float) -> float:
    """How often the target lies in the paths' central band that holds `share` of them, in [0, 1].

    Raises ValueError for a share outside (0, 1) or shapes that do not fit.
    """
    x, y = _checked(samples, target)
    low, high = np.quantile(x, _levels((0.5 - share / 2, 0.5 + share / 2)), axis=0)
    return float(((low <= y) & (y <= high)).mean())


def _levels(levels: Sequence[float]) -> np.ndarray:
    q = np.asarray(levels, np.float64)
    if q.ndim != 1 or not q.size or not ((q > 0) & (q < 1)).all():
        raise ValueError(f"quantile levels lie between 0 and 1, got {list(levels)}")
    return q


def _checked(samples: Any, target: Any) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(samples, np.float64), np.asarray(target, np.float64)
    if x.ndim != y.ndim + 1 or x.shape[1:] != y.shape or not len(x):
        raise ValueError(
            f"samples must be [S, ...] with S >= 1 for a target [...]; got {x.shape} and {y.shape}"
        )
    return x, y
