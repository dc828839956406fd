"""Compositional sampling with the exact denoiser of two ways that cross."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.data.crossings import lines
from diffusion_jax.evaluation.composition import composer, composition, conditions_of, outcomes
from diffusion_jax.objectives.exact import exact
from diffusion_jax.processes import edm
from diffusion_jax.sampling.decoders import fixed_kernel
from diffusion_jax.sampling.dpmpp_2m import dpmpp_2m
from diffusion_jax.sampling.grids import karras_grid
from diffusion_jax.types import Bound, Support, Variables

TOKENS, NOISE = 8, 0.2
PROCESS = edm(20.0)
GRID = karras_grid(PROCESS, 10)
DATASET = SimpleNamespace(
    info=SimpleNamespace(shape=(TOKENS, 2), splits={"test": 400}),
    epoch=lambda split, size: [{"x": np.zeros((size, TOKENS, 2)), "mask": np.ones((size, TOKENS))}],
)


def bind(conditions):
    objective = exact(Support(lines(TOKENS), NOISE), PROCESS, GRID, fixed_kernel)
    return objective.bind(Variables({}), jax.random.key(0), conditions)


def test_a_full_memory_gives_the_x_of_the_data_and_one_token_a_v_as_often(key):
    """With one token to go by, what comes after the middle is drawn anew: a fair coin."""
    run = composition(dpmpp_2m, GRID, memories=[1, 3, TOKENS], count=400, near=1.0)
    found = run(bind, DATASET, key).metrics
    assert found[f"memory={TOKENS}/crossed"] > 0.99
    assert abs(found["memory=1/crossed"] - 0.5) < 0.1
    assert found["memory=1/turned"] + found["memory=1/crossed"] == pytest.approx(1.0)
    assert found["memory=1/crossed"] + 0.05 < found["memory=3/crossed"] < 0.99
    np.testing.assert_allclose(
        found["memory=3/crossed_se"], (found["memory=3/crossed"] * found["memory=3/turned"] / 400) ** 0.5
    )


def test_all_at_once_has_nothing_to_remember(key):
    draw = composer(bind, (TOKENS, 2), sampler=dpmpp_2m, grid=GRID, chunk=TOKENS, memory=1)
    x = draw(key, 300, {})
    assert outcomes(x, 1.0)["crossed"] > 0.99
    up = np.where(x[:, -1, 1] > x[:, 0, 1], 0, 1)
    np.testing.assert_allclose((x - lines(TOKENS)[up]).std(), NOISE, rtol=0.15)


def test_a_plan_is_shown_its_memory_and_noise_for_all_else(key):
    """A denoiser that writes down the level of the first token, as the mean of every token."""

    def denoiser(x, t):
        return jnp.broadcast_to(t[:, :1, None], x.shape)

    draw = composer(
        lambda conditions: Bound(PROCESS, denoiser), (4, 1), sampler=dpmpp_2m, grid=GRID, chunk=1, memory=2
    )
    x = draw(key, 1, {})[0, :, 0]
    # while the first token is drawn its level falls; then it is remembered twice, and hidden
    np.testing.assert_allclose(x[1:], [0.0, 0.0, 1.0], atol=1e-6)


def test_conditions_are_those_of_the_test_split(key):
    """A denoiser that says what the condition of a token is."""

    def told(conditions):
        return Bound(PROCESS, lambda x, t: jnp.broadcast_to(conditions["condition"], x.shape))

    batch = {"x": np.zeros((3, 4, 2)), "mask": np.ones((3, 4)), "condition": np.arange(12.0).reshape(3, 4, 1)}
    dataset = SimpleNamespace(info=SimpleNamespace(splits={"test": 3}), epoch=lambda split, size: [batch])
    draw = composer(told, (4, 2), sampler=dpmpp_2m, grid=GRID, chunk=2, memory=1)
    x = draw(key, 3, conditions_of(dataset, 3))
    np.testing.assert_allclose(x[..., 0], batch["condition"][..., 0], atol=1e-5)


def test_what_becomes_of_a_way():
    ways = np.zeros((4, 3, 2))
    ways[:, 0] = [[-1, -1], [-1, 1], [-1, 1], [-1, -1]]
    ways[:, -1] = [[1, 0.8], [1.2, 1], [1, 0.3], [0, 1]]
    assert outcomes(ways, 0.5) == {"crossed": 0.25, "turned": 0.25, "lost": 0.5}


def test_bad_input_is_refused(key):
    with pytest.raises(ValueError, match="count must be at least 1"):
        composition(dpmpp_2m, GRID, count=0)
    with pytest.raises(ValueError, match="chunk and memory must be positive, got 1 and 0"):
        composer(bind, (4, 2), sampler=dpmpp_2m, grid=GRID, chunk=1, memory=0)
    with pytest.raises(ValueError, match="500 test sequences are needed, there are 400"):
        composition(dpmpp_2m, GRID)(bind, DATASET, key)
    with pytest.raises(ValueError, match=r"ways in the plane are \[T, 2\], the data are \(4, 3\)"):
        composition(dpmpp_2m, GRID)(bind, SimpleNamespace(info=SimpleNamespace(shape=(4, 3))), key)
