"""Proposes EDM's sigma_data, sigma_min, sigma_max, P_mean, P_std and rho for a data set, from the data.

    python -m experiments.propose --data digits
    python -m experiments.propose --data image_zip --set file=mine.zip
    python -m experiments.propose --config configs/edm/digits.py

What is printed: a reason for each number, and the part of a config that has them. EDM is Karras et al.
(arXiv 2206.00364), whose values for CIFAR-10 are 0.5, 0.002, 80, -1.2, 1.2 and 7. Images with CIFAR-10's mean
and deviation and a power spectrum of 1/f^2 come out at 0.5, 0.002, 70 to 90, -1.3, 1.2 and 7.

sigma_data: the standard deviation of all numbers of the training split about their one mean. The
preconditioning is made so that the network's input and target have variance one (EDM, section 5).

sigma_min: what is left of the noise before the last step. Where the data have grey levels, it is a quarter of
their distance, so that half of a level is two standard deviations: 0.002 for 8 bits on [-1, 1]. Where they
have none, it is EDM's proportion, sigma_data / 250, or, if that is less, a quarter of the median distance of
an example to its nearest neighbour: closer than neighbours are, the data do not say what their law is.

sigma_max: the noise at which the law of x0 + sigma n, q, can no longer be told from the N(0, sigma^2) where
sampling starts. For two independent examples x, x', exactly,

    chi^2(q || N(0, sigma^2)) = E exp(x . x' / sigma^2) - 1,        total variation <= chi / 2.

No sampler enlarges this error, and a deterministic one keeps it. We allow START_ERROR = 0.025: no event of
the start is wrongly probable by more than that. EDM's 80 means about this on images like CIFAR-10's. As the
mean image m has |m|^2 = E x . x', its share is |m| / (2 sigma), often the largest: centred data need less
noise. Beside it we print the largest distance of two examples, the proposal of Song and Ermon (arXiv
2006.09011, technique 1): for CIFAR-10 on [-1, 1] about 100.

P_mean, P_std: ln sigma ~ N(P_mean, P_std^2) puts training where there is something to learn (EDM, section 5,
figure 5a): at little noise nobody can see it, at much noise the answer is the mean. Let s^2 be the variance
of a number about the mean image, v(sigma) the mean squared error, for a number, of a denoiser, and compare
with the denoiser that knows s only:

    nats(sigma) = s^2 / (s^2 + sigma^2) - v(sigma) / sigma^2    a unit of ln sigma. Of the best denoiser it
                  integrates to KL(data || isotropic normal law), in nats a number (Guo, Shamai and Verdu,
                  arXiv cs/0412108)
    loss(sigma) = nats(sigma) (s^2 + sigma^2) / s^2             by how much EDM's weighted loss falls

Both vanish at both ends. Nats weigh fine detail more (1/f^2 images: mean of ln sigma -1.7, deviation 1.0),
the loss weighs coarse structure more (-0.5, 1.5); EDM's published pair lies between, and so does ours: the
mean and deviation of ln sigma under the geometric mean of both, between sigma_min and sigma_max. Of v we
know what two denoisers reach without training, and take the better at each level: the best linear one in
separable principal axes (an orthogonal transform of each axis of x, the variance of each coefficient), and
the exact posterior mean under some of the examples, tried on others. A network learns more than that, at
small sigma above all. At k times the resolution the noise that hides the same object is k times as large
(Hoogeboom et al., arXiv 2301.11093), while fine detail stays as it was: P_std grows, as in EDM2 (arXiv
2312.02696), whose pair is -0.8, 1.6 for ImageNet-64 and -0.4, 1.0 for the latents of 512 pixels.

rho: 7. EDM (section 3) finds that 3 nearly equalises the errors of the steps and that samples are best
between 5 and 10. We print which share of the steps falls where ln sigma is within two P_std of P_mean.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from diffusion_jax.build import available, build
from diffusion_jax.data.pipeline import Dataset
from experiments import configuration
from experiments.prepare import setting

START_ERROR = 0.025
RHO = 7.0
_SIGMA_DATA_BY_MIN = 250.0
_BATCH = 256
_KEPT = 1536  # examples whose pairs are looked at
_KEPT_NUMBERS = 2**26
_PROBES = 384  # examples that denoisers are tried on
_LEVELS = 41


class Survey(NamedTuple):
    """The training split.

    count:           of its examples
    mean, deviation: over all numbers
    kept:            [N, ...], examples spread evenly over it
    """

    count: int
    mean: float
    deviation: float
    kept: np.ndarray


class Gains(NamedTuple):
    """What there is to learn at each level of noise; see the head of the module.

    sigma: [L]; nats: [L], a number of x and a unit of ln sigma; variance: s^2
    """

    sigma: np.ndarray
    nats: np.ndarray
    variance: float


class Proposal(NamedTuple):
    """The six numbers, and the reason for each by its name."""

    sigma_data: float
    sigma_min: float
    sigma_max: float
    P_mean: float
    P_std: float
    rho: float
    reasons: dict[str, str]


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the proposal for what the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.propose",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--data", metavar="NAME", help=", ".join(available("data")))
    which.add_argument("--config", metavar="FILE[:VARIANT]", help="take the data of this config")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=setting,
        metavar="KEY=VALUE",
        help="with --data: an argument of the data set; may be given several times",
    )
    options, overrides = configuration.parse(parser, arguments)
    if options.config and options.set:
        parser.error("--set goes with --data; a config's fields are set by --config.FIELD=VALUE")
    if options.data and overrides:
        parser.error("--config.FIELD=VALUE goes with --config; arguments of --data are set by --set")
    try:
        if options.config:
            spec = configuration.load(options.config, overrides)["data"]
        else:
            spec = {"name": options.data, **dict(options.set)}
        proposal = propose(build("data", spec))
    except (ImportError, OSError, TypeError, ValueError) as error:
        sys.exit(f"error: {error}")
    for name, reason in proposal.reasons.items():
        print(f"{name} = {getattr(proposal, name):g}\n    {reason}\n")
    print(fragment(proposal))


def propose(dataset: Dataset) -> Proposal:
    """The proposal for a data set of numbers, from its training split.

    Raises:
        ValueError: the data are not continuous, have fewer than 16 examples, are all the same, or cannot be
            told from an isotropic normal law.
    """
    survey = look(dataset)
    least, why_least = _sigma_min(dataset, survey)
    flat = survey.kept.reshape(len(survey.kept), -1)
    highest, why_highest = _sigma_max(flat @ flat.T)
    found = gains(survey.kept, least, highest)
    mean, std = law(found)
    low, high = np.clip(np.exp([mean - 2 * std, mean + 2 * std]), least, highest)
    share = np.diff(np.array([low, high]) ** (1 / RHO))[0] / (highest ** (1 / RHO) - least ** (1 / RHO))
    nats = float(np.trapezoid(found.nats, np.log(found.sigma)))
    reasons = {
        "sigma_data": f"the deviation of all numbers of {survey.count} examples, whose mean is "
        f"{survey.mean:.3g}.",
        "sigma_min": why_least,
        "sigma_max": why_highest,
        "P_mean": f"where there is something to learn: denoisers without training gain {nats:.2g} nats a "
        f"number over the best one that knows the variance alone, most of it about sigma = "
        f"{found.sigma[found.nats.argmax()]:.2g}; the median of the proposed law is {np.exp(mean):.2g}.",
        "P_std": f"the spread of the same; 95 % of training falls between sigma = {low:.2g} and {high:.2g}.",
        "rho": f"EDM's; {share:.0%} of the steps fall between those two.",
    }
    return Proposal(
        sigma_data=_short(survey.deviation),
        sigma_min=_short(least),
        sigma_max=_short(highest),
        P_mean=_short(mean),
        P_std=_short(std),
        rho=RHO,
        reasons=reasons,
    )


def fragment(proposal: Proposal) -> str:
    """The part of a config that has the proposed numbers, as Python."""
    return f""""objective": {{
    "name": "denoising",
    "process": {{"name": "edm", "sigma_max": {proposal.sigma_max:g}}},
    "coefficients": {{"name": "edm", "sigma_data": {proposal.sigma_data:g}}},
    "levels": {{
        "name": "per_sample",
        "levels": {{"name": "lognormal", "mean": {proposal.P_mean:g}, "std": {proposal.P_std:g}}},
    }},
    "weight": {{"name": "edm", "sigma_data": {proposal.sigma_data:g}}},
}},
"sampling": {{
    "sampler": "heun",
    "grid": {{
        "name": "karras_grid",
        "steps": 18,
        "sigma_min": {proposal.sigma_min:g},
        "rho": {proposal.rho:g},
    }},
}},"""


def look(dataset: Dataset) -> Survey:
    """One pass over the training split, in double precision."""
    if dataset.info.kind != "continuous":
        raise ValueError(f"noise levels are for continuous data, and these are {dataset.info.kind}")
    count = dataset.info.splits.get("train", 0)
    if count < 16:
        raise ValueError(f"a proposal needs 16 examples at least, the training split has {count}")
    size = int(np.prod(dataset.info.shape))
    chosen = np.linspace(0, count - 1, min(count, _KEPT, max(16, _KEPT_NUMBERS // size))).astype(int)
    total = squares = 0.0
    kept = []
    for i, batch in enumerate(dataset.epoch("train", _BATCH)):
        first = i * _BATCH
        x = batch["x"][: count - first].astype(np.float64)
        total += x.sum()
        squares += np.square(x).sum()
        kept.append(x[chosen[(chosen >= first) & (chosen < first + _BATCH)] - first])
    mean = total / (count * size)
    variance = squares / (count * size) - mean**2
    if variance <= 1e-12 * mean**2:
        raise ValueError(f"all numbers are {mean:g}: there is nothing to learn")
    return Survey(count, mean, float(np.sqrt(variance)), np.concatenate(kept))


def start_error(products: np.ndarray, sigma: float) -> float:
    """chi / 2, which bounds the total variation of q and N(0, sigma^2), from x . x' of pairs of examples."""
    exponents = products / sigma**2
    highest = max(exponents.max(), 0.0)
    log_mean = highest + np.log(np.exp(exponents - highest).mean())
    return 0.5 * float(np.sqrt(max(np.expm1(min(log_mean, 100.0)), 0.0)))


def gains(kept: np.ndarray, sigma_min: float, sigma_max: float) -> Gains:
    """What the better of two denoisers without training gains, at levels evenly spaced in ln sigma.

    Args:
        kept: [N, D...] examples.
        sigma_min, sigma_max: the first and last level.
    """
    sigma = np.geomspace(sigma_min, sigma_max, _LEVELS)
    variances = _separable_variances(kept)
    variance = float(variances.mean())
    linear = [variance / (variance + r**2) - np.mean(variances / (variances + r**2)) for r in sigma]
    known = _by_examples(kept.reshape(len(kept), -1), sigma, variance)
    return Gains(sigma, np.maximum(0.0, np.maximum(linear, known)), variance)


def law(found: Gains) -> tuple[float, float]:
    """P_mean and P_std: mean and deviation of ln sigma under the geometric mean of nats and loss.

    Raises ValueError where there is nothing to gain.
    """
    place = np.log(found.sigma)
    density = found.nats * np.sqrt((found.variance + found.sigma**2) / found.variance)
    total = density.sum()
    if total * (place[1] - place[0]) < 0.01:
        raise ValueError("the data cannot be told from an isotropic normal law: there is nothing to learn")
    mean = float(density @ place / total)
    return mean, float(np.sqrt(density @ (place - mean) ** 2 / total))


def _sigma_min(dataset: Dataset, survey: Survey) -> tuple[float, str]:
    if dataset.info.unit is not None:
        spacing = 1.0 / dataset.info.unit
        return spacing / 4, f"a quarter of the distance of grey levels, {spacing:.3g}."
    share = survey.deviation / _SIGMA_DATA_BY_MIN
    near = _nearest(dataset, survey.kept[:_PROBES])
    said = f"sigma_data / {_SIGMA_DATA_BY_MIN:g} is {share:.2g}, the median distance of neighbours {near:.2g}"
    return min(share, near / 4), f"{said}: the less of the former and a quarter of the latter."


def _sigma_max(products: np.ndarray) -> tuple[float, str]:
    """From all inner products of examples, [N, N]."""
    upper = np.triu_indices(len(products), 1)
    pairs, squares = products[upper], np.diag(products)
    with_mean = products.mean(axis=0)
    centred = (products - with_mean - with_mean[:, None] + with_mean.mean())[upper]
    distance = float(np.sqrt((squares[:, None] + squares - 2 * products).max()))
    least, most = 1e-3 * distance, 1e4 * float(np.sqrt(squares.max()))
    highest = _falls_to(START_ERROR, lambda sigma: start_error(pairs, sigma), least, most)
    alone = _falls_to(START_ERROR, lambda sigma: start_error(centred, sigma), least, most)
    return highest, (
        f"there the start is wrong by {START_ERROR:.1%} at most; at EDM's 80 by "
        f"{start_error(pairs, 80.0):.1%}. The largest distance of two examples is {distance:.3g}. With the "
        f"mean of the examples taken off, {alone:.3g} would do."
    )


def _falls_to(value: float, function: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function takes a value, by bisection in the logarithm; an end, if it does not."""
    for _ in range(30):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if function(middle) > value else (low, middle)
    return high


def _separable_variances(kept: np.ndarray) -> np.ndarray:
    """Variances of the coefficients in the principal axes of each axis of x, [D]."""
    turned = kept - kept.mean(axis=0)
    for axis in range(1, turned.ndim):
        last = np.moveaxis(turned, axis, -1)
        rows = last.reshape(-1, last.shape[-1])
        _, vectors = np.linalg.eigh(rows.T @ rows)
        turned = np.moveaxis(last @ vectors, -1, axis)
    return np.square(turned).mean(axis=0).reshape(-1)


def _by_examples(x: np.ndarray, sigma: np.ndarray, variance: float) -> list[float]:
    """What the posterior mean under most rows of x [N, D] gains on the others, at each sigma.

    All comes from inner products, so the cost of a level does not depend on D. The denoiser that knows the
    variance alone meets the same noise, which takes most of the chance out of the difference.
    """
    rng = np.random.default_rng(0)
    order = rng.permutation(len(x))
    probes = min(_PROBES, len(x) // 4)
    y, known = x[order[:probes]], x[order[probes:]]
    mean = known.mean(axis=0)
    noise = rng.standard_normal(y.shape)
    gram, seen, blurred = known @ known.T, y @ known.T, noise @ known.T
    distance = np.diag(gram) - 2 * seen  # and |y|^2, the same for all
    squares = np.square(y).sum(axis=1)
    found = []
    for r in sigma:
        logits = (r * blurred - 0.5 * distance) / r**2
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        error = squares + ((weights @ gram) * weights).sum(axis=1) - 2 * (weights * seen).sum(axis=1)
        skip = variance / (variance + r**2)
        plain = np.square((skip - 1) * (y - mean) + skip * r * noise).sum(axis=1)
        found.append(float(np.mean(plain - error)) / (x.shape[1] * r**2))
    return found


def _nearest(dataset: Dataset, probes: np.ndarray) -> float:
    """The median distance of probes, examples themselves, to the nearest example that is not equal."""
    probes = probes.reshape(len(probes), -1)
    nearest = np.full(len(probes), np.inf)
    for batch in dataset.epoch("train", _BATCH):
        x = batch["x"][batch["mask"][:, 0] > 0].astype(np.float64).reshape(-1, probes.shape[1])
        distance = np.array([np.square(x - probe).sum(axis=1) for probe in probes])
        nearest = np.minimum(nearest, np.where(distance > 0, distance, np.inf).min(axis=1))
    return float(np.sqrt(np.median(nearest)))


def _short(value: float) -> float:
    """The value, to two digits."""
    return float(f"{value:.2g}")


if __name__ == "__main__":
    main()
