"""The recurrent networks: the gated step, what crosses time, the memory, the state's start."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.networks.layers import Dense
from diffusion_jax.networks.recurrent import Gru, recurrent, recurrent_image

NETWORKS = {
    "vector": (recurrent(8, 16, 1, grus=2), (2, 6, 3)),
    "image": (recurrent_image(4, 4, 1, (1,), groups=2), (2, 4, 4, 4, 1)),
}
every = pytest.mark.parametrize("which", NETWORKS)


@pytest.fixture
def case(which, key, filled):
    """(network, variables of moderate size, x, noise)."""
    network, shape = NETWORKS[which]
    x = jax.random.normal(key, shape)
    noise = jax.random.uniform(jax.random.fold_in(key, 1), shape[:2])
    return network, filled(network, x, noise, scale=0.2), x, noise


def test_the_gated_step_is_that_of_flax(key):
    """The same weights in Flax's cell, which has the gates one by one."""
    z, h = jax.random.normal(key, (2, 3, 5))
    ours, flax = Gru(Dense), nn.GRUCell(5)
    params = jax.jit(ours.init)(key, z, h)["params"]
    params = jax.tree.map(
        lambda leaf: leaf + jnp.linspace(0.1, 0.4, leaf.shape[-1]).reshape((1,) * (leaf.ndim - 1) + (-1,)),
        params,
    )
    like = jax.eval_shape(flax.init, key, z, h)["params"]
    theirs = {}
    for side, name in (("i", "Dense_0"), ("h", "Dense_1")):
        parts = jax.tree.map(lambda leaf: jnp.split(leaf, 3, axis=-1), params[name])
        for index, gate in enumerate("rzn"):
            theirs[side + gate] = {"kernel": parts["kernel"][index], "bias": parts["bias"][index]}
    for gate in "rz":
        theirs["i" + gate]["bias"] += theirs["h" + gate].pop("bias")
    assert jax.tree.map(jnp.shape, theirs) == jax.tree.map(jnp.shape, like)
    wanted = flax.apply({"params": theirs}, z, h)[0]
    np.testing.assert_allclose(jax.jit(ours.apply)({"params": params}, z, h), wanted, rtol=1e-5, atol=1e-6)


@every
def test_tokens_in_pieces_are_the_whole_sequence(case):
    network, variables, x, noise = case

    @jax.jit
    def extend(x, noise, memory):
        return network.apply(variables, x, noise, {}, memory, method="extend")

    memory = network.apply(variables, x.shape[0], x.dtype, method="start")
    pieces = []
    for part in (slice(0, 1), slice(1, 2), slice(2, None)):
        piece, memory = extend(x[:, part], noise[:, part], memory)
        pieces.append(piece)
        assert memory.shape[0] == x.shape[0]
    whole = jax.jit(network.apply)(variables, x, noise)
    assert whole.std() > 0.01
    np.testing.assert_allclose(jnp.concatenate(pieces, axis=1), whole, rtol=1e-5, atol=1e-5)


@every
def test_a_token_and_its_level_reach_all_later_ones_and_no_earlier(case):
    network, variables, x, noise = case

    def total(x, noise):
        out = network.apply(variables, x, noise)[0]
        return out.reshape(out.shape[0], -1).sum(-1)

    of_x, of_noise = jax.jit(jax.jacrev(total, (0, 1)))(x, noise)
    tokens = x.shape[1]
    of_x = jnp.abs(of_x[:, 0]).reshape(tokens, tokens, -1).max(-1)
    for influence in (of_x, jnp.abs(of_noise[:, 0])):
        np.testing.assert_array_equal(influence > 1e-7, np.tri(tokens, dtype=bool))
        np.testing.assert_array_equal(np.triu(influence, 1), 0)


@every
def test_the_state_starts_at_what_is_learned(case):
    network, variables, x, noise = case
    initial = variables["params"]["initial"]
    start = network.apply(variables, 3, method="start")
    np.testing.assert_array_equal(start, np.broadcast_to(initial, (3, *initial.shape)))

    @jax.jit
    def first(initial):
        return network.apply({"params": {**variables["params"], "initial": initial}}, x[:, :1], noise[:, :1])

    assert jnp.abs(first(initial + 1) - first(initial)).max() > 1e-3


def test_the_gradient_of_the_last_output_reaches_the_first_token_and_fades_with_the_gate(key, filled):
    """With the update gate shut the state is z_0 for ever; open, the first of 40 tokens is forgotten."""
    network = recurrent(8, 16, 1)
    x, noise = jax.random.normal(key, (1, 40, 2)), jnp.full((1, 1), 0.2)
    variables = filled(network, x, noise, scale=0.1)
    gru = variables["params"]["cell"]["Gru_0"]["Dense_0"]

    @jax.jit
    def reach(keep):
        shifted = jax.tree.map(lambda leaf: leaf, variables)
        gate = jnp.concatenate([jnp.zeros(8), jnp.full(8, keep), jnp.zeros(8)])
        shifted["params"]["cell"]["Gru_0"]["Dense_0"] = {**gru, "bias": gru["bias"] + gate}
        return jnp.abs(jax.grad(lambda x: network.apply(shifted, x, noise)[0, -1].sum())(x)[0, 0]).max()

    shut, slow, fast = reach(30.0), reach(3.0), reach(-3.0)
    assert shut < 1e-7
    assert slow > 1e-7
    assert fast < 1e-3 * slow


def test_parameters_by_hand(parameters):
    x, noise = jnp.zeros((1, 2, 5)), jnp.zeros((1, 1))
    embedding = (64 * 128 + 128) + (128 * 128 + 128)
    block = (128 * 2 * 16 + 2 * 16) + (16 * 16 + 16)
    into = (5 * 16 + 16) + 128 * 16 + 8 * 16
    gru = (16 * 24 + 24) + (8 * 24 + 24)
    read = (8 * 16 + 16) + 2 * 16 + (16 * 5 + 5)
    total = embedding + into + gru + read + 8
    assert parameters(recurrent(8, 16, 1), x, noise) == total + 2 * block
    assert parameters(recurrent(8, 16, 3), x, noise) == total + 6 * block
    stacked = (16 * 12 + 12) + (4 * 12 + 12) + 2 * (4 * 12 + 12)
    assert parameters(recurrent(8, 16, 1, grus=2), x, noise) == total + 2 * block - gru + stacked
    assert parameters(recurrent(8, 16, 1, outputs=2), x, noise) == total + 2 * block + 16 * 5 + 5


@every
def test_conditions_act_from_their_token_on(which, key, filled):
    plain, shape = NETWORKS[which]
    network = plain.clone(condition=3, labels=2)
    x, noise = jax.random.normal(key, shape), jnp.full((1, 1), 0.3)
    condition = jax.random.normal(key, (*shape[:2], 3))
    conditions = {"condition": condition, "label": jnp.array([0, 1])}
    variables = filled(network, x, noise, conditions, scale=0.2)
    apply = jax.jit(network.apply)
    out = apply(variables, x, noise, conditions)
    other = apply(variables, x, noise, {**conditions, "condition": condition.at[0, 2].add(1.0)})
    np.testing.assert_allclose(other[0, :2], out[0, :2], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(other[1], out[1], rtol=1e-5, atol=1e-5)
    assert jnp.abs(other[0, 2] - out[0, 2]).max() > 1e-4
    assert jnp.abs(other[0, 3] - out[0, 3]).max() > 1e-4
    relabelled = apply(variables, x, noise, {**conditions, "label": jnp.array([0, 0])})
    assert jnp.abs(relabelled[1] - out[1]).max() > 1e-3
    np.testing.assert_allclose(relabelled[0], out[0], rtol=1e-5, atol=1e-5)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="latent=8 does not divide into 3 GRUs"):
        recurrent(8, 16, 1, grus=3)
    with pytest.raises(ValueError, match="depth must be at least 1"):
        recurrent(8, 16, 0)
    with pytest.raises(ValueError, match="groups=4 must divide latent=6"):
        recurrent_image(6, 8, groups=4)
    with pytest.raises(ValueError, match=r"groups=4 must divide every width, but not \[6\]"):
        recurrent_image(4, 6, multipliers=(1, 2), groups=4)


@every
def test_bad_input_is_refused(case):
    network, variables, x, noise = case
    memory = network.apply(variables, x.shape[0], method="start")
    with pytest.raises(ValueError, match="the memory of x of shape .* got"):
        network.apply(variables, x, noise, {}, memory[:1], method="extend")
    with pytest.raises(ValueError, match="the network takes none"):
        network.apply(variables, x, noise, {"condition": jnp.zeros((*x.shape[:2], 1))})


def test_images_keep_to_their_shape():
    network, noise = recurrent_image(4, 4, groups=2), jnp.zeros((1, 1))
    with pytest.raises(ValueError, match="multiples of 2"):
        jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((2, 2, 5, 4, 1)), noise)
    with pytest.raises(ValueError, match="images"):
        jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((2, 2, 4)), noise)
