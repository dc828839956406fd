r"""The exact denoiser of jointly normal tokens: an objective without parameters, the limit for trained ones.

For x_0 ~ N(m, S) over all tokens and features together, and tokens noised on their own, x_t = a x_0 + s n
with a = alpha(t), s = sigma(t) of each token's level, everything is jointly normal and

    x0_hat = E[x0 | x_t]  = m + G (x_t - a m),   G = S a (a S a + s^2)^-1
    P      = Cov[x0 | x_t] = S - G a S = (s^2/a) G^T

(a and s as diagonal matrices). A token at level 0 is conditioned on, one at level 1 is ignored where
alpha(1) = 0: one formula for the past, the future and what lies between. With any levels of its tokens, the
loss lambda(t) |x0_hat - x0|^2 of no denoiser is smaller on average than lambda(t) tr P of the token's block.

It is the test of everything that Diffusion Forcing (arXiv 2407.01392) claims: schedules, samplers and
roll-outs must draw the law itself.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax.scipy.linalg import cho_solve

from diffusion_jax.levels import canonical, expand
from diffusion_jax.processes.gaussian import Gaussian, quotient
from diffusion_jax.types import Array, Batch, Bound, JointNormal, Key, Loss, Objective, Variables


def posterior(law: JointNormal, process: Gaussian, x_t: Array, t: Any) -> tuple[Array, Array]:
    """Mean [B, T, D] and covariance [#B, T, D, T, D] of x0 given x_t, exact.

    The covariance does not depend on the values of x_t; #B is 1 where the levels do not depend on the sample.

    x_t: [B, T, D]; t: (), [B] or [B, T]. Raises ValueError where x_t is not of the law's shape.
    """
    mean = jnp.asarray(law.mean, x_t.dtype)
    if x_t.shape[1:] != mean.shape:
        raise ValueError(f"the law is of sequences {mean.shape}, got x of shape {x_t.shape}")
    t = jnp.broadcast_to(canonical(t, x_t), (canonical(t, x_t).shape[0], x_t.shape[1]))
    covariance = jnp.asarray(law.covariance, x_t.dtype).reshape(1, mean.size, mean.size)
    alpha, sigma = process.alpha(t), process.sigma(t)
    # Scaled to a^2 + s^2 = 1, whatever the process: then the matrix is as well conditioned as S.
    total = jnp.sqrt(alpha**2 + sigma**2)
    a, s = (jnp.repeat(one / total, mean.shape[1], axis=1)[:, :, None] for one in (alpha, sigma))
    noised = a * covariance * a.swapaxes(1, 2)
    # Where S is singular, clean tokens need not be; the smallest noise that rounding leaves is as good.
    least = mean.size * jnp.finfo(x_t.dtype).eps * noised.diagonal(axis1=1, axis2=2).max(1)[:, None, None]
    noise = (s**2 + least) * jnp.eye(mean.size, dtype=x_t.dtype)[None]
    factor = jnp.linalg.cholesky(noised + noise)
    transposed = cho_solve((factor, True), a * covariance)  # G^T
    residual = (x_t - expand(alpha, x_t) * mean[None]) / expand(total, x_t)
    x0_hat = mean[None] + (residual.reshape(len(x_t), 1, -1) @ transposed).reshape(x_t.shape)
    # Each form of P cancels where the other does not.
    left = covariance - (covariance * a.swapaxes(1, 2)) @ transposed
    known = jnp.where(a > s, quotient(s**2, a, 0.0) * transposed, left)
    return x0_hat, known.reshape(-1, *mean.shape, *mean.shape)


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
