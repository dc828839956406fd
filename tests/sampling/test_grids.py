"""Grids: what all promise, by discovery, and known values."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.build import available, build, example
from diffusion_jax.processes import edm, flow, ve, vp_2015, vp_cosine, vp_linear
from diffusion_jax.processes.binomial import binomial
from diffusion_jax.sampling.grids import (
    cosine_grid,
    exponential_grid,
    iddpm_grid,
    karras_grid,
    linear_grid,
    log_snr_grid,
    restart_grid,
    ve_grid,
    vp_grid,
)

KARRAS_18 = [
    80,
    57.5859847212,
    40.7855737965,
    28.3745846042,
    19.3524529803,
    12.9100823808,
    8.4009353091,
    5.3151945218,
    3.25682151977,
    1.92333983704,
    1.08817063655,
    0.585348123195,
    0.296442284479,
    0.139516468731,
    0.0599473112355,
    0.0229345183723,
    0.00752801996278,
    0.002,
    0,
]


@pytest.mark.parametrize("process", ["edm", "flow"])
@pytest.mark.parametrize("name", available("grid"))
def test_falls_from_exactly_1_to_exactly_0(name, process):
    spec = example("grid", name)
    if "process" in spec:
        spec["process"] = process
    elif process != "edm":
        pytest.skip("knows no process")
    if "intervals" in spec:
        pytest.skip("climbs on its way")
    for steps in (1, 7):
        times = np.asarray(build("grid", spec | {"name": name, "steps": steps}))
        assert times.shape == (steps + 1,)
        assert times[0] == 1
        assert times[-1] == 0
        assert (np.diff(times) < 0).all()


@pytest.mark.parametrize(
    "grid",
    [karras_grid, exponential_grid, vp_grid, iddpm_grid, partial(restart_grid, intervals=[(3, 2, 0.3, 2.0)])],
)
def test_grids_of_ratios_can_be_traced(grid):
    process = vp_cosine()

    def made(low, high):
        return grid(process, steps=5, sigma_min=low, sigma_max=high)

    np.testing.assert_allclose(jax.jit(made)(0.01, 50.0), made(0.01, 50.0), rtol=1e-5)


def test_karras_levels_of_edm(x64):
    np.testing.assert_allclose(80 * karras_grid(edm(80.0), 18), KARRAS_18, rtol=1e-11)


@pytest.mark.parametrize("process", [edm, flow, vp_cosine, vp_linear])
def test_log_snr_falls_evenly_to_sigma_min(process, x64):
    process = process()
    times = log_snr_grid(process, 10, sigma_min=0.01, sigma_max=20.0)
    jumps = np.diff(process.log_snr(times[1:-1]))
    np.testing.assert_allclose(jumps, 2 * np.log(20.0 / 0.01) / 9, rtol=1e-9)
    np.testing.assert_allclose(process.ratio(times[-2]), 0.01, rtol=1e-10)


def test_the_highest_ratio_is_the_process_s_own_up_to_1e4(x64):
    """Seen in the second entry, the first being 1: geometric, it is sqrt(highest * 1)."""
    for process, highest in [(edm(80.0), 80.0), (flow(), 1e4), (vp_linear(), 152.16697)]:
        second = process.ratio(log_snr_grid(process, 3, sigma_min=1.0)[1])
        np.testing.assert_allclose(second, np.sqrt(highest), rtol=1e-6)


def test_linear_grid_is_the_2015_schedule(x64):
    """alpha_bar_k = 1 - k/T, hence beta_k = 1/(T - k + 1); `first` is then beta_1."""
    alpha_bar = vp_2015().alpha(linear_grid(10)[::-1]) ** 2
    betas = 1 - alpha_bar[1:] / alpha_bar[:-1]
    np.testing.assert_allclose(betas, 1 / (10 - np.arange(1, 11) + 1), rtol=1e-12)
    times = linear_grid(10, first=1e-3)
    np.testing.assert_allclose(vp_2015().sigma(times[-2]) ** 2, 1e-3, rtol=1e-12)
    np.testing.assert_array_equal(np.delete(times, -2), np.delete(linear_grid(10), -2))


def test_cosine_grid_in_the_2015_process_is_the_cosine_schedule(x64):
    alpha = vp_2015().alpha(cosine_grid(8))
    np.testing.assert_allclose(alpha, vp_cosine(s=0.0).alpha(linear_grid(8)), atol=1e-12)


def test_wrong_grids_are_refused():
    with pytest.raises(ValueError, match="positive integer"):
        linear_grid(0)
    with pytest.raises(ValueError, match="first must lie between"):
        linear_grid(10, first=0.3)
    with pytest.raises(ValueError, match="first"):
        linear_grid(1, first=0.3)
    with pytest.raises(ValueError, match="sigma_min must be positive"):
        karras_grid(edm(), 5, sigma_min=0.0)
    with pytest.raises(ValueError, match="sigma_max must exceed"):
        karras_grid(edm(), 5, sigma_max=0.001)
    with pytest.raises(ValueError, match="sigma_max must exceed sigma_min = 90.0, got 80"):
        karras_grid(edm(80.0), 5, sigma_min=90.0)
    with pytest.raises(ValueError, match="must not exceed sigma/alpha at level 1, here 80; got 100"):
        karras_grid(edm(80.0), 5, sigma_max=100.0)
    with pytest.raises(ValueError, match=r"last must lie in \(0, 1\)"):
        vp_grid(edm(), 5, last=0.0)
    with pytest.raises(ValueError, match="sigma_min must be below 0.132"):
        vp_grid(edm(), 5, sigma_min=0.2)
    with pytest.raises(ValueError, match="only 6 ratios lie between .* too few for 7 steps"):
        iddpm_grid(edm(), 7, sigma_min=45.0)
    with pytest.raises(TypeError, match="Gaussian process"):
        karras_grid(binomial(), 5)


def test_rho_1_is_geometric(x64):
    ratios = 80 * jnp.asarray(exponential_grid(edm(80.0), 5, sigma_min=5.0))[:-1]
    np.testing.assert_allclose(ratios, [80, 40, 20, 10, 5], rtol=1e-12)


# EDM's discretisations


def test_vp_grid_is_even_in_the_level_of_vp_linear(x64):
    process = vp_linear()
    times = vp_grid(process, 10)
    np.testing.assert_allclose(times[:-1], np.linspace(1.0, 1e-3, 10), rtol=1e-9)
    np.testing.assert_allclose(
        process.ratio(times[jnp.array([0, -2])]), [152.166970, 0.0104859928], rtol=1e-8
    )


def test_vp_grid_under_another_process_is_a_parabola_through_its_ends(x64):
    """log(1 + r^2) at even u: no third differences, and 0 at u = 0."""
    process = edm(20.0)
    ratios = np.asarray(process.ratio(vp_grid(process, 10, sigma_min=0.05, last=0.1)))
    curve = np.log1p(ratios**2)
    np.testing.assert_allclose(np.diff(curve, 3), 0.0, atol=1e-12)
    np.testing.assert_allclose(ratios[[0, -2]], [20.0, 0.05])


def test_ve_grid_is_geometric(x64):
    process = ve(100.0)
    np.testing.assert_allclose(process.ratio(ve_grid(process, 3)), [100, np.sqrt(2.0), 0.02, 0], rtol=1e-12)


def test_iddpm_grid_takes_the_levels_of_the_cosine_chain(x64):
    """u_0 .. u_999, all of them."""
    process = vp_cosine(steps=1000)
    every = jax.jit(lambda: iddpm_grid(process, 1000, sigma_max=20291.17))()
    np.testing.assert_allclose(every, np.linspace(1.0, 0.0, 1001), rtol=1e-12)
    u = process.ratio(every[np.array([0, 1, 8, 999])])
    np.testing.assert_allclose(u, [20291.1696, 641.6623, 80.2037, 0.00642541], rtol=1e-6)


# Restart


def test_restart_grid_climbs_back(x64):
    """From the ratio nearest to 0.06 to 0.3, and down again in three, twice."""
    process = edm(80.0)
    ratios = process.ratio(restart_grid(process, 18, [(3, 2, 0.06, 0.3)]))
    fall = 0.3 * karras_grid(edm(0.3), 3, sigma_min=KARRAS_18[14])[:-1]
    np.testing.assert_allclose(ratios, [*KARRAS_18[:15], *fall, *fall, *KARRAS_18[15:]], rtol=1e-9)


def test_intervals_are_visited_from_above(x64):
    intervals = [(3, 2, 0.06, 0.3), (4, 1, 1.09, 1.92), (5, 1, 0.3, 0.6)]
    one, other = (restart_grid(edm(), 18, order) for order in (intervals, intervals[::-1]))
    np.testing.assert_array_equal(one, other)
    assert len(one) == 19 + 6 + 4 + 5


@pytest.mark.parametrize(
    ("interval", "match"),
    [
        ((1, 2, 0.06, 0.3), "at least 2 ratios and 1 repeat"),
        ((3, 0, 0.06, 0.3), "at least 2 ratios and 1 repeat"),
        ((3.0, 2, 0.06, 0.3), "at least 2 ratios and 1 repeat"),
        ((3, 2, 0.06, 0.05), "nearest to low = 0.06, 0.05995, to high"),
        ((3, 2, 0.06, 100.0), "at most 80; got high = 100"),
    ],
)
def test_wrong_intervals_are_refused(interval, match):
    with pytest.raises(ValueError, match=match):
        restart_grid(edm(80.0), 18, [interval])
