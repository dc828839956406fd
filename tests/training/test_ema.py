import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.training import ema


def averaged(decay, values):
    """The average after each of the values, starting from a value that must be forgotten."""

    def step(average, inputs):
        n, value = inputs
        average = average + (1 - decay(n)) * (value - average)
        return average, average

    return jax.lax.scan(step, jnp.float32(-1e3), (jnp.arange(1, len(values) + 1), values))[1]


def test_constant_and_warmup():
    steps = jnp.array([1, 8, 10**6])
    assert [float(ema.constant(0.5)(n)) for n in steps] == [0.5] * 3
    np.testing.assert_allclose([ema.warmup(0.999)(n) for n in steps], [2 / 11, 0.5, 0.999], rtol=1e-6)


def test_half_life():
    """After 100 images the weight of what was there is one half, whatever the batch."""
    for batch_size in (5, 20):
        values = jnp.where(jnp.arange(10000) < 8000, 0.0, 1.0)
        found = averaged(ema.half_life(100, batch_size), values)
        np.testing.assert_allclose(found[7999 + 100 // batch_size], 0.5, rtol=1e-4)
        np.testing.assert_allclose(found[7999 + 300 // batch_size], 0.875, rtol=1e-4)


def test_half_life_starts_with_a_copy_and_a_short_memory():
    decay = ema.half_life(1e9, 10, ramp=0.5)
    assert decay(jnp.int32(1)) == 0
    np.testing.assert_allclose([decay(n) for n in (2, 3, 5)], [0.25, 0.5, 0.5**0.5], rtol=1e-6)
    np.testing.assert_allclose(ema.half_life(20, 10, ramp=None)(jnp.int32(1)), 0.5**0.5, rtol=1e-6)


@pytest.mark.parametrize(("sigma_rel", "gamma"), [(0.05, 16.9721986), (0.10, 6.93720394), (12**-0.5, 0)])
def test_exponents_of_the_power_profile(sigma_rel, gamma):
    np.testing.assert_allclose(ema.gamma(sigma_rel), gamma, rtol=1e-8, atol=1e-6)


def test_power_profile_has_its_mean_and_width():
    """Averages of the step and of its square give the mean and the standard deviation of the profile."""
    steps = np.arange(1, 4001) / 4000
    for sigma_rel in (0.05, 0.2):
        decay = ema.power(sigma_rel)
        mean, square = (float(averaged(decay, jnp.float32(x))[-1]) for x in (steps, steps**2))
        np.testing.assert_allclose(np.sqrt(square - mean**2), sigma_rel, rtol=2e-3)
        gamma = ema.gamma(sigma_rel)
        np.testing.assert_allclose(mean, (gamma + 1) / (gamma + 2), rtol=1e-3)


def test_power_is_exact_late_in_a_long_run():
    np.testing.assert_allclose(1 - np.float64(ema.power(0.05)(jnp.int32(10**5))), 17.9721986e-5, rtol=1e-3)


@pytest.mark.parametrize("factory", [ema.constant, ema.warmup])
@pytest.mark.parametrize("decay", [-0.1, 1.0, 2.0])
def test_a_decay_out_of_range(factory, decay):
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        factory(decay)


def test_half_lives_and_widths_out_of_range():
    for arguments in ({"images": 0}, {"batch_size": 0}, {"ramp": 0.0}, {"images": float("nan")}):
        with pytest.raises(ValueError, match="must be positive"):
            ema.half_life(**{"images": 10, "batch_size": 1} | arguments)
    for sigma_rel in (0, 0.29, float("nan")):
        with pytest.raises(ValueError, match=r"sigma_rel must be in \(0, 0.2887\]"):
            ema.power(sigma_rel)
