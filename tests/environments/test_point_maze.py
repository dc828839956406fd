"""The simulator in JAX against MuJoCo, step by step and along whole ways."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.environments.controllers import waypoint
from diffusion_jax.environments.mazes import maze
from diffusion_jax.environments.point_mass import step, touches

gymnasium = pytest.importorskip("gymnasium")
pytest.importorskip("gymnasium_robotics")

from diffusion_jax.environments.point_maze import PointMaze  # noqa: E402

NAMES = {"u": "UMaze", "medium": "Medium", "large": "Large"}


@pytest.fixture(scope="module")
def steps():
    return {name: jax.jit(functools.partial(step, maze(name))) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_the_layouts_are_those_of_gymnasium_robotics(name):
    environment = gymnasium.make(f"PointMaze_{NAMES[name]}-v3").unwrapped
    np.testing.assert_array_equal(np.array(environment.maze.maze_map) == 1, maze(name).walls)
    environment.close()


def test_free_flight(steps):
    """400 steps to and fro in two long arms, no wall touched: within 1e-5 all the way."""
    world = maze("large")
    rng = np.random.default_rng(0)
    # the arms are row 3 and column 10
    start = np.array([[2.8, 3.0, 0.0, 0.0], [3.0, 9.8, 0.0, 0.0]], np.float32)
    axis = np.array([[0.0, 1.0], [1.0, 0.0]], np.float32)
    sim, real = jnp.asarray(start), PointMaze(world, 2)
    real.reset(start)
    worst = 0.0
    for k in range(400):
        push = np.cos(2 * np.pi * k / 100) * rng.uniform(0.2, 0.5, (2, 1)).astype(np.float32)
        sim = steps["large"](sim, push * axis)
        state = real.step(push * axis)
        worst = max(worst, np.abs(np.asarray(sim) - state).max())
        assert not touches(world, sim).any()
    assert np.abs(state - start).max() > 0.05
    assert worst < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_every_single_step(name, steps):
    """Random pushes that bump into walls, edges and corners all the time; each step from MuJoCo's state."""
    world, rng = maze(name), np.random.default_rng(1)
    state = np.asarray(world.random_start(jax.random.key(1), 8), np.float64)
    real = PointMaze(world, 8)
    real.reset(state)
    contacts, errors = 0, []
    for k in range(250):
        if k % 20 == 0:
            action = rng.uniform(-1.5, 1.5, (8, 2)).astype(np.float32)
        wanted = np.asarray(steps[name](jnp.asarray(state, jnp.float32), action))
        contacts += int(touches(world, jnp.asarray(state, jnp.float32)).sum())
        state = real.step(action)
        errors.append(np.abs(wanted - state))
    position, velocity = np.array(errors)[..., :2], np.array(errors)[..., 2:]
    assert contacts > 300
    assert position.max() < 5e-6
    assert velocity.max() < 5e-4
    assert np.median(velocity) < 1e-6


def test_ways_with_contacts_stay_together(steps):
    """80 steps into walls and along them, each simulator from its own states."""
    world = maze("medium")
    start = np.asarray(world.random_start(jax.random.key(2), 16))
    action = np.random.default_rng(2).uniform(-1, 1, (16, 2)).astype(np.float32)
    sim, real = jnp.asarray(start), PointMaze(world, 16)
    real.reset(start)
    touched = np.zeros(16, bool)
    for _ in range(80):
        sim, state = steps["medium"](sim, action), real.step(action)
        touched |= np.asarray(touches(world, sim))
    assert touched.sum() >= 12
    error = np.abs(np.asarray(sim) - state)
    assert error[:, :2].max() < 1e-3
    assert error[:, 2:].max() < 1e-2


def test_the_expert_in_mujoco_does_as_in_the_simulator(steps):
    world = maze("u")
    controller = waypoint(world)
    act = jax.jit(controller.act)
    start = world.random_start(jax.random.key(3), 4)
    goals = jnp.broadcast_to(jnp.array(world.goal, jnp.float32), (4, 2))
    real = PointMaze(world, 4)
    sim, state = start, jnp.asarray(real.reset(start), jnp.float32)
    memories = [controller.start(start)] * 2
    for k in range(150):
        key = jax.random.key(k)
        action, memories[0] = act(key, memories[0], sim, goals)
        sim = steps["u"](sim, action)
        action, memories[1] = act(key, memories[1], state, goals)
        state = jnp.asarray(real.step(action), jnp.float32)
    np.testing.assert_allclose(sim, state, atol=1e-4)


def test_wrong_shapes():
    real = PointMaze(maze(("####", "#GO#", "####")), 2)
    with pytest.raises(ValueError, match=r"states must be \[2, 4\], got \[3, 4\]"):
        real.reset(np.zeros((3, 4)))
    with pytest.raises(ValueError, match=r"actions must be \[2, 2\], got \[2\]"):
        real.step(np.zeros(2))
    real.close()
    with pytest.raises(ValueError, match="count must be at least 1"):
        PointMaze(maze("u"), 0)
