"""The prior over latents: its law by enumeration, drawing with memory, temperature and nucleus."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.networks.prior import autoregressive, nucleus

M, K = 3, 3
EVERY = np.array(list(itertools.product(range(K), repeat=M)))


@functools.cache
def case():
    """(prior, variables drawn at random, jitted log-probabilities of all 27 latents of one class)."""
    prior = autoregressive(M, K, 8, 1, 2, labels=2)
    like = jax.eval_shape(prior.init, jax.random.key(0), EVERY)
    rng = np.random.default_rng(3)
    variables = jax.tree.map(lambda leaf: rng.normal(0, 0.12, leaf.shape).astype(leaf.dtype), like)

    @jax.jit
    def law(label):
        logits = prior.apply(variables, EVERY, {"label": jnp.full(len(EVERY), label)})
        each = jnp.take_along_axis(jax.nn.log_softmax(logits), EVERY[..., None], axis=-1)
        return jnp.exp(each.sum((1, 2)))

    return prior, variables, law


def test_the_likelihood_sums_to_one_and_knows_the_class():
    law = case()[2]
    laws = np.array([law(label) for label in (-1, 0, 1)])
    np.testing.assert_allclose(laws.sum(1), 1, rtol=1e-5)
    assert np.abs(laws[:, None] - laws[None]).sum(-1)[np.triu_indices(3, 1)].min() > 0.02


def test_draws_with_memory_follow_the_likelihood():
    """Frequencies of the 27 latents among 20,000 draws, each within 5 standard errors."""
    prior, variables, law = case()
    count = 20_000
    keys = jax.random.split(jax.random.key(5), count)
    drawn = jax.jit(functools.partial(prior.sample, variables))(keys, {"label": jnp.ones(count, int)})
    assert drawn.shape == (count, M)
    found = np.bincount(drawn @ np.array([K**2, K, 1]), minlength=K**M) / count
    p = np.asarray(law(1))
    assert 2 * p.min() < p.max() < 0.5
    assert (np.abs(found - p) < 5 * np.sqrt(p / count) + 1e-4).all()


def test_drawing_cold_is_greedy_and_each_sample_has_its_own_key():
    prior, variables, _ = case()
    keys, label = jax.random.split(jax.random.key(5), 4), {"label": jnp.array([0, 1, 1, -1])}
    sample = jax.jit(functools.partial(prior.sample, variables), static_argnames=("temperature", "top_p"))
    cold = sample(keys, label, temperature=0.0)
    np.testing.assert_array_equal(cold, sample(keys[::-1], label, temperature=0.0))
    np.testing.assert_array_equal(cold, sample(keys, label, top_p=1e-6))
    codes = jnp.zeros((4, M), int)
    for place in range(M):  # without memory
        codes = codes.at[:, place].set(prior.apply(variables, codes, label)[:, place].argmax(-1))
    np.testing.assert_array_equal(cold, codes)
    shuffled = sample(keys[::-1], {"label": label["label"][::-1]})[::-1]
    np.testing.assert_array_equal(shuffled, sample(keys, label))


def test_the_nucleus_is_the_smallest_set():
    p = np.array([0.05, 0.5, 0.15, 0.3])
    for top_p, kept in [(0.01, [1]), (0.5, [1]), (0.51, [1, 3]), (0.9, [1, 2, 3]), (1.0, [0, 1, 2, 3])]:
        inside = np.isfinite(nucleus(jnp.log(p), top_p - 1e-6))
        np.testing.assert_array_equal(np.flatnonzero(inside), kept)


def test_the_untrained_prior_is_uniform(key):
    prior = autoregressive(M, K, 8, 1, 2)
    variables = prior.init(key, EVERY)
    np.testing.assert_array_equal(prior.apply(variables, EVERY), 0)


def test_bad_input_is_refused(key):
    prior, variables, _ = case()
    with pytest.raises(ValueError, match="another codebook: of 3 latents of 3 codes, not of 3 latents of 4"):
        prior.check_codebook(3, 4)
    with pytest.raises(ValueError, match="over 3 latents; got codes of shape"):
        prior.apply(variables, EVERY[:, :2])
    keys = jax.random.split(key, 2)
    for arguments in ({"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.5}):
        with pytest.raises(ValueError, match="temperature >= 0 and 0 < top_p <= 1"):
            prior.sample(variables, keys, **arguments)
    with pytest.raises(ValueError, match="codes must be at least 1"):
        autoregressive(2, 0)
    with pytest.raises(ValueError, match="no classes"):
        autoregressive(M, K, 8, 1, 2).init(key, EVERY[:2], {"label": jnp.array([0, 1])})
