"""Networks with random weights everywhere, since much starts at zero and would hide what is computed."""

import jax
import numpy as np
import pytest


@pytest.fixture
def filled():
    """(network, x, noise, conditions, scale) -> variables with every parameter drawn from N(0, scale^2)."""

    def fill(network, x, noise, conditions=None, scale=0.3):
        like = jax.eval_shape(network.init, jax.random.key(0), x, noise, conditions)
        leaves, tree = jax.tree.flatten(like)
        rng = np.random.default_rng(1)
        drawn = [rng.normal(0, scale, leaf.shape).astype(leaf.dtype) for leaf in leaves]
        return jax.tree.unflatten(tree, drawn)

    return fill


@pytest.fixture
def parameters():
    """(network, x, noise) -> how many parameters the network has."""

    def count(network, x, noise):
        like = jax.eval_shape(network.init, jax.random.key(0), x, noise)
        return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(like))

    return count
