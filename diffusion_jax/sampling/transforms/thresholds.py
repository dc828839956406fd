r"""Estimates kept within the range of the data.

`threshold`          clips x0_hat, what DDPM's code does (arXiv 2006.11239).
`dynamic_threshold`  Imagen (arXiv 2205.11487), section 2.3: with s the quantile of |x0_hat| over the entries
                     of a token, and at least 1, x0_hat becomes clip(x0_hat, -s, s)/s. Strong guidance then
                     saturates fewer pixels.

Both bias the chain: an exact denoiser of bounded data never leaves their range, and these change nothing.
"""

from __future__ import annotations

import jax.numpy as jnp

from diffusion_jax.levels import canonical, expand
from diffusion_jax.sampling.transforms.checks import require_callable
from diffusion_jax.types import Array, Denoiser


def threshold(denoiser: Denoiser, low: float = -1.0, high: float = 1.0) -> Denoiser:
    """The denoiser with its estimate clipped to [low, high], in the units of the data.

    Raises TypeError for a denoiser that cannot be called, ValueError unless low < high.
    """
    require_callable("threshold", denoiser=denoiser)
    if not low < high:
        raise ValueError(f"threshold: need low < high, got [{low}, {high}]")

    def denoise(x: Array, t: Array) -> Array:
        x0_hat = denoiser(x, t)
        return jnp.where(expand(canonical(t, x) > 0, x), jnp.clip(x0_hat, low, high), x0_hat)

    return denoise


def dynamic_threshold(denoiser: Denoiser, quantile: float = 0.995, limit: float = 1.0) -> Denoiser:
    """The denoiser with each token's estimate clipped at a quantile of its size and scaled back to `limit`.

    Args:
        denoiser: the denoiser to bound.
        quantile: in (0, 1], of |x0_hat| over the entries of a token (an image, a frame).
        limit: the data lie in [-limit, limit]; estimates that stay within are left alone.

    Raises TypeError for a denoiser that cannot be called, ValueError for a quantile outside (0, 1] or a limit
    that is not positive.
    """
    require_callable("dynamic_threshold", denoiser=denoiser)
    if not 0 < quantile <= 1:
        raise ValueError(f"dynamic_threshold: the quantile must lie in (0, 1], got {quantile}")
    if not limit > 0:
        raise ValueError(f"dynamic_threshold: the limit must be positive, got {limit}")

    def denoise(x: Array, t: Array) -> Array:
        x0_hat = denoiser(x, t)
        size = jnp.quantile(jnp.abs(x0_hat).reshape(*x0_hat.shape[:2], -1), quantile, axis=-1)
        top = expand(jnp.maximum(size, limit).astype(x0_hat.dtype), x0_hat)
        bounded = jnp.clip(x0_hat, -top, top) * (limit / top)
        return jnp.where(expand(canonical(t, x) > 0, x), bounded, x0_hat)

    return denoise
