"""What every sampler promises, by discovery, with the exact denoiser of independent entries."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.build import build
from diffusion_jax.laws import Bernoulli, Normal
from diffusion_jax.levels import canonical, expand
from diffusion_jax.sampling.grids import linear_grid, log_snr_grid
from diffusion_jax.sampling.loop import sample

MEAN, STD = 0.3, 0.5
CHANCES = np.array([0.6, 0.4, 0.0])
"""Of the categories, the last of which is the mask where there is one."""


def exact_denoiser(process):
    """Of data with independent entries: N(MEAN, STD^2), bits, or categories."""
    law = process.prior((1, 1, 3))

    def normal(x, t):
        t = canonical(t, x)
        alpha, sigma = expand(process.alpha(t), x), expand(process.sigma(t), x)
        return MEAN + alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) * (x - alpha * MEAN)

    def bits(x, t):
        one = CHANCES[0] * jnp.exp(process.marginal(jnp.ones_like(x), t).log_prob(x))
        zero = CHANCES[1] * jnp.exp(process.marginal(jnp.zeros_like(x), t).log_prob(x))
        return one / (one + zero)

    def categories(x, t):
        each = [
            process.marginal(jnp.broadcast_to(one, x.shape), t).log_prob(x)
            for one in jnp.eye(3)[:, None, None]
        ]
        joint = jnp.exp(jnp.stack(each, -1)) * CHANCES.reshape(1, 1, 3)
        return joint / joint.sum(-1, keepdims=True)

    return normal if isinstance(law, Normal) else bits if isinstance(law, Bernoulli) else categories


@pytest.fixture
def sampler(sampler_spec):
    return build("sampler", sampler_spec)


@pytest.fixture
def process(sampler_spec):
    return build("process", sampler_spec["process"])


def grid(process, steps):
    return (
        log_snr_grid(process, steps) if isinstance(process.prior((1, 1, 3)), Normal) else linear_grid(steps)
    )


def draw(key, process, sampler, times, shape=(4, 3, 2)):
    start_key, key = jax.random.split(key)
    x = process.prior(shape).sample(start_key)
    return x, jax.jit(partial(sample, denoiser=exact_denoiser(process), sampler=sampler))(
        key, x=x, times=times
    )


def test_the_moments_are_the_datas(sampler, process, key):
    _, x = draw(key, process, sampler, grid(process, 200), (20_000, 1, 1))
    assert abs(x.mean() - MEAN) < 0.02
    assert abs(x.std() / STD - 1) < 0.04


def test_ancestral_sampling_under_every_process(process_spec, key):
    """The data's moments, or the frequencies of the categories."""
    process = build("process", process_spec)
    _, x = draw(
        key, process, build("sampler", "ancestral", process=process), grid(process, 400), (5_000, 1, 3)
    )
    if isinstance(process.prior((1, 1, 3)), Normal):
        assert abs(x.mean() - MEAN) < 0.02
        assert abs(x.std() / STD - 1) < 0.04
    elif isinstance(process.prior((1, 1, 3)), Bernoulli):
        assert abs(x.mean() - CHANCES[0]) < 0.02
    else:
        np.testing.assert_allclose(x.mean((0, 1)), CHANCES, atol=0.02)


def test_the_shape_of_the_grid_does_not_matter(sampler, process, key):
    times = grid(process, 6)
    _, x = draw(key, process, sampler, times)
    for shape in ((7, 4, 1), (7, 1, 3), (7, 4, 3)):
        _, other = draw(key, process, sampler, jnp.broadcast_to(times[:, None, None], shape))
        np.testing.assert_allclose(other, x, rtol=1e-5, atol=1e-5)


def test_tokens_that_do_not_move_are_untouched(sampler, process, key):
    """A clean one and a noisy one beside one that falls: bit for bit, and nothing becomes NaN."""
    falling = grid(process, 6)
    held = jnp.stack([jnp.zeros(7), jnp.full(7, 0.5), falling], -1)[:, None, :]
    start, x = draw(key, process, sampler, held)
    np.testing.assert_array_equal(x[:, :2], start[:, :2])
    assert np.isfinite(x).all()
    assert (x[:, 2] != start[:, 2]).all()


def test_a_token_falls_as_if_it_were_alone(sampler, process, key):
    """Its neighbours' pace is theirs: here the second token starts later and stops midway."""
    times = grid(process, 6)
    late = jnp.concatenate([times[:1], times[:1], times[1:4], times[3:4], times[3:4]])
    _, together = draw(key, process, sampler, jnp.stack([times, late, times], -1)[:, None, :])
    _, alone = draw(key, process, sampler, times)
    np.testing.assert_allclose(together[:, 0], alone[:, 0], rtol=1e-5, atol=1e-5)
    assert np.isfinite(together).all()


def test_a_sample_depends_on_its_own_key_only(sampler, process, key):
    times = grid(process, 6)
    keys = jax.random.split(key, 4)
    x = process.prior((4, 3, 2)).sample(keys)
    run = partial(sample, denoiser=exact_denoiser(process), sampler=sampler, times=times)
    together = run(keys, x=x)
    np.testing.assert_allclose(run(keys[2:3], x=x[2:3]), together[2:3], rtol=1e-5, atol=1e-5)


def test_every_leaf_of_the_state_starts_with_batch_and_tokens(sampler, process):
    state = sampler.init(jnp.zeros((4, 3, 2)), jnp.ones((1, 1)))
    assert state.x.shape == (4, 3, 2)
    for leaf in jax.tree.leaves(state):
        assert leaf.shape[:2] == (4, 3)
