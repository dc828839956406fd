"""Gaussian processes: the papers' schedules and numbers, and Bayes' rule done on a grid of points."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from diffusion_jax.processes import (
    edm,
    flow,
    large,
    learned_beta,
    vdm,
    ve,
    vp_2015,
    vp_cosine,
    vp_linear,
    vp_polynomial,
    vp_sigmoid,
)

pytestmark = pytest.mark.usefixtures("x64")


def chain_betas(process, steps):
    """beta_k = 1 - alpha_bar_k/alpha_bar_(k-1) of the grid k/T, [T]."""
    alpha_bar = np.asarray(process.alpha(jnp.arange(steps + 1) / steps)) ** 2
    return 1 - alpha_bar[1:] / alpha_bar[:-1]


# Schedules


def test_gaudis_polynomial():
    """By hand: (9/16) 0.99998 + 1e-5 halfway, 1e-5 at the end; no step takes half of alpha^2."""
    process = vp_polynomial()
    squares = np.asarray(process.alpha(jnp.array([0.0, 0.5, 0.9, 1.0]))) ** 2
    np.testing.assert_allclose(squares, [1.0, 0.56249875, 0.036109278, 1e-5], rtol=1e-8)
    assert 0 < chain_betas(process, 1000).min() < chain_betas(process, 1000).max() < 1 / 2
    with pytest.raises(ValueError, match="precision < 1/2"):
        vp_polynomial(precision=0.0)


def test_the_ddpm_chain():
    process = vp_linear(steps=1000)
    np.testing.assert_allclose(chain_betas(process, 1000), np.linspace(1e-4, 0.02, 1000), rtol=1e-8)
    np.testing.assert_allclose(process.alpha(jnp.ones(())) ** 2, 4.0358e-5, rtol=2e-5)
    second = process.posterior(jnp.zeros((1, 1)), jnp.zeros((1, 1)), 2 / 1000, 1 / 1000)
    np.testing.assert_allclose(second.std**2, 5.453e-5, rtol=1e-4)


def test_other_lengths_scale_the_betas():
    np.testing.assert_allclose(
        chain_betas(vp_linear(steps=50), 50)[[0, -1]], [1e-4 * 20, 0.02 * 20], rtol=1e-9
    )


def test_the_cosine_chain():
    betas = chain_betas(vp_cosine(steps=1000), 1000)
    np.testing.assert_allclose(betas[0], 4.128e-5, rtol=2e-4)
    np.testing.assert_allclose(betas[-1], 0.999, rtol=1e-9)
    np.testing.assert_allclose(vp_cosine(steps=1000).alpha(jnp.array(0.5)) ** 2, 0.49384, rtol=1e-5)
    np.testing.assert_allclose(vp_cosine().alpha(jnp.array(0.5)) ** 2, 0.49384, rtol=1e-5)
    np.testing.assert_allclose(chain_betas(vp_cosine(steps=4000), 4000)[0], 9.866e-6, rtol=1e-4)


def test_between_its_steps_a_chain_is_log_snr_linear():
    process = vp_linear(steps=10)
    middle = process.log_snr(jnp.arange(1.5, 10) / 10)
    ends = np.asarray(process.log_snr(jnp.arange(1, 11) / 10))
    np.testing.assert_allclose(middle, (ends[1:] + ends[:-1]) / 2, rtol=1e-9)
    first = process.ratio(jnp.array(0.1)) ** 2
    np.testing.assert_allclose(
        process.ratio(jnp.array([0.02, 0.07])) ** 2, first * np.array([0.2, 0.7]), rtol=1e-9
    )


def test_the_2015_chain_at_any_length():
    for steps in (7, 40, 1000):
        np.testing.assert_allclose(chain_betas(vp_2015(), steps), 1 / np.arange(steps, 0, -1), rtol=1e-6)


def test_2015_with_a_small_first_variance():
    betas = chain_betas(vp_2015(beta_1=1e-3, steps=40), 40)
    np.testing.assert_allclose(betas[0], 1e-3, rtol=1e-9)
    np.testing.assert_allclose(betas[1:], 1 / np.arange(39, 0, -1), rtol=1e-9)


def test_linear_betas_are_integrated():
    process, t = vp_linear(), np.array([0.03, 0.4, 1.0])
    exponent = [integrate.quad(lambda u: 0.1 + 19.9 * u, 0, end)[0] for end in t]
    np.testing.assert_allclose(process.alpha(jnp.asarray(t)) ** 2, np.exp(-np.array(exponent)), rtol=1e-9)


def test_continuous_cosine_is_the_papers_ratio():
    t = np.linspace(0.01, 0.99, 7)
    f = lambda t: np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2  # noqa: E731
    np.testing.assert_allclose(vp_cosine().alpha(jnp.asarray(t)) ** 2, f(t) / f(0), rtol=1e-9)


@pytest.mark.parametrize(("start", "end", "tau"), [(-3.0, 3.0, 1.0), (0.0, 3.0, 0.7)])
def test_sigmoid_is_the_papers_curve(start, end, tau):
    t = np.linspace(0.01, 0.99, 7)
    curve = special.expit((start + (end - start) * t) / tau)
    first, last = special.expit(start / tau), special.expit(end / tau)
    process = vp_sigmoid(start, end, tau)
    np.testing.assert_allclose(process.alpha(jnp.asarray(t)) ** 2, (last - curve) / (last - first), rtol=1e-9)


@pytest.mark.parametrize(
    "process",
    [vp_linear(), vp_linear(steps=10), vp_cosine(), vp_cosine(steps=10), vp_sigmoid(), vp_2015()]
    + [vp_2015(1e-3, 10), learned_beta(10), vdm(hidden=8)],
    ids=lambda process: type(process).__name__,
)
def test_variance_is_preserved(process):
    t = jnp.linspace(0, 1, 41)
    np.testing.assert_allclose(process.alpha(t) ** 2 + process.sigma(t) ** 2, 1.0, rtol=1e-6)


def test_exploding_processes_keep_the_signal():
    t = jnp.array([0.0, 0.25, 1.0])
    for process, noise in ((edm(), [0, 20, 80]), (ve(), [0, 50, 100])):
        np.testing.assert_array_equal(process.alpha(t), 1.0)
        np.testing.assert_allclose(process.sigma(t), noise)


def test_flow_is_straight():
    t = jnp.linspace(0, 1, 5)
    np.testing.assert_allclose(flow().alpha(t) + flow().sigma(t), 1.0)
    np.testing.assert_allclose(flow().sigma(t), t)


# Conditionals


@pytest.mark.parametrize(
    "process",
    [
        vp_linear(),
        vp_linear(steps=10),
        vp_cosine(),
        vp_sigmoid(),
        vp_2015(),
        vp_2015(0.02, 10),
        edm(4.0),
        ve(4.0),
        flow(),
        vdm(-8.0, 3.0, 8),
        learned_beta(10, 0.02),
    ],
    ids=lambda process: type(process).__name__,
)
def test_the_posterior_is_bayes_rule(process):
    """With the forward kernel of variance `large`: joint, marginal and posterior, by the trapezium rule."""
    x0, x_t = jnp.full((2, 1), 0.8), jnp.full((2, 1), -0.4)
    t, s = jnp.array([0.6, 0.95]), jnp.array([0.25, 0.6])
    earlier = process.marginal(x0, s)
    x_s = np.asarray(earlier.mean + earlier.std * np.linspace(-12, 12, 4001)[None])
    kept = np.asarray(process.alpha(t) / process.alpha(s))[:, None]
    kernel = stats.norm(kept * x_s, np.sqrt(large(process)(x_t, t, s)))
    joint = stats.norm(earlier.mean, earlier.std).pdf(x_s) * kernel.pdf(x_t)
    evidence = np.trapezoid(joint, x_s)[:, None]
    np.testing.assert_allclose(evidence, np.exp(process.marginal(x0, t).log_prob(x_t)), rtol=1e-6)
    density = np.exp(process.posterior(x_t, x0, t, s).log_prob(jnp.asarray(x_s)))
    np.testing.assert_allclose(density, joint / evidence, rtol=2e-5, atol=1e-9)


def test_nothing_is_left_of_a_level_without_signal():
    """alpha(1) = 0: what came before does not depend on x_1."""
    for process in (vp_cosine(), vp_2015(), flow()):
        x0, x_1 = jnp.array([0.3]), jnp.array([5.0])
        law, wanted = process.posterior(x_1, x0, 1.0, 0.4), process.marginal(x0, 0.4)
        np.testing.assert_allclose(law.mean, wanted.mean, rtol=1e-12)
        np.testing.assert_allclose(law.std, wanted.std, rtol=1e-12)


@pytest.mark.parametrize(
    "make",
    [vp_linear, vp_cosine, vp_sigmoid, vp_2015, partial(vp_2015, 1e-3, 10), flow, edm, learned_beta, vdm],
    ids=lambda make: getattr(make, "__name__", "partial"),
)
def test_no_signal_at_all_is_the_end(make):
    with jax.enable_x64(False):
        np.testing.assert_allclose(make().time(jnp.array([jnp.inf, 1e30])), 1.0, rtol=1e-6)


def test_impossible_schedules_are_refused():
    for make, message in (
        (lambda: vp_linear(beta_min=0.0), "0 < beta_min <= beta_max"),
        (lambda: vp_linear(steps=0), "steps must be at least 1"),
        (lambda: vp_cosine(s=-0.1), "must not be negative"),
        (lambda: vp_sigmoid(3.0, -3.0), "start < end"),
        (lambda: vp_2015(beta_1=1e-3), "given together"),
        (lambda: vp_2015(beta_1=1.0, steps=10), "0 < beta_1 < 1"),
        (lambda: edm(0.0), "sigma_max must be positive"),
        (lambda: ve(-1.0), "sigma_max must be positive"),
    ):
        with pytest.raises(ValueError, match=message):
            make()


def test_a_level_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"prefix of the data's \(2, 3\)"):
        vp_cosine().marginal(jnp.zeros((2, 3)), jnp.zeros(3))
