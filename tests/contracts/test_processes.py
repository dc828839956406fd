"""What every process promises, by discovery; in double precision, so that identities hold to rounding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.build import build
from diffusion_jax.laws import Bernoulli, Categorical, Normal
from diffusion_jax.levels import expand

SHAPE = (2, 3, 3)
"""[B, T, ...]; the last axis doubles as the number of categories."""

LEVELS = {
    "one for all": np.array(0.6),
    "one a sample": np.array([0.3, 0.8]),
    "one a token": np.array([[0.2, 0.5, 1.0], [0.7, 0.9, 0.4]]),
}


@pytest.fixture
def process(process_spec, x64):
    return build("process", process_spec)


def family(process):
    return type(process.prior(SHAPE))


def clean(process, key, shape=SHAPE):
    """Clean data of the process's family, in the range of the data: |x0| <= 1."""
    if family(process) is Normal:
        return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)
    if family(process) is Bernoulli:
        return jax.random.bernoulli(key, 0.5, shape).astype(float)
    return jax.nn.one_hot(jax.random.randint(key, shape[:-1], 0, shape[-1] - 1), shape[-1])


def probabilities(process, key):
    if family(process) is Bernoulli:
        return jax.random.uniform(key, SHAPE)
    return jax.random.dirichlet(key, jnp.array([1.0, 1.0, 1.0]), SHAPE[:-1])


def outcomes(law):
    """Points [N, ...] and weights that integrate quadratic functions of x exactly under the law."""
    if isinstance(law, Normal):
        std = jnp.broadcast_to(law.std, law.mean.shape)
        return jnp.stack([law.mean - std, law.mean + std]), jnp.full((2, *law.mean.shape), 0.5)
    if isinstance(law, Bernoulli):
        return jnp.stack([jnp.zeros_like(law.mean), jnp.ones_like(law.mean)]), jnp.stack(
            [1 - law.mean, law.mean]
        )
    ones = jnp.eye(law.logits.shape[-1]).reshape(-1, *(1,) * (law.logits.ndim - 1), law.logits.shape[-1])
    points = jnp.broadcast_to(ones, (law.logits.shape[-1], *law.logits.shape))
    return points, jnp.moveaxis(law.mean, -1, 0)[..., None]


def second_moment(law):
    """Of each entry; for bits and categories it is the mean."""
    return law.mean**2 + law.std**2 if isinstance(law, Normal) else law.mean


def same(actual, expected, **tolerance):
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(*np.broadcast_arrays(a, b), **tolerance)


def test_level_zero_is_the_data_exactly(process, key):
    x0 = clean(process, key)
    for t in (0.0, np.zeros(2), np.zeros((2, 3))):
        law = process.marginal(x0, jnp.asarray(t))
        np.testing.assert_array_equal(law.sample(key), x0)
        np.testing.assert_allclose(law.mean, x0, atol=1e-300)


def test_level_one_is_the_prior(process, key):
    """Within 1e-3 nats a dimension for |x0| <= 1, at the default arguments."""
    prior = process.prior(SHAPE)
    for t in (1.0, np.ones(2), np.ones((2, 3))):
        divergence = process.marginal(clean(process, key), jnp.asarray(t)).kl(prior)
        assert divergence.max() <= 1e-3
        assert divergence.min() >= -1e-12


def test_the_prior_samples_its_shape(process, key):
    sample = process.prior(SHAPE).sample(key)
    assert sample.shape == SHAPE
    keys = jax.random.split(key, SHAPE[0])
    each = process.prior(SHAPE).sample(keys)
    one = process.prior((1, *SHAPE[1:])).sample(keys[1:])
    np.testing.assert_array_equal(each[1:], one)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("levels", LEVELS)
def test_posterior_after_marginal_is_the_earlier_marginal(process, key, levels, share):
    x0 = clean(process, key)
    t = jnp.asarray(LEVELS[levels])
    s = share * t
    points, weights = outcomes(process.marginal(x0, t))
    laws = [process.posterior(x_t, x0, t, s) for x_t in points]
    wanted = process.marginal(x0, s)
    mean = sum(w * law.mean for w, law in zip(weights, laws))
    square = sum(w * second_moment(law) for w, law in zip(weights, laws))
    np.testing.assert_allclose(mean, wanted.mean, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(square, np.broadcast_to(second_moment(wanted), SHAPE), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("levels", LEVELS)
def test_reverse_at_the_data_is_the_posterior(process, key, levels):
    x0 = clean(process, key)
    t = jnp.asarray(LEVELS[levels])
    x_t = process.marginal(x0, t).sample(key)
    same(process.reverse(x_t, x0, t, t / 2), process.posterior(x_t, x0, t, t / 2), rtol=1e-12)


@pytest.mark.parametrize("levels", ["one a sample", "one a token"])
def test_each_token_sees_its_own_level_only(process, key, levels):
    x0 = clean(process, key)
    t = jnp.asarray(LEVELS[levels])
    x_t = process.marginal(x0, t).sample(key)
    marginal, reverse = process.marginal(x0, t), process.reverse(x_t, x0, t, t / 2)
    level = np.broadcast_to(np.asarray(t).reshape(2, -1), (2, 3))
    for b, i in np.ndindex(2, 3):
        here = (slice(b, b + 1), slice(i, i + 1))
        one = jnp.asarray(level[b, i])
        np.testing.assert_allclose(
            process.marginal(x0[here], one).mean, marginal.mean[here], rtol=1e-10, atol=1e-300
        )
        alone = process.reverse(x_t[here], x0[here], one, one / 2)
        np.testing.assert_allclose(alone.mean, reverse.mean[here], rtol=1e-10, atol=1e-300)


def test_a_step_that_does_not_move_keeps_the_sample(process, key):
    x0 = clean(process, key)
    for level in (0.0, 0.4, 1.0):
        t = jnp.asarray(level)
        x_t = process.marginal(x0, t).sample(key)
        np.testing.assert_allclose(process.posterior(x_t, x0, t, t).sample(key), x_t, rtol=1e-6, atol=1e-9)


def test_a_step_to_zero_gives_the_estimate(process, key):
    x0 = clean(process, key)
    t = jnp.asarray(0.7)
    x_t = process.marginal(x0, t).sample(key)
    np.testing.assert_allclose(process.reverse(x_t, x0, t, jnp.zeros(())).sample(key), x0, rtol=1e-9)


def test_gradients_are_finite_at_both_ends(process, key):
    x0 = clean(process, key)

    def mean(x0, x_t, t, s):
        return process.reverse(x_t, x0, t, s).mean.sum() + process.marginal(x0, t).mean.sum()

    for t, s in ((1.0, 0.0), (1.0, 0.5), (0.5, 0.0), (0.0, 0.0), (1.0, 1.0)):
        t, s = jnp.asarray(t), jnp.asarray(s)
        x_t = process.marginal(x0, t).sample(key)
        for part in jax.grad(mean, argnums=(0, 1))(x0, x_t, t, s):
            assert np.isfinite(part).all(), (t, s)


def test_at_a_probability_the_reverse_is_the_mixture_of_posteriors(process, key):
    """Not the posterior at the mean, which is biased."""
    if family(process) is Normal:
        pytest.skip("for bits and categories")
    x0_hat = probabilities(process, key)
    t, s = jnp.asarray(0.7), jnp.asarray(0.3)
    x_t = process.marginal(clean(process, key), t).sample(jax.random.fold_in(key, 1))
    values, weights = outcomes(Bernoulli(jnp.log(x0_hat) - jnp.log1p(-x0_hat)))
    if family(process) is Categorical:
        values, weights = outcomes(Categorical(jnp.log(x0_hat)))
        possible = jnp.stack(
            [jnp.exp(process.marginal(x0, t).log_prob(x_t))[..., None] > 1e-12 for x0 in values]
        )
        weights = jnp.where(possible, weights, 0.0)
        weights = weights / weights.sum(0, keepdims=True)
    mixture = sum(w * process.posterior(x_t, x0, t, s).mean for x0, w in zip(values, weights))
    np.testing.assert_allclose(process.reverse(x_t, x0_hat, t, s).mean, mixture, rtol=1e-8, atol=1e-10)


def test_a_variance_replaces_the_posteriors_where_there_is_one(process, key):
    x0 = clean(process, key)
    t, s = jnp.asarray(0.7), jnp.asarray(0.3)
    x_t = process.marginal(x0, t).sample(key)
    variance = jnp.full(SHAPE, 0.04)
    if family(process) is not Normal:
        with pytest.raises(ValueError, match="variance"):
            process.reverse(x_t, x0, t, s, variance)
        return
    law = process.reverse(x_t, x0, t, s, variance)
    np.testing.assert_allclose(jnp.broadcast_to(law.std, SHAPE), 0.2, rtol=1e-12)
    np.testing.assert_allclose(law.mean, process.reverse(x_t, x0, t, s).mean, rtol=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("levels", LEVELS)
def test_the_transition_after_an_earlier_marginal_is_the_later_marginal(process, key, levels, share):
    if family(process) is not Normal:
        pytest.skip("for Gaussian processes")
    x0, t = clean(process, key), jnp.asarray(LEVELS[levels])
    points, weights = outcomes(process.marginal(x0, share * t))
    laws = [process.transition(x_s, share * t, t) for x_s in points]
    wanted = process.marginal(x0, t)
    mean = sum(w * law.mean for w, law in zip(weights, laws))
    square = sum(w * second_moment(law) for w, law in zip(weights, laws))
    np.testing.assert_allclose(mean, wanted.mean, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(square, np.broadcast_to(second_moment(wanted), SHAPE), rtol=1e-7, atol=1e-9)


def test_time_inverts_the_ratio(process):
    if family(process) is not Normal:
        pytest.skip("for Gaussian processes")
    t = jnp.linspace(0.02, 0.98, 49)
    np.testing.assert_allclose(process.time(process.sigma(t) / process.alpha(t)), t, rtol=1e-8)
    low, high = process.time(jnp.asarray(1e-12)), process.time(jnp.asarray(1e12))
    assert 0 <= low < 1e-3
    assert 0.99 < high <= 1


def test_single_precision_agrees_with_double(process_spec):
    """sigma/alpha between 0.002 and 80, to 1e-5 (2015's schedule to 2e-4)."""
    with jax.enable_x64(True):
        process = build("process", process_spec)
        if family(process) is not Normal:
            pytest.skip("for Gaussian processes")
        levels = np.asarray(process.time(jnp.geomspace(0.002, 80.0, 100)), np.float32)
        levels = levels[(levels > 0) & (levels < 1)]
        t = jnp.asarray(levels.astype(np.float64))
        exact = np.asarray(process.sigma(t) / process.alpha(t))
    process = build("process", process_spec)
    t = jnp.asarray(levels)
    tolerance = 2e-4 if process_spec["name"] == "vp_2015" else 1e-5
    np.testing.assert_allclose(process.sigma(t) / process.alpha(t), exact, rtol=tolerance)


def test_schedules_broadcast_and_rise(process):
    if family(process) is not Normal:
        pytest.skip("for Gaussian processes")
    t = jnp.linspace(0.0, 1.0, 33)
    ratio = process.sigma(t) / process.alpha(t)
    assert (jnp.diff(ratio) > 0).all()
    np.testing.assert_allclose(process.alpha(t.reshape(3, 11, 1))[1, :, 0], process.alpha(t)[11:22])
    assert expand(process.sigma(jnp.asarray(0.5)), jnp.zeros(SHAPE)).shape == (1, 1, 1)
