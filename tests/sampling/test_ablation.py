"""EDM's ablation grid by composition: solver x discretisation (grid) x schedule and scaling (process)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.processes import edm, unscaled, variance_preserving, ve, vp_linear
from diffusion_jax.sampling.ddim import ddim
from diffusion_jax.sampling.euler import euler
from diffusion_jax.sampling.grids import iddpm_grid, karras_grid, ve_grid, vp_grid
from diffusion_jax.sampling.heun import heun
from diffusion_jax.sampling.loop import sample

VP = vp_linear(0.1, 2 * np.log1p(20.0**2) - 0.1)
"""Starts at sigma/alpha = 20, as all others here."""

PROCESSES = {
    "vp schedule, vp scaling": VP,
    "vp schedule, none": unscaled(VP),
    "ve schedule, none": ve(20.0),
    "linear schedule, vp scaling": variance_preserving(edm(20.0)),
}


@pytest.fixture
def run(oracles, x64):
    """(solver, process, grids of one length) -> the end points of each, from the same noise."""

    def run(solver, process, grids):
        denoiser = oracles.mixture(process, [[1.0, 0.0], [-0.5, 0.5]], [0.7, 0.3], 0.2)
        x = jax.random.normal(jax.random.key(3), (8, 1, 2)) * process.sigma(jnp.ones(()))
        sampler = solver(process)
        compiled = jax.jit(lambda times: sample(jax.random.key(0), denoiser, sampler, x, times))
        return [np.asarray(compiled(grid)) for grid in grids]

    return run


def test_an_exponential_integrator_knows_ratios_only(run):
    """At the same ratios DDIM takes the same steps under every schedule and scaling: Euler's over sigma."""
    wanted = run(euler, edm(20.0), [karras_grid(edm(20.0), 12)])[0]
    for name, process in PROCESSES.items():
        end = run(ddim, process, [karras_grid(process, 12)])[0]
        np.testing.assert_allclose(end, wanted, rtol=1e-9, atol=1e-10, err_msg=name)


def test_all_combinations_lead_to_the_same_points(run):
    """To the solver's error; the levels of iDDPM are far apart where noise is high."""
    wanted = run(heun, edm(20.0), [karras_grid(edm(20.0), 256)])[0]
    allowed = {vp_grid: 5e-3, ve_grid: 5e-3, karras_grid: 5e-3, iddpm_grid: 3e-2}
    for name, process in PROCESSES.items():
        ends = run(heun, process, [grid(process, 256) for grid in allowed])
        for grid, end in zip(allowed, ends, strict=True):
            case = f"{name}, {grid.__name__}"
            np.testing.assert_allclose(end, wanted, rtol=0, atol=allowed[grid], err_msg=case)
