"""Samples for evaluations, and the compiling that keeps variables out of the program."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.data.pipeline import Info
from diffusion_jax.evaluation.compiling import compiled
from diffusion_jax.evaluation.drawing import drawer
from diffusion_jax.levels import expand
from diffusion_jax.processes import edm, ve, vp_linear
from diffusion_jax.sampling.decoders import fixed_kernel
from diffusion_jax.sampling.euler import euler
from diffusion_jax.sampling.grids import karras_grid
from diffusion_jax.sampling.heun import heun
from diffusion_jax.types import Bound

INFO = Info((1, 2), "continuous", None, None, None, 3, {}, "")
PROCESS = edm(10.0)


def bind(conditions):
    """Shrinks towards the class; 0 without one."""
    centre = conditions["label"].reshape(-1, 1, 1) if "label" in conditions else 0.0
    times = karras_grid(PROCESS, 4, sigma_min=0.1)
    return Bound(
        process=PROCESS,
        denoiser=lambda x, t: centre + 0.01 * x,
        decoder=fixed_kernel(PROCESS, times),
        times=times,
    )


def test_a_sample_does_not_depend_on_the_batch_it_was_drawn_in(key):
    draw = functools.partial(
        drawer, bind, INFO, sampler=heun, grid=functools.partial(karras_grid, steps=3), labels=True
    )
    many, few = draw(count=7, batch_size=3)(key), draw(count=5)(key)
    assert many.x.shape == (7, 1, 2)
    np.testing.assert_allclose(many.x[:5], few.x, rtol=1e-5)
    np.testing.assert_array_equal(np.rint(many.x.mean((1, 2))), np.arange(7) % 3)
    assert np.abs(draw(count=5)(jax.random.key(1)).x - few.x).max() > 1e-4


@pytest.mark.parametrize(("sampler", "steps", "nfe"), [(heun, 18, 35), (euler, 5, 5)])
def test_evaluations_are_counted_for_each_call(sampler, steps, nfe, key):
    grid = functools.partial(karras_grid, steps=steps)
    draw = drawer(bind, INFO, sampler=sampler, grid=grid, count=4, labels=False, batch_size=2)
    assert [draw(key).evaluations for _ in range(2)] == [nfe, nfe]


def test_another_process_may_be_sampled_in(key):
    """N(0, 1/4) data, whose denoiser is EDM's: the samples have its deviation, whatever the process."""

    def normal(conditions):
        def denoiser(x, t):
            return x * 0.25 / (0.25 + expand(PROCESS.sigma(t), x) ** 2)

        return Bound(PROCESS, denoiser)

    for process in (None, vp_linear(), ve(10.0)):
        grid = functools.partial(karras_grid, steps=80, sigma_max=10.0)
        drawn = drawer(normal, INFO, sampler=heun, grid=grid, count=4000, labels=False, process=process)
        np.testing.assert_allclose(drawn(key).x.std(), 0.5, rtol=0.02)


def test_without_a_grid_the_bound_and_its_decoder_are_drawn(key):
    drawn = drawer(bind, INFO, sampler=euler, grid=None, count=4, labels=False)(key)
    assert drawn.evaluations == 3, "the decoder takes the last of four steps, and this one needs no denoiser"
    assert np.isfinite(drawn.x).all()


def test_draws_that_cannot_be_made():
    with pytest.raises(ValueError, match="got 0 and 500"):
        drawer(bind, INFO, sampler=euler, grid=None, count=0, labels=False)
    with pytest.raises(ValueError, match="no classes to draw"):
        drawer(bind, INFO._replace(classes=None), sampler=euler, grid=None, count=1, labels=True)


def test_what_is_closed_over_becomes_an_argument(monkeypatch):
    programs, weights = [], jnp.arange(6.0).reshape(2, 3)
    jitted = jax.jit

    def recording(function):
        programs.append(jitted(function))
        return lambda *arguments: programs.append(arguments) or programs[0](*arguments)

    monkeypatch.setattr(jax, "jit", recording)
    run = compiled(lambda key, tree: {"y": tree["x"] @ weights, "key": jax.random.fold_in(key, 1)})
    key, x = jax.random.key(0), jnp.array([[1.0, 2.0]])
    out = run(key, {"x": x})
    np.testing.assert_array_equal(out["y"], [[6.0, 9.0, 12.0]])
    assert out["key"] == jax.random.fold_in(key, 1)
    assert [held.shape for held in programs[1][0] if np.ndim(held)] == [(2, 3)]
    assert run(key, {"x": jnp.ones((4, 2))})["y"].shape == (4, 3)
