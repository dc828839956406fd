"""What every transform does with levels of shape (), [B] and [B, T], and with clean tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.levels import canonical
from diffusion_jax.processes import edm, vp_cosine
from diffusion_jax.sampling.transforms.extrapolation import autoguidance, cfg
from diffusion_jax.sampling.transforms.gradients import classifier, energy
from diffusion_jax.sampling.transforms.history import fractional, history
from diffusion_jax.sampling.transforms.inpainting import inpaint, renoised
from diffusion_jax.sampling.transforms.monte_carlo import monte_carlo
from diffusion_jax.sampling.transforms.thresholds import dynamic_threshold, threshold
from diffusion_jax.sampling.transforms.under import under

PROCESS = vp_cosine()
KNOWN, MASK = jnp.full((1, 3, 2), 0.4), jnp.array([[[True, False]]])
TRANSFORMS = {
    "cfg": lambda d: cfg(PROCESS, d, lambda x, t: 0.5 * d(x, t), 3.0, low=0.2, high=5.0),
    "autoguidance": lambda d: autoguidance(PROCESS, d, lambda x, t: 0.5 * d(x, t), 3.0),
    "classifier": lambda d: classifier(PROCESS, d, lambda x, t: jnp.cos(3 * x).sum((1, 2))),
    "energy": lambda d: energy(PROCESS, d, lambda x0_hat: jnp.cos(3 * x0_hat).sum((1, 2)), 2.0),
    "monte_carlo": lambda d: monte_carlo(
        PROCESS, d, lambda x0_hat: jnp.cos(3 * x0_hat).sum((1, 2)), 2, jax.random.key(6), 2.0
    ),
    "history": lambda d: history(
        PROCESS, d, jnp.array([True, False, False]), fractional(0.4, 2.0), jax.random.key(7), 0.1
    ),
    "inpaint": lambda d: inpaint(d, KNOWN, MASK),
    "renoised": lambda d: renoised(PROCESS, d, KNOWN, MASK, jax.random.key(5)),
    "threshold": lambda d: threshold(d, -0.1, 0.1),
    "dynamic_threshold": lambda d: dynamic_threshold(d, 0.5, 0.2),
    "under": lambda d: under(d, edm(), PROCESS),
}


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_levels_of_every_shape(transform, oracles, key):
    """The denoiser looks at each token alone, so a token's estimate depends on its own level only."""
    plain = oracles.gaussian(edm() if transform is TRANSFORMS["under"] else PROCESS, 0.3, 0.6)
    guided = jax.jit(transform(lambda x, t: plain(x, canonical(t, x))))
    x = jax.random.normal(key, (2, 3, 2))
    tokens = jnp.array([[0.0, 0.3, 1.0], [0.6, 0.0, 0.9]])
    together = guided(x, tokens)
    assert np.isfinite(together).all()
    np.testing.assert_allclose(together[tokens == 0], x[tokens == 0], atol=1e-6)
    for b, t in [(0, 1), (1, 0), (1, 2), (0, 2)]:
        level = tokens[b, t]
        for shape in [(), (2,), (2, 3)]:
            alone = guided(x, jnp.broadcast_to(level, shape))
            np.testing.assert_allclose(alone[b, t], together[b, t], rtol=1e-5, atol=1e-6)
