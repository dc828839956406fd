"""Encoders: their shapes, independence of samples, gradients, the paper's size, wrong arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.networks.encoder import convolutional, perceptron, vit

ENCODERS = {
    "perceptron": perceptron(2, 3, 8, 1),
    "convolutional": convolutional(2, 3, 4, 1, (1, 1), 2),
    "vit": vit(2, 3, 2, 8, 1, 2),
}
every = pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)
SHAPE = (2, 2, 4, 4, 1)


@every
def test_logits_see_all_of_their_sample_and_nothing_else(encoder, key):
    x = jax.random.normal(key, SHAPE)
    variables = jax.jit(encoder.init)(key, x)
    sensitivity = jax.jit(jax.jacobian(lambda x: encoder.apply(variables, x)))(x)
    assert sensitivity.shape == (2, 2, 3, *SHAPE)
    own = np.einsum("bmkb...->bmk...", sensitivity)
    assert (np.abs(own).max((1, 2)) > 0).all()
    assert (np.asarray(sensitivity)[[0, 1], :, :, [1, 0]] == 0).all()


@every
def test_gradients_are_finite_and_reach_every_parameter(encoder, key):
    x = jax.random.normal(key, SHAPE)
    wanted = jax.random.normal(jax.random.fold_in(key, 1), (2, 2, 3))
    variables = encoder.init(key, x)
    gradients = jax.jit(jax.grad(lambda v: ((encoder.apply(v, x) - wanted) ** 2).sum()))(variables)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(leaf).all(), path
        assert (leaf != 0).any(), path


def test_patches_are_squares_of_one_frame(key):
    """With blocks of no depth in effect, a class token's logits do not tell patches apart that are alike."""
    encoder = vit(1, 2, 2, 8, 1, 2)
    x = jax.random.normal(key, (1, 1, 4, 4, 1))
    variables = encoder.init(key, x)
    level = jax.tree.map(lambda leaf: leaf, variables)
    level["params"]["positions"] = jnp.zeros_like(level["params"]["positions"])
    out = encoder.apply(level, x)
    moved = jnp.concatenate([x[:, :, 2:], x[:, :, :2]], axis=2)
    np.testing.assert_allclose(encoder.apply(level, moved), out, rtol=1e-5, atol=1e-6)
    mixed = jnp.concatenate([x[:, :, 1:], x[:, :, :1]], axis=2)
    assert jnp.abs(encoder.apply(level, mixed) - out).max() > 1e-5


def test_the_size_of_the_papers_encoder(key):
    like = jax.eval_shape(vit(10, 100, 8).init, key, jnp.zeros((1, 1, 64, 64, 3)))
    block = 12 * 768**2 + 13 * 768
    outside = (192 + 1) * 768 + 64 * 768 + 10 * 768 + 2 * 768 + (768 + 1) * 100
    assert sum(leaf.size for leaf in jax.tree.leaves(like)) == 12 * block + outside


def test_bad_arguments_are_refused(key):
    with pytest.raises(ValueError, match="codes must be at least 1"):
        perceptron(2, 0)
    with pytest.raises(ValueError, match="groups=8 must divide every width"):
        convolutional(2, 3, 12)
    with pytest.raises(ValueError, match="width must be a multiple of heads"):
        vit(2, 3, 2, 9, 1, 2)
    with pytest.raises(ValueError, match="patches of side 3 do not cut an image of 4 x 4"):
        jax.eval_shape(vit(2, 3, 3, 8, 1, 2).init, key, jnp.zeros(SHAPE))
