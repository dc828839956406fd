import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.environments.mazes import maze
from diffusion_jax.environments.point_mass import MASS, contact_force, reward, step, touches

ROOM = maze(("#######", *["#OOOOO#"] * 5, "#######"))


def way(state, action, steps):
    """The states [steps, ..., 4] under one action."""
    return jax.lax.scan(lambda s, _: (step(ROOM, s, action),) * 2, state, None, steps)[1]


def test_full_action_from_rest():
    """A golden number of D4RL's environment: the speed after one step."""
    state = step(ROOM, jnp.array([3.0, 3.0, 0.0, 0.0]), jnp.array([1.0, -1.0]))
    np.testing.assert_allclose(state[2:], [0.23816, -0.23816], atol=5e-6)
    np.testing.assert_allclose(state[:2] - 3.0, [0.0023816, -0.0023816], atol=3e-7)


def test_the_solution_of_the_equation_of_motion():
    """m v' = g a - v from rest: v = (g a)(1 - exp(-t / m)); a step of Euler errs by half a step at most."""
    state, action = jnp.array([3.0, 3.0, 0.0, 0.0]), jnp.array([0.1, 0.2])
    path = way(state, action, 40)
    t = 0.01 * np.arange(1, 41)[:, None]
    exact = 100.0 * np.array([0.1, 0.2]) * (1 - np.exp(-t / MASS))
    np.testing.assert_allclose(path[:, 2:], exact, rtol=0.01 / 2 / MASS + 1e-5)


def test_the_speed_is_cut_before_a_step_and_actions_too():
    cut = step(ROOM, jnp.array([3.0, 3.0, 7.0, -9.0]), jnp.array([3.0, 0.0]))
    same = step(ROOM, jnp.array([3.0, 3.0, 5.0, -5.0]), jnp.array([1.0, 0.0]))
    np.testing.assert_array_equal(cut, same)
    assert cut[2] > 5.0


def test_any_number_of_balls(key):
    state = ROOM.random_start(key, 6)
    action = jax.random.uniform(key, (6, 2), minval=-1.0)
    move = jax.jit(functools.partial(step, ROOM))
    together = move(state, action)
    one_by_one = jnp.stack([move(s, a) for s, a in zip(state, action)])
    np.testing.assert_allclose(together, one_by_one, atol=1e-6)
    folded = move(state.reshape(2, 3, 4), action.reshape(2, 3, 2))
    np.testing.assert_allclose(folded.reshape(6, 4), together, atol=1e-6)


def test_a_wall_stops_the_ball_and_lets_it_slide():
    """Pressed against a wall it comes to rest there; along the wall, without friction, nothing changes."""
    push = jnp.array([-1.0, 0.1])
    start = jnp.array([[1.0, 1.5, -4.0, 0.0], [3.0, 1.5, 0.0, 0.0]])
    path, free = jnp.moveaxis(way(start, jnp.stack([push, push]), 60), 1, 0)
    # cell 1 begins at 0.3, and the ball's centre comes within its radius of that, soft by millimetres
    assert abs(path[-1, 0] - 0.4) < 0.005
    assert abs(path[-1, 2]) < 0.01
    assert path[:, 0].min() > 0.37
    np.testing.assert_allclose(path[:, [1, 3]], free[:, [1, 3]], atol=1e-5)


def test_a_corner_holds_the_ball_and_an_edge_turns_it():
    corner = way(jnp.array([0.6, 0.6, 0.0, 0.0]), jnp.array([-1.0, -1.0]), 100)[-1]
    np.testing.assert_allclose(corner, [0.4, 0.4, 0.0, 0.0], atol=0.005)
    pillar = maze(("#####", "#OOO#", "#O#O#", "#OOO#", "#####"))
    # at the pillar's edge, along the diagonal: the force is along the diagonal too
    edge = 2 - 0.7 - 0.1 / 2**0.5
    position, velocity = jnp.array([edge, edge]), jnp.array([2.0, 2.0])
    force = contact_force(pillar, position, velocity, jnp.zeros(2))
    assert force[0] < 0.0
    assert force[0] == pytest.approx(force[1])


def test_contacts_only_push():
    """A ball that leaves the wall fast enough feels nothing."""
    beside = jnp.array([[0.4, 2.0], [0.4, 2.0], [0.41, 2.0]])
    velocity = jnp.array([[3.0, 0.0], [-3.0, 0.0], [-3.0, 0.0]])
    force = contact_force(ROOM, beside, velocity, jnp.zeros((3, 2)))
    assert (force[jnp.array([0, 2])] == 0.0).all()
    assert force[1, 0] > 0.0
    state = jnp.concatenate([beside, velocity], axis=1)
    assert touches(ROOM, state).tolist() == [True, True, False]


def test_actions_and_states_of_another_width_are_refused():
    for state, action in [((4,), (3,)), ((4,), (1,)), ((5,), (2,)), ((6, 4), (2,))]:
        with pytest.raises(ValueError, match=r"actions \[\.\.\., 2\], one for each; got"):
            step(ROOM, jnp.ones(state), jnp.ones(action))


def test_reward():
    goal = jnp.array([[1.0, 1.0]])
    states = jnp.array([[1.3, 1.39, 5.0, 0.0], [1.3, 1.41, 0.0, 0.0], [1.0, 1.5, 0.0, 0.0]])
    assert reward(states, goal).tolist() == [1.0, 0.0, 1.0]
