import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.training import ema


def test_constant_and_warmup():
    steps = jnp.array([1, 8, 10**6])
    assert [float(ema.constant(0.5)(n)) for n in steps] == [0.5] * 3
    np.testing.assert_allclose([ema.warmup(0.999)(n) for n in steps], [2 / 11, 0.5, 0.999], rtol=1e-6)


@pytest.mark.parametrize("factory", [ema.constant, ema.warmup])
@pytest.mark.parametrize("decay", [-0.1, 1.0, 2.0])
def test_out_of_range(factory, decay):
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        factory(decay)
