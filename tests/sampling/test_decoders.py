"""The last step of a bound: normalised, drawn as scored, safe in the tails."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from diffusion_jax.build import available, build, example
from diffusion_jax.laws import Normal
from diffusion_jax.processes import edm, vp_2015, vp_cosine
from diffusion_jax.processes.binomial import binomial
from diffusion_jax.processes.categorical import categorical
from diffusion_jax.sampling.decoders import discretised_gaussian, fixed_kernel, softmax
from diffusion_jax.sampling.grids import linear_grid, log_snr_grid
from diffusion_jax.sampling.products import delta
from diffusion_jax.types import Decoder


@pytest.mark.parametrize("name", available("decoder"))
def test_scores_tokens_and_draws_data(name, key):
    spec = example("decoder", name)
    decoder = build("decoder", spec)
    assert isinstance(decoder, Decoder)
    bits = spec["process"] == "binomial"
    x0 = jnp.array([1.0, 0.0, 1.0] if bits else [-1.0, 0.0, 1.0]).reshape(1, 1, 3) * jnp.ones((2, 4, 1))
    x_1 = x0 if bits else x0 + 0.01
    assert score(decoder, x0, x_1, x0).shape == (2, 4)
    drawn = decoder.sample(key, x_1, x0)
    assert drawn.shape == x0.shape
    assert abs(drawn - x0).max() < 0.5


def score(decoder, x0, x_1, x0_hat=None):
    """log p(x0 | x_1), compiled."""
    return jax.jit(decoder.log_prob)(x0, x_1, x0_hat)


def grid_of_grey(levels):
    return 2 * np.arange(levels) / (levels - 1) - 1


# fixed_kernel


def test_fixed_kernel_is_the_first_forward_kernel(x64, key):
    """N(sqrt(1 - beta_1) x_1, beta_1), at beta_1 = 0.01."""
    decoder = fixed_kernel(vp_2015(), linear_grid(100))
    x0, x_1 = jnp.array([[[0.3, -1.2]]]), jnp.array([[[0.5, -1.0]]])
    expected = stats.norm(np.sqrt(0.99) * np.asarray(x_1), 0.1).logpdf(x0).sum(-1)
    np.testing.assert_allclose(decoder.log_prob(x0, x_1, None), expected, rtol=1e-10)
    drawn = decoder.sample(key, jnp.full((20000, 1, 1), 0.5), None)
    assert abs(drawn.mean() - np.sqrt(0.99) * 0.5) < 4 * 0.1 / np.sqrt(20000)
    assert abs(drawn.std() - 0.1) < 4 * 0.1 / np.sqrt(40000)


@pytest.mark.parametrize(("beta", "bits"), [(0.001, 2.9358), (0.002, 2.4358)])
def test_ceiling_of_the_2015_bound(beta, bits, x64):
    """For data of unit second moment the expected decoder is -1/2 log(2 pi e beta_1)."""
    decoder = fixed_kernel(vp_2015(), linear_grid(round(1 / beta)))
    value = decoder.expected(jnp.array([[[1.0]], [[-1.0]]]))
    np.testing.assert_allclose(value / np.log(2), bits, atol=1e-4)


@pytest.mark.parametrize("process", [vp_2015, edm], ids=lambda f: f.__name__)
def test_expected_is_the_mean_over_x_1_for_normals(process, x64):
    """Two points integrate a quadratic of a normal variable exactly."""
    process, times = process(), linear_grid(20)
    decoder = fixed_kernel(process, times)
    x0 = jnp.array([[[0.3]], [[-1.7]], [[0.0]]])
    law = process.marginal(x0, times[-2])
    ends = [score(decoder, x0, law.mean + sign * law.std, None) for sign in (-1, 1)]
    np.testing.assert_allclose(decoder.expected(x0), sum(ends) / 2, rtol=1e-10)


@pytest.mark.parametrize("process", [binomial(0.2), categorical(3)], ids=["bits", "categories"])
def test_expected_is_the_mean_over_x_1_by_sampling(process, key):
    times = linear_grid(5)
    decoder = fixed_kernel(process, times)
    one = jnp.array([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    x0 = jnp.broadcast_to(one, (20000, *one.shape[1:]))
    scores = score(decoder, x0, process.marginal(x0, times[-2]).sample(key), None)
    error = 5 * scores.std(0) / np.sqrt(20000)
    np.testing.assert_array_less(abs(scores.mean(0) - decoder.expected(one)[0]), error + 1e-5)


def test_a_factor_changes_the_kernel(key, x64):
    """2015's inpainting copies known entries in the last step too."""
    known, mask = jnp.full((2, 1, 2), 0.25), jnp.array([[[True, False]]] * 2)
    decoder = fixed_kernel(vp_2015(), linear_grid(10), factor=delta(known, mask))
    drawn = decoder.sample(key, jnp.ones((2, 1, 2)), None)
    np.testing.assert_array_equal(drawn[..., 0], 0.25)
    assert (drawn[..., 1] != 0.25).all()
    assert decoder.expected is None


# discretised_gaussian


@pytest.mark.parametrize("levels", [2, 256])
@pytest.mark.parametrize("last", [1e-3, 1.0])
def test_masses_sum_to_one(levels, last, x64):
    """Over all grey values, for widths from far below to far above a bin, and a mean anywhere."""
    process = edm()
    decoder = discretised_gaussian(process, log_snr_grid(process, 10, sigma_min=last), levels)
    x0 = jnp.asarray(grid_of_grey(levels)).reshape(levels, 1, 1)
    for mean in (-0.37, 0.0, 0.9, 1.3):
        log_mass = score(decoder, x0, x0, jnp.full_like(x0, mean))
        np.testing.assert_allclose(np.exp(log_mass).sum(), 1, rtol=1e-9)


def test_masses_agree_with_the_normal_distribution(x64):
    """Where the textbook difference does not cancel; std = sigma_1 = 0.1, bins of 1/8."""
    decoder = discretised_gaussian(edm(1.0), jnp.array([1.0, 0.1, 0.0]), 17)
    x0 = jnp.array([-1.0, -0.25, 0.125, 1.0]).reshape(1, 1, 4)
    law = stats.norm(0.1, 0.1)
    expected = [law.cdf(-0.9375), law.cdf(-0.1875) - law.cdf(-0.3125)]
    expected += [law.cdf(0.1875) - law.cdf(0.0625), law.sf(0.9375)]
    total = score(decoder, x0, x0, jnp.full_like(x0, 0.1))
    np.testing.assert_allclose(total[0, 0], np.log(expected).sum(), rtol=1e-9)


@pytest.mark.parametrize("sigma", [1e-3, 0.3])
def test_float32_is_safe_in_the_tails(sigma):
    """Up to two thousand standard deviations away: as in double precision, with finite gradients."""
    x0 = jnp.asarray(grid_of_grey(256), jnp.float32).reshape(1, 256, 1)

    decoder = discretised_gaussian(edm(1.0), jnp.array([1.0, sigma, 0.0]), 256)
    x0_hat = jnp.full_like(x0, -0.7)
    single = score(decoder, x0, x0, x0_hat)
    gradient = jax.jit(jax.grad(lambda x: decoder.log_prob(x0, x0, x).sum()))(x0_hat)
    assert np.isfinite(gradient).all()
    with jax.enable_x64(True):
        exact = jnp.asarray(grid_of_grey(256)).reshape(1, 256, 1)
        decoder = discretised_gaussian(edm(1.0), jnp.array([1.0, sigma, 0.0]), 256)
        double = score(decoder, exact, exact, jnp.full(exact.shape, -0.7))
    np.testing.assert_allclose(single, double, rtol=2e-3, atol=2e-3)


def test_a_variance_of_one_s_own(x64):
    def variance(x, t, s):
        return jnp.full_like(x, 0.01)

    times = jnp.array([1.0, 0.1, 0.0])
    x0 = jnp.array([[[0.25, -1.0]]])
    given = score(discretised_gaussian(edm(7.0), times, 17, variance), x0, x0, x0)
    own = score(discretised_gaussian(edm(1.0), times, 17), x0, x0, x0)
    np.testing.assert_allclose(given, own, rtol=1e-12)


def test_the_mean_is_shown_on_the_nearest_grey_value(key):
    decoder = discretised_gaussian(vp_cosine(), linear_grid(10), 5)
    x0_hat = jnp.array([[[-1.4, -0.7, 0.1, 0.3, 2.0]]])
    drawn = decoder.sample(key, x0_hat, x0_hat)
    np.testing.assert_allclose(drawn, [[[-1.0, -0.5, 0.0, 0.5, 1.0]]])


# softmax


@pytest.mark.parametrize(("levels", "last"), [(2, 0.05), (256, 0.05), (256, 1e-3)])
def test_softmax_is_the_posterior_under_equal_odds(levels, last, x64):
    """Bayes' rule over all grey values with the process's own marginal as the likelihood."""
    process = vp_cosine()
    times = log_snr_grid(process, 5, sigma_min=last)
    grey = jnp.asarray(grid_of_grey(levels)).reshape(levels, 1, 1)
    x_1 = jnp.full_like(grey, 0.29)
    likelihood = process.marginal(grey, times[-2]).log_prob(x_1)[:, 0, 0]
    expected = likelihood - jax.nn.logsumexp(likelihood)
    actual = score(softmax(process, times, levels), grey, x_1)[:, 0]
    np.testing.assert_allclose(actual, expected, rtol=1e-7, atol=1e-9)


def test_softmax_draws_as_it_scores(key, x64):
    process, levels, count = vp_cosine(), 9, 20000
    decoder = softmax(process, log_snr_grid(process, 5, sigma_min=0.2), levels)
    drawn = np.asarray(decoder.sample(key, jnp.full((count, 1, 1), 0.05), None)).ravel()
    grey = jnp.asarray(grid_of_grey(levels)).reshape(levels, 1, 1)
    chance = np.exp(score(decoder, grey, jnp.full_like(grey, 0.05), None)).ravel()
    counts = (abs(drawn[:, None] - grid_of_grey(levels)) < 1e-9).sum(0)
    assert counts.sum() == count
    expected = count * chance
    often = expected > 5
    assert often.sum() > 4
    np.testing.assert_array_less(abs(counts - expected)[often], 4 * np.sqrt(expected[often]))
    assert (counts[~often] < 20).all()


def test_softmax_float32_and_gradients(key):
    """VDM's own end: 256 grey values, log-SNR 13.3."""
    process = edm(1.0)
    decoder = softmax(process, jnp.array([1.0, np.exp(-13.3 / 2), 0.0]), 256)
    x0 = jnp.asarray(grid_of_grey(256), jnp.float32).reshape(1, 256, 1)
    assert (score(decoder, x0, x0 + 1e-3) > -1e-3).all()
    gradient = jax.jit(jax.grad(lambda x: decoder.log_prob(x0, x, None).sum()))(x0 + 3.9e-3)
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(decoder.sample(key, x0 + 1e-3, None), x0, atol=1e-6)


@pytest.mark.parametrize("decoder", [discretised_gaussian, softmax])
def test_wrong_arguments_are_refused(decoder):
    with pytest.raises(ValueError, match="at least 2"):
        decoder(edm(), linear_grid(3), 1)
    with pytest.raises(TypeError, match="Gaussian"):
        decoder(binomial(), linear_grid(3), 17)
    with pytest.raises(ValueError, match=r"\[S\+1\]"):
        decoder(edm(), jnp.ones(()), 17)


def test_the_learned_decoder_asks_for_the_estimate():
    with pytest.raises(ValueError, match="x0_hat"):
        discretised_gaussian(edm(), linear_grid(3), 17).log_prob(jnp.ones((1, 1)), jnp.ones((1, 1)), None)


def test_a_kernel_is_a_law():
    """What a factor of `fixed_kernel` receives."""
    seen = []

    def factor(law, t, s):
        seen.append((type(law), float(s)))
        return law

    fixed_kernel(edm(), linear_grid(3), factor=factor).log_prob(jnp.ones((1, 1)), jnp.ones((1, 1)), None)
    assert seen == [(Normal, 0.0)]
