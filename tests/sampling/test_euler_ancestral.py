"""Euler's method with fresh noise."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.processes import binomial, edm, flow, vp_linear, vp_sigmoid
from diffusion_jax.sampling.ddim import ddim
from diffusion_jax.sampling.euler import euler
from diffusion_jax.sampling.euler_ancestral import euler_ancestral
from diffusion_jax.sampling.grids import linear_grid, log_snr_grid
from diffusion_jax.sampling.loop import counted, sample

MEAN, STD = 0.3, 0.5


def both(process, oracles, *samplers):
    """The samples of each sampler from the same start, one token of which starts late."""
    denoiser = oracles.gaussian(process, MEAN, STD)
    x = jnp.linspace(-2.0, 3.0, 6).reshape(3, 2, 1)
    falls = linear_grid(5)
    times = jnp.stack([falls, jnp.minimum(falls, 0.7)], -1)[:, None, :]
    return [sample(jax.random.key(0), denoiser, sampler, x, times) for sampler in samplers]


@pytest.mark.parametrize("process", [edm(10.0), flow(), vp_linear()], ids=lambda p: type(p).__name__)
def test_without_noise_it_is_euler(process, x64, oracles):
    one, other = both(process, oracles, euler_ancestral(process, eta=0.0), euler(process))
    np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize("eta", [0.4, 1.0])
def test_where_sigma_is_the_time_it_is_ddim(eta, x64, oracles):
    process = edm(10.0)
    one, other = both(process, oracles, euler_ancestral(process, eta), ddim(process, eta))
    np.testing.assert_allclose(one, other, rtol=1e-10)


@pytest.mark.parametrize("process", [flow(), vp_linear()], ids=lambda p: type(p).__name__)
def test_moments_on_other_processes(process, key, oracles):
    """alpha falls too, to 0 in one of them."""
    count = 8000
    x = process.prior((count, 1, 1)).sample(jax.random.fold_in(key, 1))
    denoiser = oracles.gaussian(process, MEAN, STD)
    run = jax.jit(partial(sample, denoiser=denoiser, sampler=euler_ancestral(process)))
    end = run(key, x=x, times=log_snr_grid(process, 200))
    assert abs(end.mean() - MEAN) < 4 * STD / np.sqrt(count) + 0.01
    assert abs(end.std() / STD - 1) < 4 / np.sqrt(2 * count) + 0.02


def test_one_evaluation_a_step(key):
    denoiser, count = counted(lambda x, t: jnp.zeros_like(x))
    jax.block_until_ready(sample(key, denoiser, euler_ancestral(edm()), jnp.ones((2, 2, 1)), linear_grid(7)))
    assert count() == 7


def test_what_it_cannot_do_is_refused():
    with pytest.raises(TypeError, match="needs a Gaussian process"):
        euler_ancestral(binomial())
    with pytest.raises(ValueError, match=r"finite alpha'\(1\)"):
        euler_ancestral(vp_sigmoid())
    with pytest.raises(ValueError, match=r"eta must lie in \[0, 1\]"):
        euler_ancestral(edm(), eta=1.5)
