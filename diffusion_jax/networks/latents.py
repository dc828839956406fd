"""Discrete latents as a network sees them: a few tokens, the keys and values of its cross-attention.

A latent is one of k codes or null; its weights w_i (one-hot, or relaxed while an encoder is trained) are
mapped linearly, each latent by a table of its own, and a small transformer lets the tokens see each other:

    e_i = sum_c w_ic E_i[c],     tokens = norm(blocks(e)).

DisCo-Diff (arXiv 2407.03300), appendix D: a linear map and 6 blocks of width 192. Networks add what they
gather from the tokens through a layer that starts at zero, so that a trained denoiser without latents may be
gone on from, and null latents, or any, change nothing at the start.

With `groups`, in a U-Net, the latents are cut into as many equal groups, and each is seen at one height of
the decoder's features alone (the paper's group-hierarchical form, lowest resolution first). Tokens then see
those of their own group only: nothing of a group gets to another's resolution by way of the tokens.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from diffusion_jax.networks.attention import EncoderBlock
from diffusion_jax.networks.checks import check_counts, latent_weights
from diffusion_jax.types import Array, Batch


class LatentTokens(nn.Module):
    """See `latent_tokens`; `(conditions, batch) -> [B, count, width]`."""

    count: int
    codes: int
    width: int = 192
    depth: int = 6
    heads: int = 6
    groups: tuple[int, ...] = ()
    dtype: Any = None

    @nn.compact
    def __call__(self, conditions: Batch | None, batch: int) -> Array:
        weights = latent_weights(conditions, batch, self.count, self.codes)
        table = self.param("table", nn.initializers.normal(1.0), (self.count, self.codes + 1, self.width))
        h = jnp.einsum("bmc,mcw->bmw", weights.astype(table.dtype), table)
        group = np.arange(self.count) * max(len(self.groups), 1) // self.count
        seen = (group[:, None] == group)[None, None]
        for _ in range(self.depth):
            h = EncoderBlock(self.heads, dtype=self.dtype)(h, None if seen.all() else seen)
        return nn.LayerNorm(dtype=self.dtype)(h)

    @nn.nowrap
    def check_heights(self, heights: Collection[int]) -> None:
        """Refuses groups at heights other than these, of a decoder's attention; raises ValueError."""
        unknown = sorted(set(self.groups) - set(heights))
        if unknown:
            raise ValueError(
                f"groups of latents at {unknown}, but this network's decoder attends at {sorted(heights)}"
            )

    @nn.nowrap
    def at_height(self, tokens: Array | None, height: int, decoding: bool) -> Array | None:
        """The tokens `[B, n, width]` seen by features of this height; None for none."""
        if tokens is None or not self.groups:
            return tokens
        if not decoding:
            return None
        size = self.count // len(self.groups)
        own = [place for place, at in enumerate(self.groups) if at == height]
        parts = [tokens[:, place * size : (place + 1) * size] for place in own]
        return jnp.concatenate(parts, axis=1) if parts else None


def latent_tokens(
    count: int,
    codes: int,
    width: int = 192,
    depth: int = 6,
    heads: int = 6,
    groups: Sequence[int] = (),
    dtype: Any = None,
) -> LatentTokens:
    """What a network's argument `latents` is: how many there are and how they become tokens.

    Args:
      count: latents, m. codes: of each, k, besides null.
      width: of the tokens. depth: blocks of attention among them, 0 for none. heads: must divide the width.
      groups: of a U-Net alone: for each group of count / len(groups) latents the height of the features in
        the decoder that see it; empty for all latents wherever pixels attend to each other.
      dtype: of the blocks' computation, such as "bfloat16".

    Raises:
      ValueError: a count below 1 (depth: 0), heads that do not divide the width, groups that do not divide
        the latents.
    """
    check_counts(count=count, codes=codes, width=width, heads=heads)
    check_counts(minimum=0, depth=depth)
    if width % heads:
        raise ValueError(f"width must be a multiple of heads, got width={width}, heads={heads}")
    if groups and count % len(groups):
        raise ValueError(f"{count} latents do not divide into {len(groups)} groups")
    return LatentTokens(count, codes, width, depth, heads, tuple(groups), dtype)


def check_ungrouped(latents: LatentTokens | None) -> None:
    """Refuses groups of latents for a network without resolutions; raises ValueError."""
    if latents is not None and latents.groups:
        raise ValueError(
            "groups of latents belong to resolutions, which only U-Nets have; leave groups empty"
        )


EXAMPLES: dict[str, dict[str, Any]] = {
    "latent_tokens": {"count": 2, "codes": 3, "width": 8, "depth": 1, "heads": 2}
}
