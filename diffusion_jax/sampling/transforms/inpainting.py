r"""Known entries: estimates that are the known values, and a network that sees them freshly noised.

`inpaint`    x0_hat is the known value on the known entries. A stochastic sampler (`ancestral`) then draws
             them from q(x_s | x_t, x_0 = known), so that they are noised known data at every level and end
             on the known values; a deterministic one moves them along a straight line there.
`renoised`   the denoiser sees x_t ~ q(x_t | known) on the known entries, drawn afresh at every level: the
             replacement of Song et al. (arXiv 2011.13456, appendix I.2) and RePaint (arXiv 2201.09865,
             algorithm 1, with one resampling). `inpaint(renoised(...), ...)` is both.
`evened`     the denoiser sees every token of a sample at the level of the noisiest one, the others freshly
             noised to it: `renoised` for sequences, where the known tokens are those at level 0, and for
             denoisers that were trained with one level for all tokens.

Neither is the exact conditional: the unknown entries at level t have only seen known ones noised to level t,
not what these are at level 0. The gap closes in `sampling.particles`, and is absent where a denoiser has
learned to take known tokens at level 0 beside noisy ones; then give them that level in the grid instead.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from diffusion_jax.levels import canonical, expand, normal
from diffusion_jax.processes.gaussian import Gaussian
from diffusion_jax.sampling.ode import require_gaussian
from diffusion_jax.sampling.transforms.checks import require_callable
from diffusion_jax.sampling.transforms.renoise import redrawn
from diffusion_jax.types import Array, Denoiser, Draw, Key


def inpaint(denoiser: Denoiser, known: Array, mask: Array) -> Denoiser:
    """The denoiser with its estimate replaced by `known` wherever `mask` is true; for every process.

    Args:
        denoiser: the denoiser to condition.
        known: [#B, T, ...]; for bits 0 or 1, for categories one-hot. What it holds elsewhere does not matter.
        mask: a shape that is a prefix of known's, boolean or 0 and 1.

    Raises TypeError for a denoiser that cannot be called; ValueError where mask's shape is no prefix of
    known's, and, when called, where known does not fit x.
    """
    known, fixed = _checked("inpaint", denoiser, known, mask)

    def denoise(x: Array, t: Array) -> Array:
        _fits("inpaint", known, x)
        x0_hat = denoiser(x, t)
        replaced = fixed & expand(canonical(t, x) > 0, x)
        return jnp.where(replaced, known.astype(x0_hat.dtype), x0_hat)

    return denoise


def renoised(
    process: Any, denoiser: Denoiser, known: Array, mask: Array, key: Key, draw: Draw = normal
) -> Denoiser:
    """The denoiser shown a fresh draw of q(x_t | known) wherever `mask` is true; for every process.

    The draw is a function of the key, the sample's place in the batch, the token and its level, so that the
    result is a denoiser like any other: the same twice for the same arguments.

    Args:
        process: any process.
        denoiser, known, mask: as of `inpaint`.
        key: one key, or [B] keys, a seed for each sample. Not the one that the sampler gets.
        draw: (key, x) -> standard normal noise like x.

    Raises as `inpaint`.
    """
    known, fixed = _checked("renoised", denoiser, known, mask)

    def denoise(x: Array, t: Array) -> Array:
        _fits("renoised", known, x)
        level = canonical(t, x)
        noisy = redrawn(process, jnp.broadcast_to(known.astype(x.dtype), x.shape), level, key, draw)
        return denoiser(jnp.where(fixed & expand(level > 0, x), noisy, x), t)

    return denoise


def evened(process: Gaussian, denoiser: Denoiser, key: Key, draw: Draw = normal) -> Denoiser:
    """The denoiser shown all tokens of a sample at the highest of their levels.

    Args:
        process: a Gaussian process.
        denoiser: one that knows only levels [B, 1].
        key, draw: as of `renoised`.

    Raises TypeError where the process is not Gaussian or the denoiser cannot be called.
    """
    require_gaussian(process, "evened")
    require_callable("evened", denoiser=denoiser)

    def denoise(x: Array, t: Array) -> Array:
        level = jnp.broadcast_to(canonical(t, x), x.shape[:2])
        top = level.max(1, keepdims=True)
        noised = redrawn(process, x, top, key, draw, level)
        return denoiser(jnp.where(expand(level < top, x), noised, x), top)

    return denoise


def _checked(name: str, denoiser: Denoiser, known: Array, mask: Array) -> tuple[Array, Array]:
    """known, and the mask as booleans of its rank."""
    require_callable(name, denoiser=denoiser)
    known, mask = jnp.asarray(known), jnp.asarray(mask)
    if (
        known.ndim < 2
        or mask.ndim > known.ndim
        or any(n not in (1, m) for n, m in zip(mask.shape, known.shape))
    ):
        raise ValueError(
            f"{name}: known must be [#B, T, ...] and the mask's shape a prefix of its; "
            f"got known {known.shape}, mask {mask.shape}"
        )
    return known, expand(mask, known).astype(bool)


def _fits(name: str, known: Array, x: Array) -> None:
    if known.shape[1:] != x.shape[1:] or known.shape[0] not in (1, x.shape[0]):
        raise ValueError(f"{name}: known {known.shape} does not fit x {x.shape}")
