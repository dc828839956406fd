"""The bound where its value is known: normal data, fixed last kernels, the paper's numbers, exact reverses.

Expectations over normal data and noise are exact: the integrands are quadratic, and x = -1, 1 are the nodes
of Gauss and Hermite that integrate x^2.
"""

import dataclasses
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.evaluation.bound import bound_terms, equilibrium_null, evaluate_bound, normal_null
from diffusion_jax.levels import expand, token_sum
from diffusion_jax.objectives.base import continuous_rate, pair_kl, prior_kl
from diffusion_jax.objectives.exact import exact
from diffusion_jax.processes import binomial, large, learned_beta, vdm, vp_2015, vp_cosine, vp_linear
from diffusion_jax.sampling.decoders import fixed_kernel
from diffusion_jax.sampling.grids import linear_grid
from diffusion_jax.types import Bound, Support

pytestmark = pytest.mark.usefixtures("x64")

LN2 = math.log(2)
HEARTBEAT = (np.arange(20) % 5 == np.arange(5)[:, None]).astype(float)[:, None]
"""The five sequences, [5, 1, 20]."""


def nodes(pairs):
    """x0, eps [4 pairs, 1, 1]: all signs at every pair; and how to spread an array [pairs] over them."""
    x0, eps = np.meshgrid([-1.0, 1.0], [-1.0, 1.0])
    spread = lambda values: jnp.repeat(jnp.asarray(values), 4)[:, None]  # noqa: E731
    tiled = (jnp.asarray(np.tile(z.ravel(), pairs)[:, None, None]) for z in (x0, eps))
    return *tiled, spread


def pair_divergences(process, times, deviation, variance=None):
    """The mean KL of every pair, in nats [S - 1], for data N(0, deviation^2) and their exact denoiser."""

    @jax.jit
    def divergences(times):
        x0, eps, spread = nodes(len(times) - 2)
        t, s = spread(times[:-2]), spread(times[1:-1])
        x_t, x0_hat = exact_estimate(process, deviation * x0, eps, t, deviation)
        chosen = None if variance is None else variance(process)(x_t, t, s)
        return pair_kl(process, deviation * x0, x_t, x0_hat, t, s, chosen).reshape(-1, 4).mean(1)

    return np.asarray(divergences(times))


def exact_estimate(process, x0, eps, t, deviation):
    """x_t, and the mean of x0 given it for data N(0, deviation^2)."""
    alpha, sigma = expand(process.alpha(t), x0), expand(process.sigma(t), x0)
    x_t = alpha * x0 + sigma * eps
    return x_t, alpha * deviation**2 / (alpha**2 * deviation**2 + sigma**2) * x_t


# Null laws


@pytest.mark.parametrize(
    ("dimensions", "bits", "gain", "published"), [(2, -4.094, 6.45, 2.35), (1, -2.0471, 1.5, -0.55)]
)
def test_the_null_of_standardised_data(dimensions, bits, gain, published):
    """Swiss roll and grey pixels; K - L_null and K of the paper's table differ by it."""
    x = jnp.asarray(np.array([-1.0, 1.0])[:, None, None] * np.ones((2, 1, dimensions)))
    null = normal_null(0.0, 1.0)(x).mean() / LN2
    np.testing.assert_allclose(null, bits, atol=3e-4)
    np.testing.assert_allclose(published - gain, null, atol=0.01)


def test_the_null_of_colour_pixels():
    x = jnp.asarray(np.array([-1.0, 1.0])[:, None, None] * np.ones((2, 1, 3)))
    null = normal_null(0.0, 1.0)(x).mean() / LN2
    np.testing.assert_allclose(null, -6.1413, atol=1e-4)
    np.testing.assert_allclose(5.4 - 11.5, null, atol=0.05)


def test_the_null_of_heartbeats():
    null = equilibrium_null(binomial(0.2))(jnp.asarray(HEARTBEAT)).mean() / LN2
    np.testing.assert_allclose(null, -14.4386, atol=1e-4)
    np.testing.assert_allclose(-2.414 - 12.024, null, atol=1e-3)


def test_the_null_of_shifted_data():
    x = jnp.asarray(np.array([2.0, 8.0])[:, None, None])
    np.testing.assert_allclose(normal_null(5.0, 3.0)(x).mean() / LN2, -2.0470956 - np.log2(3), rtol=1e-7)
    with pytest.raises(ValueError, match="std must be positive"):
        normal_null(0.0, 0.0)


# The fixed last kernel


@pytest.mark.parametrize(("beta_1", "bits"), [(0.001, 2.9358), (0.002, 2.4358)])
def test_no_bound_passes_the_ceiling_of_beta_1(beta_1, bits):
    """What is left of K when every divergence is zero, the prior's too: alpha(1) = 0."""
    process, times = vp_2015(beta_1, 40), linear_grid(40)
    x0 = jnp.asarray(np.array([-1.0, 1.0])[:, None, None])
    k = fixed_kernel(process, times).expected(x0) - prior_kl(process, x0)
    np.testing.assert_allclose(k.mean() / LN2, bits, atol=1e-4)


@pytest.mark.parametrize(
    "process", [vp_2015(), vp_linear(steps=10), binomial(0.2)], ids=["2015", "ddpm", "bits"]
)
def test_ends_of_the_bound_are_the_entropies_of_equation_14(process):
    """For data with the prior's second moment: H(X_T|X_0) - H(X_1|X_0) - H(X_T), all from the laws."""
    x0 = np.array([-1.0, 1.0]) if not hasattr(process, "p") else np.array([1.0, 0, 0, 0, 0])
    x0, times = jnp.asarray(x0[:, None, None]), linear_grid(10)
    entropy = lambda t: process.marginal(x0, jnp.asarray(t)).entropy().mean()  # noqa: E731
    ends = fixed_kernel(process, times).expected(x0) - prior_kl(process, x0)
    prior = process.prior((1, 1, 1)).entropy().mean()
    np.testing.assert_allclose(ends.mean(), entropy(1.0) - entropy(times[-2]) - prior, rtol=1e-9)


# Exact reverses


@pytest.mark.parametrize(
    "make",
    [
        vp_2015,
        partial(vp_2015, 1e-3, 8),
        vp_linear,
        vp_cosine,
        partial(vdm, gamma_max=18.0, hidden=4),
        partial(learned_beta, 8, alpha_bar_end=1e-8),
    ],
    ids=["2015", "2015 beta_1", "linear", "cosine", "vdm", "learned"],
)
def test_a_perfect_reverse_of_normal_data_reaches_the_null(make):
    """The forward kernel reversed, at any number of steps: K = L_null = -1/2 log2(2 pi e).

    The prior is N(0, sigma(1)^2), which costs alpha(1)^4/4 nats: of learned schedules, ends without signal.
    """
    process, times = make(), jnp.linspace(1.0, 0.0, 9)
    x0 = jnp.asarray(np.array([-1.0, 1.0])[:, None, None])
    ends = (fixed_kernel(process, times).expected(x0) - prior_kl(process, x0)).mean()
    k = ends - pair_divergences(process, times, 1.0, large).sum()
    np.testing.assert_allclose(k / LN2, -2.0470955852, atol=1e-10)


def test_the_bound_of_smaller_steps_is_tighter_and_ends_in_the_continuous_one():
    """VDM, for data N(0, c^2): 1/2 log((1 + c^2 SNR(t_1))/(1 + c^2 SNR(1))), the integral of the mmse."""
    process, deviation = vdm(-6.0, 5.0, 8), 0.7
    totals = []
    first = 1e-3
    for steps in (4, 8, 16, 32, 64):
        times = jnp.append(jnp.linspace(1.0, first, steps), 0.0)
        totals.append(float(pair_divergences(process, times, deviation).sum()))
    snr = np.exp(np.asarray(process.log_snr(jnp.array([first, 1.0]))))
    limit = 0.5 * np.log((1 + deviation**2 * snr[0]) / (1 + deviation**2 * snr[1]))
    gaps = np.array(totals) - limit
    assert (gaps > 0).all()
    assert (gaps[1:] < 0.6 * gaps[:-1]).all()
    np.testing.assert_allclose(gaps[-1] / gaps[-2], 0.5, atol=0.05)
    t, weight = np.polynomial.legendre.leggauss(60)
    t, weight = first + (1 - first) * (t + 1) / 2, weight * (1 - first) / 2

    @jax.jit
    def rates(t):
        x0, eps, spread = nodes(60)
        x0_hat = exact_estimate(process, deviation * x0, eps, spread(t), deviation)[1]
        return continuous_rate(process, deviation * x0, x0_hat, spread(t)).reshape(-1, 4).mean(1)

    np.testing.assert_allclose((weight * rates(t)).sum(), limit, rtol=1e-4)


def test_the_continuous_bound_depends_on_the_schedule_through_its_ends_only(key):
    """Two inner shapes: the same value, and less spread for the one that is even in log-SNR."""
    deviation, first, count = 0.7, 1e-4, 40_000
    x0 = deviation * jax.random.normal(key, (count, 1, 1))
    found = []
    for height in (0.0, 30.0):
        process = vdm(-6.0, 5.0, 4)
        inner = {**process.inner, "height": height * jnp.array([1.0, 0.2, 0.0, 0.5])}
        process = dataclasses.replace(process, inner=inner)

        def denoiser(x, t, process=process):
            alpha, sigma = expand(process.alpha(t), x), expand(process.sigma(t), x)
            return alpha * deviation**2 / (alpha**2 * deviation**2 + sigma**2) * x

        times = jnp.array([1.0, first, 0.0])
        bound = Bound(process, denoiser, None, fixed_kernel(process, times), None, times)
        terms = jax.jit(lambda key, bound=bound: bound_terms(key, bound, x0, pairs=1, continuous=True))
        snr = np.exp(process.log_snr(jnp.array([first, 1.0])))
        limit = 0.5 * np.log((1 + deviation**2 * snr[0]) / (1 + deviation**2 * snr[1]))
        found.append(np.asarray(terms(key).pairs) / limit)
    for value in found:
        np.testing.assert_allclose(value.mean(), 1.0, atol=4 * value.std() / math.sqrt(count))
    assert found[1].std() > 1.1 * found[0].std()


def test_the_weight_of_the_noise_error_is_ddpms():
    """beta^2/(2 sigma^2 alpha (1 - alpha_bar)), DDPM eq. 12, for both of its fixed variances."""
    process, k = vp_linear(steps=1000), np.array([2, 300, 1000])
    t, s = jnp.asarray(k / 1000), jnp.asarray((k - 1) / 1000)
    x0, eps, error = jnp.full((3, 1, 2), 0.3), jnp.full((3, 1, 2), -0.8), jnp.full((3, 1, 2), 0.05)
    alpha_t, sigma_t = expand(process.alpha(t), x0), expand(process.sigma(t), x0)
    x_t = alpha_t * x0 + sigma_t * eps
    x0_hat = (x_t - sigma_t * (eps + error)) / alpha_t
    beta = np.linspace(1e-4, 0.02, 1000)
    alpha_bar = np.cumprod(1 - beta)[k - 1]
    beta = beta[k - 1]
    for variance, sigma2 in ((None, None), (large, beta)):
        chosen = None if variance is None else variance(process)(x_t, t, s)
        if sigma2 is None:
            sigma2 = np.asarray(process.posterior(x_t, x0, t, s).std[:, 0, 0]) ** 2
        gap = pair_kl(process, x0, x_t, x0_hat, t, s, chosen) - pair_kl(process, x0, x_t, x0, t, s, chosen)
        weight = gap[:, 0] / (2 * 0.05**2)
        np.testing.assert_allclose(weight, beta**2 / (2 * sigma2 * (1 - beta) * (1 - alpha_bar)), rtol=1e-6)


# Equation 12


@pytest.mark.parametrize(
    ("process", "chances"),
    [(vp_2015(), None), (binomial(0.2), [0.7, 0.3])],
    ids=["gaussian", "bits"],
)
def test_the_bound_is_the_mean_log_ratio_of_path_densities(process, chances, key):
    """Eq. 12, K = E log p(x_T) prod p(x_(t-1) | x_t)/q(x_t | x_(t-1)), over drawn paths.

    The denoiser is some wrong one. The kernel from s to t is the marginal at 1 - (1 - t)/(1 - s).
    """
    steps, count = 4, 200_000
    times = np.linspace(1.0, 0.0, steps + 1)
    decoder = fixed_kernel(process, times)

    def denoiser(x):
        return 0.4 * x + 0.1 if chances is None else 0.2 + 0.5 * x

    def both(key):
        start, *keys = jax.random.split(key, steps + 2)
        shape = (count, 1, 1)
        x0 = (
            1.3 * jax.random.normal(start, shape)
            if chances is None
            else jax.random.bernoulli(start, chances[1], shape).astype(float)
        )
        ratio, bound, x = 0.0, decoder.expected(x0) - prior_kl(process, x0), x0
        for i in range(steps, 0, -1):
            t, s = times[i - 1], times[i]
            variance = None if chances is not None else jnp.full(shape, 0.3)
            forward = process.marginal(x, 1 - (1 - t) / (1 - s))
            later = forward.sample(keys[i])
            if s == 0:
                backward = decoder.log_prob(x, later, None)
            else:
                backward = token_sum(process.reverse(later, denoiser(later), t, s, variance).log_prob(x))
                bound = bound - pair_kl(process, x0, later, denoiser(later), t, s, variance)
            ratio = ratio + backward - token_sum(forward.log_prob(later))
            x = later
        ratio = ratio + token_sum(process.prior(shape).log_prob(x))
        return ratio[:, 0], bound[:, 0]

    ratio, bound = map(np.asarray, jax.jit(both)(key))
    error = (ratio - bound).std() / math.sqrt(count)
    assert error < 0.02
    assert abs((ratio - bound).mean()) < 4 * error
    assert abs(ratio.mean()) > 0.3, "a bound of about zero would agree with anything"


# The heartbeat


def heartbeat_bound(steps):
    return exact(Support(HEARTBEAT, 0.0), binomial(0.2), linear_grid(steps), fixed_kernel).bind({}, None, {})


def test_the_posterior_at_each_bits_probability_is_the_best_factorised_reverse(key):
    """P(x_(t-1),i = 1 | x_t) by summing over the sequences."""
    bound = heartbeat_bound(10)
    process, t, s = bound.process, jnp.array(0.6), jnp.array(0.5)

    @jax.jit
    def both(key):
        x_t = process.marginal(jnp.asarray(HEARTBEAT), t).sample(key)
        sequences = jnp.asarray(HEARTBEAT)[:, None]  # [5, 1, 1, 20]
        each = [process.marginal(x, t).log_prob(x_t).sum((1, 2)) for x in sequences]
        chance = jax.nn.softmax(jnp.stack(each, -1), -1)  # [B, 5]
        means = [process.posterior(x_t, jnp.broadcast_to(x, x_t.shape), t, s).mean for x in sequences]
        best = sum(chance[:, i, None, None] * mean for i, mean in enumerate(means))
        return best, process.reverse(x_t, bound.denoiser(x_t, t), t, s).mean

    best, ours = both(key)
    np.testing.assert_allclose(ours, best, rtol=1e-9)


@pytest.mark.parametrize(
    ("steps", "repeats", "wanted", "error"),
    [(100, 600, -2.964, 0.008), pytest.param(500, 600, -2.480, 0.005, marks=pytest.mark.slow)],
)
def test_the_heartbeat_oracle(steps, repeats, wanted, error, key):
    """K of eq. 14 in bits, Monte Carlo error as stated beside the number."""
    batch = {"x": np.tile(HEARTBEAT, (repeats, 1, 1))}
    report = evaluate_bound(heartbeat_bound(steps), [batch], key, null=equilibrium_null(binomial(0.2)))
    np.testing.assert_allclose(report.bits, wanted, atol=4 * math.hypot(report.bits_se, error))
    assert report.bits_se < 0.03
    assert report.bits < math.log2(1 / 5)
    np.testing.assert_allclose(report.gain, report.bits + 14.4386, atol=1e-4)
