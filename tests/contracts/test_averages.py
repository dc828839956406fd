"""What every law of averaging promises, by discovery."""

import jax
import jax.numpy as jnp
import numpy as np

from diffusion_jax.build import build


def test_a_decay_is_a_weight_at_every_step(ema_spec):
    decay = jax.jit(build("ema", ema_spec))
    found = [decay(jnp.int32(n)) for n in (1, 2, 3, 10, 1000, 10**9)]
    assert all(x.shape == () and x.dtype == jnp.float32 for x in found)
    assert all(0 <= x <= 1 for x in found)
    assert all(x < 1 for x in found[:5])
    assert np.all(np.diff(found) >= 0)
