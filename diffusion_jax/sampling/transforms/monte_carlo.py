r"""Monte Carlo Guidance: the energy of a plan, averaged over the futures that it may still have.

Diffusion Forcing (arXiv 2407.01392), section 3.4. `energy` scores the one estimate x0_hat(x_t). Here the
estimate is noised again to the levels that its tokens have, r times, and estimated again:

    x'_i ~ q(x_t | x0_hat(x_t, t)),    E(x_t) = 1/r sum_i cost(x0_hat(x'_i, t)),
    D = x0_hat - scale sigma^2/alpha grad_{x_t} E,

the gradient going through both evaluations. A token redraws what its level leaves open: a clean one stays, a
token at level 1, a far future on a pyramid, is drawn anew. So the gradient at an early token is one of the
mean cost over futures, not of the cost of a mean future, and its noise falls with r.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from diffusion_jax.levels import normal
from diffusion_jax.processes.gaussian import Gaussian
from diffusion_jax.sampling.loop import settled
from diffusion_jax.sampling.transforms.checks import require_callable, shaped
from diffusion_jax.sampling.transforms.gradients import Scale, descended
from diffusion_jax.sampling.transforms.renoise import redrawn, sample_keys
from diffusion_jax.types import Array, Denoiser, Draw, Key


def monte_carlo(
    process: Gaussian,
    denoiser: Denoiser,
    cost: Callable[[Array], Array],
    samples: int,
    key: Key,
    scale: Array | float | Scale = 1.0,
    draw: Draw = normal,
) -> Denoiser:
    """x0_hat - scale sigma^2/alpha grad_x of the cost, averaged over `samples` re-noised futures.

    Two evaluations of the denoiser, the second one of all futures at once (by `jax.vmap`, so that conditions
    [B] which it has closed over fit), and one pass back through both.

    Args:
        process, denoiser, cost, scale: as of `energy`; a function `scale` sees the mean costs [B].
        samples: r >= 1, the number of futures.
        key: one key, or [B] keys, a seed for each sample. Not the one that the sampler gets.
        draw: (key, x) -> standard normal noise like x.

    Raises as `energy`, and ValueError where samples is not positive.
    """
    require_callable("monte_carlo", denoiser=denoiser, cost=cost)
    if samples < 1:
        raise ValueError(f"monte_carlo: samples must be positive, got {samples}")
    estimate = settled(denoiser)

    def averaged(x0_hat: Array, level: Array) -> Array:
        own = sample_keys(key, x0_hat.shape[0])

        def of_one(i: Array) -> Array:
            keys = jax.vmap(jax.random.fold_in, (0, None))(own, i)
            future = estimate(redrawn(process, x0_hat, level, keys, draw), level)
            return shaped("monte_carlo: cost", cost(future), x0_hat.shape[:1])

        return jax.vmap(of_one)(jnp.arange(samples)).mean(0)

    return descended("monte_carlo", process, denoiser, averaged, scale)
