import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.environments.controllers import track, uniform, waypoint
from diffusion_jax.environments.mazes import maze
from diffusion_jax.environments.point_mass import reward, step

EPISODES = 400


def episodes(world, controller, goals, steps, key):
    """Rewards [steps, B] and actions [steps, B, 2] of episodes from D4RL's starts."""
    state = world.random_start(jax.random.fold_in(key, 0), len(goals))

    def one(carry, k):
        state, memory = carry
        action, memory = controller.act(jax.random.fold_in(key, k), memory, state, goals)
        state = step(world, state, action)
        return (state, memory), (reward(state, goals), action)

    return jax.lax.scan(one, (state, controller.start(state)), jnp.arange(1, steps + 1))[1]


@pytest.mark.parametrize(
    ("name", "raw", "first"), [("u", 230.0, None), ("medium", 425.0, None), ("large", 550.0, 250.0)]
)
def test_the_return_of_the_expert(name, raw, first, key):
    """Returns of the noise-free controller, measured by an independent simulator over 100 episodes."""
    world = maze(name)
    goals = jnp.broadcast_to(jnp.array(world.goal, jnp.float32), (EPISODES, 2))
    rewards, _ = episodes(world, waypoint(world), goals, world.limit, key)
    returns = np.asarray(rewards.sum(axis=0))
    error = returns.std() * (1 / EPISODES + 1 / 100) ** 0.5
    assert abs(returns.mean() - raw) < 3 * error
    # it reaches every goal and stays
    assert (np.asarray(rewards[-100:]) == 1.0).all()
    if first is not None:
        reached = np.asarray(rewards).argmax(axis=0)
        assert abs(reached.mean() - first) < 3 * reached.std() / EPISODES**0.5 + 5


def test_a_new_goal_starts_a_new_path(key):
    """The path aims at the goal's cell, and the memory says when the ball stands there."""
    world = maze("u")
    controller = waypoint(world)
    state = jnp.array([[3.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]])
    goals = jnp.array([[1.08, 0.95], [1.08, 0.95]])
    action, memory = controller.act(key, controller.start(state), state, goals)
    assert memory.target.tolist() == [[1, 1], [1, 1]]
    assert memory.cell.tolist() == [[3, 2], [1, 1]]
    assert (
        (jnp.array([3, 2]) - memory.waypoint[0] >= 0) & (jnp.array([3, 2]) - memory.waypoint[0] < 0.2)
    ).all()
    assert memory.solved.tolist() == [False, True]
    assert action[1].tolist() == [0.0, 0.0]
    back = goals.at[1].set(jnp.array([3.0, 1.0]))
    _, memory = controller.act(key, memory, state, back)
    assert memory.cell[1].tolist() == [1, 2]
    assert not memory.solved[1]


def test_the_noise_on_the_actions(key):
    """Of a ball at rest at its goal the action is the noise, N(0, 0.3^2), cut at 1."""
    world = maze("u")
    state = jnp.broadcast_to(jnp.array([1.0, 1.0, 0.0, 0.0]), (4000, 4))
    controller = waypoint(world, noise=0.3)
    action, _ = controller.act(key, controller.start(state), state, state[:, :2])
    np.testing.assert_allclose(action.std(axis=0), 0.3, rtol=0.05)
    action, _ = waypoint(world, noise=3.0).act(key, controller.start(state), state, state[:, :2])
    assert jnp.abs(action).max() == 1.0


def test_a_plan_that_can_be_followed_is_followed():
    """A ball that tracks a circle of half a metre, one turn in two seconds, stays within 5 cm of it."""
    room = maze(("#######", *["#OOOOO#"] * 5, "#######"))
    angle = jnp.pi * 0.01 * jnp.arange(1, 401)
    circle = 3.0 + 0.5 * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)
    speed = 0.5 * jnp.pi * jnp.stack([-jnp.sin(angle), jnp.cos(angle)], axis=1)

    def one(state, plan):
        state = step(room, state, track(state, *plan))
        return state, state

    path = jax.lax.scan(one, jnp.array([3.5, 3.0, 0.0, 0.5 * jnp.pi]), (circle, speed))[1]
    assert jnp.linalg.norm(path[:, :2] - circle, axis=1).max() < 0.05


def test_random_actions(key):
    controller = uniform()
    states = jnp.zeros((5000, 4))
    action, _ = controller.act(key, controller.start(states), states, states[:, :2])
    assert action.shape == (5000, 2)
    np.testing.assert_allclose(action.mean(axis=0), 0.0, atol=0.03)
    np.testing.assert_allclose(action.std(axis=0), 1 / 3**0.5, rtol=0.03)
