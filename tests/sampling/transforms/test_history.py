"""History guidance on correlated normal tokens, where hiding a token is marginalising it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.processes import binomial, edm, vp_cosine
from diffusion_jax.sampling.transforms.history import Term, fractional, history, recent, temporal, vanilla

PROCESSES = {"vp_cosine": vp_cosine(), "edm": edm()}
COVARIANCE = 0.8 ** np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
"""Of four tokens of one number each, of mean 0: a first-order autoregression."""
CONTEXT = np.array([True, True, False, False])
LEVELS = np.array([[0.0, 0.0, 0.4, 0.7]])
PAST = np.array([1.3, -0.4])


def oracle(process):
    """The exact denoiser of four tokens at levels of their own; x [B, 4, 1]."""

    def denoiser(x, t):
        t = jnp.broadcast_to(t, x.shape[:2])
        a, s = process.alpha(t), process.sigma(t)
        c = jnp.asarray(COVARIANCE, x.dtype)[None]
        noisy = a[:, :, None] * c * a[:, None, :] + s[:, :, None] ** 2 * jnp.eye(4, dtype=x.dtype)[None]
        return c @ (a[..., None] * jnp.linalg.solve(noisy, x))

    return denoiser


def conditional(process, x, past_levels):
    """E[x0 of tokens 2, 3 | x_t], in numpy, of one sequence x [4]; a token of level None is not seen."""
    seen = [i for i, level in enumerate([*past_levels, *LEVELS[0, 2:]]) if level is not None]
    levels = jnp.asarray([level for level in [*past_levels, *LEVELS[0, 2:]] if level is not None])
    a, s = (np.asarray(f(levels)) for f in (process.alpha, process.sigma))
    noisy = a[:, None] * COVARIANCE[np.ix_(seen, seen)] * a + np.diag(s**2)
    return COVARIANCE[2:, seen] * a @ np.linalg.solve(noisy, np.asarray(x)[seen])


@pytest.fixture
def x(key, x64):
    x = jax.random.normal(key, (3, 4, 1), jnp.float64)
    return x.at[:, :2, 0].set(PAST[None])


def silent(key, x):
    return jnp.zeros_like(x)


def guide(process, terms, x, key, context=CONTEXT, **options):
    """The guided denoiser at LEVELS; [B, 4]."""
    return jax.jit(history(process, oracle(process), context, terms, key, **options))(x, LEVELS)[..., 0]


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_with_weight_one_it_is_the_denoiser_and_the_history_comes_back(process, x, key):
    got = guide(process, vanilla(1.0), x, key)
    np.testing.assert_array_equal(got[:, :2], x[:, :2, 0])
    np.testing.assert_allclose(got[:, 2:], oracle(process)(x, LEVELS)[:, 2:, 0], rtol=1e-12)


def test_a_hidden_history_is_none_at_all(x, key):
    """With weight 0 the estimate is the marginal one, and not a bit of it depends on the history."""
    process = vp_cosine()
    got = guide(process, vanilla(0.0), x, key)
    wanted = [conditional(process, one, [None, None]) for one in x[..., 0]]
    np.testing.assert_allclose(got[:, 2:], wanted, atol=1e-9)
    for process in PROCESSES.values():
        one = guide(process, vanilla(0.0), x, key)
        other = guide(process, vanilla(0.0), x.at[:, :2].add(5.0), key)
        np.testing.assert_array_equal(one[:, 2:], other[:, 2:])


def test_vanilla_guidance_in_closed_form(x, key):
    process = vp_cosine()
    got = guide(process, vanilla(2.5), x, key)
    for one, value in zip(x[..., 0], got[:, 2:], strict=True):
        known, none = (conditional(process, one, past) for past in ([0.0, 0.0], [None, None]))
        np.testing.assert_allclose(value, none + 2.5 * (known - none), atol=1e-9)


def test_a_context_for_each_sample_also_in_the_future(x, key):
    """The second sample has its second token alone for a history, the third both."""
    process = vp_cosine()
    contexts = np.array([[True, True, False, False], [False, True, False, False], [True, True, False, False]])
    got = guide(process, vanilla(0.0), x, key, contexts)
    np.testing.assert_allclose(got[1, 2:], conditional(process, x[1, :, 0], [0.0, None]), atol=1e-9)
    np.testing.assert_allclose(got[0, 2:], conditional(process, x[0, :, 0], [None, None]), atol=1e-9)
    mirrored = jax.jit(history(process, oracle(process), CONTEXT[::-1].copy(), vanilla(2.0), key))
    turned = mirrored(x[:, ::-1], LEVELS[:, ::-1])[:, ::-1, 0]
    np.testing.assert_allclose(turned, guide(process, vanilla(2.0), x, key), atol=1e-9)


def test_temporal_guidance_mixes_memories_of_several_lengths(x, key):
    process = vp_cosine()
    got = guide(process, temporal([2, 1], [0.7, 0.5]), x, key)
    for one, value in zip(x[..., 0], got[:, 2:], strict=True):
        long, short, none = (
            conditional(process, one, past) for past in ([0.0, 0.0], [None, 0.0], [None, None])
        )
        np.testing.assert_allclose(value, none + 0.7 * (long - none) + 0.5 * (short - none), atol=1e-9)


def test_fractional_guidance_adds_what_a_noisy_history_says(x, key):
    """Without its noise the blurred history is alpha(k) h, declared at k."""
    process, k = vp_cosine(), 0.6
    got = guide(process, fractional(k, 1.5), x, key, draw=silent)
    blurred = x.at[:, :2].multiply(process.alpha(jnp.asarray(k)))[..., 0]
    for one, faint, value in zip(x[..., 0], blurred, got[:, 2:], strict=True):
        known, none = (conditional(process, one, past) for past in ([0.0, 0.0], [None, None]))
        half = conditional(process, faint, [k, k])
        np.testing.assert_allclose(value, known + 0.5 * (half - none), atol=1e-9)


def reading(x, t):
    """Tells what it is shown: each token is the sum of the others' values, and of their levels times 10^i."""
    code = (t * 10.0 ** jnp.arange(t.shape[1])[None]).sum(1)
    return jnp.broadcast_to(jnp.stack([x[:, 0], x[:, 1], code[:, None], code[:, None]], 1), x.shape)


def told(process, terms, x, t, key, **options):
    """The sum over the queries of what `reading` says at a token of the future."""
    return history(process, reading, CONTEXT, terms, key, **options)(x, t)[:, 2:, 0]


def test_tokens_are_declared_at_the_level_they_stand_at(key):
    x, t = jnp.zeros((1, 4, 1)), jnp.array([[0.0, 0.1, 0.4, 0.7]])
    future = 0.4 * 100 + 0.7 * 1000
    at = {"key": key, "x": x, "t": t}
    process = vp_cosine()
    np.testing.assert_allclose(told(process, vanilla(1.0), **at), 1.0 + future, rtol=1e-6)
    np.testing.assert_allclose(told(process, vanilla(0.0), **at), 11.0 + future, rtol=1e-6)
    np.testing.assert_allclose(told(process, temporal([1], [1.0]), **at), 1 + 0.1 * 10 + future, rtol=1e-6)
    half = (Term(1.0, 0.05),)
    np.testing.assert_allclose(told(process, half, **at), 0.05 + 0.1 * 10 + future, rtol=1e-6)
    generated = jnp.array([[0.0, 0.2, 0.0, 0.0]])
    np.testing.assert_allclose(told(process, vanilla(1.0), least=generated, **at), 2.0 + future, rtol=1e-6)


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_stabilised_tokens_are_draws_of_their_level_and_known_ones_stay(process, key):
    """The first token is known; the second stands at level 0.01 and is shown at 0.02."""
    x, t = jnp.full((4000, 4, 1), 0.7), jnp.array([[0.0, 0.01, 0.5, 0.5]])

    def first_two(x, t):
        return x[:, jnp.array([0, 1, 0, 1])]

    shown = jax.jit(
        history(process, first_two, CONTEXT, vanilla(1.0), key, jnp.array([[0.0, 0.02, 0.0, 0.0]]))
    )(x, t)
    np.testing.assert_array_equal(shown[:, 2], x[:, 0])
    alpha, sigma = (f(jnp.array([0.01, 0.02])) for f in (process.alpha, process.sigma))
    kept = alpha[1] / alpha[0]
    std = float(jnp.sqrt(sigma[1] ** 2 - kept**2 * sigma[0] ** 2))
    np.testing.assert_allclose(shown[:, 3].mean(), kept * 0.7, atol=4 * std / 4000**0.5)
    np.testing.assert_allclose(shown[:, 3].std(), std, rtol=0.05)


def test_noise_is_of_the_sample_the_key_and_the_level(key):
    x, process = jnp.zeros((3, 4, 1)), vp_cosine()

    def first(x, t):
        return jnp.broadcast_to(x[:, :1], x.shape)

    @jax.jit
    def run(keys, t):
        return history(process, first, CONTEXT, (Term(1.0, 0.5),), keys)(x, t)[:, 2, 0]

    keys = jax.random.split(key, 3)
    one = run(keys, LEVELS)
    np.testing.assert_array_equal(run(keys, jnp.broadcast_to(LEVELS, (3, 4))), one)
    np.testing.assert_array_equal(run(keys[::-1], LEVELS)[::-1], one)
    draws = [one, run(jax.random.split(jax.random.key(1), 3), LEVELS), run(keys, LEVELS * 0.9)]
    assert len(np.unique(draws)) == 9


@pytest.mark.parametrize(
    ("terms", "queries"),
    [
        (vanilla(1.0), 1),
        (vanilla(1.5), 2),
        (temporal([2, 1], [0.5, 0.5]), 2),
        (temporal([2, 1, 1], [0.2, 0.45, 0.45]), 4),
        (fractional(0.8, 1.5), 3),
    ],
)
def test_one_evaluation_a_term_and_one_of_no_history_where_it_counts(terms, queries, key):
    rows = []

    def denoiser(x, t):
        jax.debug.callback(lambda value: rows.append(np.shape(value)), x[0, 0, 0])
        return x

    jax.block_until_ready(history(vp_cosine(), denoiser, CONTEXT, terms, key)(jnp.zeros((1, 4, 1)), 0.5))
    jax.effects_barrier()
    assert len(rows) == queries


def test_bad_input_is_refused(key):
    process, x = vp_cosine(), jnp.zeros((2, 4, 1))

    def plain(x, t):
        return x

    with pytest.raises(TypeError, match="Gaussian"):
        history(binomial(), plain, CONTEXT, vanilla(1.5), key)
    with pytest.raises(TypeError, match="needs a function"):
        history(process, 1.0, CONTEXT, vanilla(1.5), key)
    with pytest.raises(ValueError, match="at least one term"):
        history(process, plain, CONTEXT, (), key)
    with pytest.raises(ValueError, match=r"\[0, 1\), got 1.0"):
        history(process, plain, CONTEXT, fractional(1.0, 1.5), key)
    with pytest.raises(ValueError, match=r"context must be \[T\] or \[B, T\]"):
        history(process, plain, True, vanilla(1.5), key)
    with pytest.raises(ValueError, match=r"context \(3,\) does not fit x \(2, 4, 1\)"):
        history(process, plain, CONTEXT[:3], vanilla(1.5), key)(x, 0.5)
    with pytest.raises(ValueError, match="output should have shape"):
        history(process, lambda x, t: x[:, :2], CONTEXT, vanilla(1.5), key)(x, 0.5)
    with pytest.raises(ValueError, match="at least one token, got 0"):
        recent(0)
    with pytest.raises(ValueError, match="got 1 for 2"):
        temporal([1, 2], [1.0])
