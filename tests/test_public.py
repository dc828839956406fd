"""The flat public names, and that two lines sample."""

import jax
import jax.numpy as jnp
import pytest

import diffusion_jax as dj
from diffusion_jax.build import available


@pytest.mark.parametrize("kind", ["process", "decoder", "grid", "schedule", "sampler"])
def test_every_component_that_notebooks_need_is_public(kind):
    assert set(available(kind)) <= set(dj.__all__)
    assert all(hasattr(dj, name) for name in dj.__all__)


def test_the_snippet_of_the_docstring(key):
    def denoiser(x, t):
        return jnp.full_like(x, 0.25)

    process = dj.vp_cosine()
    x = process.prior((4, 1, 8, 8, 3)).sample(key)
    x = dj.sample(jax.random.fold_in(key, 1), denoiser, dj.heun(process), x, dj.linear_grid(50))
    assert jnp.abs(x - 0.25).max() < 0.1
