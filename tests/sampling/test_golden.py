"""End points of the reference EDM samplers on the exact denoiser of a mixture, from recorded noise."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.levels import canonical
from diffusion_jax.processes import edm, ve, vp_cosine, vp_linear
from diffusion_jax.sampling.euler import euler
from diffusion_jax.sampling.grids import iddpm_grid, karras_grid, ve_grid, vp_grid
from diffusion_jax.sampling.heun import heun
from diffusion_jax.sampling.loop import advance, sample


@pytest.fixture(scope="module")
def golden():
    return np.load(Path(__file__).parents[1] / "golden" / "samplers_mixture.npz")


@pytest.fixture
def run(golden, oracles, x64):
    """(process, sampler, times) -> the end points [8, 3], from the golden latents at sigma(1)."""

    def denoiser(process):
        return oracles.mixture(
            process,
            jnp.asarray(golden["mixture_means"]),
            jnp.asarray(golden["mixture_weights"]),
            float(golden["component_std"]),
        )

    def start(process):
        return jnp.asarray(golden["latents"])[:, None] * process.sigma(jnp.ones(()))

    def run(process, sampler, times):
        end = sample(jax.random.key(0), denoiser(process), sampler, start(process), times)
        return np.asarray(end[:, 0])

    run.denoiser, run.start = denoiser, start
    return run


def error(actual, expected):
    return abs(actual - expected).max() / abs(expected).max()


@pytest.mark.parametrize(
    ("name", "sigma_max", "sigma_min", "rho"),
    [("edm_heun18", 80.0, 0.002, 7.0), ("edm_heun18_rho3_max20", 20.0, 0.01, 3.0)],
)
def test_deterministic_heun(golden, run, name, sigma_max, sigma_min, rho):
    process = edm(sigma_max)
    end = run(process, heun(process), karras_grid(process, 18, sigma_min, rho=rho))
    assert error(end, golden[name]) < 1e-10


def test_churn_with_recorded_noise(golden, run):
    """The noise of step i enters through `draw`, so each step gets a sampler that draws just that."""
    process = edm(80.0)
    times = karras_grid(process, 32)
    noise = jnp.asarray(golden["edm_churn32_noise"])[:, :, None]
    denoiser, x = run.denoiser(process), run.start(process)

    def body(x, now):
        recorded, t, s = now
        sampler = heun(process, 10 / 32, noise=1.003, low=0.05, high=50.0, draw=lambda key, x: recorded)
        state = sampler.init(x, t)
        return advance(sampler)(jax.random.key(0), denoiser, state, canonical(t, x), canonical(s, x)).x, None

    end, _ = jax.lax.scan(body, x, (noise, times[:-1], times[1:]))
    assert error(np.asarray(end[:, 0]), golden["edm_churn32"]) < 1e-10


@pytest.mark.parametrize(
    ("sampler", "name"),
    [(euler, "ablation_euler_vp_vp_vp_n24"), (heun, "ablation_heun_vp_vp_vp_n24")],
)
def test_variance_preserving_schedule_and_scaling(golden, run, sampler, name):
    process = vp_linear()
    assert error(run(process, sampler(process), vp_grid(process, 24)), golden[name]) < 1e-10


def test_variance_exploding_schedule(golden, run):
    process = ve(100.0)
    end = run(process, heun(process), ve_grid(process, 24))
    assert error(end, golden["ablation_heun_ve_ve_none_n24"]) < 1e-10


def test_levels_of_improved_ddpm(golden, run):
    """From u_8 = 80.2, the first level below 81; no scaling. The reference's levels were made in float32."""
    process = edm(float(vp_cosine(steps=1000).ratio(jnp.asarray(0.992))))
    end = run(process, heun(process), iddpm_grid(process, 24))
    assert error(end, golden["ablation_heun_iddpm_linear_none_n24"]) < 3e-7
