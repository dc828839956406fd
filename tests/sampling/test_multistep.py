"""Multistep samplers: orders of convergence, polynomials that they integrate exactly, start-up, cost."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.levels import expand
from diffusion_jax.processes import binomial, edm, flow, vp_2015, vp_cosine, vp_linear
from diffusion_jax.sampling.ddim import ddim
from diffusion_jax.sampling.dpmpp_2m import dpmpp_2m
from diffusion_jax.sampling.dpmpp_2m_sde import dpmpp_2m_sde
from diffusion_jax.sampling.dpmpp_3m import dpmpp_3m
from diffusion_jax.sampling.euler import euler
from diffusion_jax.sampling.grids import karras_grid, linear_grid, log_snr_grid
from diffusion_jax.sampling.lms import lms
from diffusion_jax.sampling.loop import advance, counted, sample, sample_path
from diffusion_jax.sampling.multistep import by_distance
from diffusion_jax.sampling.unipc import unipc

MEAN, STD = 0.4, 0.6
ALL = [dpmpp_2m, dpmpp_2m_sde, dpmpp_3m, lms, unipc]
EXPONENTIAL = [dpmpp_2m, dpmpp_3m, unipc]


def uneven(process, n):
    """n steps that fall from 1 to -1 in log(sigma/alpha), some of them thrice as long as others."""
    u = jnp.linspace(0.0, 1.0, n + 1)
    return process.time(jnp.exp(1 - 2 * (u + 0.08 * jnp.sin(2 * jnp.pi * u))))


def error_from_exact_points(process, sampler, oracles, n, start=4):
    """Of the last of n steps, the first `start` of which are replaced by the exact flow."""
    times = uneven(process, n)
    x = jnp.linspace(-2.0, 3.0, 7).reshape(7, 1, 1)
    exact = jax.vmap(lambda t: oracles.flow(process, x, times[0], t, MEAN, STD))(times)
    denoiser, step = oracles.gaussian(process, MEAN, STD), advance(sampler)

    def body(state, now):
        given, t, s, here, there = now
        moved = step(jax.random.key(0), denoiser, state, t, s)
        for name, value in (("x", there), ("before", here)):
            if hasattr(moved, name):
                moved = moved._replace(**{name: jnp.where(given, value, getattr(moved, name))})
        return moved, None

    levels = times[:, None, None]
    steps = (jnp.arange(n) < start, levels[:-1], levels[1:], exact[:-1], exact[1:])
    end = jax.lax.scan(body, sampler.init(x, levels[0]), steps)[0].x
    return abs(end - exact[-1]).max()


@pytest.mark.parametrize(
    ("process", "sampler", "order"),
    [
        (edm(), dpmpp_2m, 2),
        (flow(), dpmpp_2m, 2),
        (edm(), dpmpp_3m, 3),
        (flow(), dpmpp_3m, 3),
        (edm(), lms, 4),
        (flow(), lms, 4),
        (vp_linear(), partial(lms, order=2), 2),
        (vp_linear(), partial(lms, order=3), 3),
        (vp_linear(), partial(unipc, order=1), 2),
        (edm(), unipc, 3),
        (flow(), unipc, 3),
        (vp_linear(), partial(unipc, b=by_distance), 3),
        (vp_linear(), partial(unipc, order=3), 4),
    ],
)
def test_order_of_convergence(process, sampler, order, x64, oracles):
    """Twice the steps, the error falls by 2^order, on grids whose steps differ."""
    errors = [error_from_exact_points(process, sampler(process), oracles, n) for n in (128, 256)]
    # UniPC-3 comes down to its order from above, where the two leading errors cancel
    assert order - 0.2 < np.log2(errors[0] / errors[1]) < order + 0.6


def test_lms_integrates_cubics_exactly(x64):
    """A denoiser under which dx/dt is a cubic in t; every token has its own uneven grid."""
    process = edm(10.0)

    def cubic(t):
        return 1 - 2 * t + 3 * t**2 - 4 * t**3

    def integral(t):
        return t - t**2 + t**3 - t**4

    def denoiser(x, t):
        return x - expand(t * cubic(t), x)

    falls = jnp.array([1.0, 0.8, 0.75, 0.5, 0.45, 0.2, 0.1])
    late = jnp.array([1.0, 0.9, 0.9, 0.8, 0.5, 0.3, 0.25])
    times = jnp.stack([falls, late], -1)[:, None, :]
    x = jnp.ones((1, 2, 1))
    _, path = sample_path(jax.random.key(0), denoiser, lms(process), x, times, lambda state: state.x)
    rises = np.diff(np.asarray(path)[..., 0] - integral(times), axis=0)
    # three steps of the first token start it up; the second stands still in one of its first four
    np.testing.assert_allclose(rises[3:, 0, 0], 0, atol=1e-13)
    np.testing.assert_allclose(rises[4:, 0, 1], 0, atol=1e-13)
    assert (abs(rises[:3, 0, 0]) > 1e-6).all()


def test_3m_integrates_parabolas_exactly(x64):
    """With x0_hat = l^2, l = log(alpha/sigma), x - alpha (l^2 - 2 l + 2) shrinks as sigma does."""
    process = vp_cosine()

    def log_ratio(t):
        return process.log_snr(t) / 2

    def denoiser(x, t):
        return jnp.broadcast_to(expand(log_ratio(t) ** 2, x), x.shape)

    times = process.time(jnp.exp(jnp.array([1.0, 0.7, 0.6, 0.1, -0.1, -0.8])))
    x = jnp.ones((1, 1, 1))
    _, path = sample_path(jax.random.key(0), denoiser, dpmpp_3m(process), x, times, lambda state: state.x)
    particular = process.alpha(times) * (log_ratio(times) ** 2 - 2 * log_ratio(times) + 2)
    invariant = (path.ravel() - particular) / process.sigma(times)
    np.testing.assert_allclose(invariant[3:], invariant[2], rtol=1e-12)
    assert abs(invariant[2] - invariant[0]) > 1e-3


@pytest.mark.parametrize("sampler", EXPONENTIAL, ids=lambda f: f.__name__)
def test_one_step_is_ddims(sampler, x64, oracles):
    """From alpha = 0 and from below it, to 0 and to above it."""
    process = vp_cosine()
    denoiser = oracles.gaussian(process, MEAN, STD)
    x = jnp.linspace(-2.0, 3.0, 8).reshape(2, 4, 1)
    times = jnp.array([[1.0, 0.9, 1.0, 0.9], [0.0, 0.0, 0.4, 0.4]])[:, None, :]
    one, other = (sample(jax.random.key(0), denoiser, made(process), x, times) for made in (sampler, ddim))
    np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)


def test_lms_of_order_1_is_euler(x64, oracles):
    process = flow()
    denoiser = oracles.gaussian(process, MEAN, STD)
    x = jnp.linspace(-2.0, 3.0, 4).reshape(2, 2, 1)
    one, other = (
        sample(jax.random.key(0), denoiser, made, x, linear_grid(5))
        for made in (lms(process, order=1), euler(process))
    )
    np.testing.assert_allclose(one, other, rtol=1e-12)


def test_2m_sde_without_noise_is_2m(x64, oracles):
    """Beside a token that starts late, from alpha = 0 down to sigma = 0."""
    process = vp_cosine()
    denoiser = oracles.gaussian(process, MEAN, STD)
    x = jnp.linspace(-2.0, 3.0, 4).reshape(2, 2, 1)
    falls = linear_grid(6)
    times = jnp.stack([falls, jnp.minimum(falls, 0.7)], -1)[:, None, :]
    one, other = (
        sample(jax.random.key(0), denoiser, made, x, times)
        for made in (dpmpp_2m_sde(process, eta=0.0), dpmpp_2m(process))
    )
    np.testing.assert_allclose(one, other, rtol=1e-12)


def test_first_step_of_2m_sde_is_ancestral(x64, oracles):
    """At eta = 1, from alpha = 0 and from below it: affine in the noise, so two values of it tell all."""
    process = vp_cosine()
    denoiser = oracles.gaussian(process, MEAN, STD)
    x = jnp.linspace(-2.0, 3.0, 6).reshape(2, 3, 1)
    times = jnp.array([[1.0, 0.9, 0.8], [0.6, 0.4, 0.0]])[:, None, :]
    for noise in (0.0, 1.0):

        def draw(key, x, noise=noise):
            return jnp.full_like(x, noise)

        one, other = (
            sample(jax.random.key(0), denoiser, made(process, eta=1.0, draw=draw), x, times)
            for made in (dpmpp_2m_sde, ddim)
        )
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("eta", [0.5, 1.0, 1.7])
def test_2m_sde_is_exact_where_x0_is_known(eta, x64):
    """A point's chain keeps the law N(alpha m, sigma^2) through steps of any length."""
    process = flow()

    def moved(start, noise):
        """At every level; the law's centre for 0, 0, and the two shares of its variance for others."""
        made = dpmpp_2m_sde(process, eta=eta, draw=lambda key, x: jnp.full_like(x, noise))
        state, times = made.init(jnp.full((1, 1, 1), start), jnp.full((1, 1), 0.9)), (0.9, 0.3)
        t, s = (jnp.full((1, 1), level) for level in times)
        return made.step(jax.random.key(0), lambda x, t: jnp.full_like(x, 2.0), state, t, s).x.item()

    centre = moved(0.2, 0.0)
    np.testing.assert_allclose(centre, 0.7 * 2.0, rtol=1e-12)
    variance = (moved(0.2 + 0.9, 0.0) - centre) ** 2 + (moved(0.2, 1.0) - centre) ** 2
    np.testing.assert_allclose(variance, 0.3**2, rtol=1e-12)


def test_few_steps_from_the_prior(x64, oracles):
    """On a process with alpha(1) = 0, each token starting up by itself: order pays."""
    process = vp_cosine()
    denoiser, times = oracles.gaussian(process, MEAN, STD), log_snr_grid(process, 20, sigma_max=80.0)
    x = process.prior((100, 1, 1)).sample(jax.random.key(0))
    exact = oracles.flow(process, x, times[0], times[-1], MEAN, STD)
    errors = [
        abs(sample(jax.random.key(0), denoiser, sampler, x, times) - exact).mean()
        for sampler in (ddim(process), dpmpp_2m(process), dpmpp_3m(process), unipc(process, order=3))
    ]
    assert (np.divide(errors[:-1], errors[1:]) > 2).all()


def test_an_infinite_slope_is_no_obstacle(oracles):
    """The exponential methods run where `heun` and `lms` refuse."""
    process = vp_2015()
    denoiser, times = oracles.gaussian(process, MEAN, STD), linear_grid(50)
    x = process.prior((100, 1, 1)).sample(jax.random.key(0))
    exact = oracles.flow(process, x, times[0], times[-1], MEAN, STD)
    for sampler in EXPONENTIAL:
        assert abs(sample(jax.random.key(0), denoiser, sampler(process), x, times) - exact).mean() < 0.03
    with pytest.raises(ValueError, match=r"finite alpha'\(1\)"):
        lms(process)


@pytest.mark.parametrize("sampler", ALL, ids=lambda f: f.__name__)
def test_mode_weights_of_a_mixture(sampler, key, oracles):
    """And the width of each mode, with a few dozen steps."""
    process, count = edm(20.0), 4000
    denoiser = oracles.mixture(process, [[-1.0], [1.0]], [0.7, 0.3], 0.2)
    x = process.prior((count, 1, 1)).sample(jax.random.fold_in(key, 1))
    end = sample(key, denoiser, sampler(process), x, karras_grid(process, 40))
    right = end > 0
    assert abs(right.mean() - 0.3) < 4 * np.sqrt(0.21 / count) + 0.005
    for mode, centre in ((end[~right], -1.0), (end[right], 1.0)):
        assert abs(mode.mean() - centre) < 4 * 0.2 / np.sqrt(len(mode)) + 0.005
        assert abs(mode.std() / 0.2 - 1) < 4 / np.sqrt(2 * len(mode)) + 0.02


@pytest.mark.parametrize("sampler", ALL, ids=lambda f: f.__name__)
def test_one_evaluation_a_step(sampler, key):
    denoiser, count = counted(lambda x, t: jnp.zeros_like(x))
    run = partial(sample, key, denoiser, sampler(edm()))
    jax.block_until_ready(run(jnp.ones((2, 2, 1)), linear_grid(7)))
    assert count() == 7


def test_wrong_settings_are_refused():
    for sampler in ALL:
        with pytest.raises(TypeError, match="needs a Gaussian process"):
            sampler(binomial())
    with pytest.raises(ValueError, match="order must be 1, 2, 3 or 4; got 5"):
        lms(edm(), order=5)
    with pytest.raises(ValueError, match="must be 1, 2 or 3; got 0"):
        unipc(edm(), order=0)
    with pytest.raises(ValueError, match="eta must not be negative"):
        dpmpp_2m_sde(edm(), eta=-1.0)
