"""Bits and categories by enumeration: the forward kernel, Bayes' rule, and the exact reverse chain."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.processes import binomial, categorical

pytestmark = pytest.mark.usefixtures("x64")

PAIRS = [(0.7, 0.3), (1.0, 0.4), (0.2, 0.15)]


class Bits:
    """A binomial process as two categories, so that one enumeration serves all."""

    def __init__(self, p):
        self.inner, self.k = binomial(p), 2

    def probabilities(self, law):
        one = law.mean[..., 0]
        return jnp.stack([1 - one, one], -1)

    def marginal(self, x0, t):
        return self.probabilities(self.inner.marginal(x0[..., 1:], t))

    def reverse(self, x_t, x0, t, s):
        return self.probabilities(self.inner.reverse(x_t[..., 1:], x0[..., 1:], t, s))

    def prior(self):
        return self.probabilities(self.inner.prior((1, 1)))[0]


class Categories:
    def __init__(self, k, absorbing):
        self.inner, self.k = categorical(k, absorbing), k

    def marginal(self, x0, t):
        return self.inner.marginal(x0, t).mean

    def reverse(self, x_t, x0, t, s):
        return self.inner.reverse(x_t, x0, t, s).mean

    def prior(self):
        return self.inner.prior((1, self.k)).mean[0]


FAMILIES = {
    "bits": Bits(0.5),
    "bits of 2015": Bits(0.2),
    "uniform": Categories(4, False),
    "absorbing": Categories(4, True),
}


@pytest.fixture(params=FAMILIES)
def family(request):
    return FAMILIES[request.param]


def kernel(family, t, s):
    """q(x_t | x_s) [from, to]: the marginal over the time between, whose keep is (1 - t)/(1 - s)."""
    return np.asarray(family.marginal(jnp.eye(family.k), jnp.array(1 - (1 - t) / (1 - s))))


def marginals(family, t):
    """q(x_t | x_0) [from, to]."""
    return np.asarray(family.marginal(jnp.eye(family.k), jnp.array(t)))


@pytest.mark.parametrize(("t", "s"), PAIRS)
def test_kernels_compose(family, t, s):
    np.testing.assert_allclose(
        marginals(family, s) @ kernel(family, t, s), marginals(family, t), rtol=1e-12, atol=1e-300
    )


@pytest.mark.parametrize(("t", "s"), PAIRS)
def test_the_posterior_is_bayes_rule(family, t, s):
    joint = marginals(family, s)[:, :, None] * kernel(family, t, s)[None]  # [x_0, x_s, x_t]
    possible = 0
    for i, j in np.ndindex(family.k, family.k):
        if joint[i, :, j].sum() < 1e-100:
            continue
        possible += 1
        x0, x_t = jnp.eye(family.k)[i : i + 1], jnp.eye(family.k)[j : j + 1]
        posterior = family.reverse(x_t, x0, jnp.array(t), jnp.array(s))[0]
        np.testing.assert_allclose(posterior, joint[i, :, j] / joint[i, :, j].sum(), rtol=1e-9, atol=1e-200)
    assert possible >= family.k


@pytest.mark.parametrize("steps", [2, 10])
def test_the_exact_reverse_chain_gives_back_the_data(family, steps):
    """One entry of any law: mixture steps at the exact P(x_0 | x_t) are exact at every number of steps.

    The product of marginal and likelihood at the mean, which is biased, would end at 0.24 for a true 0.10.
    """
    data = np.array([0.9, 0.1]) if family.k == 2 else np.array([0.1, 0.6, 0.3, 0.0])
    law = np.asarray(family.prior())
    eye = jnp.eye(family.k)
    for step in range(steps, 0, -1):
        t, s = step / steps, (step - 1) / steps
        joint = data[:, None] * marginals(family, t)
        seen = joint.sum(0)
        x0_hat = np.where(seen > 1e-100, joint / np.where(seen > 1e-100, seen, 1.0), data[:, None]).T
        reverse = np.asarray(family.reverse(eye, jnp.asarray(x0_hat), jnp.array(t), jnp.array(s)))
        law = law @ reverse
        np.testing.assert_allclose(law, data @ marginals(family, s), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(law, data, rtol=1e-9, atol=1e-12)


def test_a_bit_is_kept_with_probability_one_minus_k_over_t():
    """The paper's beta_k = 1/(T - k + 1): alpha_bar_k = 1 - k/T exactly, with the kernels between."""
    process, steps = binomial(0.2), 2000
    t = jnp.arange(steps + 1) / steps
    kept = process.marginal(jnp.ones(steps + 1), t).mean - process.marginal(jnp.zeros(steps + 1), t).mean
    np.testing.assert_allclose(kept, 1 - np.arange(steps + 1) / steps, atol=1e-15)
    betas = 1 - np.asarray(kept)[1:] / np.asarray(kept)[:-1]
    np.testing.assert_allclose(betas, 1 / np.arange(steps, 0, -1), rtol=1e-9)
    np.testing.assert_allclose(process.prior((3,)).mean, 0.2, rtol=1e-12)


def test_a_masked_token_is_kept_until_it_is_revealed():
    """Absorbing: known categories stay, and a mask is revealed with probability (t - s)/t."""
    process = categorical(3, absorbing=True)
    mask, second = jnp.eye(3)[2:], jnp.eye(3)[1:2]
    x0_hat = jnp.array([[0.25, 0.75, 0.0]])
    np.testing.assert_allclose(process.reverse(second, x0_hat, 0.8, 0.6).mean, second, atol=1e-300)
    np.testing.assert_allclose(
        process.reverse(mask, x0_hat, 0.8, 0.6).mean, [[0.25 * 0.25, 0.25 * 0.75, 0.75]], rtol=1e-12
    )


def test_where_no_category_is_possible_the_token_stays():
    process = categorical(3, absorbing=True)
    first = jnp.eye(3)[:1]
    law = process.reverse(first, jnp.array([[0.0, 1.0, 0.0]]), 0.8, 0.6)
    np.testing.assert_allclose(law.mean, first, atol=1e-300)


def test_small_probabilities_survive_single_precision():
    """The log-odds of a posterior are not formed from a probability rounded to 1."""
    with jax.enable_x64(False):
        law = binomial(0.5).posterior(jnp.ones((1, 1)), jnp.ones((1, 1)), 2e-4, 1e-4)
    np.testing.assert_allclose(law.logits, np.log((1 - 1e-4 / 2) * (1 - 1e-4 / 2) / (5e-5 * 5e-5)), rtol=1e-3)


def test_impossible_arguments_are_named():
    with pytest.raises(ValueError, match="strictly between 0 and 1, got 1.0"):
        binomial(1.0)
    with pytest.raises(ValueError, match="at least 2 categories, got 1"):
        categorical(1)
    with pytest.raises(ValueError, match=r"\[..., 3\], got shape \(2, 4\)"):
        categorical(3).marginal(jnp.zeros((2, 4)), 0.5)
