"""Schedules at another scale."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.processes import (
    binomial,
    edm,
    flow,
    shifted,
    unscaled,
    variance_preserving,
    vdm,
    vp_2015,
    vp_cosine,
    vp_linear,
)
from diffusion_jax.sampling.heun import heun

T = np.array([0.0, 1e-3, 0.2, 0.7, 1.0])


def test_the_schedule_of_vp_without_scaling(x64):
    process = unscaled(vp_linear())
    np.testing.assert_array_equal(process.alpha(T), 1.0)
    np.testing.assert_allclose(process.sigma(T[[0, 1, -1]]), [0.0, 0.0104859928, 152.166970], rtol=1e-8)


def test_the_schedule_of_edm_with_vp_s_scaling(x64):
    process = variance_preserving(edm(80.0))
    np.testing.assert_allclose(process.alpha(T) ** 2 + process.sigma(T) ** 2, 1.0, rtol=1e-12)
    np.testing.assert_allclose(process.ratio(T), 80 * T, rtol=1e-12)


def test_the_shifted_cosine_has_a_lower_log_snr(x64):
    """The cosine without offset: log SNR = -2 log tan(pi t/2) + 2 log(64/side)."""
    t, process = T[1:-1], shifted(vp_cosine(s=0.0), 128 / 64)
    np.testing.assert_allclose(
        process.log_snr(t), -2 * np.log(np.tan(np.pi * t / 2)) - 2 * np.log(2), rtol=1e-9
    )
    np.testing.assert_allclose(process.alpha(T) ** 2 + process.sigma(T) ** 2, 1.0, rtol=1e-12)
    np.testing.assert_allclose(process.time(process.ratio(T[1:])), T[1:], rtol=1e-9)
    back = shifted(process, 0.5)
    np.testing.assert_allclose(back.sigma(T), vp_cosine(s=0.0).sigma(T), rtol=1e-9)
    for factor in (0.0, -1.0):
        with pytest.raises(ValueError, match="factor must be positive"):
            shifted(process, factor)


def test_one_undoes_the_other(x64):
    for process, back in (
        (vp_linear(), variance_preserving(unscaled(vp_linear()))),
        (edm(), unscaled(variance_preserving(edm()))),
    ):
        np.testing.assert_allclose(back.alpha(T), process.alpha(T), rtol=1e-9)
        np.testing.assert_allclose(back.sigma(T), process.sigma(T), rtol=1e-9)


def test_an_infinite_ratio_can_be_kept_but_not_unscaled(x64):
    process = variance_preserving(flow())
    np.testing.assert_array_equal(process.alpha(T)[-1], 0.0)
    np.testing.assert_array_equal(process.sigma(T)[-1], 1.0)
    for end in (0.0, 1.0):
        assert np.isfinite(jax.grad(process.alpha)(end))
        assert np.isfinite(jax.grad(process.sigma)(end))
    assert heun(process).rises is False
    for infinite in (vp_cosine(), flow(), vp_2015()):
        with pytest.raises(ValueError, match=r"finite sigma/alpha at level 1.*vp_cosine\(steps=1000\)"):
            unscaled(infinite)
    np.testing.assert_allclose(unscaled(vp_cosine(steps=1000)).sigma(T)[-1], 20291.1696, rtol=1e-7)


def test_bits_are_refused():
    for make in (unscaled, variance_preserving, lambda process: shifted(process, 2.0)):
        with pytest.raises(TypeError, match="rescales a Gaussian process"):
            make(binomial())


def test_a_learned_schedule_inside_jit():
    process = vdm(hidden=8)
    traced = jax.jit(lambda p: unscaled(p).sigma(jnp.asarray(0.5)))(process)
    np.testing.assert_allclose(traced, process.ratio(jnp.asarray(0.5)), rtol=1e-5)
