"""The 2015 Inception: sizes, names, borders and the resize, without its weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from diffusion_jax.networks.inception import (
    BlockA,
    BlockE,
    Conv,
    average_pool,
    from_state_dict,
    inception_2015,
    largest_pool,
    resize,
)


def shapes(image=(2, 32, 32, 3)):
    return jax.eval_shape(inception_2015().init, jax.random.key(0), jnp.zeros(image))


@pytest.fixture(scope="module")
def state():
    """A state dict under the ports' names, written down from the shapes of the network."""
    names = {"scale": "weight", "mean": "running_mean", "var": "running_var", "bias": "bias"}
    found = {"fc.weight": np.zeros((1008, 2048)), "Conv2d_1a_3x3.bn.num_batches_tracked": np.zeros(())}
    for (_, *modules, leaf), like in traverse_util.flatten_dict(shapes()).items():
        shape = tuple(np.array(like.shape)[[3, 2, 0, 1]]) if leaf == "kernel" else like.shape
        found[".".join([*modules, "weight" if leaf == "kernel" else names[leaf]])] = np.ones(
            shape, np.float32
        )
    return found


def test_the_number_of_parameters_and_of_arrays():
    """Those of Inception v3 (27,161,264) without its auxiliary head and classifier of 1000."""
    like = shapes()
    auxiliary = 768 * 128 + 2 * 128 + 5 * 5 * 128 * 768 + 2 * 768 + 768 * 1000 + 1000
    classifier = 2048 * 1000 + 1000
    count = sum(leaf.size for leaf in jax.tree.leaves(like["params"]))
    assert count == 27_161_264 - auxiliary - classifier == 21_785_568
    assert len(jax.tree.leaves(like)) == 94 * 5


def test_the_sizes_on_the_way():
    def run(variables, x):
        return inception_2015().apply(variables, x, capture_intermediates=True, mutable=["intermediates"])

    out, seen = jax.eval_shape(run, shapes(), jnp.zeros((2, 32, 32, 3)))
    assert out.shape == (2, 2048)
    found = {name: held for name, held in seen["intermediates"].items() if name != "__call__"}
    sizes = {name: held["__call__"][0].shape[1:] for name, held in found.items()}
    assert sizes == {
        "Conv2d_1a_3x3": (149, 149, 32),
        "Conv2d_2a_3x3": (147, 147, 32),
        "Conv2d_2b_3x3": (147, 147, 64),
        "Conv2d_3b_1x1": (73, 73, 80),
        "Conv2d_4a_3x3": (71, 71, 192),
        "Mixed_5b": (35, 35, 256),
        "Mixed_5c": (35, 35, 288),
        "Mixed_5d": (35, 35, 288),
        "Mixed_6a": (17, 17, 768),
        "Mixed_6b": (17, 17, 768),
        "Mixed_6c": (17, 17, 768),
        "Mixed_6d": (17, 17, 768),
        "Mixed_6e": (17, 17, 768),
        "Mixed_7a": (8, 8, 1280),
        "Mixed_7b": (8, 8, 2048),
        "Mixed_7c": (8, 8, 2048),
    }


def test_names_and_shapes_of_the_ports(state):
    for name, shape in {
        "Mixed_5b.branch5x5_2.conv.weight": (64, 48, 5, 5),
        "Mixed_6c.branch7x7_2.conv.weight": (160, 160, 1, 7),
        "Mixed_6c.branch7x7dbl_4.conv.weight": (160, 160, 7, 1),
        "Mixed_7a.branch7x7x3_4.conv.weight": (192, 192, 3, 3),
        "Mixed_7b.branch3x3_2a.conv.weight": (384, 384, 1, 3),
        "Mixed_7c.branch3x3dbl_1.conv.weight": (448, 2048, 1, 1),
        "Mixed_7c.branch_pool.bn.running_var": (192,),
    }.items():
        assert state[name].shape == shape


def test_weights_are_read_and_what_is_wrong_with_them_is_named(state):
    tap = np.zeros((160, 160, 7, 1), np.float32)
    tap[3, 5, 6, 0] = 2.0
    variables = from_state_dict(state | {"Mixed_6c.branch7x7dbl_4.conv.weight": tap})
    kernel = variables["params"]["Mixed_6c"]["branch7x7dbl_4"]["conv"]["kernel"]
    assert kernel[6, 0, 5, 3] == 2.0
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, shapes())
    missing = {name: value for name, value in state.items() if name != "Mixed_5b.branch1x1.bn.bias"}
    with pytest.raises(ValueError, match=r"1 entries are missing \(Mixed_5b.branch1x1.bn.bias\), 0 unknown"):
        from_state_dict(missing)
    with pytest.raises(ValueError, match=r"1 unknown \(Mixed_5b.branch1x1.bn.beta\); is .* called 'Mixed_5b"):
        from_state_dict(missing | {"Mixed_5b.branch1x1.bn.beta": np.zeros(64)})
    with pytest.raises(ValueError, match=r"1 entries .*Conv2d_1a_3x3.conv.weight \(3, 3, 3, 32\)"):
        from_state_dict(state | {"Conv2d_1a_3x3.conv.weight": np.zeros((3, 3, 3, 32))})
    with pytest.raises(ValueError, match=r"Conv2d_1a_3x3.bn.bias \(not finite\)"):
        from_state_dict(state | {"Conv2d_1a_3x3.bn.bias": np.full(32, np.nan)})


def test_a_convolution_looks_where_a_ports_does():
    """The tap [1, 2] of a kernel (1, 3), padded by 1 across, shows the pixel to the right."""
    x = jnp.arange(12.0).reshape(1, 3, 4, 1)
    module = Conv(1, (1, 3), pad=(0, 1))
    variables = module.init(jax.random.key(0), x)
    kernel = jnp.zeros((1, 3, 1, 1)).at[0, 2].set(1.0)
    out = module.apply(variables | {"params": variables["params"] | {"conv": {"kernel": kernel}}}, x)
    expected = np.array([[1, 2, 3, 0], [5, 6, 7, 0], [9, 10, 11, 0]]) / np.sqrt(1.001)
    np.testing.assert_allclose(out[0, ..., 0], expected, rtol=1e-6)


def test_pools_at_the_border():
    x = jnp.arange(9.0).reshape(1, 3, 3, 1)
    np.testing.assert_allclose(average_pool(x)[0, ..., 0], [[2, 2.5, 3], [3.5, 4, 4.5], [5, 5.5, 6]])
    np.testing.assert_array_equal(largest_pool(-x)[0, ..., 0], [[0, 0, -1], [0, 0, -1], [-3, -3, -4]])


@pytest.mark.parametrize(
    ("block", "place"), [(BlockA(32), slice(224, 256)), (BlockE(largest_pool), slice(1856, 2048))]
)
def test_the_pooled_branch_of_a_block_comes_last(block, place):
    """With ones for weights each of its channels is a pool of the sum over channels."""
    x = -jnp.arange(50.0).reshape(1, 5, 5, 2) + 100
    like = jax.eval_shape(block.init, jax.random.key(0), x)
    variables = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), like)
    pool = average_pool if isinstance(block, BlockA) else largest_pool
    expected = 1 + (pool(x).sum(-1) - 1) / np.sqrt(1.001)
    out = jax.jit(block.apply)(variables, x)[..., place]
    np.testing.assert_allclose(out, np.repeat(expected[..., None], out.shape[-1], -1), rtol=1e-5)


def test_the_resize_of_tensorflow_1_by_hand():
    """Sampling points 0, 2/3, 4/3: the last pixel is repeated, and the image shifts by half pixels."""
    x = jnp.array([[0.0, 3.0], [6.0, 12.0]]).reshape(1, 2, 2, 1)
    expected = [[0, 2, 3], [4, 22 / 3, 9], [6, 10, 12]]
    np.testing.assert_allclose(resize(x, 3, 3)[0, ..., 0], expected, rtol=1e-6)
    # on the way down pixels are skipped, not averaged
    np.testing.assert_array_equal(resize(jnp.arange(8.0).reshape(1, 1, 8, 1), 1, 2)[0, 0, :, 0], [0, 4])
    ramp = jnp.arange(299.0).reshape(1, 1, 299, 1)
    np.testing.assert_array_equal(resize(ramp, 1, 299), ramp)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"images \[N, H, W, 3\], got shape \(2, 8, 8, 1\)"):
        shapes((2, 8, 8, 1))
