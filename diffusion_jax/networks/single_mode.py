r"""A network that knows the shape of a mode and is told its centre: DisCo-Diff's toy (arXiv 2407.03300).

The score of N(F, s^2 I) (appendix F) blurred by r = sigma/alpha, plus what is left to learn,

    score(x, r, z) = (F(z) - x)/(r^2 + s^2) + H(x, r),

is, in EDM's preconditioning with sigma_data = s and a scale of H that suits it,

    network(x, r, z) = r/(s sqrt(r^2 + s^2)) F(z) + H(x, r):

where F(z) is the centre of the only mode, H = 0 is exact. The noise label must be log(r)/4, as `edm` gives
it. F is linear in the tokens of the latents; H does not see them. Without latents F is one trained centre:
the same form without z, the control that the paper has not got.
"""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from diffusion_jax.networks.checks import check_input, check_no_latents
from diffusion_jax.networks.latents import LatentTokens, check_ungrouped
from diffusion_jax.networks.layers import Dense
from diffusion_jax.types import Array, Batch


class SingleMode(nn.Module):
    """See `single_mode`."""

    network: nn.Module
    std: float
    latents: LatentTokens | None = None

    @nn.compact
    def __call__(self, x: Array, noise: Array, conditions: Batch | None = None, train: bool = False) -> Array:
        check_input(x, noise)
        conditions = dict(conditions or {})
        size, zeros = math.prod(x.shape[2:]), nn.initializers.zeros
        if self.latents is None:
            check_no_latents(conditions)
            centre = self.param("centre", zeros, (1, size))
        else:
            told = self.latents(conditions, x.shape[0]).reshape(x.shape[0], -1)
            conditions.pop("latents", None)
            centre = Dense(size, kernel_init=zeros, name="centre")(told)
        ratio = jnp.exp(4 * noise)
        pull = ratio / (self.std * jnp.sqrt(ratio**2 + self.std**2))
        moved = pull[..., None] * centre[:, None]
        return moved.reshape(*moved.shape[:2], *x.shape[2:]) + self.network(x, noise, conditions, train)


def single_mode(network: nn.Module, std: float, latents: LatentTokens | None = None) -> SingleMode:
    """See the head of the module; x `[B, T, ...]`, one centre for all tokens.

    Args:
      network: H, without latents; its output has the shape of x.
      std: s, of a mode, and sigma_data of the preconditioning.
      latents: how z becomes the tokens that tell the centre (see `latent_tokens`); None for no latents.

    Raises ValueError unless std > 0, for groups of latents, and for an H with latents of its own.
    """
    if std <= 0:
        raise ValueError(f"std, of a mode, must be positive, got {std}")
    if getattr(network, "latents", None) is not None:
        raise ValueError("latents tell the centre alone: build the network inside without them")
    check_ungrouped(latents)
    return SingleMode(network, std, latents)


EXAMPLES: dict[str, dict[str, Any]] = {
    "single_mode": {"network": {"name": "mlp", "width": 8, "depth": 1}, "std": 0.2}
}
SHAPES = {"single_mode": (3, 2, 5)}
