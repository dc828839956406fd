"""Finite supports of generated data sets, from which the exact denoiser is computed (`objectives.exact`)."""

from __future__ import annotations

from typing import Any

from diffusion_jax.data import crossings, eight_gaussians, heartbeat, swiss_roll
from diffusion_jax.types import Support


def swiss_roll_curve(points: int = 800, noise: float = 0.02) -> Support:
    """The Swiss roll as `points` equally probable points of its curve, [points, 1, 2], blurred by its noise.

    Neighbouring points lie closer than the noise from some 700 points on.
    """
    return Support(swiss_roll.curve(points).reshape(points, 1, 2), noise)


def swiss_roll_coordinates(points: int = 800, noise: float = 0.02) -> Support:
    """The same with the two coordinates as two tokens, [points, 2, 1]."""
    return Support(swiss_roll.curve(points).reshape(points, 2, 1), noise)


def heartbeat_sequences() -> Support:
    """The five sequences of the heartbeat, [5, 1, 20]."""
    return Support(heartbeat.sequences().reshape(5, 1, 20), 0.0)


def crossing_lines(tokens: int = 20, noise: float = 0.1) -> Support:
    """The two ways that cross, [2, tokens, 2], blurred by their noise."""
    return Support(crossings.lines(tokens), noise)


def eight_modes() -> Support:
    """The centres of the eight Gaussians, [8, 1, 2], blurred by their standard deviation."""
    return Support(eight_gaussians.centres().reshape(-1, 1, 2), eight_gaussians.STD)


EXAMPLES: dict[str, dict[str, Any]] = {
    "swiss_roll_curve": {"points": 64},
    "swiss_roll_coordinates": {"points": 64},
    "heartbeat_sequences": {},
    "crossing_lines": {"tokens": 4},
    "eight_modes": {},
}
