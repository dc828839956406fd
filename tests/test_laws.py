"""Laws against scipy's distributions, quadrature and counting."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from diffusion_jax.laws import Bernoulli, Categorical, Normal, safe_log
from diffusion_jax.processes import binomial, categorical


def test_normal_density_and_entropy(x64):
    law = Normal(jnp.array([0.5, -1.0]), jnp.array([0.3, 2.0]))
    truth = stats.norm([0.5, -1.0], [0.3, 2.0])
    x = np.array([0.1, 4.0])
    np.testing.assert_allclose(law.log_prob(x), truth.logpdf(x), rtol=1e-12)
    np.testing.assert_allclose(law.entropy(), truth.entropy(), rtol=1e-12)


def test_entropy_has_an_entry_for_each_entry_of_the_data():
    assert Normal(jnp.zeros((2, 3)), jnp.ones((1, 1))).entropy().shape == (2, 3)
    assert Bernoulli(jnp.zeros((2, 3))).entropy().shape == (2, 3)
    assert Categorical(jnp.zeros((2, 3))).entropy().shape == (2,)


def test_normal_divergence_is_the_integral(x64):
    p, q = stats.norm(0.4, 0.7), stats.norm(-0.2, 1.1)
    truth = integrate.quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), -10, 10)[0]
    value = Normal(jnp.array(0.4), jnp.array(0.7)).kl(Normal(jnp.array(-0.2), jnp.array(1.1)))
    np.testing.assert_allclose(value, truth, rtol=1e-9)


def test_bits_against_counting(x64):
    p, q = np.array([0.1, 0.5, 0.93]), np.array([0.3, 0.2, 0.94])
    law, other = (Bernoulli(jnp.log(a) - jnp.log1p(-a)) for a in (p, q))
    np.testing.assert_allclose(law.mean, p, rtol=1e-12)
    for x in (0.0, 1.0):
        np.testing.assert_allclose(
            law.log_prob(jnp.full(3, x)), stats.bernoulli(p).logpmf(int(x)), rtol=1e-12
        )
    np.testing.assert_allclose(law.entropy(), stats.bernoulli(p).entropy(), rtol=1e-12)
    truth = [stats.entropy([1 - a, a], [1 - b, b]) for a, b in zip(p, q)]
    np.testing.assert_allclose(law.kl(other), truth, rtol=1e-10)


def test_categories_against_counting(x64):
    p, q = np.array([[0.2, 0.3, 0.5], [0.9, 0.06, 0.04]]), np.array([[0.1, 0.6, 0.3], [0.5, 0.25, 0.25]])
    law, other = Categorical(jnp.log(p) + 3.0), Categorical(jnp.log(q) - 7.0)
    np.testing.assert_allclose(law.mean, p, rtol=1e-12)
    np.testing.assert_allclose(law.log_prob(jnp.eye(3)[jnp.array([2, 0])]), np.log([0.5, 0.9]), rtol=1e-12)
    np.testing.assert_allclose(law.entropy(), stats.entropy(p, axis=1), rtol=1e-12)
    np.testing.assert_allclose(law.kl(other), stats.entropy(p, q, axis=1), rtol=1e-10)


def test_samples_have_their_frequencies(key):
    n = 40_000
    x = Normal(jnp.full(n, 0.5), jnp.array([0.3])).sample(key)
    assert stats.kstest(np.asarray(x), stats.norm(0.5, 0.3).cdf).pvalue > 1e-3
    bits = Bernoulli(jnp.full(n, jnp.log(0.2 / 0.8))).sample(key)
    assert set(np.unique(bits)) == {0.0, 1.0}
    assert abs(bits.mean() - 0.2) < 4 * 0.002
    one_hot = Categorical(jnp.broadcast_to(jnp.log(jnp.array([[0.2, 0.3, 0.5]])), (n, 3))).sample(key)
    np.testing.assert_array_equal(one_hot.sum(1), 1.0)
    np.testing.assert_allclose(one_hot.mean(0), [0.2, 0.3, 0.5], atol=0.01)


def test_all_randomness_comes_through_draw(key):
    """A sampler that repeats its noise repeats its samples."""
    median = lambda key, x: jnp.zeros_like(x)  # noqa: E731
    np.testing.assert_array_equal(
        Normal(jnp.array([0.5]), jnp.array([3.0])).sample(key, median), np.float32([0.5])
    )
    np.testing.assert_array_equal(Bernoulli(jnp.array([-0.1, 0.1])).sample(key, median), [0.0, 1.0])
    np.testing.assert_array_equal(
        Categorical(jnp.array([[0.0, 0.1, -0.1]])).sample(key, median), [[0.0, 1.0, 0.0]]
    )


def test_a_seed_for_each_sample(key):
    keys = jax.random.split(key, 3)
    for law, alone in (
        (Bernoulli(jnp.zeros((3, 50))), Bernoulli(jnp.zeros((1, 50)))),
        (Categorical(jnp.zeros((3, 50, 4))), Categorical(jnp.zeros((1, 50, 4)))),
    ):
        np.testing.assert_array_equal(law.sample(keys)[1], alone.sample(keys[1:2])[0])


@pytest.mark.parametrize("noise", [-30.0, 30.0])
def test_certain_events_are_certain(noise, key):
    """Even where float32 noise falls on the end of its range."""
    extreme = lambda key, x: jnp.full_like(x, noise)  # noqa: E731
    for bit in (0.0, 1.0):
        law = binomial(0.2).marginal(jnp.full((4,), bit), jnp.zeros(()))
        np.testing.assert_array_equal(law.sample(key, extreme), bit)
    one = jax.nn.one_hot(jnp.array([0, 1]), 3)
    law = categorical(3, absorbing=True).marginal(one, jnp.zeros(()))
    against = lambda key, x: noise * (1 - 2 * one)  # noqa: E731
    np.testing.assert_array_equal(law.sample(key, against), one)


def test_divergences_between_laws_of_different_support_are_finite():
    on, off = Bernoulli(safe_log(jnp.array(1.0)) - safe_log(jnp.array(0.0))), Bernoulli(jnp.array(-1e3))
    assert np.isfinite(on.kl(off))
    assert on.kl(off) > 50
    assert on.kl(on) == 0
    first, last = (Categorical(safe_log(row)) for row in jnp.eye(3)[jnp.array([0, 2])])
    assert 50 < first.kl(last) < 100
    assert first.kl(first) == 0


def test_a_point_mass_samples_itself(key):
    mean = jnp.array([0.1, -3.0])
    np.testing.assert_array_equal(Normal(mean, jnp.array([0.0])).sample(key), mean)
