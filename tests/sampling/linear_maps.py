"""For jointly normal data the exact denoiser is linear, and so is what a sampler makes of its noise.

Pushing a basis of the noise through a sampler, one vector a sample, gives the exact law of what it draws: no
chance, no tolerance for it.
"""

import jax
import jax.numpy as jnp
import numpy as np


def basis(keys, count, first):
    """A `draw` that gives 0, but to its own sample for each entry of each key's noise.

    keys: list of keys; entry j of the noise of key i is 1 in sample `first + i * size + j`, size being the
        entries of a sample.
    count: samples in all.
    """
    known = jnp.stack([jax.random.key_data(key) for key in keys])

    def draw(key, x):
        same = (known == jax.random.key_data(key)[None]).all(1)
        size = x[0].size
        entry = jnp.arange(count) - first - jnp.argmax(same) * size
        chosen = (entry[:, None] == jnp.arange(size)[None]) & same.any()
        return chosen.astype(x.dtype).reshape(x.shape)

    return draw


def columns(drawn):
    """The linear map from the inputs of samples 1, 2, ... to the entries of a sample: [inputs, entries].

    Sample 0 had no input. drawn: [1 + inputs, T, D].
    """
    drawn = np.asarray(drawn, np.float64).reshape(len(drawn), -1)
    return drawn[1:] - drawn[:1]


def covariance(drawn):
    """Of an entry of a sample with another, all inputs being independent and of variance 1."""
    made = columns(drawn)
    return made.T @ made
