r"""The exact denoiser of jointly normal tokens: an objective without parameters, the limit for trained ones.

For x_0 ~ N(m, S) over all tokens and features together, and tokens noised on their own, x_t = a x_0 + s n
with a = alpha(t), s = sigma(t) of each token's level, everything is jointly normal. x_0 is conditioned on one
number after the other, each a noisy look at one entry: with c the entry's column of what covariance is left,

    x0_hat <- x0_hat + g (x_t - a x0_hat)   (of that entry),     g = a c/(a^2 c_own + s^2),
    P      <- P - g a c^T,   whose own column is s^2/(a^2 c_own + s^2) c

and after all of them x0_hat = E[x0 | x_t], P = Cov[x0 | x_t]. A token at level 0 is conditioned on, one at
level 1 is ignored where alpha(1) = 0: one formula for the past, the future and what lies between. With any
levels of its tokens, the loss lambda(t) |x0_hat - x0|^2 of no denoiser is smaller on average than
lambda(t) tr P of the token's block.

It is the test of everything that Diffusion Forcing (arXiv 2407.01392) claims: schedules, samplers and
roll-outs must draw the law itself.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from diffusion_jax.levels import canonical
from diffusion_jax.processes.gaussian import Gaussian, quotient
from diffusion_jax.types import Array, Batch, Bound, JointNormal, Key, Loss, Objective, Variables


def posterior(law: JointNormal, process: Gaussian, x_t: Array, t: Any) -> tuple[Array, Array]:
    """Mean [B, T, D] and covariance [#B, T, D, T, D] of x0 given x_t, exact.

    The covariance does not depend on the values of x_t; #B is 1 where the levels do not depend on the sample.

    x_t: [B, T, D]; t: (), [B] or [B, T]. Raises ValueError where x_t is not of the law's shape.
    """
    shape = jnp.shape(law.mean)
    if x_t.shape[1:] != shape:
        raise ValueError(f"the law is of sequences {shape}, got x of shape {x_t.shape}")
    size = shape[0] * shape[1]
    t = canonical(t, x_t)
    t = jnp.broadcast_to(t, (t.shape[0], shape[0]))
    alpha, variance = (jnp.repeat(one, shape[1], axis=1) for one in (process.alpha(t), process.sigma(t) ** 2))
    seen = jnp.asarray(x_t).reshape(-1, size)

    def look(k: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        mean, left = state
        a, s, column = alpha[:, k, None], variance[:, k, None], left[:, :, k]
        total = a**2 * column[:, k, None] + s
        gain = quotient(a * column, total, 0.0)
        mean = mean + gain * (seen[:, k, None] - a * mean[:, k, None])
        # The difference would cancel in the entry's own column, where little is left.
        own = quotient(s, total, 0.0) * column
        left = left - gain[:, :, None] * (a * column)[:, None, :]
        return mean, left.at[:, :, k].set(own).at[:, k, :].set(own)

    mean = jnp.broadcast_to(jnp.asarray(law.mean, x_t.dtype).reshape(1, size), seen.shape)
    left = jnp.asarray(law.covariance, x_t.dtype).reshape(1, size, size)
    left = jnp.broadcast_to(left, (t.shape[0], size, size))
    # Not by a factorisation of a batch of matrices: two of those at once may wait for each other's threads.
    mean, left = jax.lax.fori_loop(0, size, look, (mean, left))
    return mean.reshape(x_t.shape), left.reshape(-1, *shape, *shape)


def expected_error(law: JointNormal, process: Gaussian, t: Array) -> Array:
    """The mean of |x0_hat - x0|^2 of each token, summed over its features: [#B, T].

    t: [#B, #T]. No denoiser has less.
    """
    tokens, features = jnp.shape(law.mean)
    empty = jnp.zeros((t.shape[0], tokens, features), t.dtype)
    covariance = posterior(law, process, empty, t)[1].reshape(-1, tokens * features, tokens * features)
    variances = covariance.diagonal(axis1=1, axis2=2).reshape(-1, tokens, features)
    return variances.sum(-1)


def linear_gaussian(law: JointNormal, process: Gaussian) -> Objective:
    """A jointly normal law as an objective: no parameters, a loss of 0, and `bind` gives its exact denoiser.

    Raises TypeError for a process that is not Gaussian, ValueError for a law that is not [T, D] and
    [T, D, T, D].
    """
    shape = jnp.shape(law.mean)
    if len(shape) != 2 or jnp.shape(law.covariance) != shape + shape:
        raise ValueError(
            f"a law has a mean [T, D] and a covariance [T, D, T, D], got {shape} and "
            f"{jnp.shape(law.covariance)}"
        )
    if not isinstance(process, Gaussian) or getattr(process, "LEARNED", ()):
        raise TypeError(f"the exact denoiser is that of a fixed Gaussian process, got {process!r}")

    def denoiser(x_t: Array, t: Array) -> Array:
        return posterior(law, process, x_t, t)[0]

    def loss(variables: Variables, key: Key, batch: Batch) -> Loss:
        del variables, key
        nothing = jnp.zeros(batch["x"].shape[:2], batch["x"].dtype)
        return Loss(nothing, nothing + 1, {})

    def bind(variables: Variables, key: Key, batch: Batch) -> Bound:
        del variables, key, batch
        return Bound(process, denoiser)

    return Objective(lambda key, batch: Variables({}), loss, bind)


EXAMPLES: dict[str, dict[str, Any]] = {
    "linear_gaussian": {
        "law": {"name": "autoregression_law", "length": 2, "dims": 3},
        "process": "vp_cosine",
    },
}
