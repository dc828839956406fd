"""Plans of a planner that knows the way, executed; measures by hand; what plans cannot be made of."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.build import build
from diffusion_jax.environments.mazes import maze
from diffusion_jax.environments.tokens import Tokens
from diffusion_jax.evaluation.maze_planning import (
    diffused_actions,
    maze_planning,
    measures,
    resting,
    starts_and_goals,
)
from diffusion_jax.evaluation.planner import Guidance, plan
from diffusion_jax.processes import vp_cosine
from diffusion_jax.sampling.ddim import ddim
from diffusion_jax.sampling.grids import linear_grid
from diffusion_jax.types import Bound

ROOM = maze(("#####", "#GOO#", "#####"), limit=60)
CODE = Tokens(ROOM, 1, 10, ("position",))


def dataset(code, tokens):
    return SimpleNamespace(info=SimpleNamespace(codec=code, shape=(tokens, code.features)))


def leads_to(goal):
    """A bound whose every estimate is the goal."""

    def denoiser(x, t):
        return jnp.broadcast_to(ROOM.normalise(jnp.asarray(goal))[None, None], x.shape)

    return Bound(vp_cosine(), denoiser)


def test_tokens_and_rows_are_one_code():
    code = Tokens(maze("medium"), 2, 3, ("action", "position", "velocity"))
    rows = np.random.default_rng(0).uniform(-2, 2, (2, 6, 6)).astype(np.float32)
    x = code.encode(rows)
    assert isinstance(x, np.ndarray)
    assert x.shape == (2, 3, code.features)
    np.testing.assert_allclose(x[0, 1, :2], rows[0, 2, 4:])
    np.testing.assert_allclose(x[0, 1, 10:], rows[0, 3, 2:4] / 5.0, rtol=1e-6)
    back = code.decode(jnp.asarray(x))
    together = np.concatenate([back[name] for name in ("position", "velocity", "action")], axis=-1)
    np.testing.assert_allclose(together, rows, atol=1e-5)


def test_the_reach_of_the_ball_is_the_range_of_tokens():
    corners = np.zeros((1, 2, 6), np.float32)
    corners[0, :, :2] = [[1 - 0.6, 1 - 0.6], [1 + 0.2, 3 + 0.2]]
    np.testing.assert_allclose(CODE.encode(corners)[0], [[-1, -1], [1, 1]], atol=1e-6)


@pytest.mark.parametrize("lag", [0.0, 2.0])
def test_a_plan_starts_from_what_is_known_and_goes_where_the_denoiser_says(key, lag):
    known = jnp.full((3, 1, 2), 0.3)
    x, path = plan(
        key,
        leads_to((1.0, 1.0)),
        CODE,
        ddim,
        linear_grid(5),
        lag,
        Guidance(far=0.0, near=0.0),
        known,
        jnp.zeros((3, 2)),
        jnp.ones((3, 2)),
        6,
        keep=lambda state: state.x,
    )
    np.testing.assert_array_equal(x[:, :1], known)
    assert len(path) == 6 + int(lag * 4)
    np.testing.assert_allclose(CODE.decode(x[:, 1:])["position"], np.ones((3, 5, 2)), atol=1e-5)


def test_the_energy_pulls_near_rows_near_the_goal_and_all_rows_far_from_it():
    guidance = Guidance(far=1.0, near=10.0, within=1.0, stay=20)
    positions = jnp.array([[1.0, 3.0], [1.0, 1.5]])
    goals = jnp.array([[1.0, 1.0], [1.0, 1.0]])
    way = jnp.broadcast_to(positions[:, None], (2, 4, 2))
    x = CODE.encode(jnp.concatenate([way, jnp.zeros((2, 4, 4))], axis=-1))
    # Three rows follow the known one: 2 away with weight 1; .5 away with weight 10, two of them in 20 steps.
    np.testing.assert_allclose(guidance.cost(CODE, 1, positions, goals)(x), [6.0, 10.0], rtol=1e-3)


def test_guidance_alone_moves_a_plan_towards_its_goal(key):
    """Tokens that are independent N(0, 1/4): the pull has somewhere to go, and nothing else says where."""

    def denoiser(x, t):
        alpha, sigma = vp_cosine().alpha(t)[..., None], vp_cosine().sigma(t)[..., None]
        return 0.25 * alpha * x / (0.25 * alpha**2 + sigma**2)

    def mean_distance(far):
        x, _ = plan(
            key,
            Bound(vp_cosine(), denoiser),
            CODE,
            ddim,
            linear_grid(20),
            0.0,
            Guidance(far=far, within=0.0),
            jnp.zeros((64, 1, 2)),
            jnp.zeros((64, 2)),
            jnp.broadcast_to(jnp.array([[1.0, 3.0]]), (64, 2)),
            4,
        )
        way = CODE.decode(x[:, 1:])["position"]
        return jnp.linalg.norm(way - jnp.array([[[1.0, 3.0]]]), axis=-1).mean()

    assert mean_distance(3.0) < 0.8 * mean_distance(0.0)


@pytest.mark.parametrize("mujoco", [False, True])
def test_episodes_of_a_planner_that_knows_the_goal(key, mujoco):
    if mujoco:
        pytest.importorskip("gymnasium_robotics")
    evaluation = maze_planning(
        ddim, linear_grid(2), episodes=4, replan=20, far=0.0, near=0.0, mujoco=mujoco, seed=3
    )
    metrics = evaluation(lambda conditions: leads_to(ROOM.goal), dataset(CODE, 4), key).metrics
    assert metrics["success"] == metrics["expert_success"] == 1.0
    # Its plans jump to the goal, and the tracker brakes late: it is no slower than the controller.
    assert metrics["first_reach"] <= metrics["expert_first_reach"]
    assert metrics["raw"] > metrics["random_raw"]


def test_the_hold_stays_at_the_goal(key):
    """Plans that lead away from the goal: held, a ball that starts there stays for the whole episode."""
    given = {"episodes": 8, "replan": 20, "far": 0.0, "near": 0.0, "seed": 5}
    run = {
        hold: maze_planning(ddim, linear_grid(2), hold=hold, **given)(
            lambda conditions: leads_to((1.0, 3.2)), dataset(CODE, 4), key
        ).metrics["raw"]
        for hold in (False, True)
    }
    starts, goals = starts_and_goals(ROOM, 8, 5, multi=False)
    there = float((jnp.linalg.norm(starts[:, :2] - goals, axis=1) < 0.5).mean())
    assert 0 < there < 1
    assert run[True] == 60 * there
    assert run[False] < 30 * there


def test_an_episode_is_one_program_whatever_its_length(key):
    """The denoiser is traced as often for six plans as for one, and both halves of the episodes share it."""
    traced = []
    for limit in (20, 120):
        world, calls = maze(ROOM.rows, limit=limit), []

        def bind(conditions, calls=calls):
            bound = leads_to(ROOM.goal)

            def denoiser(x, t):
                calls.append(x.shape)
                return bound.denoiser(x, t)

            return Bound(bound.process, denoiser)

        evaluation = maze_planning(ddim, linear_grid(2), episodes=4, replan=20, far=0.0, near=0.0)
        evaluation(bind, dataset(Tokens(world, 1, 10, ("position",)), 4), key)
        assert set(calls) == {(2, 4, 2)}
        traced.append(len(calls))
    assert traced[0] == traced[1]


def test_actions_are_executed_as_they_are(key):
    """Every token says full speed ahead along j, whatever the goal."""
    code = Tokens(ROOM, 2, 1, ("position", "action"))

    def denoiser(x, t):
        rows = jnp.broadcast_to(jnp.array([0.0, 0.0, 0.0, 1.0]), (*x.shape[:2], 2, 4))
        return rows.reshape(x.shape)

    evaluation = diffused_actions(ddim, linear_grid(2), episodes=2, replan=4, far=0.0, near=0.0)
    metrics = evaluation(lambda conditions: Bound(vp_cosine(), denoiser), dataset(code, 4), key).metrics
    assert metrics["contact"] > 0.5  # it is pressed against the right wall


def test_measures_by_hand():
    goals = jnp.array([[1.0, 1.0], [1.0, 3.0]])
    visited = np.zeros((60, 2, 4), np.float32)
    visited[:, 0, :2] = [1.0, 2.0]
    visited[40:, 0, :2] = [1.0, 1.2]
    visited[:, 1, :2] = [1.0, 2.0]
    found = measures(ROOM, visited, goals)
    assert found["raw"] == 10.0
    assert found["success"] == 0.5
    assert found["first_reach"] == 50.0  # 40, and the limit of 60
    assert found["raw_se"] == pytest.approx(10.0)
    assert "score" not in found


def test_starts_depend_on_the_seed_alone():
    first, goals = starts_and_goals(ROOM, 8, 0, multi=False)
    again, others = starts_and_goals(ROOM, 8, 0, multi=True)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(goals, np.tile(ROOM.goal, (8, 1)))
    assert len(np.unique(np.asarray(others), axis=0)) == 8
    assert not np.array_equal(first, starts_and_goals(ROOM, 8, 1, multi=False)[0])


def test_before_an_episode_the_ball_rests():
    states = jnp.arange(8.0).reshape(2, 4)
    np.testing.assert_array_equal(resting(states, 3)[1, 2], [4, 5, 6, 7, 0, 0])


def test_bad_input_is_refused(key):
    def plans(**given):
        return maze_planning(ddim, linear_grid(2), **given)

    with pytest.raises(ValueError, match="episodes must be"):
        plans(episodes=3)
    with pytest.raises(ValueError, match="no negative"):
        plans(far=-1.0)
    with pytest.raises(ValueError, match="too short to replan"):
        plans(episodes=2, replan=50)(lambda c: leads_to((1.0, 1.0)), dataset(CODE, 3), key)
    with pytest.raises(ValueError, match="needs a data set of ways"):
        plans()(lambda c: leads_to((1.0, 1.0)), build("data", {"name": "digits"}), key)
    with pytest.raises(ValueError, match="to execute actions"):
        diffused_actions(ddim, linear_grid(2))(lambda c: leads_to((1.0, 1.0)), dataset(CODE, 4), key)
    with pytest.raises(ValueError, match="fields must be"):
        Tokens(ROOM, 1, 1, ("speed",))
    with pytest.raises(ValueError, match="has 2 numbers"):
        CODE.decode(jnp.zeros((1, 1, 3)))
    known, here = jnp.zeros((1, 4, 2)), jnp.zeros((1, 2))
    with pytest.raises(ValueError, match="no room for a plan"):
        plan(key, leads_to((1.0, 1.0)), CODE, ddim, linear_grid(2), 0.0, Guidance(), known, here, here, 4)
