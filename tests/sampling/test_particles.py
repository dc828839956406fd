"""Particles against closed forms: linear-Gaussian posteriors, their normaliser, modes of a mixture, bits."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.processes import binomial, edm, vp_linear
from diffusion_jax.sampling.ancestral import ancestral
from diffusion_jax.sampling.grids import linear_grid, log_snr_grid
from diffusion_jax.sampling.loop import counted, sample, settled
from diffusion_jax.sampling.particles import (
    Particles,
    lookahead,
    particles,
    resampled,
    twisted,
)
from diffusion_jax.sampling.transforms.gradients import classifier, energy

MEAN, COVARIANCE = np.array([0.5, -0.3]), np.array([[1.0, 0.6], [0.6, 0.8]])
Y, NOISE = 1.8, 0.4
"""The first coordinate is seen with normal noise of this standard deviation."""


def log_likelihood(x0):
    """log N(Y; x0_1, NOISE^2), normalised."""
    return (-0.5 * ((Y - x0[:, 0, 0]) / NOISE) ** 2) - np.log(NOISE * np.sqrt(2 * np.pi))


def twist(process, denoiser):
    """log N(Y; x0_hat_1, NOISE^2 + Var[x0_1 | x_t]): the likelihood with the width that it has at level t."""
    variances, axes = np.linalg.eigh(COVARIANCE)
    estimate = settled(denoiser)

    def potential(x, t):
        ratio = process.ratio(jnp.broadcast_to(t, x.shape[:2])[:, 0])
        variance = NOISE**2 + (
            ratio[:, None] ** 2 * axes[:1] ** 2 * variances[None] / (variances[None] + ratio[:, None] ** 2)
        ).sum(1)
        return -0.5 * ((Y - estimate(x, t)[:, 0, 0]) ** 2 / variance + jnp.log(2 * np.pi * variance))

    return potential


def law_of_the_chain(process, denoiser, times):
    """Mean and covariance of what ancestral sampling of a linear denoiser ends with, from step to step."""
    points = jnp.array([[[0.0, 0.0]], [[1.0, 0.0]], [[0.0, 1.0]]])

    def step(t, s):
        law = process.reverse(points, denoiser(points, t.reshape(1, 1)), t, s)
        return law.mean[:, 0], law.std.ravel()

    mean, covariance = np.zeros(2), np.eye(2) * float(process.sigma(times[0])) ** 2
    for rows, std in zip(*map(np.asarray, jax.jit(jax.vmap(step))(times[:-1], times[1:]))):
        matrix = (rows[1:] - rows[0]).T
        mean = matrix @ mean + rows[0]
        covariance = matrix @ covariance @ matrix.T + np.eye(2) * std[0] ** 2
    return mean, covariance


def truth(mean, covariance):
    """Mean and covariance given Y, and the log density of Y."""
    total = covariance[0, 0] + NOISE**2
    gain = covariance[:, 0] / total
    evidence = -0.5 * ((Y - mean[0]) ** 2 / total + np.log(2 * np.pi * total))
    return mean + gain * (Y - mean[0]), covariance - np.outer(gain, covariance[0]), evidence


@pytest.mark.parametrize("proposal", ["plain", "twisted"])
def test_a_linear_gaussian_posterior(proposal, oracles, key):
    """It is the law of the chain of 30 steps, not of the data, that is conditioned, exactly."""
    process, problems, count = vp_linear(), 200, 64
    times = log_snr_grid(process, 30)
    plain = oracles.correlated(process, MEAN, COVARIANCE)
    mean, covariance, evidence = truth(*law_of_the_chain(process, plain, times))
    if proposal == "plain":
        sampler, potential = ancestral(process), lookahead(plain, log_likelihood)
    else:
        potential = twist(process, plain)
        sampler = twisted(process, lambda denoiser: classifier(process, denoiser, potential))
    x = process.prior((problems, count, 1, 2)).sample(key)
    run = jax.jit(lambda key, x: particles(key, plain, sampler, x, times, potential))
    result = run(jax.random.fold_in(key, 1), x)

    # unbiased, whatever the number of particles: a mean over independent problems
    ratio = np.exp(np.asarray(result.log_normaliser) - evidence)
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / np.sqrt(problems)
    assert ratio.std() < {"plain": 1.5, "twisted": 0.15}[proposal]

    # one large system of all the problems' particles, each weighted by its problem's estimate
    weights = np.exp(np.asarray(result.log_weights) + np.asarray(result.log_normaliser)[:, None])
    weights, points = (weights / weights.sum()).ravel(), np.asarray(result.x).reshape(-1, 2)
    centre = weights @ points
    tolerance = {"plain": 0.08, "twisted": 0.03}[proposal]
    np.testing.assert_allclose(centre, mean, atol=tolerance)
    spread = (weights[:, None] * (points - centre)).T @ (points - centre)
    np.testing.assert_allclose(spread, covariance, atol=tolerance)

    assert result.ess.shape == (len(times), problems)
    assert ((result.ess > 1 - 1e-4) & (result.ess < count * (1 + 1e-4))).all()
    np.testing.assert_allclose(jnp.exp(result.log_weights).sum(1), 1.0, rtol=1e-4)


def test_modes_that_guidance_alone_gets_wrong(oracles, key):
    """Two modes and a likelihood between: guidance misjudges their evidences, corrected proposals do not."""
    process, problems, count, std, noise, y = edm(20.0), 20, 200, 0.3, 1.0, 0.5
    centres, prior = np.array([-2.0, 2.0]), np.array([0.8, 0.2])
    times = log_snr_grid(process, 60)
    plain = oracles.mixture(process, centres[:, None], prior, std)

    def log_r(x0):
        return -0.5 * ((y - x0[:, 0, 0]) / noise) ** 2

    evidence = prior * np.exp(-0.5 * (y - centres) ** 2 / (std**2 + noise**2))
    right = evidence[1] / evidence.sum()
    x = process.prior((problems, count, 1, 1)).sample(key)

    def guided(denoiser):
        return energy(process, denoiser, lambda x0_hat: -log_r(x0_hat))

    alone = jax.jit(lambda x: sample(key, guided(plain), ancestral(process), x, times))(x.reshape(-1, 1, 1))
    assert abs((alone > 0).mean() - right) > 0.1
    run = partial(particles, potential=lookahead(plain, log_r))
    result = jax.jit(lambda x: run(key, plain, twisted(process, guided), x, times))(x)
    weights = jnp.exp(result.log_weights + result.log_normaliser[:, None])
    share = (weights * (result.x[..., 0, 0] > 0)).sum() / weights.sum()
    assert abs(share - right) < 0.04


def test_bits_and_their_normaliser(key):
    """Independent bits reweighted by odds: any process, here with a potential that looks at x_t itself."""
    process, chance, odds = binomial(), 0.3, 4.0
    times = linear_grid(6)

    def denoiser(x, t):
        one = chance * jnp.exp(process.marginal(jnp.ones_like(x), t).log_prob(x))
        zero = (1 - chance) * jnp.exp(process.marginal(jnp.zeros_like(x), t).log_prob(x))
        return one / (one + zero)

    def potential(x, t):
        return (jnp.log(odds) * (1 - t) * x[..., 0]).sum(1)

    x = process.prior((100, 50, 2, 1)).sample(key)
    result = jax.jit(lambda x: particles(key, denoiser, ancestral(process), x, times, potential))(x)
    normaliser = 1 + chance * (odds - 1)
    ratio = np.exp(np.asarray(result.log_normaliser)) / normaliser**2
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / 10
    weights = jnp.exp(result.log_weights + result.log_normaliser[:, None])
    bits = (weights[..., None, None] * result.x).sum((0, 1)) / weights.sum()
    np.testing.assert_allclose(bits, chance * odds / normaliser, atol=0.03)


def test_a_flat_potential_changes_nothing(key, oracles):
    """Never resampled, never weighted: the samples of `sample`, and Z = 1."""
    process, times = vp_linear(), linear_grid(5)
    plain = oracles.gaussian(process, 0.2, 0.5)
    x = process.prior((2, 3, 1, 2)).sample(key)
    run = partial(particles, key, plain, ancestral(process), potential=lambda x, t: jnp.zeros(len(x)))
    result = jax.jit(run)(x=x, times=times)
    np.testing.assert_allclose(result.log_weights, -np.log(3), rtol=1e-6)
    np.testing.assert_allclose(result.log_normaliser, 0.0, atol=1e-6)
    np.testing.assert_allclose(result.ess, 3.0, rtol=1e-6)
    assert (result.x.reshape(6, -1) != x.reshape(6, -1)).all()


def test_a_problem_depends_on_its_own_key_and_grid(key, oracles):
    process = vp_linear()
    plain = oracles.gaussian(process, 0.2, 0.5)
    times = jnp.stack([linear_grid(4), jnp.array([1.0, 1.0, 0.5, 0.5, 0.0])], 1)[:, :, None]
    keys = jax.random.split(key, 2)
    x = process.prior((2, 8, 1, 2)).sample(keys)
    run = jax.jit(
        partial(
            particles,
            denoiser=plain,
            sampler=ancestral(process),
            potential=lookahead(plain, log_likelihood),
            resample_below=1.0,
        )
    )
    together = run(keys, x=x, times=times)
    alone = run(keys[1:], x=x[1:], times=times[:, 1:])
    np.testing.assert_allclose(alone.x, together.x[1:], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(alone.log_normaliser, together.log_normaliser[1:], rtol=1e-4)


def test_impossible_particles_die_out(key):
    """A hard constraint: -inf is no NaN; where nothing survives, Z is 0."""
    process = edm(5.0)

    def flat(x, t):
        return jnp.zeros_like(x)

    def positive(x, t):
        return jnp.where(x[:, 0, 0] > 0, 0.0, -jnp.inf)

    x = process.prior((1, 64, 1, 1)).sample(key)
    x = jnp.concatenate([x, -jnp.abs(x)])
    run = jax.jit(partial(particles, key, flat, ancestral(process), potential=positive, resample_below=1.0))
    still = run(x=x, times=jnp.ones(5))
    assert (still.x[0] > 0).all()
    np.testing.assert_allclose(still.log_normaliser[0], np.log((x[0] > 0).mean()), rtol=1e-5)
    assert still.log_normaliser[1] == -np.inf
    assert still.ess[:, 1].tolist() == [0.0] * 5
    moving = run(x=x, times=linear_grid(4))
    assert not np.isnan(np.concatenate([np.ravel(leaf) for leaf in moving])).any()


def test_systematic_resampling_keeps_shares(key):
    """Every particle K times its weight often, up to one."""
    weights = jnp.array([[0.5, 0.26, 0.24, 0.0], [0.0, 0.0, 1.0, 0.0]])
    x = jnp.broadcast_to(jnp.arange(4.0)[None, :, None, None], (2, 4, 1, 1))
    for seed in range(5):
        result = Particles(x, jnp.log(weights), jnp.zeros(2), jnp.zeros((1, 2)))
        drawn = np.asarray(resampled(jax.random.key(seed), result))[..., 0, 0]
        counts = np.stack([(drawn == k).sum(1) for k in range(4)], 1)
        assert (np.abs(counts - 4 * np.asarray(weights)) < 1).all()


def test_evaluations_are_counted(key, oracles):
    process = vp_linear()
    plain, count = counted(oracles.gaussian(process, 0.2, 0.5))
    x = process.prior((2, 4, 1, 2)).sample(key)
    potential = lookahead(plain, log_likelihood)
    run = lambda x: particles(key, plain, ancestral(process), x, linear_grid(5), potential).x  # noqa: E731
    jax.jit(run)(x).block_until_ready()
    assert count() == 5 + 6


def test_bad_input_is_refused(key, oracles):
    process, x = vp_linear(), jnp.ones((2, 4, 1, 2))
    good = {
        "key": key,
        "denoiser": oracles.gaussian(process, 0.2, 0.5),
        "sampler": ancestral(process),
        "x": x,
        "times": linear_grid(2),
        "potential": lambda x, t: jnp.zeros(len(x)),
    }
    for wrong, error, match in [
        ({"x": x[:, 0]}, ValueError, r"\[B, K, T, ...\]"),
        ({"resample_below": 50.0}, ValueError, "share"),
        ({"potential": lambda x, t: x.sum()}, ValueError, r"log potential should have shape \(8,\)"),
        ({"potential": None}, TypeError, "needs a function"),
        ({"times": jnp.ones((3, 8, 1))}, ValueError, "times"),
        ({"times": np.array([0.0, 1.0])}, ValueError, "rise"),
        ({"key": jax.random.split(key, 8)}, ValueError, "key"),
    ]:
        with pytest.raises(error, match=match):
            particles(**good | wrong)
    with pytest.raises(TypeError, match="needs a function"):
        twisted(process, None)
