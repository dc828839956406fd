"""The ball in a maze, moved by MuJoCo itself: gymnasium-robotics' PointMaze, in D4RL's frame.

PointMaze (v3) has D4RL's layouts and physics and differs in the task. Here it is D4RL's task:

    PointMaze                                     here
    positions about the middle of the maze:       positions as D4RL observes them: cell (i, j) is centred at
      x = j + 1/2 - W/2, y = H/2 - i - 1/2          (i - 0.2, j - 0.2), so p = (H/2 - y - 0.7, x + W/2 - 0.7)
      at the centre of cell (i, j)
    actions along x and y                         actions along i and j: x is j and y is -i
    starts and goals within 0.25 of a centre,     starts and goals of `Maze`: within 0.1 of (i, j)
      at rest, 0.5 apart at least
    reached within 0.45                           `point_mass.reward`: within 0.5
    a time limit, a goal that may move            neither: the caller has both

MuJoCo's state is the ball's position and velocity, so one simulation serves any number of balls in turn.
Needs the extra `mazes` (gymnasium-robotics); nothing is drawn, so it needs no display.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from diffusion_jax.environments.mazes import CENTRE, Maze


class PointMaze:
    """B balls in a maze, moved by MuJoCo; states are [B, 4], position and velocity in D4RL's frame.

    Args:
        maze: any maze, named or not.
        count: B.

    Raises:
        ImportError: gymnasium-robotics is not there.
        ValueError: count is below 1.
    """

    def __init__(self, maze: Maze, count: int) -> None:
        try:
            import gymnasium
            import gymnasium_robotics
        except ImportError as error:
            raise ImportError(
                f"PointMaze needs gymnasium-robotics ({error}): install the extra 'mazes'"
            ) from error
        if count < 1:
            raise ValueError(f"count must be at least 1, got {count}")
        gymnasium.register_envs(gymnasium_robotics)
        environment: Any = gymnasium.make("PointMaze_UMaze-v3", maze_map=maze.walls.astype(int).tolist())
        self._ball = environment.unwrapped.point_env
        height, width = maze.walls.shape
        # Of p = 0: its place (i, j) = (-CENTRE, -CENTRE) as x and y.
        self._origin = np.array([0.5 - CENTRE - width / 2, height / 2 - 0.5 + CENTRE])
        self._states = np.zeros((count, 4))

    def reset(self, states: Any) -> np.ndarray:
        """Put the balls where `states` [B, 4] says, and return them, float64.

        Raises ValueError for another shape.
        """
        states = np.asarray(states, np.float64)
        if states.shape != self._states.shape:
            raise ValueError(f"states must be {list(self._states.shape)}, got {list(states.shape)}")
        self._states = states.copy()
        return states

    def step(self, actions: Any) -> np.ndarray:
        """The states [B, 4], float64, after one step of 0.01 s with actions [B, 2], clipped to [-1, 1].

        Raises ValueError for another shape.
        """
        actions = np.asarray(actions, np.float64)
        if actions.shape != (len(self._states), 2):
            raise ValueError(f"actions must be {[len(self._states), 2]}, got {list(actions.shape)}")
        self._states = np.stack([self._moved(*one) for one in zip(self._states, actions)])
        return self._states

    def close(self) -> None:
        """Free the simulation."""
        self._ball.close()

    def _moved(self, state: np.ndarray, action: np.ndarray) -> np.ndarray:
        self._ball.set_state(self._origin + _turned(state[:2]), _turned(state[2:]))
        observation = self._ball.step(_turned(action))[0]
        return np.concatenate([_back(observation[:2] - self._origin), _back(observation[2:])])


def _turned(along_cells: np.ndarray) -> np.ndarray:
    """A vector along (i, j) as one along (x, y)."""
    return np.array([along_cells[1], -along_cells[0]])


def _back(along_axes: np.ndarray) -> np.ndarray:
    """A vector along (x, y) as one along (i, j)."""
    return np.array([-along_axes[1], along_axes[0]])
