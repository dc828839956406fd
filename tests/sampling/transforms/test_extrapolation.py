"""Extrapolating guidance against the score of the tilted density, tilted priors, and counted evaluations."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.laws import Normal
from diffusion_jax.levels import expand
from diffusion_jax.processes import binomial, categorical, edm, flow, vp_cosine
from diffusion_jax.sampling.euler import euler
from diffusion_jax.sampling.grids import linear_grid
from diffusion_jax.sampling.loop import counted, sample
from diffusion_jax.sampling.transforms.extrapolation import Guide, autoguidance, cfg, mixed

STRONG, WEAK = (0.8, 0.3), (-0.2, 0.9)
"""Mean and standard deviation of the data of each denoiser."""


def constant(value):
    return lambda x, t: jnp.full_like(x, value)


@pytest.mark.parametrize(("guidance", "process"), [(cfg, vp_cosine()), (autoguidance, flow())])
def test_two_normals_give_the_score_of_the_tilted_density(guidance, process, oracles, key, x64):
    """sigma^2 score + x = alpha x0_hat, the score being that of p_strong^w p_weak^(1 - w)."""
    x, t, w = jax.random.normal(key, (3, 2, 2)), jnp.array([[0.2], [0.5], [0.9]]), 2.5

    def log_tilted(x):
        def at_level(mean, std):
            alpha, sigma = expand(process.alpha(t), x), expand(process.sigma(t), x)
            return Normal(alpha * mean, jnp.sqrt(alpha**2 * std**2 + sigma**2)).log_prob(x).sum()

        return w * at_level(*STRONG) + (1 - w) * at_level(*WEAK)

    alpha, sigma = expand(process.alpha(t), x), expand(process.sigma(t), x)
    truth = (x + sigma**2 * jax.grad(log_tilted)(x)) / alpha
    guided = guidance(process, oracles.gaussian(process, *STRONG), oracles.gaussian(process, *WEAK), w)
    np.testing.assert_allclose(jax.jit(guided)(x, t), truth, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("process", [binomial(0.2), categorical(3, absorbing=True)])
def test_bits_and_categories_tilt_the_prior(process, key, x64):
    """By Bayes' rule, exact denoisers in log-odds differ by their priors alone, so these are what tilts."""
    chances = np.array([[0.7, 0.3, 0.0], [0.2, 0.8, 0.0]])
    codes = jnp.eye(3) if isinstance(process, type(categorical(3))) else jnp.arange(2.0)[:, None]

    def denoiser(prior):
        def denoise(x, t):
            each = [
                process.marginal(jnp.broadcast_to(code, x.shape), t).log_prob(x).reshape(x.shape[:2])
                for code in codes
            ]
            joint = jnp.exp(jnp.stack(each, -1)) * prior[: len(codes)].reshape(1, 1, -1)
            joint = joint / joint.sum(-1, keepdims=True)
            return joint if len(codes) == 3 else joint[..., 1:]

        return jax.jit(denoise)

    w, t = 3.0, jnp.array([[0.3], [0.8]])
    x = process.marginal(jnp.broadcast_to(codes[0], (2, 5, codes.shape[1])), t).sample(key)
    tilted = chances[0] ** w * np.array([0.2, 0.8, 1.0]) ** (1 - w)
    guided = cfg(process, denoiser(chances[0]), denoiser(chances[1]), w)(x, t)
    np.testing.assert_allclose(guided, denoiser(tilted / tilted.sum())(x, t), atol=1e-12)


def test_certain_probabilities_stay_finite(key):
    """0 and 1 have infinite log-odds."""
    x = jax.random.bernoulli(key, 0.5, (2, 3, 4)).astype(float)
    sure = cfg(binomial(), constant(1.0), constant(0.0), 5.0)(x, jnp.array(0.5))
    np.testing.assert_array_equal(sure, 1.0)
    same = cfg(binomial(), constant(0.0), constant(0.0), 5.0)(x, jnp.array(0.5))
    np.testing.assert_allclose(same, 0.0, atol=1e-30)


def test_the_weak_denoiser_is_evaluated_inside_the_interval_only(key):
    """Sigma falls 10, 9, .. 1: guidance at 6, 5, 4 and 3."""
    process, x = edm(10.0), jax.random.normal(key, (2, 3, 1))
    strong, strong_count = counted(constant(1.0))
    weak, weak_count = counted(constant(0.0))
    guided = cfg(process, strong, weak, 2.0, low=2.5, high=6.5)
    jax.jit(lambda x: sample(key, guided, euler(process), x, linear_grid(10)))(x).block_until_ready()
    assert (strong_count(), weak_count()) == (10, 4)


def test_the_interval_is_each_token_s_own():
    process = edm(10.0)
    guided = cfg(process, constant(1.0), constant(0.0), 3.0, low=2.0, high=6.0)
    levels = jnp.array([[0.0, 0.1, 0.2, 0.4, 0.6, 0.7, 1.0]])
    value = guided(jnp.ones((1, 7, 1)), levels)[0, :, 0]
    assert value.tolist() == [1.0, 1.0, 3.0, 3.0, 3.0, 1.0, 1.0]


def test_scales_per_sample_and_the_plain_ones():
    x, t = jnp.ones((3, 2, 1)), jnp.array(0.5)
    weak, count = counted(constant(1.0))
    scales = cfg(edm(), constant(2.0), weak, jnp.array([0.0, 1.0, 3.0]))(x, t)
    assert scales[:, 0, 0].tolist() == [1.0, 2.0, 4.0]
    assert count() == 1
    cfg(edm(), constant(2.0), weak, 1.0)(x, t)
    assert count() == 1


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"scale": -1.0}, ValueError, "negative"),
        ({"scale": float("nan")}, ValueError, "negative"),
        ({"scale": jnp.ones((2, 1, 1))}, ValueError, r"\[B, T\]"),
        ({"low": 2.0, "high": 1.0}, ValueError, "low <= high"),
        ({"low": -1.0}, ValueError, "low <= high"),
        ({"unconditional": None}, TypeError, "function as `weak`"),
        ({"process": binomial(), "high": 5.0}, ValueError, "sigma/alpha"),
    ],
)
def test_bad_input_is_refused(arguments, error, match):
    good = {"process": edm(), "conditional": constant(0.0), "unconditional": constant(0.0), "scale": 2.0}
    with pytest.raises(error, match=match):
        cfg(**good | arguments)


def test_other_shapes_are_refused():
    x = jnp.ones((2, 1, 3))
    narrow = lambda x, t: x[..., :2]  # noqa: E731
    with pytest.raises(ValueError, match=r"weak denoiser.*\(2, 1, 3\)"):
        cfg(edm(), constant(0.0), narrow, 2.0)(x, jnp.array(0.5))
    with pytest.raises(ValueError, match="prefix"):
        cfg(edm(), constant(0.0), constant(0.0), jnp.ones(5))(x, jnp.array(0.5))
    assert math.isfinite(cfg(edm(), constant(0.0), constant(1.0), 2.0)(x, jnp.array(1.0)).sum())


def test_directions_add_up_and_one_alone_is_cfg(oracles, key, x64):
    """Scores of normals are linear: strong + g (strong - weak) + h (strong - other), each in its interval."""
    process, x = vp_cosine(), jax.random.normal(key, (3, 2, 2))
    t = jnp.array([[0.2], [0.5], [0.9]])
    strong, weak, other = (oracles.gaussian(process, *law) for law in (STRONG, WEAK, (0.1, 0.5)))
    one = mixed(process, strong, Guide(weak, 1.5))
    np.testing.assert_allclose(one(x, t), cfg(process, strong, weak, 2.5)(x, t), rtol=1e-12)
    ratio = float(process.ratio(jnp.asarray(0.5)))
    both = mixed(
        process, strong, Guide(weak, 1.5, high=ratio * 1.1), Guide(other, jnp.array([2.0, 0.0, 1.0]))
    )
    best, first, second = (denoiser(x, t) for denoiser in (strong, weak, other))
    g, h = (jnp.array(scale)[:, None, None] for scale in ([1.5, 1.5, 0.0], [2.0, 0.0, 1.0]))
    wanted = best + g * (best - first) + h * (best - second)
    np.testing.assert_allclose(jax.jit(both)(x, t), wanted, rtol=1e-10)
    for none in (mixed(process, strong), mixed(process, strong, Guide(weak, 0.0))):
        np.testing.assert_array_equal(none(x, t), best)


def test_mixed_guidance_refuses_what_cfg_refuses():
    process, denoiser = vp_cosine(), constant(0.0)
    for guide, error, message in [
        (Guide(None, 1.0), TypeError, "needs a function as `weak`"),
        (Guide(denoiser, -1.0), ValueError, "must not be negative"),
        (Guide(denoiser, 1.0, 2.0, 1.0), ValueError, "0 <= low <= high"),
    ]:
        with pytest.raises(error, match=message):
            mixed(process, denoiser, guide)
