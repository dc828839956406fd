"""Levels: their shapes, and the laws they are drawn from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.levels import (
    canonical,
    discrete,
    expand,
    horizon,
    log_uniform,
    logit_normal,
    lognormal,
    low_discrepancy,
    next_token,
    normal,
    per_sample,
    per_token,
    shared_future,
    token_sum,
    uniform,
    uniform_future,
    vp_uniform,
    with_clean,
    with_first,
    with_missing,
)
from diffusion_jax.processes import edm, flow, ve, vp_cosine, vp_linear


@pytest.mark.parametrize(
    ("shape", "wanted"), [((), (1, 1)), ((4,), (4, 1)), ((4, 3), (4, 3)), ((1, 3), (1, 3))]
)
def test_canonical_levels_are_batch_by_tokens(shape, wanted):
    t = canonical(np.full(shape, 0.5), jnp.zeros((4, 3, 2)))
    assert t.shape == wanted
    assert t.dtype == jnp.float32


@pytest.mark.parametrize("shape", [(3,), (4, 2), (4, 3, 2)])
def test_a_level_that_is_no_prefix_of_the_data_is_refused(shape):
    with pytest.raises(ValueError, match=r"prefix of the data's \(4, 3, 2\)"):
        canonical(np.zeros(shape), jnp.zeros((4, 3, 2)))


def test_data_without_tokens_are_refused():
    with pytest.raises(ValueError, match=r"\[B, T, ...\]"):
        canonical(0.5, jnp.zeros(4))


def test_expanded_levels_belong_to_their_token():
    t = jnp.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    spread = expand(t, jnp.zeros((2, 3, 5, 7))) * jnp.ones((2, 3, 5, 7))
    np.testing.assert_array_equal(spread[1, 2], np.full((5, 7), t[1, 2]))
    with pytest.raises(ValueError, match="prefix"):
        expand(t, jnp.zeros((3, 2)))


def test_token_sum_keeps_batch_and_tokens():
    np.testing.assert_array_equal(token_sum(jnp.arange(24.0).reshape(2, 3, 2, 2))[1], [54.0, 70.0, 86.0])
    np.testing.assert_array_equal(token_sum(jnp.ones((2, 3))), np.ones((2, 3)))


def test_a_seed_for_each_sample_makes_it_independent_of_the_batch(key):
    keys = jax.random.split(key, 4)
    x = jnp.zeros((4, 3, 2))
    np.testing.assert_array_equal(normal(keys, x)[2], normal(keys[2:3], x[2:3])[0])
    with pytest.raises(ValueError, match=r"got \(4,\) for data \(2, 3\)"):
        normal(keys, jnp.zeros((2, 3)))


def test_low_discrepancy_puts_one_level_in_every_stratum(key):
    t = low_discrepancy()(key, (16, 5))
    for token in t.T:
        np.testing.assert_allclose(np.diff(np.sort(token)), 1 / 16, atol=1e-6)


def test_low_discrepancy_levels_are_uniform_and_independent_between_tokens(key):
    draws = jax.vmap(lambda k: low_discrepancy()(k, (4, 2)))(jax.random.split(key, 20_000))
    for entry in draws.reshape(-1, 8).T:
        counts = np.histogram(entry, 10, (0.0, 1.0))[0]
        np.testing.assert_allclose(counts / 20_000, 0.1, atol=0.012)
    assert abs(np.corrcoef(draws[:, :, 0].ravel(), draws[:, :, 1].ravel())[0, 1]) < 0.02


def test_lognormal_levels_have_the_ratios_of_edm(key):
    process = edm()
    ratio = np.asarray(process.ratio(lognormal(process)(key, (20_000, 1))))
    assert abs(np.log(ratio).mean() + 1.2) < 0.03
    assert abs(np.log(ratio).std() - 1.2) < 0.03


def test_log_uniform_levels_have_the_ratios_of_the_exploding_process(key):
    process = ve()
    ratio = process.ratio(log_uniform(process, 0.02, 50.0)(key, (20_000, 1)))
    places = np.sort(np.log(ratio / 0.02)[:, 0]) / np.log(50.0 / 0.02)
    np.testing.assert_allclose(places, np.linspace(0, 1, 20_000), atol=0.015)


def test_logit_normal_levels_are_lognormal_ratios_of_the_straight_process(key):
    ratio = flow().ratio(logit_normal(0.5, 0.8)(key, (20_000, 1)))
    np.testing.assert_allclose([np.log(ratio).mean(), np.log(ratio).std()], [0.5, 0.8], atol=0.02)


def test_the_variance_preserving_law_is_uniform_in_that_process(key):
    levels = vp_uniform(edm(200.0), low=0.3)(key, (20_000, 1))
    t = vp_linear().time(edm(200.0).ratio(levels))
    np.testing.assert_allclose([t.min(), t.mean(), t.max()], [0.3, 0.65, 1.0], atol=0.01)


def test_lognormal_levels_do_not_pass_the_end(key):
    t = lognormal(edm(sigma_max=0.5))(key, (1000, 1))
    assert t.max() == 1.0
    assert 0.2 < (t == 1.0).mean() < 0.45, "P(sigma > 0.5) is 0.336"
    assert lognormal(vp_cosine(), mean=20.0)(key, (10, 1)).max() <= 1.0


def test_combinators_choose_who_shares_a_level(key):
    one = per_sample(low_discrepancy())(key, (8, 3))
    assert one.shape == (8, 1)
    np.testing.assert_allclose(np.diff(np.sort(one[:, 0])), 1 / 8, atol=1e-6)
    each = per_token(uniform())(key, (8, 3))
    assert each.shape == (8, 3)
    assert len(np.unique(each)) == 24
    spread = per_token(per_sample(uniform()))(key, (8, 3))
    np.testing.assert_array_equal(spread, np.broadcast_to(spread[:, :1], (8, 3)))


@pytest.mark.parametrize(("combinator", "value"), [(with_clean, 0.0), (with_missing, 1.0)])
def test_a_share_of_the_tokens_is_clean_or_missing(combinator, value, key):
    t = combinator(per_sample(uniform()), 0.25)(key, (4000, 5))
    chosen = np.asarray(t == value)
    assert abs(chosen.mean() - 0.25) < 0.015
    assert abs(np.corrcoef(chosen.T)[0, 1:]).max() < 0.06, "tokens are chosen one by one"
    rest = np.where(chosen, np.nan, t)
    kept = ~np.isnan(rest).all(1)
    np.testing.assert_array_equal(np.nanmin(rest[kept], 1), np.nanmax(rest[kept], 1))
    np.testing.assert_array_equal(combinator(uniform(), 1.0)(key, (2, 3)), np.full((2, 3), value))


def test_a_shared_future_follows_a_clean_past(key):
    t = shared_future(uniform(), 2)(key, (6, 5))
    np.testing.assert_array_equal(t[:, :2], 0.0)
    assert (t[:, 2:] == t[:, 2:3]).all()
    assert len(np.unique(t[:, 2])) == 6


def shares(counts):
    return np.asarray(counts) / np.sum(counts)


def test_teacher_forcing_has_one_noisy_token_between_a_clean_past_and_a_missing_future(key):
    t = np.asarray(next_token(uniform())(key, (6000, 4)))
    place = ((t > 0) & (t < 1)).argmax(1)
    tokens = np.arange(4)[None]
    np.testing.assert_array_equal(t == 0, tokens < place[:, None])
    np.testing.assert_array_equal(t == 1, tokens > place[:, None])
    np.testing.assert_allclose(shares(np.bincount(place)), 0.25, atol=0.02)
    own = t[np.arange(6000), place]
    np.testing.assert_allclose(shares(np.histogram(own, 5, (0, 1))[0]), 0.2, atol=0.02)


def test_a_uniform_future_follows_a_past_of_independent_levels(key):
    t = np.asarray(uniform_future(uniform(), 2)(key, (4000, 5)))
    assert (t[:, 2:] == t[:, 2:3]).all()
    assert len(np.unique(t)) > 0.99 * 4000 * 3
    assert abs(np.corrcoef(t[:, :3].T) - np.eye(3)).max() < 0.05
    free = np.asarray(uniform_future(uniform())(key, (6000, 4)))
    future = (free == free[:, -1:]).sum(1)
    np.testing.assert_allclose(shares(np.bincount(future)[1:]), 0.25, atol=0.02)


def test_a_horizon_is_of_every_length_from_the_least(key):
    t = np.asarray(horizon(per_token(uniform()), 2)(key, (6000, 5)))
    length = (t < 1).sum(1)
    np.testing.assert_array_equal(t < 1, np.arange(5)[None] < length[:, None])
    np.testing.assert_allclose(shares(np.bincount(length)[2:]), 0.25, atol=0.02)
    with pytest.raises(ValueError, match="4 tokens cannot hold a horizon of at least 5"):
        horizon(uniform(), 5)(key, (1, 4))


def test_the_first_token_is_nearly_clean_in_a_share_of_the_samples(key):
    t = np.asarray(with_first(with_missing(per_token(uniform()), 1.0), 0.3, 0.2)(key, (6000, 3)))
    np.testing.assert_array_equal(t[:, 1:], 1.0)
    first = t[:, 0]
    assert abs((first < 1).mean() - 0.3) < 0.02
    near = np.histogram(first[first < 1], 4, (0, 0.2))[0]
    assert near.sum() == (first < 1).sum()
    np.testing.assert_allclose(shares(near), 0.25, atol=0.04)


def test_discrete_levels_are_steps_alike_in_number_and_a_clean_token_stays_clean(key):
    t = np.asarray(discrete(with_clean(per_token(uniform()), 0.2), 4)(key, (4000, 3)))
    values, counts = np.unique(t, return_counts=True)
    np.testing.assert_array_equal(values, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(shares(counts), 0.2, atol=0.015)
    exact = discrete(lambda key, shape: jnp.full(shape, 0.25), 4)
    np.testing.assert_array_equal(exact(key, (1, 1)), 0.25)


def test_impossible_arguments_are_named():
    for wrong in (1.5, -0.1):
        with pytest.raises(ValueError, match="share and high"):
            with_first(uniform(), wrong, 0.1)
        with pytest.raises(ValueError, match="share and high"):
            with_first(uniform(), 0.1, wrong)
    with pytest.raises(ValueError, match="positive number of tokens, got 0"):
        horizon(uniform(), 0)
    with pytest.raises(ValueError, match="steps must be positive"):
        discrete(uniform(), 0)
    with pytest.raises(ValueError, match="context"):
        uniform_future(uniform(), -1)
    with pytest.raises(ValueError, match=r"share must lie in \[0, 1\], got 1.5"):
        with_clean(uniform(), 1.5)
    with pytest.raises(ValueError, match="std must be positive"):
        lognormal(edm(), std=0.0)
    with pytest.raises(ValueError, match="std must be positive"):
        logit_normal(std=0.0)
    with pytest.raises(ValueError, match="sigma_min < sigma_max"):
        log_uniform(ve(), 2.0, 1.0)
    with pytest.raises(ValueError, match="0 <= low < 1"):
        vp_uniform(edm(), 1.0)
    with pytest.raises(ValueError, match="context"):
        shared_future(uniform(), -1)
