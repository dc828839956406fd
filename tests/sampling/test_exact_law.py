"""Every schedule, sampler and roll-out draws the joint law itself, and conditioning the exact conditional.

The data are four (or seven) tokens of a vector autoregression, whose exact denoiser is linear: the law of
what a sampler draws follows from a basis (`linear_maps`). It differs from the law of the data by what the
steps leave: C/S for a method of first order, C/S^2 for one of second. So the errors of 32 and 64 steps say
whether there is anything else: they halve (or quarter), and extrapolating them away leaves almost nothing.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.data.autoregression import window_law
from diffusion_jax.objectives.linear_gaussian import linear_gaussian
from diffusion_jax.processes import vp_cosine
from diffusion_jax.sampling.ancestral import ancestral
from diffusion_jax.sampling.ddim import ddim
from diffusion_jax.sampling.dpmpp_2m import dpmpp_2m
from diffusion_jax.sampling.grids import linear_grid
from diffusion_jax.sampling.heun import heun
from diffusion_jax.sampling.loop import sample, step_key
from diffusion_jax.sampling.memories import window
from diffusion_jax.sampling.rollout import rollout
from diffusion_jax.sampling.schedules import (
    autoregressive,
    chunks,
    full_sequence,
    keyframes,
    levels_of,
    pyramid,
    trapezoid,
    with_known,
)
from tests.sampling.linear_maps import basis, columns, covariance

TOKENS, DIMS, SEED, RADIUS = 4, 2, 3, 0.9
SIZE = TOKENS * DIMS
PROCESS = vp_cosine()
MEAN = np.linspace(-1, 1, SIZE)
LAW = window_law(DIMS, TOKENS, SEED, RADIUS)._replace(mean=MEAN.reshape(TOKENS, DIMS))
SIGMA = LAW.covariance.reshape(SIZE, SIZE)
KEY = jax.random.key(0)
FEW, MANY = 32, 64
ROWS = MANY * TOKENS + 1

SCHEDULES = {
    "full_sequence": full_sequence,
    "autoregressive": autoregressive,
    "pyramid": lambda steps, length: pyramid(steps, length, steps / 4),
    "trapezoid": lambda steps, length: trapezoid(steps, length, steps / 2),
    "chunks": lambda steps, length: chunks(steps, length, 3),
    "keyframes": lambda steps, length: keyframes(steps, length, 3),
}
SAMPLERS = {"ddim": 1, "ancestral": 1, "heun": 2, "dpmpp_2m": 2}  # and their orders
SUBSETS = {"past": [0, 1], "future": [3], "both ends": [0, 3], "between": [1, 2]}


def denoiser(law):
    return linear_gaussian(law, PROCESS).bind(None, None, {}).denoiser


@cache
def program(name):
    """(levels [ROWS, 1, T], known [T]) -> what the sampler makes of a basis of noise and known tokens.

    One program for all schedules: shorter ones wait at the end, where nothing moves.
    """
    inputs = SIZE * (1 + (ROWS - 1) * (name == "ancestral"))
    keys = [step_key(KEY, i) for i in range(ROWS - 1)] if name == "ancestral" else [KEY]
    draw = basis(keys, 1 + inputs, 1 + SIZE)
    sampler = {
        "ddim": lambda: ddim(PROCESS),
        "ancestral": lambda: ancestral(PROCESS, draw=draw),
        "heun": lambda: heun(PROCESS),
        "dpmpp_2m": lambda: dpmpp_2m(PROCESS),
    }[name]()

    def run(times, known):
        x = jnp.eye(1 + inputs, SIZE, -1).reshape(-1, TOKENS, DIMS)
        start = jnp.where(known[None, :, None], x, PROCESS.sigma(1.0) * x)
        return sample(KEY, denoiser(LAW), sampler, start, times)

    return jax.jit(run)


def drawn(name, matrix, known=()):
    steps = matrix[-1, 0]
    mask = np.isin(np.arange(TOKENS), known)
    whole = np.pad(with_known(matrix, mask), [(0, ROWS - len(matrix)), (0, 0)], mode="edge")
    return program(name)(levels_of(linear_grid(int(steps)), whole), jnp.asarray(mask))


def agrees(order, few, many, exact):
    """The errors fall as the order says, and without them little is left."""
    error = [abs(one - exact).max() for one in (few, many)]
    rounding = 1e-4
    assert error[1] < max(error[0] / (1.7 if order == 1 else 2.8), rounding)
    limit = many + (many - few) / (2**order - 1)
    np.testing.assert_allclose(limit, exact, atol=0.025 if order == 1 else 0.003)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_schedule_draws_the_joint_law(name, schedule):
    few, many = (drawn(name, SCHEDULES[schedule](steps, TOKENS)) for steps in (FEW, MANY))
    agrees(SAMPLERS[name], covariance(few), covariance(many), SIGMA)
    np.testing.assert_allclose(many[0], LAW.mean, atol=0.003)  # of no noise comes the mean


@pytest.mark.parametrize("subset", SUBSETS)
@pytest.mark.parametrize("name", ["heun", "ancestral"])
def test_conditioning_draws_the_conditional(name, subset):
    """Regression on the known tokens, and the covariance that they leave; known ones come back untouched."""
    known = np.repeat(np.isin(np.arange(TOKENS), SUBSETS[subset]), DIMS)
    slopes, left = [], []
    for steps in (FEW, MANY):
        x = drawn(name, pyramid(steps, TOKENS - len(SUBSETS[subset]), steps / 4), SUBSETS[subset])
        made = columns(x)
        given = np.pad(known, (0, len(made) - SIZE))
        np.testing.assert_array_equal(made[given][:, known], np.eye(known.sum()))
        np.testing.assert_array_equal(made[~given][:, known], 0)
        slopes.append(made[given][:, ~known])
        left.append(made[~given][:, ~known].T @ made[~given][:, ~known])
    slope = np.linalg.solve(SIGMA[known][:, known], SIGMA[known][:, ~known])
    agrees(SAMPLERS[name], *slopes, slope)
    # without noise, and with all known tokens at 0
    np.testing.assert_allclose(x[0].reshape(-1)[~known], MEAN[~known] - MEAN[known] @ slope, atol=0.003)
    agrees(SAMPLERS[name], *left, SIGMA[~known][:, ~known] - SIGMA[~known][:, known] @ slope)


CONTEXT, NEW, WINDOWS = 1, 2, 3
TOTAL = CONTEXT + NEW * WINDOWS
WHOLE = window_law(DIMS, TOTAL, SEED, RADIUS).covariance.reshape(TOTAL * DIMS, TOTAL * DIMS)


def rolled(matrix, **options):
    """What a roll-out makes of a basis of its start, its priors and its fresh noise: [1 + inputs, T, D]."""
    own = [step_key(KEY, index) for index in range(WINDOWS)]
    keys = [step_key(key, use) for use in (0, 2) for key in own]
    first, noise = CONTEXT * DIMS, NEW * DIMS
    count = 1 + first + noise * len(keys)
    memory = window(lambda given: denoiser(window_law(DIMS, 1 + NEW, SEED, RADIUS)), PROCESS, (1 + NEW, DIMS))
    start = jnp.asarray(np.eye(count, first, -1) @ np.linalg.cholesky(WHOLE[:first, :first]).T, jnp.float32)
    start = start.reshape(count, CONTEXT, DIMS)

    @jax.jit
    def run(start):
        later = rollout(
            KEY,
            memory,
            heun(PROCESS),
            start,
            levels_of(linear_grid(int(matrix[-1, 0])), matrix),
            WINDOWS,
            process=PROCESS,
            draw=basis(keys, count, 1 + first),
            **options,
        )
        return jnp.concatenate([start, later], axis=1)

    return run(start)


@pytest.mark.parametrize("schedule", ["pyramid", "keyframes"])
def test_a_roll_out_draws_the_joint_law_of_all_its_tokens(schedule):
    """Three windows of two tokens, each seeing one token of the past: enough for a first-order recursion."""
    matrix = (
        pyramid(MANY, NEW, MANY / 2)
        if schedule == "pyramid"
        else keyframes(MANY, NEW, every=NEW, first=NEW - 1)
    )
    np.testing.assert_allclose(covariance(rolled(matrix)), WHOLE, atol=0.006)


def test_history_with_fresh_noise_keeps_the_law_of_a_window():
    """New tokens are exact given a noisier past: each window keeps its law, and less of the past.

    What is only scaled is declared noisier than it is, so it varies too little.
    """
    matrix, own = full_sequence(MANY, NEW), slice((CONTEXT + NEW) * DIMS, (CONTEXT + 2 * NEW) * DIMS)
    noisy, scaled = (covariance(rolled(matrix, stabilise=0.3, fresh=fresh)) for fresh in (True, False))
    np.testing.assert_allclose(noisy[own, own], WHOLE[own, own], atol=0.006)
    assert (np.diag(scaled[own, own]) < 0.99 * np.diag(WHOLE[own, own])).all()
    last = slice(own.start - DIMS, own.start)
    assert abs(noisy[own, last]).max() < 0.99 * abs(WHOLE[own, last]).max()
