"""Embeddings of the noise label and of the class.

The label of a Gaussian level is c = log(sigma/alpha)/4, in about [-2.3, 2.3]; that of bits and categories is
c = 4t, in [0, 4]. Fourier features of fixed angular frequencies w_j, geometric from `lowest` to `highest`,

    [cos(w_j c), sin(w_j c)],   w_j = lowest (highest / lowest)^(j / (J - 1)),

see the whole range by their slow half (period 2 pi / lowest, longer than the range: no two levels look alike)
and tell neighbouring steps of a long chain apart by their fast half. The frequencies are the sinusoids of
Vaswani et al. (arXiv 1706.03762, section 3.5) placed for labels of this range; they are not trained.

Everything is computed at the shape of the noise, `[#B, #T]`: one level per sample costs one embedding per
sample, not one per token.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from diffusion_jax.networks.checks import class_row, row
from diffusion_jax.networks.layers import Dense
from diffusion_jax.types import Array, Batch


class Fourier(nn.Module):
    """Fourier features of the noise label: `[...] -> [..., features]`, in float32.

    features: their even number, half cosines and half sines
    lowest, highest: the ends of the angular frequencies, in radians per unit of the label
    """

    features: int = 64
    lowest: float = 0.5
    highest: float = 50.0

    @nn.compact
    def __call__(self, noise: Array) -> Array:
        frequencies = np.geomspace(self.lowest, self.highest, self.features // 2, dtype=np.float32)
        angle = noise.astype(jnp.float32)[..., None] * frequencies.reshape((1,) * noise.ndim + (-1,))
        return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)


class Labels(nn.Module):
    """A learned vector for each class, and one (the last row) for no class: conditions -> `[B, features]`.

    Raises what `class_row` raises. A label out of range gives NaN where it could not be checked.
    """

    labels: int
    features: int

    @nn.compact
    def __call__(self, conditions: Batch | None, batch: int) -> Array:
        table = self.param("table", nn.initializers.normal(1.0), (self.labels + 1, self.features))
        return row(table, class_row(conditions, batch, self.labels))


class Conditioning(nn.Module):
    """One vector of noise level and class for each token: `[#B, #T] -> [#B, #T, features]`.

    Two dense layers on the Fourier features, the class added before the last non-linearity. With classes the
    first axis is always B.
    """

    features: int = 128
    labels: int = 0
    dtype: Any = None

    @nn.compact
    def __call__(self, noise: Array, conditions: Batch | None, batch: int) -> Array:
        h = Dense(self.features, dtype=self.dtype)(Fourier()(noise))
        h = Dense(self.features, dtype=self.dtype)(nn.silu(h))
        if self.labels:
            h = h + Labels(self.labels, self.features)(conditions, batch)[:, None, :].astype(h.dtype)
        else:
            class_row(conditions, batch, self.labels)
        return nn.silu(h)
