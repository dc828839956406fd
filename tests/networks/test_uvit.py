"""The U-ViT: published sizes, what its transformer sees of places and latents, wrong arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.networks.latents import latent_tokens
from diffusion_jax.networks.transformer import rotate
from diffusion_jax.networks.uvit import plane, uvit

NOISE = jnp.full((1, 1), 0.4)


def shapes(network, side, conditions=None):
    """Path -> shape of the parameters for images `[2, 1, side, side, 3]`."""
    x = jnp.zeros((2, 1, side, side, 3))
    like = jax.eval_shape(lambda key: network.init(key, x, NOISE, conditions), jax.random.key(0))
    paths = jax.tree_util.tree_leaves_with_path(like["params"])
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape for path, leaf in paths}


def count(found):
    return sum(int(np.prod(shape)) for shape in found.values())


def test_parameters_of_the_published_size():
    """36 blocks of width 2048 above 16 x 16 pixels, two thousand million parameters in the paper's words."""
    plain = shapes(uvit(labels=1000), 128)
    assert count(plain) == 1_881_951_875
    # q, k, v and out; 8 of the perceptron; six vectors of a block's own, biases of out and perceptron
    block = 12 * 2048**2 + (6 + 1 + 5) * 2048
    modulation, norm = 6 * 2048 * (512 + 1), 2 * 2048
    transformer = {path: shape for path, shape in plain.items() if path.startswith("transformer/")}
    assert count(transformer) == 36 * block + modulation + norm

    latent = shapes(uvit(labels=1000, latents=latent_tokens(10, 100)), 128)
    seeing = {path.split("/latents/")[0] for path in latent if "/latents/" in path}
    places = [
        f"{part}_{side}x{side}_block{i}" for part in ("enc", "dec") for side in (64, 32) for i in (0, 1)
    ]
    assert seeing == {*places, *(f"transformer/block{i}" for i in range(2, 36, 3))}
    assert {path: shape for path, shape in latent.items() if path in plain} == plain


def test_attention_knows_the_distance_along_both_sides_alone(key):
    """One query and one key at every pixel of a frame of 3 x 4."""
    angles = plane(3, 4, 8)
    q, k = (jnp.broadcast_to(one[None, None, None], (1, 1, 12, 8)) for one in jax.random.normal(key, (2, 8)))
    products = np.asarray((rotate(q, *angles) @ rotate(k, *angles).swapaxes(2, 3))[0, 0])
    y, x = np.divmod(np.arange(12), 4)
    found = {}
    for i, j in np.ndindex(12, 12):
        found.setdefault((y[i] - y[j], x[i] - x[j]), []).append(products[i, j])
    assert max(np.ptp(alike) for alike in found.values()) < 1e-5
    means = np.sort([np.mean(alike) for alike in found.values()])
    assert np.diff(means).min() > 1e-5


def test_the_start_is_zero(key):
    network = uvit(8, [1, 1], 1, [], 1)
    out, variables = jax.jit(network.init_with_output)(key, jnp.ones((1, 1, 4, 4, 1)), NOISE)
    np.testing.assert_array_equal(out, 0)
    assert jnp.abs(variables["params"]["transformer_out"]["kernel"]).max() > 0.1


def test_frames_are_images_of_their_own_level(key, filled):
    network = uvit(8, [1, 1], 1, [], 1, labels=3, outputs=2)
    x, noise = jax.random.normal(key, (2, 2, 4, 4, 1)), jnp.array([[0.1, 0.9], [0.5, -0.3]])
    known = {"label": jnp.array([2, -1])}
    variables, call = filled(network, x, noise, known), jax.jit(network.apply)
    out = call(variables, x, noise, known)
    assert out.shape == (2, 2, 4, 4, 2)
    for frame in (0, 1):
        alone = call(variables, x[:, frame, None], noise[:, frame, None], known)
        np.testing.assert_allclose(out[:, frame, None], alone, rtol=1e-4, atol=1e-4)
    unknown = call(variables, x, noise, {"label": jnp.array([-1, -1])})
    assert jnp.abs(unknown - out)[0].max() > 1e-3
    np.testing.assert_allclose(unknown[1], out[1], rtol=1e-5, atol=1e-5)


def test_groups_enter_at_their_heights_of_the_decoder():
    tokens = latent_tokens(4, 3, width=8, depth=1, heads=2, groups=[2, 4])
    found = shapes(uvit(8, [1, 1], 1, [4], 4, latents=tokens), 4)
    seeing = {path.split("/latents/")[0] for path in found if "/latents/" in path}
    assert seeing == {"transformer/block0", "transformer/block3", "dec_4x4_block0"}
    fine = latent_tokens(4, 3, width=8, depth=1, heads=2, groups=[4])
    found = shapes(uvit(8, [1, 1], 1, [4], 4, latents=fine), 4)
    assert {path.split("/latents/")[0] for path in found if "/latents/" in path} == {"dec_4x4_block0"}


def test_dropout_is_of_the_transformer(key, filled):
    x = jax.random.normal(key, (1, 1, 4, 4, 1))
    network = uvit(8, [1, 1], 1, [], 1, dropout=0.5)
    variables = filled(network, x, NOISE)

    @jax.jit
    def drawn(variables, key):
        return network.apply(variables, x, NOISE, None, True, rngs={"dropout": key})

    keys = jax.random.split(key)
    assert jnp.abs(drawn(variables, keys[0]) - drawn(variables, keys[1])).max() > 1e-3
    shut = jax.tree_util.tree_map_with_path(
        lambda path, leaf: 0 * leaf if "transformer_out" in jax.tree_util.keystr(path) else leaf, variables
    )
    np.testing.assert_array_equal(drawn(shut, keys[0]), drawn(shut, keys[1]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": 6}, "multiple of 4, got 6"),
        ({"multipliers": [1]}, r"multipliers must be two at least, got \[1\]"),
        ({"depth": 0}, "depth must be at least 1"),
        (
            {"channels": 100, "multipliers": [1, 2]},
            "width, 200, must be a multiple of 4 for each of its 3 heads",
        ),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        uvit(**arguments)


def test_heights_and_latents_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"attention at \[32, 64\], .* height \[8, 4\]"):
        shapes(uvit(8, [1, 1], 1, depth=1), 8)
    with pytest.raises(ValueError, match="multiples of 4"):
        shapes(uvit(8, [1, 1, 1], 1, [], 1), 6)
    grouped = latent_tokens(4, 3, width=8, depth=1, heads=2, groups=[8, 4])
    with pytest.raises(ValueError, match=r"groups of latents at \[8\], but .* attends at \[4\]"):
        shapes(uvit(8, [1, 1], 1, [], 1, latents=grouped), 8)
    with pytest.raises(ValueError, match="the network takes none"):
        shapes(uvit(8, [1, 1], 1, [], 1), 8, {"latents": np.zeros((2, 4), int)})
