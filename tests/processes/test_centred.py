"""The process on centred graphs against dense normal laws in a basis of the subspace, and exact denoisers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from diffusion_jax.build import available, build
from diffusion_jax.levels import canonical, expand
from diffusion_jax.processes import learned_beta, small, vp_cosine, vp_linear
from diffusion_jax.processes.centred import centred
from diffusion_jax.sampling.ancestral import ancestral
from diffusion_jax.sampling.grids import linear_grid
from diffusion_jax.sampling.loop import fitted, sample, sample_path
from diffusion_jax.types import Bound

PRESENT = jnp.array([[1, 1, 1, 1], [1, 0, 1, 1], [0, 1, 0, 0]])
B, N, D = 3, 4, 4
POSITIONS = 3


def basis(present):
    """An orthonormal basis [N D, K] of one graph's subspace, by the eigenvectors of the projection."""
    here = np.asarray(present, float)
    places = np.diag(here) - np.outer(here, here) / here.sum()
    projection = np.zeros((N, D, N, D))
    for d in range(D):
        projection[:, d, :, d] = places if d < POSITIONS else np.diag(here)
    values, vectors = np.linalg.eigh(projection.reshape(N * D, N * D))
    return vectors[:, values > 0.5]


@pytest.fixture
def process():
    return centred(vp_cosine(), PRESENT, POSITIONS)


@pytest.fixture
def x0(process, key):
    return process.centre(jax.random.normal(key, (B, N, D)))


def test_log_densities_are_those_of_normal_laws_in_the_subspace(process, x0, key, x64):
    t = jnp.array([0.3, 0.6, 1.0])

    @jax.jit
    def found(x0):
        law, prior = process.marginal(x0, t), process.prior(x0.shape)
        x = law.sample(key)
        return law, prior, x, [each.sum((1, 2)) for each in (law.log_prob(x), law.entropy(), law.kl(prior))]

    law, prior, x, sums = found(x0)
    for b in range(B):
        axes = basis(PRESENT[b])
        mean, point = (np.asarray(value[b]).reshape(-1) @ axes for value in (law.mean, x))
        variance = float(law.std[b, 0, 0]) ** 2
        dense = stats.multivariate_normal(mean, variance * np.eye(axes.shape[1]))
        np.testing.assert_allclose(sums[0][b], dense.logpdf(point), rtol=1e-6)
        np.testing.assert_allclose(sums[1][b], dense.entropy(), rtol=1e-6)
        end = float(prior.std[0, 0, 0]) ** 2
        size = axes.shape[1]
        between = 0.5 * (size * variance + mean @ mean) / end + 0.5 * size * (np.log(end / variance) - 1)
        np.testing.assert_allclose(sums[2][b], between, rtol=1e-5, atol=1e-6)


def test_all_laws_stay_in_the_subspace_and_have_its_covariance(process, x0, key):
    t, s = jnp.full(B, 0.7), jnp.asarray(0.3)

    @jax.jit
    def off():
        x_t = process.marginal(x0, t).sample(key)
        laws = (
            process.prior(x0.shape),
            process.marginal(x0, t),
            process.transition(x0, s, t),
            process.posterior(x_t, x0, t, s),
            process.reverse(x_t, x0, t, s, variance=jnp.asarray(0.04)),
        )
        samples = jnp.stack([law.sample(jax.random.key(1)) for law in laws])
        return jnp.abs(jax.vmap(process.centre)(samples) - samples).max()

    assert off() < 1e-5
    one = centred(vp_cosine(), PRESENT[1:2], POSITIONS)
    many = jax.jit(lambda: one.prior((20_000, N, D)).sample(key))()
    flat = np.asarray(many).reshape(len(many), -1)
    axes = basis(PRESENT[1])
    np.testing.assert_allclose(flat.T @ flat / len(flat), axes @ axes.T, atol=0.04)


def test_the_schedule_is_the_inner_ones_and_level_zero_is_the_data(process, x0, key):
    t = jnp.linspace(0.0, 1.0, 5)
    for name in ("alpha", "sigma", "ratio"):
        np.testing.assert_array_equal(getattr(process, name)(t), getattr(vp_cosine(), name)(t))
    np.testing.assert_array_equal(process.marginal(x0, jnp.asarray(0.0)).sample(key), x0)
    np.testing.assert_allclose(process.time(process.ratio(t[1:4])), t[1:4], rtol=1e-5)


def test_without_present_all_nodes_are_there(key):
    x = jax.random.normal(key, (2, N, D))
    every = centred(vp_cosine(), jnp.ones((1, N)), POSITIONS)
    np.testing.assert_array_equal(centred(vp_cosine(), None, POSITIONS).centre(x), every.centre(x))
    np.testing.assert_allclose(every.centre(x)[..., :POSITIONS].mean(1), 0.0, atol=1e-6)
    np.testing.assert_array_equal(every.centre(x)[..., POSITIONS:], x[..., POSITIONS:])


def normal_denoiser(process, std):
    """Of graphs of normal law, std^2 times the projection; x_t may lie outside of the subspace."""

    def denoiser(x, t):
        t = canonical(t, x)
        alpha, sigma = expand(process.alpha(t), x), expand(process.sigma(t), x)
        return alpha * std**2 / (alpha**2 * std**2 + sigma**2) * process.centre(x)

    return denoiser


@pytest.mark.parametrize("name", available("sampler"))
def test_every_step_of_every_sampler_stays_in_the_subspace(name, key):
    process = centred(vp_linear(), PRESENT, POSITIONS)
    denoiser = normal_denoiser(process, 0.5)
    sampler = fitted(build("sampler", name), Bound(process, denoiser))

    @jax.jit
    def off():
        """How far the states are from the subspace, and how large they are."""
        start = process.prior((B, N, D)).sample(key)
        times = jnp.array([0.9, 0.5, 0.0])
        _, path = sample_path(key, denoiser, sampler, start, times, lambda state: state.x)
        return jnp.abs(jax.vmap(process.centre)(path) - path).max(), jnp.abs(path[:, 0]).min()

    apart, size = off()
    assert apart < 1e-5
    assert size > 0


def test_samples_of_a_normal_law_have_its_covariance(key):
    """Exactly, in few steps: the exact variance of a reverse step makes up for the spread of x0 given x_t."""
    std, count = 0.5, 8000
    process = centred(vp_cosine(), PRESENT[1:2], POSITIONS)
    own = small(process)

    def variance(x, t, s):
        alpha, sigma = expand(process.alpha(t), x), expand(process.sigma(t), x)
        gain = expand(process.alpha(s) * process.share(t, s)[1], x)
        return own(x, t, s) + gain**2 * std**2 * sigma**2 / (alpha**2 * std**2 + sigma**2)

    @jax.jit
    def drawn():
        start = process.prior((count, N, D)).sample(key)
        sampler = ancestral(process, variance)
        return sample(key, normal_denoiser(process, std), sampler, start, linear_grid(4))

    flat, axes = np.asarray(drawn()).reshape(count, -1), basis(PRESENT[1])
    np.testing.assert_allclose(flat.T @ flat / count, std**2 * axes @ axes.T, atol=0.02)


def test_rigid_pairs_come_out_rigid_and_in_all_directions(key):
    """Two nodes a distance d apart: x_t points along u by the law exp(k u.e), e and k those of x_t's pair.

    With k = alpha d |x_1 - x_2| / (2 sigma^2) the mean of u is (coth k - 1/k) e, which makes x0_hat.
    """
    process, d = centred(vp_cosine()), 1.4

    def denoiser(x, t):
        t = canonical(t, x)
        alpha, sigma = expand(process.alpha(t), x), expand(process.sigma(t), x)
        apart = x[:, :1] - x[:, 1:]
        length = jnp.sqrt((apart**2).sum(-1, keepdims=True) + 1e-12)
        k = jnp.clip(alpha * d * length / (2 * sigma**2), 1e-3, 1e4)
        u = (1 / jnp.tanh(k) - 1 / k) * apart / length
        return jnp.concatenate([u, -u], axis=1) * d / 2

    @jax.jit
    def drawn():
        start = process.prior((2000, 2, 3)).sample(key)
        return sample(key, denoiser, ancestral(process), start, linear_grid(200))

    x = drawn()
    apart = np.asarray(x[:, 0] - x[:, 1])
    np.testing.assert_allclose(np.linalg.norm(apart, axis=1), d, rtol=1e-2)
    np.testing.assert_allclose(apart.T @ apart / len(apart), d**2 / 3 * np.eye(3), atol=0.08)
    np.testing.assert_allclose(x.sum(1), 0.0, atol=1e-5)


def test_what_does_not_fit_is_refused(key):
    with pytest.raises(TypeError, match="without learned fields"):
        centred(learned_beta(steps=4))
    with pytest.raises(TypeError, match="Gaussian"):
        centred(build("process", "binomial"))
    with pytest.raises(ValueError, match="positions must be at least 1"):
        centred(vp_cosine(), positions=0)
    with pytest.raises(ValueError, match=r"present must be \[B, N\]"):
        centred(vp_cosine(), jnp.ones(3))
    process = centred(vp_cosine(), PRESENT)
    x = jnp.zeros((B, N, D))
    with pytest.raises(ValueError, match="one level"):
        process.marginal(x, jnp.full((B, N), 0.5))
    with pytest.raises(ValueError, match="does not fit graphs"):
        process.prior((2, N, D)).sample(key)
    with pytest.raises(ValueError, match="cannot hold 3 entries"):
        process.centre(x[..., :2])
