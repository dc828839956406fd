r"""Plans through a maze: tokens of positions, denoised under an energy that draws them to a goal.

The tokens that are known stand at level 0, the others walk a pyramid of levels (lag 0: together). The energy
of a plan is the sum over its future tokens of weight |position - goal|, in each the mean over its rows: the
goal is wanted early, and kept. The weight of a ball further than `within` from its goal is `far`, on all
rows. Nearer it is `near`, on the rows of the next `stay` steps: the data never stay anywhere, and only a
strong pull on few rows makes a plan that does. Estimates are clipped to the maze, [-1, 1], so that a strong
pull stays stable.

Diffusion Forcing (arXiv 2407.01392), section 4.3: there the energy has one weight. With `samples` above 0 it
is averaged over so many re-noised futures, Monte Carlo Guidance (`sampling.transforms.monte_carlo`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from diffusion_jax.environments.tokens import Tokens
from diffusion_jax.sampling.loop import fitted, sample_path, step_key
from diffusion_jax.sampling.schedules import levels_of, pyramid, with_known
from diffusion_jax.sampling.transforms.gradients import energy
from diffusion_jax.sampling.transforms.monte_carlo import monte_carlo
from diffusion_jax.sampling.transforms.thresholds import threshold
from diffusion_jax.types import Array, Bound, Key, PyTree, Sampler

_SMOOTH = 1e-4
"""Under the root of a squared distance, so that its gradient is finite at the goal."""


@dataclass(frozen=True)
class Guidance:
    """How a plan is drawn to its goal; see the head of the module.

    far, near: weights of the energy, at least 0, in 1 / (cell a token)
    within:    distance to the goal below which `near` holds, in cells
    stay:      steps of the plan that `near` holds for
    samples:   futures of Monte Carlo Guidance; 0 for the energy of the estimate alone

    Raises ValueError for numbers out of range.
    """

    far: float = 0.5
    near: float = 10.0
    within: float = 1.5
    stay: int = 60
    samples: int = 0

    def __post_init__(self) -> None:
        if min(self.far, self.near, self.within, self.stay, self.samples) < 0:
            raise ValueError(f"guidance has no negative numbers, got {self}")

    def cost(self, code: Tokens, known: int, position: Array, goal: Array) -> Callable[[Array], Array]:
        """x [B, T, features] -> [B], the energy of plans from positions [B, 2] to goals [B, 2].

        known: the tokens before the plan.
        """
        here = jnp.linalg.norm(position - goal, axis=-1) < self.within

        def cost(x: Array) -> Array:
            way = code.decode(x[:, known:])["position"]
            distance = jnp.sqrt(((way - goal[:, None]) ** 2).sum(-1) + _SMOOTH)
            ahead = code.stride * (1 + np.arange(way.shape[1])[None]) <= self.stay
            weight = jnp.where(here[:, None], self.near * ahead, self.far)
            return (weight * distance).sum(1) / code.stack

        return cost


def plan(
    key: Key,
    bound: Bound,
    code: Tokens,
    sampler: Sampler | Callable[..., Sampler],
    grid: Array,
    lag: float,
    guidance: Guidance,
    known: Array,
    position: Array,
    goal: Array,
    tokens: int,
    keep: Callable[[Any], PyTree] = lambda state: (),
) -> tuple[Array, PyTree]:
    """A plan for each ball, [B, tokens, features], the known tokens first, and what `keep` gives of the path.

    Args:
        key: one key, or [B] keys.
        bound: with the denoiser of tokens and its Gaussian process.
        code: of the tokens; they hold positions.
        sampler: such as `ddim`; a factory is given the process.
        grid: levels [S + 1] from 1 to 0 that each token walks.
        lag: of the pyramid; 0 denoises all tokens together.
        guidance: the pull.
        known: tokens [B, n, features] that are known, ending at `position`.
        position, goal: [B, 2], in the units of the environment.
        tokens: of the plan and the known ones together.
        keep: as of `sample_path`.

    Raises ValueError where there is no room for a plan, or tokens without positions.
    """
    if "position" not in code.fields:
        raise ValueError(f"a plan is of positions; the tokens hold {', '.join(code.fields)}")
    count = known.shape[1]
    if count >= tokens:
        raise ValueError(f"a window of {tokens} tokens has no room for a plan after {count} known ones")
    assert bound.denoiser is not None
    process = bound.process
    matrix = with_known(pyramid(len(grid) - 1, tokens - count, lag), np.arange(tokens) < count)
    cost = guidance.cost(code, count, position, goal)
    if guidance.samples:
        drawn = step_key(key, 2)
        denoiser = monte_carlo(process, bound.denoiser, cost, guidance.samples, drawn)
    else:
        denoiser = energy(process, bound.denoiser, cost)
    x = process.prior((len(known), tokens, code.features)).sample(step_key(key, 0))
    x = x.at[:, :count].set(known)
    times = levels_of(grid, matrix)
    return sample_path(step_key(key, 1), threshold(denoiser), fitted(sampler, bound), x, times, keep)
