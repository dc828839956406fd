"""The loop: keys, grids of every shape, held tokens, paths, counting and what it refuses."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.levels import normal
from diffusion_jax.processes import edm, vp_2015, vp_cosine
from diffusion_jax.sampling.ancestral import ancestral
from diffusion_jax.sampling.decoders import discretised_gaussian, fixed_kernel
from diffusion_jax.sampling.euler import euler
from diffusion_jax.sampling.grids import cosine_grid, karras_grid, linear_grid
from diffusion_jax.sampling.heun import heun
from diffusion_jax.sampling.loop import advance, counted, sample, sample_bound, sample_path
from diffusion_jax.types import Bound, Sampler


def zero(x, t):
    return jnp.zeros_like(x)


def test_path_of_a_straight_line(key, x64):
    """With x0_hat = 0 the ODE of `edm` is dx/dt = x/t, a line that Euler follows exactly."""
    x = jax.random.normal(key, (3, 2, 4))
    times = linear_grid(5)
    end, path = sample_path(key, zero, euler(edm()), x, times, lambda state: {"x": state.x})
    np.testing.assert_allclose(path["x"], times[:, None, None, None] * x[None], atol=1e-14)
    np.testing.assert_array_equal(path["x"][-1], end)


def test_one_level_is_no_step(key):
    x = jax.random.normal(key, (2, 1, 3))
    np.testing.assert_array_equal(sample(key, zero, euler(edm()), x, jnp.ones(1)), x)


def test_step_keys_are_folded_in(key):
    """Step i draws with fold_in(key, i); a row of keys draws for each sample alone."""

    def step(key, denoiser, state, t, s):
        return state._replace(x=state.x + normal(key, state.x))

    walk = Sampler(euler(edm()).init, step)
    keys, x = jax.random.split(key, 3), jnp.zeros((3, 2, 2))
    end = sample(keys, zero, walk, x, linear_grid(2))
    for b, one in enumerate(keys):
        noise = [jax.random.normal(jax.random.fold_in(one, i), (2, 2)) for i in range(2)]
        np.testing.assert_allclose(end[b], noise[0] + noise[1], atol=1e-6)
    end = sample(key, zero, walk, x, linear_grid(1))
    np.testing.assert_allclose(end, jax.random.normal(jax.random.fold_in(key, 0), x.shape), atol=1e-6)


class Pair(NamedTuple):
    x: jax.Array
    seen: jax.Array


def test_held_tokens_keep_their_face():
    """Wherever a sampler puts them, the denoiser sees held tokens at their own x and level."""

    def step(key, denoiser, state, t, s):
        return Pair(state.x - 1.0, denoiser(state.x + 100.0, s / 2))

    def total(x, t):
        """Tells every token what all of them look like, and their levels."""
        look = (x[..., 0] + 1000 * jnp.broadcast_to(t, x.shape[:2])).sum(1, keepdims=True)
        return jnp.broadcast_to(look[..., None], x.shape)

    x = jnp.array([[[1.0], [2.0], [4.0]]])
    state = Pair(x, jnp.zeros_like(x))
    t, s = jnp.array([[0.0, 0.5, 1.0]]), jnp.array([[0.0, 0.5, 0.5]])
    moved = advance(Sampler(lambda x, t: state, step))(jax.random.key(0), total, state, t, s)
    assert moved.x.ravel().tolist() == [1.0, 2.0, 3.0]
    assert moved.seen.ravel().tolist() == [0.0, 0.0, (1 + 2 + 104) + 1000 * (0 + 0.5 + 0.25)]


def test_clean_tokens_are_their_own_estimate():
    def broken(x, t):
        return jnp.full_like(x, jnp.nan)

    def step(key, denoiser, state, t, s):
        return Pair(denoiser(state.x, jnp.zeros_like(t)), state.seen)

    x = jnp.ones((1, 2, 1))
    state = Pair(x, x)
    moved = advance(Sampler(lambda x, t: state, step))(
        jax.random.key(0), broken, state, jnp.ones((1, 1)), jnp.zeros((1, 1))
    )
    np.testing.assert_array_equal(moved.x, x)


@pytest.mark.parametrize("grid", ["[S+1]", "per token"])
def test_heun_costs_2n_minus_1(key, grid):
    x = jnp.ones((2, 3, 1))
    times = linear_grid(6)
    if grid == "per token":
        # a context token at 0, one that waits at 0.5, and one that falls
        times = jnp.stack([jnp.zeros(7), jnp.full(7, 0.5), times], axis=-1)[:, None, :]
    for sampler, cost in [(heun(edm()), 11), (euler(edm()), 6)]:
        denoiser, count = counted(zero)
        jax.jit(lambda x, d=denoiser, s=sampler: sample(key, d, s, x, times))(x).block_until_ready()
        assert count() == cost


def test_runs_inside_jit_with_a_traced_grid(key):
    x = jax.random.normal(key, (2, 1, 3))
    plain = sample(key, zero, euler(edm()), x, linear_grid(4))
    jitted = jax.jit(lambda x, times: sample(key, zero, euler(edm()), x, times))(x, linear_grid(4))
    np.testing.assert_allclose(jitted, plain, atol=1e-6)


def test_other_values_of_the_grid_do_not_recompile(key):
    traces = 0

    def watched(x, t):
        nonlocal traces
        traces += 1
        return jnp.zeros_like(x)

    run = jax.jit(lambda x, times: sample(key, watched, heun(edm()), x, times))
    run(jnp.ones((2, 1, 3)), linear_grid(4))
    once = traces
    for times in (cosine_grid(4), karras_grid(edm(), 4), karras_grid(edm(), 4, sigma_min=0.1, rho=3.0)):
        run(jnp.ones((2, 1, 3)), times)
    assert traces == once > 0


def test_low_precision_samples_keep_their_dtype(key):
    x = jax.random.normal(key, (2, 1, 3), jnp.bfloat16)
    assert sample(key, zero, heun(edm()), x, linear_grid(4)).dtype == jnp.bfloat16


def test_sample_bound_ends_with_the_decoder(key, x64, oracles):
    """With the forward kernel's variance the 2015 chain on N(0, 1) data is exact: variance 1."""
    process, times = vp_2015(), linear_grid(8)

    def variance(x, t, s):
        q = process.share(t, s)[1]
        return jnp.broadcast_to(process.sigma(t) ** 2 * q, x.shape)

    bound = Bound(
        process=process,
        denoiser=oracles.gaussian(process, 0.0, 1.0),
        variance=lambda x, t, s: variance(x, t.reshape(1, 1, 1), s.reshape(1, 1, 1)),
        decoder=fixed_kernel(process, times),
        times=times,
    )
    x = process.prior((20000, 1, 1)).sample(key)
    end = sample_bound(key, bound, x, ancestral(process, bound.variance))
    assert abs(end.std() - 1) < 4 / np.sqrt(2 * 20000)
    correlation = (x * end).mean()
    assert abs(correlation) < 4 / np.sqrt(20000)


def test_sample_bound_gives_a_learned_decoder_the_estimate(key, oracles):
    process, times = vp_cosine(), linear_grid(10)
    bound = Bound(
        process=process,
        denoiser=oracles.gaussian(process, 0.5, 1e-3),
        decoder=discretised_gaussian(process, times, levels=5),
        times=times,
    )
    end = sample_bound(key, bound, process.prior((4, 1, 3)).sample(key), ancestral(process))
    np.testing.assert_array_equal(end, 0.5)


def test_sample_bound_names_what_is_absent(key):
    with pytest.raises(ValueError, match="decoder"):
        sample_bound(key, Bound(denoiser=zero, times=linear_grid(2)), jnp.ones((1, 1)), euler(edm()))


@pytest.mark.parametrize(
    ("times", "match"),
    [
        (np.array([0.2, 0.6, 0.0]), "must not rise; it does after entry 0"),
        (np.array([1.5, 0.5, 0.0]), r"lie in \[0, 1\]"),
        (np.array([1.0, np.nan, 0.0]), r"lie in \[0, 1\]"),
        (np.ones((4, 2)), r"\[S\+1, #B, #T\]"),
        (np.ones((4, 5, 1)), r"\[S\+1, #B, #T\]"),
        (np.ones(()), r"\[S\+1\]"),
    ],
)
def test_wrong_grids_are_refused(key, times, match):
    with pytest.raises(ValueError, match=match):
        sample(key, zero, euler(edm()), jnp.ones((2, 3, 1)), times)


def test_wrong_keys_and_data_are_refused(key):
    x, times = jnp.ones((2, 3, 1)), linear_grid(2)
    with pytest.raises(TypeError, match=r"jax.random.key"):
        sample(jax.random.PRNGKey(0), zero, euler(edm()), x, times)
    with pytest.raises(ValueError, match="one for each sample"):
        sample(jax.random.split(key, 3), zero, euler(edm()), x, times)
    with pytest.raises(TypeError, match="floating"):
        sample(key, zero, euler(edm()), x.astype(int), times)
    with pytest.raises(ValueError, match=r"\[B, T, ...\]"):
        sample(key, zero, euler(edm()), jnp.ones(3), times)
