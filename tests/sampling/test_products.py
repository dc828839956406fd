"""Perturbed kernels against the product computed by brute force: on a line, or over both values of a bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from diffusion_jax.laws import Bernoulli, Categorical, Normal
from diffusion_jax.processes import vp_2015, vp_cosine
from diffusion_jax.processes.binomial import binomial
from diffusion_jax.sampling.ancestral import ancestral
from diffusion_jax.sampling.grids import linear_grid
from diffusion_jax.sampling.loop import sample
from diffusion_jax.sampling.products import (
    bernoulli_factor,
    categorical_factor,
    delta,
    fading,
    gaussian_factor,
    smooth,
)

T, S = jnp.full((1, 1), 0.5), jnp.full((1, 1), 0.25)


def moments_on_a_line(density):
    """Mean and standard deviation of an unnormalised density."""
    x = np.linspace(-12, 12, 200001)
    weight = density(x)
    weight = weight / weight.sum()
    mean = (weight * x).sum()
    return mean, np.sqrt((weight * (x - mean) ** 2).sum())


def kernel(mean=0.3, std=0.5):
    return Normal(jnp.full((1, 1, 1), mean), jnp.full((1, 1, 1), std))


@pytest.mark.parametrize("power", [None, fading])
@pytest.mark.parametrize("std", [0.05, 0.7, 30.0])
def test_gaussian_factor(std, power, x64):
    exponent = 1.0 if power is None else 0.75
    arguments = {} if power is None else {"power": power}
    law = gaussian_factor(-1.0, std, **arguments)(kernel(), T, S)

    def density(x):
        return stats.norm.pdf(x, 0.3, 0.5) * stats.norm.pdf(x, -1.0, std) ** exponent

    np.testing.assert_allclose((law.mean.item(), law.std.item()), moments_on_a_line(density), rtol=1e-6)


def test_gaussian_factor_at_its_ends(x64):
    """std 0 is a point mass, inf nothing; a kernel that is a point already stays."""
    stds = jnp.array([0.0, jnp.inf, 1.0]).reshape(1, 1, 3)
    law = Normal(jnp.full((1, 1, 3), 0.3), jnp.array([0.5, 0.5, 0.0]).reshape(1, 1, 3))
    changed = gaussian_factor(-1.0, stds)(law, T, S)
    np.testing.assert_allclose(changed.mean.ravel(), [-1.0, 0.3, 0.3])
    np.testing.assert_allclose(changed.std.ravel(), [0.0, 0.5, 0.0])


def test_smooth_factor_agrees_to_first_order(x64):
    """Against a Gaussian r of variance V and a kernel of variance v, the shift is off by v/V of itself."""
    for std in (10.0, 20.0):
        law = smooth(lambda x, std=std: -0.5 * ((x + 1.0) / std) ** 2)(kernel(), T, S)
        exact = gaussian_factor(-1.0, std)(kernel(), T, S)
        relative = (law.mean - exact.mean) / (exact.mean - 0.3)
        np.testing.assert_allclose(relative, 0.25 / std**2, rtol=1e-6)
        assert law.std.item() == 0.5


def test_smooth_factor_of_an_exponential_is_exact(x64):
    """r = exp(g x): the Hessian of log r is zero."""
    law = smooth(lambda x: 1.7 * x.sum((1, 2)))(kernel(), T, S)
    exact = moments_on_a_line(lambda x: stats.norm.pdf(x, 0.3, 0.5) * np.exp(1.7 * x))
    np.testing.assert_allclose((law.mean.item(), law.std.item()), exact, rtol=1e-6)
    bits = smooth(lambda x: 1.7 * x)(Bernoulli(jnp.log(jnp.full((1, 1, 1), 0.2 / 0.8))), T, S)
    one, zero = 0.2 * np.exp(1.7), 0.8
    np.testing.assert_allclose(bits.mean.item(), one / (one + zero), rtol=1e-12)


@pytest.mark.parametrize(("power", "exponent"), [(None, 1.0), (fading, 0.75)])
def test_bernoulli_factor(power, exponent, x64):
    arguments = {} if power is None else {"power": power}
    c, d = np.array([0.1, 0.5, 0.9]), np.array([0.8, 0.3, 0.5])
    law = Bernoulli(jnp.asarray(np.log(c / (1 - c))).reshape(1, 1, 3))
    changed = bernoulli_factor(jnp.asarray(d).reshape(1, 1, 3), **arguments)(law, T, S)
    one, zero = c * d**exponent, (1 - c) * (1 - d) ** exponent
    np.testing.assert_allclose(changed.mean.ravel(), one / (one + zero), rtol=1e-12)


def test_categorical_factor(x64):
    p, r = np.array([0.2, 0.5, 0.3]), np.array([4.0, 0.0, 1.0])
    law = Categorical(jnp.asarray(np.log(p)).reshape(1, 1, 3))
    changed = categorical_factor(jnp.asarray(r).reshape(1, 1, 3))(law, T, S)
    np.testing.assert_allclose(changed.mean.ravel(), p * r / (p * r).sum(), atol=1e-12)


def test_delta_for_every_law(key):
    mask = jnp.array([[True, False]])
    normal = delta(jnp.full((1, 2, 1), 7.0), mask)(Normal(jnp.zeros((1, 2, 1)), jnp.ones((1, 2, 1))), T, S)
    drawn = normal.sample(key)
    assert drawn[0, 0, 0] == 7
    assert drawn[0, 1, 0] != 7
    keys = jax.random.split(key, 1)
    bits = delta(jnp.ones((1, 2, 1)), mask)(Bernoulli(jnp.full((1, 2, 1), -30.0)), T, S)
    assert bits.sample(keys).ravel().tolist() == [1.0, 0.0]
    known = jax.nn.one_hot(jnp.array([[2, 2]]), 3)
    logits = jnp.broadcast_to(jnp.array([30.0, 0.0, 0.0]).reshape(1, 1, 3), (1, 2, 3))
    categories = delta(known, mask)(Categorical(logits), T, S)
    assert categories.sample(keys).argmax(-1).ravel().tolist() == [2, 0]


def test_inpainting_keeps_the_known_and_follows_it(key, oracles):
    """Two clusters far apart in both coordinates; the first coordinate is known to lie in one of them."""
    process = vp_cosine()
    means, weights = np.array([[1.0, 1.0], [-1.0, -1.0]]), np.array([0.5, 0.5])
    denoiser = oracles.mixture(process, means, weights, 0.1)
    known, mask = jnp.full((500, 1, 2), 1.0), jnp.array([True, False]).reshape(1, 1, 2)
    sampler = ancestral(process, factor=delta(known, jnp.broadcast_to(mask, known.shape)))
    x = process.prior((500, 1, 2)).sample(jax.random.fold_in(key, 1))
    end = sample(key, denoiser, sampler, x, linear_grid(50))
    np.testing.assert_array_equal(end[..., 0], 1.0)
    assert (end[..., 1] > 0.5).mean() > 0.95


def test_denoising_moves_samples_between_model_and_observation(key, oracles):
    """One step of N(0, 1) data from pure noise to s: the kernel is q(x_s), so the product is exact there."""
    process = vp_2015()
    sampler = ancestral(process, factor=gaussian_factor(2.0, 1.0))
    x = process.prior((20000, 1, 1)).sample(jax.random.fold_in(key, 1))

    def zero(x, t):
        return jnp.zeros_like(x)

    end = sample(key, zero, sampler, x, jnp.array([1.0, 0.5]))
    mean, std = moments_on_a_line(
        lambda x: stats.norm.pdf(x, 0.0, np.sqrt(0.5)) * stats.norm.pdf(x, 2.0, 1.0)
    )
    assert abs(end.mean() - mean) < 4 * std / np.sqrt(20000)
    assert abs(end.std() - std) < 4 * std / np.sqrt(40000)


def test_bits_under_a_factor(key, oracles):
    """One bit, one step: the law of the data times r."""
    process = binomial(0.5)
    denoiser = oracles.atoms(process, jnp.array([1.0, 0.0, 0.0, 0.0]).reshape(4, 1, 1))
    x = process.prior((20000, 1, 1)).sample(jax.random.fold_in(key, 1))
    end = sample(key, denoiser, ancestral(process, factor=bernoulli_factor(0.9)), x, linear_grid(1))
    expected = 0.25 * 0.9 / (0.25 * 0.9 + 0.75 * 0.1)
    assert abs(end.mean() - expected) < 4 * np.sqrt(0.1875 / 20000)


def test_a_factor_for_another_law_is_refused():
    with pytest.raises(TypeError, match="gaussian_factor changes a Normal law; .* is Bernoulli"):
        gaussian_factor(0.0, 1.0)(Bernoulli(jnp.zeros((1, 1))), T, S)
    with pytest.raises(TypeError, match="bernoulli_factor"):
        bernoulli_factor(0.3)(kernel(), T, S)
    with pytest.raises(TypeError, match="categorical_factor"):
        categorical_factor(jnp.ones(3))(kernel(), T, S)
    for made in (delta(jnp.zeros((1, 1)), jnp.ones((1, 1))), smooth(jnp.sum)):
        with pytest.raises((TypeError, AttributeError)):
            made(object(), T, S)
