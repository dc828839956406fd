"""A denoiser under another process: exact where both know the level, finite everywhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.processes import edm, flow, ve, vp_2015, vp_cosine, vp_linear
from diffusion_jax.processes.binomial import binomial
from diffusion_jax.sampling.grids import karras_grid
from diffusion_jax.sampling.heun import heun
from diffusion_jax.sampling.loop import sample
from diffusion_jax.sampling.transforms.under import under

MEANS, WEIGHTS = np.array([[1.0, 0.0], [-0.5, 0.5]]), np.array([0.7, 0.3])


@pytest.mark.parametrize(
    ("source", "target"),
    [(edm, ve), (edm, vp_linear), (edm, vp_2015), (edm, flow), (vp_cosine, edm), (vp_cosine, flow)],
    ids=lambda f: f.__name__,
)
def test_exact_denoisers_are_one_another(source, target, key, oracles, x64):
    source, target = source(), target()
    x = 2 * jax.random.normal(key, (3, 2, 2))
    borrowed = jax.jit(under(oracles.mixture(source, MEANS, WEIGHTS, 0.2), source, target))
    own = jax.jit(oracles.mixture(target, MEANS, WEIGHTS, 0.2))
    for t in (jnp.asarray(0.01), jnp.array([0.1, 0.3, 0.5]), jnp.full((3, 2), 0.6)):
        level = jnp.broadcast_to(t[:, None] if t.ndim == 1 else t, (3, 2))
        np.testing.assert_allclose(borrowed(x, t), own(x, level), rtol=1e-6, atol=1e-8)
    for t in (0.0, 1.0):
        assert np.isfinite(borrowed(x, jnp.asarray(t))).all()


def test_past_the_source_s_end_the_noise_is_what_it_expects(oracles, x64):
    """flow at level 1 is pure noise of variance 1, shown to edm as noise of variance 80^2."""
    seen = under(lambda x, t: x * 1000 + t[..., None], edm(80.0), flow())
    x = jnp.array([[[1.0, -2.0]]])
    np.testing.assert_allclose(seen(x, jnp.ones(())), x * 80 * 1000 + 1)


def test_sampling_under_another_process(key, oracles, x64):
    """A denoiser of edm, sampled in vp_linear: the same points as its own."""
    source, target = edm(200.0), vp_linear()
    x = target.prior((50, 1, 2)).sample(key)
    times = karras_grid(target, 12)
    borrowed = under(oracles.mixture(source, MEANS, WEIGHTS, 0.2), source, target)
    own = oracles.mixture(target, MEANS, WEIGHTS, 0.2)
    ends = [sample(key, denoiser, heun(target), x, times) for denoiser in (borrowed, own)]
    np.testing.assert_allclose(*ends, rtol=1e-8, atol=1e-9)


def test_bits_are_refused():
    with pytest.raises(TypeError, match="Gaussian"):
        under(lambda x, t: x, edm(), binomial())
