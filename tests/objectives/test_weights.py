"""Weights of the error of x0: published values, and errors of other predictions by their definition."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from diffusion_jax.objectives import weights
from diffusion_jax.processes import edm, flow, variance_preserving, vp_cosine, vp_linear

T = np.array([0.1, 0.5, 0.9])


@pytest.mark.parametrize(
    ("sigma", "expected"), [(0.002, 250004.0), (0.1, 104.0), (0.5, 8.0), (1.0, 5.0), (80.0, 4.00015625)]
)
def test_lambda_of_edm(x64, sigma, expected):
    process = edm()
    np.testing.assert_allclose(weights.edm(process)(process.time(jnp.asarray(sigma))), expected, rtol=1e-9)


@pytest.mark.parametrize("process", [vp_linear(), flow()], ids=["vp", "flow"])
def test_an_error_of_the_clean_data_is_an_error_of_noise_velocity_and_slope(x64, process):
    """x_t = alpha x0 + sigma eps stays what it is, so a wrong x0 goes with a wrong eps."""
    alpha, sigma = process.alpha(T), process.sigma(T)
    wrong = 0.7
    noise = -alpha / sigma * wrong
    np.testing.assert_allclose(weights.eps(process)(T) * wrong**2, noise**2, rtol=1e-12)
    np.testing.assert_allclose(
        weights.v(process)(T) * wrong**2, (alpha * noise - sigma * wrong) ** 2, rtol=1e-12
    )

    def path(t, x0, eps):
        return process.alpha(t) * x0 + process.sigma(t) * eps

    slope = jax.vmap(jax.grad(path), (0, None, 0))(jnp.asarray(T), wrong, noise)
    np.testing.assert_allclose(weights.slope(process)(T) * wrong**2, slope**2, rtol=1e-12)


def test_flow_matching_weighs_by_the_level_squared(x64):
    np.testing.assert_allclose(weights.slope(flow())(T), [100.0, 4.0, 1 / 0.81], rtol=1e-12)


def test_min_snr_cuts_at_gamma_and_the_soft_one_joins_both_ends(x64):
    process = vp_cosine()
    low, even, high = (process.time(jnp.asarray(r)) for r in (1e-3, 1.0, 1e3))
    for weight, between in ((weights.min_snr, 1.0), (weights.soft_min_snr, 5 / 6)):
        at = weight(process, gamma=5.0)
        np.testing.assert_allclose([at(low), at(high) * 1e6, at(even)], [5.0, 1.0, between], rtol=1e-4)


def elbo_weighting(weight, process, log_snr, mean, std):
    """w = p(l) lambda(l)/SNR for log sigma ~ N(mean, std^2): l = -2 log sigma ~ N(-2 mean, 4 std^2)."""
    lambda_ = weight(process.time(jnp.exp(-jnp.asarray(log_snr) / 2)))
    return scipy.stats.norm.pdf(log_snr, -2 * mean, 2 * std) * np.asarray(lambda_) * np.exp(-log_snr)


@pytest.mark.parametrize("shift", [0.0, np.log(2.0)], ids=["64", "128"])
def test_the_monotonic_weighting_is_edms_running_maximum(shift, x64):
    """Table 1 of arXiv 2303.00848 in log SNR, N(l; 2.4, 2.4^2) (e^-l + 0.5^2), whatever the process."""
    log_snr = np.linspace(-12.0, 12.0, 4001)
    moved = log_snr + 2 * shift
    published = scipy.stats.norm.pdf(moved, 2.4, 2.4) * (np.exp(-moved) + 0.25)
    monotonic = np.maximum.accumulate(published[::-1])[::-1]
    mean, sigma_data = -1.2 + shift, 0.5 * np.exp(shift)
    process = variance_preserving(edm(1e4))
    for make, wanted in ((weights.edm, published), (weights.edm_monotonic, monotonic)):
        more = {"mean": mean} if make is weights.edm_monotonic else {}
        found = elbo_weighting(make(process, sigma_data, **more), process, log_snr, mean, 1.2)
        np.testing.assert_allclose(found / found[-1], wanted / wanted[-1], rtol=1e-5)
    held = published < 0.999 * monotonic
    assert log_snr[held].max() == pytest.approx(-3.31 - 2 * shift, abs=0.2)


def test_the_monotonic_weight_is_edms_at_low_noise_and_ends_as_infinite(x64):
    process = vp_cosine()
    t = process.time(jnp.asarray([1e-3, 0.5, 5.1]))
    np.testing.assert_array_equal(weights.edm_monotonic(process)(t), weights.edm(process)(t))
    assert weights.edm_monotonic(process)(process.time(jnp.asarray(6.0))) > weights.edm(process)(
        process.time(jnp.asarray(6.0))
    )
    assert weights.edm_monotonic(process)(jnp.asarray([0.0, 1.0])).tolist() == [np.inf, np.inf]


def test_a_weighting_with_two_maxima_is_refused():
    with pytest.raises(ValueError, match="two maxima, at the ratios"):
        weights.edm_monotonic(edm(), sigma_data=30.0, mean=0.0, std=2.0)
    with pytest.raises(ValueError, match="std must be positive"):
        weights.edm_monotonic(edm(), std=0.0)


def levels(process, snr):
    return process.time(1 / jnp.sqrt(jnp.asarray([snr])))


FUSED = {
    "x0": (weights.x0, [5.0, 4.6, 4.1572]),
    "eps": (weights.eps, [0.5, 1.0, 1.0]),
    "v": (weights.v, [0.4545, 0.8214, 0.8061]),
}
"""The published weight of each error for SNR 10, 1, 0.1 with gamma = 5 and g = 0.9, worked by hand."""


@pytest.mark.parametrize(("error", "published"), FUSED.values(), ids=FUSED)
def test_fused_weights_of_three_tokens(error, published, x64):
    """`error` times an error of x0 is the error that the published weight belongs to."""
    process = vp_cosine()
    t = levels(process, [10.0, 1.0, 0.1])
    fused = weights.fused_snr(process, weight=error)(t)
    np.testing.assert_allclose(fused / error(process)(t), [published], atol=1e-4)


def test_what_the_past_gives_to_a_token(x64):
    """gamma = 5, g = 0.5, SNR 2.5, 1, 10: S = 0.5, 0.2, 1 and C = 0.5, 0.35, 0.675; all by hand."""
    process = vp_cosine()
    t = levels(process, [2.5, 1.0, 10.0])
    at = functools.partial(weights.fused_snr, process, decay=0.5)
    np.testing.assert_allclose(at()(t) / 5, [[0.5, 0.4, 1.0]], rtol=1e-6)
    np.testing.assert_allclose(at(discounted=False)(t) / 5, [[0.5, 0.6, 1.0]], rtol=1e-6)
    # backwards C = 1, 0.6 after the third and second token: histories 0.6, 1, 0, halved with the forward ones
    np.testing.assert_allclose(at(bidirectional=True)(t) / 5, [[0.575, 0.5, 1.0]], rtol=1e-6)


def test_without_decay_the_codes_form_is_min_snr_and_the_papers_is_not(x64):
    process = vp_cosine()
    t = jnp.linspace(0.05, 1.0, 12).reshape(2, 6)
    for error in (weights.x0, weights.eps, weights.v):
        plain = weights.fused_snr(process, decay=0.0, weight=error)(t)
        np.testing.assert_allclose(plain, weights.min_snr(process)(t), rtol=1e-6, atol=1e-12)
    paper = weights.fused_snr(process, decay=0.0, discounted=False)(t)
    np.testing.assert_allclose(paper[:, 0], plain[:, 0], rtol=1e-6)
    assert (paper[:, 1:] > plain[:, 1:] * 1.05)[plain[:, 1:] < 4.9].all()


def test_a_clean_token_tells_all_there_is_to_tell(x64):
    """S = 1 at t = 0, as at any SNR above gamma; the first token has no past, and no signal at t = 1."""
    process = vp_cosine()
    for error in (weights.x0, weights.eps, weights.v):
        fused = weights.fused_snr(process, weight=error)
        clean, certain = jnp.array([[0.0, 0.6, 0.9]]), jnp.array([[0.01, 0.6, 0.9]])
        np.testing.assert_allclose(fused(clean)[:, 1:], fused(certain)[:, 1:], rtol=1e-12)
        assert fused(jnp.ones((1, 3))).tolist() == [[0.0] * 3]


def test_fused_weights_need_the_levels_of_a_sequence():
    with pytest.raises(ValueError, match=r"\[B, T\], got shape \(3,\)"):
        weights.fused_snr(edm())(jnp.ones(3))
    with pytest.raises(ValueError, match="decay"):
        weights.fused_snr(edm(), decay=1.5)


@pytest.mark.parametrize("name", ["edm", "edm_monotonic", "min_snr", "soft_min_snr", "fused_snr"])
def test_impossible_numbers_are_refused(name):
    with pytest.raises(ValueError, match="positive"):
        getattr(weights, name)(edm(), -1.0)
