"""Planning in mazes, measured: plan, execute, replan; beside D4RL's controller and random actions.

An episode has the limit of its maze and is never done (D4RL, arXiv 2004.07219). Its reward is 1 in every step
whose observation lies within 0.5 of the goal. All that is compared starts from the same states with the same
goals, which depend on `seed` alone.

    raw           return of an episode
    score         D4RL-normalised, 100 (raw - lowest)/(highest - lowest), with the reference returns of `-v1`
    success       whether the goal was reached at all
    first_reach   the first step with a reward; the limit where there is none
    contact       share of the steps in which the ball touches a wall

with standard errors over episodes, and for the waypoint controller and random actions the same with the
prefixes `expert_` and `random_`. The controller is no ceiling: it is what made the data, without noise.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffusion_jax.environments.controllers import Controller, track, uniform, waypoint
from diffusion_jax.environments.mazes import Maze
from diffusion_jax.environments.point_mass import REACH, STEP, reward, step, touches
from diffusion_jax.environments.point_maze import PointMaze
from diffusion_jax.environments.tokens import Tokens
from diffusion_jax.evaluation.compiling import compiled
from diffusion_jax.evaluation.outcome import Bind, Evaluation, Outcome
from diffusion_jax.evaluation.planner import Guidance, plan
from diffusion_jax.sampling.loop import walked
from diffusion_jax.types import Array, Key, Sampler

EXAMPLES = {
    "maze_planning": {"sampler": "ddim", "grid": {"name": "linear_grid", "steps": 3}, "episodes": 4},
    "diffused_actions": {"sampler": "ddim", "grid": {"name": "linear_grid", "steps": 3}, "episodes": 4},
}

_BATCHES = 2
"""Parts that the episodes are run in: the first one's time holds the compiler's."""


class Follow(NamedTuple):
    """How a plan is executed.

    present: whether the newest row that is known is the present (else the one before it: its action is known)
    act:     (decoded future rows, step since the plan, states [B, 4], states at the plan, goals) -> actions
    """

    present: bool
    act: Callable[[dict[str, Array], Array, Array, Array, Array], Array]


def maze_planning(
    sampler: Sampler | Callable[..., Sampler],
    grid: Any,
    lag: float = 0.0,
    episodes: int = 100,
    replan: int = 50,
    far: float = 0.5,
    near: float = 10.0,
    within: float = 1.5,
    stay: int = 60,
    samples: int = 0,
    hold: bool = False,
    multi: bool = False,
    mujoco: bool = False,
    seed: int = 0,
) -> Evaluation:
    """Plans of positions, followed by a PD controller.

    Args:
        sampler, grid, lag: of the plans, see `planner.plan`.
        episodes: an even number of them.
        replan: steps between plans.
        far, near, within, stay, samples: see `planner.Guidance`.
        hold: within reach of the goal the controller holds the goal instead of following the plan.
        multi: a random goal for each episode, instead of the maze's own (the paper's Multi2D).
        mujoco: executes in MuJoCo (gymnasium-robotics) instead of the simulator.
        seed: of starts and goals.

    Metrics: see the head of the module, and `return_of_expert` and `first_reach_of_expert`, quotients
    (None over 0), `plans_per_second` over a batch of episodes (planning and execution, compiled).

    Raises ValueError for counts out of range.
    """

    def act(code: Tokens) -> Follow:
        def follow(rows: dict[str, Array], i: Array, states: Array, start: Array, goals: Array) -> Array:
            way = jnp.concatenate([start[:, None, :2], rows["position"]], axis=1)
            # The plan between its rows: straight, at constant speed.
            place = (i + 1) / code.stride
            row = jnp.floor(place).astype(int)
            before, after = way[:, row], way[:, row + 1]
            position = before + (place - row) * (after - before)
            velocity = (after - before) / (code.stride * STEP)
            if hold:
                there = jnp.linalg.norm(states[:, :2] - goals, axis=-1, keepdims=True) < REACH
                position, velocity = jnp.where(there, goals, position), jnp.where(there, 0.0, velocity)
            return track(states, position, velocity)

        return Follow(True, follow)

    guidance = Guidance(far, near, within, stay, samples)
    return _evaluation(sampler, grid, lag, episodes, replan, guidance, multi, mujoco, seed, act)


def diffused_actions(
    sampler: Sampler | Callable[..., Sampler],
    grid: Any,
    lag: float = 0.0,
    episodes: int = 100,
    replan: int = 10,
    far: float = 0.5,
    near: float = 10.0,
    within: float = 1.5,
    stay: int = 60,
    samples: int = 0,
    multi: bool = False,
    mujoco: bool = False,
    seed: int = 0,
) -> Evaluation:
    """Plans of tokens that hold actions, one a step, which are executed as they are, clipped to [-1, 1].

    Arguments and metrics as of `maze_planning`.

    The evaluation raises ValueError for tokens without actions, or a stride other than 1.
    """

    def act(code: Tokens) -> Follow:
        if "action" not in code.fields or code.stride != 1:
            raise ValueError(
                f"to execute actions, tokens hold them at stride 1; these hold {', '.join(code.fields)} at "
                f"stride {code.stride}"
            )

        def follow(rows: dict[str, Array], i: Array, states: Array, start: Array, goals: Array) -> Array:
            return jnp.clip(rows["action"][:, i], -1.0, 1.0)

        return Follow(False, follow)

    guidance = Guidance(far, near, within, stay, samples)
    return _evaluation(sampler, grid, lag, episodes, replan, guidance, multi, mujoco, seed, act)


def _evaluation(
    sampler: Any,
    grid: Any,
    lag: float,
    episodes: int,
    replan: int,
    guidance: Guidance,
    multi: bool,
    mujoco: bool,
    seed: int,
    act: Callable[[Tokens], Follow],
) -> Evaluation:
    if episodes < _BATCHES or episodes % _BATCHES:
        raise ValueError(f"episodes must be a positive multiple of {_BATCHES}, got {episodes}")
    if replan < 1:
        raise ValueError(f"replan must be at least 1 step, got {replan}")

    def evaluation(bind: Bind, dataset: Any, key: Key) -> Outcome:
        code, tokens = dataset.info.codec, dataset.info.shape[0]
        if not isinstance(code, Tokens):
            raise ValueError("planning needs a data set of ways through a maze, such as maze2d")
        reach = (tokens - 1) * code.stack * code.stride
        if replan > reach:
            raise ValueError(f"plans of {reach} steps are too short to replan every {replan} steps")
        maze, follow = code.maze, act(code)
        starts, goals = starts_and_goals(maze, episodes, seed, multi)
        bound = bind({})
        levels = walked(grid, bound.process)

        def segment_plan(key: Key, past: Array, states: Array, goals: Array) -> dict[str, Array]:
            known = code.encode(past[:, :: code.stride])
            x, _ = plan(key, bound, code, sampler, levels, lag, guidance, known, states[:, :2], goals, tokens)
            return code.decode(x[:, 1:])

        run = _in_mujoco if mujoco else _simulated
        episode = run(maze, segment_plan, follow, (code.stack - 1) * code.stride + 1, replan)
        parts, seconds = [], 0.0
        for part in range(_BATCHES):
            own = slice(part * episodes // _BATCHES, (part + 1) * episodes // _BATCHES)
            begin = time.perf_counter()
            parts.append(episode(jax.random.fold_in(key, part), starts[own], goals[own]))
            seconds = time.perf_counter() - begin
        visited = np.concatenate(parts, axis=1)
        metrics: dict[str, Any] = measures(maze, visited, goals)
        plans = -(-maze.limit // replan) * episodes // _BATCHES
        controllers = {"expert": waypoint(maze), "random": uniform()}
        for name, controller in controllers.items():
            way = compiled(lambda k, s, g, c=controller: controlled(k, maze, c, s, g))(key, starts, goals)
            metrics |= {f"{name}_{one}": v for one, v in measures(maze, np.asarray(way), goals).items()}
        metrics |= {
            f"{name}_of_expert": metrics[one] / metrics[f"expert_{one}"] if metrics[f"expert_{one}"] else None
            for name, one in (("return", "raw"), ("first_reach", "first_reach"))
        }
        metrics |= {
            "plans_per_second": plans / seconds,
        }
        return Outcome(metrics, _text(metrics))

    return evaluation


def starts_and_goals(maze: Maze, count: int, seed: int, multi: bool) -> tuple[Array, Array]:
    """States [count, 4] and goals [count, 2]: the maze's own goal, or (multi) a random one for each."""
    start_key, goal_key = jax.random.split(jax.random.key(seed))
    goal = jnp.broadcast_to(jnp.asarray(maze.goal, jnp.float32), (count, 2))
    return maze.random_start(start_key, count), maze.random_goal(goal_key, count) if multi else goal


def _simulated(maze: Maze, planned: Callable, follow: Follow, rows: int, replan: int) -> Callable:
    """(key, starts, goals) -> states visited [limit, B, 4], one compiled program for a whole episode."""

    def episode(key: Key, starts: Array, goals: Array) -> Array:
        def act(carry: tuple, i: Array) -> tuple[tuple, Array]:
            states, past, plan, start = carry
            action = follow.act(plan, i, states, start, goals)
            moved = step(maze, states, action)
            row = jnp.concatenate([states, action], axis=1)
            newest = jnp.concatenate([moved, jnp.zeros_like(action)], axis=1) if follow.present else row
            past = jnp.concatenate([past[:, 1:], newest[:, None]], axis=1)
            return (moved, past, plan, start), states

        def segment(carry: tuple[Array, Array], n: Array) -> tuple[tuple[Array, Array], Array]:
            states, past = carry
            plan = planned(jax.random.fold_in(key, n), past, states, goals)
            (states, past, _, _), visited = jax.lax.scan(
                act, (states, past, plan, states), jnp.arange(replan)
            )
            return (states, past), visited

        segments = jnp.arange(-(-maze.limit // replan))
        _, visited = jax.lax.scan(segment, (starts, resting(starts, rows)), segments)
        return visited.reshape(-1, *starts.shape)[: maze.limit]

    run = compiled(episode)
    return lambda key, starts, goals: np.asarray(run(key, starts, goals))


def _in_mujoco(maze: Maze, planned: Callable, follow: Follow, rows: int, replan: int) -> Callable:
    """As `_simulated`, with MuJoCo between compiled plans and actions."""
    make_plan, act = compiled(planned), compiled(follow.act)

    def episode(key: Key, starts: Array, goals: Array) -> np.ndarray:
        world = PointMaze(maze, len(starts))
        states = jnp.asarray(world.reset(np.asarray(starts)), jnp.float32)
        past, visited = resting(starts, rows), []
        for n in range(-(-maze.limit // replan)):
            plan, start = make_plan(jax.random.fold_in(key, n), past, states, goals), states
            for i in range(replan):
                visited.append(np.asarray(states))
                action = act(plan, jnp.asarray(i), states, start, goals)
                moved = jnp.asarray(world.step(np.asarray(action)), jnp.float32)
                row = jnp.concatenate([states, action], axis=1)
                newest = jnp.concatenate([moved, jnp.zeros_like(action)], axis=1) if follow.present else row
                past, states = jnp.concatenate([past[:, 1:], newest[:, None]], axis=1), moved
        world.close()
        return np.stack(visited)[: maze.limit]

    return episode


def resting(states: Array, rows: int) -> Array:
    """The rows before an episode, [B, rows, 6]: the ball was where it starts, without an action."""
    row = jnp.concatenate([states, jnp.zeros_like(states[:, :2])], axis=1)
    return jnp.broadcast_to(row[:, None], (len(states), rows, 6))


def controlled(key: Key, maze: Maze, controller: Controller, starts: Array, goals: Array) -> Array:
    """The states that a controller visits, [limit, B, 4]."""

    def one(carry: tuple[Array, Any], i: Array) -> tuple[tuple[Array, Any], Array]:
        states, memory = carry
        action, memory = controller.act(jax.random.fold_in(key, i), memory, states, goals)
        return (step(maze, states, action), memory), states

    return jax.lax.scan(one, (starts, controller.start(starts)), jnp.arange(maze.limit))[1]


def measures(maze: Maze, visited: np.ndarray, goals: Array) -> dict[str, float]:
    """The measures of episodes, and standard errors over them; visited: [limit, B, 4], goals: [B, 2]."""
    rewards = np.asarray(reward(jnp.asarray(visited), goals[None]))
    reached, raw = rewards.max(0) > 0, rewards.sum(0)
    values = {
        "raw": raw,
        "success": reached.astype(float),
        "first_reach": np.where(reached, rewards.argmax(0), maze.limit),
        "contact": np.asarray(touches(maze, jnp.asarray(visited))).mean(0),
    }
    if maze.score_range is not None:
        values["score"] = np.array([maze.score(one) for one in raw])
    metrics = {}
    for name, value in values.items():
        metrics[name] = float(value.mean())
        metrics[f"{name}_se"] = float(value.std(ddof=1) / np.sqrt(len(value)))
    return metrics


def _text(metrics: dict[str, float]) -> str:
    lines = [f"{'':8}{'return':>16}{'success':>10}{'first reach':>16}{'contact':>10}"]
    for label, prefix in (("plans", ""), ("expert", "expert_"), ("random", "random_")):
        raw, reach = (
            f"{metrics[prefix + name]:.1f} ± {metrics[prefix + name + '_se']:.1f}"
            for name in ("raw", "first_reach")
        )
        success, contact = metrics[prefix + "success"], metrics[prefix + "contact"]
        lines.append(f"{label:8}{raw:>16}{success:>10.3f}{reach:>16}{contact:>10.3f}")
    lines.append(f"{metrics['plans_per_second']:.1f} plans a second")
    return "\n".join(lines)
