r"""The ball in a maze, simulated in JAX as MuJoCo does it (the physics of D4RL's Maze2D).

A sphere of radius 0.1 and density 1000 slides in the plane without gravity or friction. With mass m =
4.18879, step h = 0.01, gear g = 100, damping 1, action a in [-1, 1]^2 and contact force f, one step is

    v  <- clip(v, -5, 5)
    v' = v + h (g a - v + f) / (m + h)          (Euler with implicit damping: MuJoCo's mj_Euler)
    x' = x + h v'

Contacts are MuJoCo's soft ones (documentation, "Computation": constraint model and solver parameters), at
its default parameters, time constant T = 0.02, d from 0.9 to 0.95 over 0.001. Contact i with normal n_i, away
from the wall, and gap r_i (negative: overlap) exists where r_i is below the margin 0.004, the sum of the two
bodies' 0.002 (versions of MuJoCo that D4RL used took the larger of the two), and has

    s_i = min(|r_i - margin| / 0.001, 1)
    d_i = 0.9 + 0.05 (2 s^2 for s <= 1/2, 1 - 2 (1 - s)^2 above)
    aref_i = -(2 / (0.95 T)) n_i.v - d_i (r_i - margin) / (0.95 T)^2
    R_i = (1 - d_i) / (d_i m)

The acceleration w minimises |w - (g a - v) / m|^2 m / 2 + sum_i max(0, aref_i - n_i.w)^2 / (2 R_i), a convex
problem in the plane, which a few Newton steps solve exactly; then f = m w - (g a - v).

Walls are unit boxes. The ball touches at most three: those that share the corner of its cell that is nearest.
"""

from __future__ import annotations

import math

import jax.numpy as jnp

from diffusion_jax.environments.mazes import CENTRE, RADIUS, Maze
from diffusion_jax.types import Array

MASS = 1000.0 * 4.0 / 3.0 * math.pi * RADIUS**3
STEP = 0.01
GEAR = 100.0
TOP_SPEED = 5.0
REACH = 0.5
"""The goal is reached within this distance."""

_DAMPING = 1.0
_MARGIN = 0.004
_IMPEDANCE = (0.9, 0.95)
_WIDTH = 0.001
_TIME_CONSTANT = 0.02
_NEWTON_STEPS = 4


def step(maze: Maze, state: Array, action: Array) -> Array:
    """One step of 0.01 s.

    Args:
        state: [..., 4], position and velocity in D4RL's frame (see `mazes`); the ball lies in a free cell.
        action: [..., 2], clipped to [-1, 1].

    Returns the next state [..., 4].

    Raises ValueError for states or actions of another width, or actions that are not one for each state.
    """
    if state.shape[-1] != 4 or action.shape != (*state.shape[:-1], 2):
        raise ValueError(
            f"states are [..., 4] and actions [..., 2], one for each; got {state.shape} and {action.shape}"
        )
    position = state[..., :2]
    velocity = jnp.clip(state[..., 2:], -TOP_SPEED, TOP_SPEED)
    force = GEAR * jnp.clip(action, -1.0, 1.0) - _DAMPING * velocity
    force = force + contact_force(maze, position, velocity, force)
    velocity = velocity + STEP * force / (MASS + STEP * _DAMPING)
    return jnp.concatenate([position + STEP * velocity, velocity], axis=-1)


def reward(state: Array, goal: Array) -> Array:
    """The sparse reward, [...]: 1 where the position of states [..., 4] is within 0.5 of goals [..., 2]."""
    return (jnp.linalg.norm(state[..., :2] - goal, axis=-1) <= REACH).astype(jnp.float32)


def touches(maze: Maze, state: Array) -> Array:
    """Whether the ball is in contact with a wall, bool [...]; states [..., 4]."""
    gap, _ = _walls_near(maze, state[..., :2])
    return (gap < _MARGIN).any(axis=-1)


def contact_force(maze: Maze, position: Array, velocity: Array, force: Array) -> Array:
    """The force of the walls, [..., 2], on a ball with these positions, velocities and other forces."""
    gap, normal = _walls_near(maze, position)
    touching = gap < _MARGIN
    depth = _MARGIN - gap
    d = _impedance(depth)
    speed = (normal * velocity[..., None, :]).sum(axis=-1)
    highest = _IMPEDANCE[1] * _TIME_CONSTANT
    wanted = -2.0 / highest * speed + d * depth / highest**2
    stiffness = MASS * d / (1.0 - d)

    free = force / MASS
    active = touching & (wanted > (normal * free[..., None, :]).sum(axis=-1))
    acceleration = free
    for _ in range(_NEWTON_STEPS):
        weight = jnp.where(active, stiffness, 0.0)
        nx, ny = normal[..., 0], normal[..., 1]
        xx = MASS + (weight * nx * nx).sum(axis=-1)
        xy = (weight * nx * ny).sum(axis=-1)
        yy = MASS + (weight * ny * ny).sum(axis=-1)
        right = force + ((weight * wanted)[..., None] * normal).sum(axis=-2)
        solution = [yy * right[..., 0] - xy * right[..., 1], xx * right[..., 1] - xy * right[..., 0]]
        acceleration = jnp.stack(solution, axis=-1) / (xx * yy - xy * xy)[..., None]
        active = touching & (wanted > (normal * acceleration[..., None, :]).sum(axis=-1))
    return MASS * acceleration - force


def _impedance(depth: Array) -> Array:
    low, high = _IMPEDANCE
    s = jnp.clip(depth / _WIDTH, 0.0, 1.0)
    return low + (high - low) * jnp.where(s <= 0.5, 2.0 * s * s, 1.0 - 2.0 * (1.0 - s) ** 2)


def _walls_near(maze: Maze, position: Array) -> tuple[Array, Array]:
    """Gaps [..., 3] to the walls at the nearest corner, 1 where there is none, and normals [..., 3, 2]."""
    walls = jnp.asarray(maze.walls)
    within = position - CENTRE
    cell = jnp.round(within)
    within = within - cell
    side = jnp.where(within >= 0.0, 1.0, -1.0)
    to_corner = 0.5 - jnp.abs(within)
    # The wall beside in x, the one beside in y, and the one across the corner.
    towards = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]).reshape((1,) * (position.ndim - 1) + (3, 2))
    away = to_corner[..., None, :] * towards
    distance = jnp.sqrt((away * away).sum(axis=-1))
    index = (cell[..., None, :] + side[..., None, :] * towards).astype(jnp.int32)
    gap = jnp.where(walls[index[..., 0], index[..., 1]], distance - RADIUS, 1.0)
    normal = -side[..., None, :] * away / jnp.maximum(distance, 1e-6)[..., None]
    return gap, normal
