"""Gradient guidance on normal data, where posteriors are linear algebra."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.processes import binomial, edm, flow, vp_2015, vp_cosine, vp_linear
from diffusion_jax.sampling.grids import karras_grid
from diffusion_jax.sampling.heun import heun
from diffusion_jax.sampling.loop import counted, sample
from diffusion_jax.sampling.transforms.gradients import classifier, energy, residual_scale, snr_scale

MEAN, COVARIANCE = np.array([0.5, -0.3]), np.array([[1.0, 0.6], [0.6, 0.8]])
Y, NOISE = 1.4, 0.5
"""The first coordinate is seen with normal noise of this standard deviation."""


def conditioned():
    """Mean and covariance of the data given Y."""
    gain = COVARIANCE[:, 0] / (COVARIANCE[0, 0] + NOISE**2)
    return MEAN + gain * (Y - MEAN[0]), COVARIANCE - np.outer(gain, COVARIANCE[0])


def spread(process, t):
    """The first column of Cov[x0 | x_t], [..., 2] for levels [...]."""
    variances, axes = np.linalg.eigh(COVARIANCE)
    left = 1 / (jnp.asarray(1 / variances).reshape((1,) * t.ndim + (2,)) + process.ratio(t)[..., None] ** -2)
    return (left * axes[0].reshape((1,) * t.ndim + (2,))) @ axes.T


def log_likelihood(process, denoiser):
    """log p(Y | x_t), exactly: N(x0_hat_1, Var[x0_1 | x_t] + NOISE^2)."""

    def log_prob(x, t):
        variance = spread(process, t)[..., 0] + NOISE**2
        return (-0.5 * (Y - denoiser(x, t)[..., 0]) ** 2 / variance).sum(1)

    return log_prob


PROCESSES = {"edm": edm(), "vp_linear": vp_linear(), "vp_cosine": vp_cosine(), "flow": flow()}


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_an_exact_classifier_gives_the_exact_conditional(process, oracles, key, x64):
    x = jax.random.normal(key, (4, 2, 2))
    t = jnp.array([[0.05, 0.1], [0.3, 0.5], [0.7, 0.9], [0.2, 0.99]])
    plain = oracles.correlated(process, MEAN, COVARIANCE)
    guided = classifier(process, plain, log_likelihood(process, plain))
    truth = oracles.correlated(process, *conditioned())
    np.testing.assert_allclose(jax.jit(guided)(x, t), truth(x, t), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("process", [vp_cosine(), vp_2015(), flow()], ids=["cosine", "2015", "flow"])
@pytest.mark.parametrize("guidance", ["classifier", "energy"])
def test_the_limit_without_signal(process, guidance, oracles, key, x64):
    """At alpha = 0 the estimate is the conditional mean, though sigma^2/alpha is infinite there."""
    x = jax.random.normal(key, (4, 1, 2))
    plain = oracles.correlated(process, MEAN, COVARIANCE)
    if guidance == "classifier":
        guided = classifier(process, plain, log_likelihood(process, plain))
    else:
        guided = energy(process, plain, squares, NOISE**2 / (NOISE**2 + COVARIANCE[0, 0]))
    truth = np.broadcast_to(conditioned()[0], x.shape)
    np.testing.assert_allclose(jax.jit(guided)(x, jnp.ones(())), truth, atol=2e-3)


def squares(x0_hat):
    return (0.5 * (Y - x0_hat[..., 0]) ** 2).sum(1) / NOISE**2


def test_energy_is_the_spread_times_the_gradient(oracles, key, x64):
    process, x, t = vp_linear(), jax.random.normal(key, (3, 1, 2)), jnp.array([[0.1], [0.4], [0.8]])
    plain = oracles.correlated(process, MEAN, COVARIANCE)
    x0_hat, column = plain(x, t), spread(process, t)
    residual = Y - x0_hat[..., :1]

    def residuals(x0_hat):
        return (Y - x0_hat[:, 0, 0]) ** 2

    def all_three(x):
        video = energy(process, plain, lambda x0_hat: residuals(x0_hat) / 2, snr_scale(process, 2.0))
        dps = energy(process, plain, residuals, residual_scale(0.3))
        return energy(process, plain, squares, 0.7)(x, t), dps(x, t), video(x, t)

    guided, dps, video = jax.jit(all_three)(x)
    np.testing.assert_allclose(guided, x0_hat + 0.7 * column * residual / NOISE**2, rtol=1e-9)
    np.testing.assert_allclose(dps, x0_hat + 0.3 * 2 * column * jnp.sign(residual), rtol=1e-9)
    pull = 2.0 * column * residual / process.ratio(t)[..., None] ** 2
    np.testing.assert_allclose(video, x0_hat + pull, rtol=1e-9)


def test_energy_with_the_right_width_samples_the_conditional(oracles, key, x64):
    """A scale NOISE^2/(NOISE^2 + Var[x0 | x_t]) makes it exact for normal data; scale 1 is too strong."""
    process = edm(40.0)
    plain = oracles.correlated(process, MEAN, COVARIANCE)

    def width(t, costs):
        return NOISE**2 / (NOISE**2 + spread(process, t)[..., 0])

    x = process.prior((4000, 1, 2)).sample(key)
    times = karras_grid(process, 40)

    def ends(scale):
        guided = energy(process, plain, squares, scale)
        return np.asarray(jax.jit(lambda x: sample(key, guided, heun(process), x, times))(x))[:, 0]

    mean, covariance = conditioned()
    exact = ends(width)
    np.testing.assert_allclose(exact.mean(0), mean, atol=0.05)
    np.testing.assert_allclose(np.cov(exact.T), covariance, atol=0.05)
    strong = ends(1.0)
    assert np.cov(strong.T)[0, 0] < 0.6 * covariance[0, 0]


def test_energy_costs_one_evaluation(oracles):
    denoiser, count = counted(oracles.gaussian(edm(), 0.0, 1.0))
    jax.jit(energy(edm(), denoiser, squares))(jnp.ones((2, 1, 2)), jnp.array(0.5)).block_until_ready()
    assert count() == 1


def test_clean_tokens_neither_move_nor_spoil_the_others(oracles, key):
    """A denoiser and a classifier that are NaN at level 0, beside noisy tokens."""
    process = vp_linear()
    exact = oracles.gaussian(process, 0.0, 1.0)

    def broken(x, t):
        return jnp.where((t == 0)[..., None], jnp.nan, exact(x, t))

    x, t = jax.random.normal(key, (2, 3, 2)), jnp.array([[0.0, 0.5, 1.0]])
    moved = jax.jit(energy(process, broken, squares))(x, t)
    np.testing.assert_array_equal(moved[:, 0], x[:, 0])
    assert np.isfinite(moved).all()

    def singular(x, t):
        return (-0.5 * (x[..., 0] / process.sigma(t)) ** 2).sum(1)

    moved = jax.jit(classifier(process, exact, singular))(x, t)
    np.testing.assert_array_equal(moved[:, 0], exact(x, t)[:, 0])
    assert np.isfinite(moved).all()


def test_bad_input_is_refused(oracles):
    process, x, t = edm(), jnp.ones((2, 3, 2)), jnp.array(0.5)
    plain = oracles.gaussian(process, 0.0, 1.0)
    for transform in (classifier, energy):
        with pytest.raises(TypeError, match="Gaussian"):
            transform(binomial(), plain, squares)
        with pytest.raises(TypeError, match="needs a function"):
            transform(process, plain, 3.0)
        with pytest.raises(ValueError, match="negative"):
            transform(process, plain, squares, -1.0)
    with pytest.raises(ValueError, match=r"cost should have shape \(2,\), got \(2, 3, 2\)"):
        energy(process, plain, jnp.square)(x, t)
    with pytest.raises(ValueError, match=r"log_prob should have shape \(2,\), got \(\)"):
        classifier(process, plain, lambda x, t: x.sum())(x, t)
    with pytest.raises(ValueError, match="negative"):
        residual_scale(-1.0)
    with pytest.raises(ValueError, match="negative"):
        snr_scale(process, -1.0)
