"""The transformer: what each token sees, positions, its memory, its conditions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.networks.transformer import rotate, rotation, transformer

B, T, F = 2, 12, 3


@pytest.fixture
def data(key):
    return jax.random.normal(key, (B, T, F)), jax.random.uniform(jax.random.fold_in(key, 1), (B, T))


@pytest.fixture
def drawn(filled):
    """Variables of moderate size, so that outputs are of the size of 1."""
    return lambda *arguments: filled(*arguments, scale=0.1)


def rolled(network, variables, x, noise, lengths, conditions=None):
    """The output of x handed over in pieces of these lengths, and the last memory."""
    conditions = conditions or {}

    @jax.jit
    def extend(x, noise, conditions, memory):
        return network.apply(variables, x, noise, conditions, memory, method="extend")

    memory = network.apply(variables, x.shape[0], x.dtype, method="start")
    ends = np.cumsum(lengths)
    out = []
    for start, end in zip(ends - lengths, ends):
        now = {**conditions}
        if "condition" in conditions:
            now["condition"] = conditions["condition"][:, start:end]
        piece, memory = extend(x[:, start:end], noise[:, start:end], now, memory)
        out.append(piece)
    return jnp.concatenate(out, axis=1), memory


def influence(network, variables, x, noise):
    """Whether output i depends on token j, and on its level: two of bool [T, T]."""

    def total(x, noise):
        return network.apply(variables, x, noise)[0].sum(-1)

    of_x, of_noise = jax.jit(jax.jacobian(total, (0, 1)))(x, noise)
    return (of_x[:, 0] != 0).any(-1), of_noise[:, 0] != 0


@pytest.mark.parametrize(
    ("arguments", "seen"),
    [
        ({}, lambda i, j: np.full(np.broadcast_shapes(i.shape, j.shape), True)),
        ({"window": 3}, lambda i, j: abs(i - j) < 3),
        ({"causal": True}, lambda i, j: j <= i),
        ({"causal": True, "window": 3}, lambda i, j: (j <= i) & (i - j < 3)),
    ],
    ids=["all", "near", "causal", "recent"],
)
def test_each_token_sees_what_it_should_and_nothing_else(data, drawn, arguments, seen):
    network = transformer(16, 1, 2, **arguments)
    variables = drawn(network, *data)
    token = np.arange(T)
    wanted = seen(token[:, None], token[None])
    for found in influence(network, variables, *data):
        np.testing.assert_array_equal(found, wanted)


def test_positions_turn_by_exact_angles_however_far():
    """The angle of a lone pair, and of position 2^31 - 3, against exact integer arithmetic."""
    cos, sin = rotation(np.array([[1, 2, 2**31 - 3]]), 4)
    np.testing.assert_allclose(cos[0, 0, :2, 0], np.cos([1.0, 2.0]), atol=1e-6)
    np.testing.assert_allclose(sin[0, 0, :2, 1], np.sin([0.01, 0.02]), atol=1e-7)
    turn = round(2**32 / (2 * np.pi))
    exact = 2 * np.pi * ((2**31 - 3) * turn % 2**32) / 2**32
    np.testing.assert_allclose([cos[0, 0, 2, 0], sin[0, 0, 2, 0]], [np.cos(exact), np.sin(exact)], atol=1e-6)


def test_products_of_turned_vectors_know_the_distance_alone(key):
    q, k = jax.random.normal(key, (2, 1, 1, 1, 8))

    def product(i, j):
        return (rotate(q, *rotation(np.array([[i]]), 8)) * rotate(k, *rotation(np.array([[j]]), 8))).sum()

    near = product(7, 3)
    np.testing.assert_allclose(product(1_000_007, 1_000_003), near, rtol=1e-4, atol=1e-5)
    assert abs(product(3, 7) - near) > 1e-2


def test_only_distances_matter(data, drawn):
    """A sequence that starts later has the same outputs, given that it cannot see what came before."""
    network = transformer(16, 2, 2, causal=True, window=3)
    x, noise = data
    variables = drawn(network, x, noise)
    apply = jax.jit(network.apply)
    late = apply(variables, x, noise)
    early = apply(variables, x[:, 3:], noise[:, 3:])
    np.testing.assert_allclose(late[:, 7:], early[:, 4:], rtol=1e-4, atol=1e-4)
    assert jnp.abs(late[:, 3:7] - early[:, :4]).max() > 1e-2


@pytest.mark.parametrize("lengths", [[1] * T, [4, 4, 4]], ids=["single", "pieces"])
def test_tokens_one_by_one_are_the_whole_sequence(data, drawn, lengths):
    network = transformer(16, 2, 2, causal=True, condition=2, positions=T)
    x, noise = data
    conditions = {"condition": x[..., :2] ** 2}
    variables = drawn(network, x, noise, conditions)
    out, memory = rolled(network, variables, x, noise, lengths, conditions)
    whole = jax.jit(network.apply)(variables, x, noise, conditions)
    np.testing.assert_allclose(out, whole, rtol=1e-5, atol=1e-5)
    assert all(leaf.shape[0] == B for leaf in jax.tree.leaves(memory))
    np.testing.assert_array_equal(memory.count, [T, T])


@pytest.mark.parametrize("lengths", [[1] * T, [3, 3, 3, 3]], ids=["single", "pieces"])
def test_a_full_memory_forgets_the_oldest(data, drawn, lengths):
    """Past the end of the ring each block sees the last `positions` tokens: a window over the sequence."""
    network = transformer(16, 2, 2, causal=True, positions=4)
    x, noise = data
    variables = drawn(network, x[:, :4], noise[:, :4])
    out, memory = rolled(network, variables, x, noise, lengths)
    sliding = transformer(16, 2, 2, causal=True, window=4)
    wanted = jax.jit(sliding.apply)(variables, x, noise)
    np.testing.assert_allclose(out, wanted, rtol=1e-5, atol=1e-5)
    assert memory.keys[0].shape == (B, 2, 4, 8)
    full = jax.jit(transformer(16, 2, 2, causal=True).apply)(variables, x, noise)
    assert jnp.abs(full - wanted).max() > 1e-2


def test_memory_runs_inside_a_scan(data, drawn):
    network = transformer(16, 2, 2, causal=True, window=5)
    x, noise = data
    variables = drawn(network, x, noise)

    def step(memory, token):
        out, memory = network.apply(
            variables, token[0][:, None], token[1][:, None], {}, memory, method="extend"
        )
        return memory, out[:, 0]

    start = network.apply(variables, B, method="start")
    _, out = jax.jit(lambda: jax.lax.scan(step, start, (x.swapaxes(0, 1), noise.T)))()
    wanted = jax.jit(network.apply)(variables, x, noise)
    np.testing.assert_allclose(out.swapaxes(0, 1), wanted, rtol=1e-5, atol=1e-5)


def test_labels_and_conditions_reach_their_tokens(data, drawn):
    x, noise = data
    network = transformer(16, 1, 2, causal=True, labels=3, condition=4)
    condition = jnp.ones((B, T, 2, 2))
    conditions = {"label": jnp.array([0, 2]), "condition": condition}
    variables = drawn(network, x, noise, conditions)
    apply = jax.jit(network.apply)
    out = apply(variables, x, noise, conditions)
    other = apply(variables, x, noise, {**conditions, "label": jnp.array([0, -1])})
    np.testing.assert_allclose(other[0], out[0], rtol=1e-5, atol=1e-5)
    assert jnp.abs(other[1] - out[1]).min(-1).max() > 1e-3
    later = apply(variables, x, noise, {**conditions, "condition": condition.at[:, 5].set(2.0)})
    np.testing.assert_allclose(later[:, :5], out[:, :5], rtol=1e-5, atol=1e-5)
    assert jnp.abs(later[:, 5] - out[:, 5]).max() > 1e-3


def test_frames_come_back_in_their_shape(key, parameters):
    x, noise = jax.random.normal(key, (B, 3, 4, 2)), jnp.full((1, 1), 0.3)
    network = transformer(16, 1, 2, outputs=2)
    assert jax.eval_shape(network.init_with_output, key, x, noise)[0].shape == (B, 3, 4, 4)
    embedding = (64 * 128 + 128) + (128 * 128 + 128)
    vectors = 128 * 6 * 16 + 6 * 16 + 128 * 2 * 16 + 2 * 16
    block = 6 * 16 + 4 * 16 * 16 + 16 + 2 * 4 * 16 * 16 + 5 * 16
    assert parameters(network, x, noise) == embedding + vectors + block + (8 * 16 + 16) + (16 * 16 + 16)


def test_dropout_is_for_training(data, drawn):
    network = transformer(16, 1, 2, dropout=0.5)
    variables = drawn(network, *data)

    def train(seed):
        return network.apply(variables, *data, train=True, rngs={"dropout": jax.random.key(seed)})

    outputs = jax.jit(jax.vmap(train))(jnp.arange(400))
    assert jnp.abs(outputs[0] - outputs[1]).max() > 1e-3
    still = jax.jit(network.apply)(variables, *data)
    np.testing.assert_allclose(outputs.mean(0), still, atol=0.1 * jnp.abs(still).max())


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="even multiple of heads, got width=12, heads=4"):
        transformer(12, 1, 4)
    with pytest.raises(ValueError, match="depth must be at least 1"):
        transformer(16, 0, 2)
    with pytest.raises(ValueError, match="window must be at least 1"):
        transformer(16, 1, 2, window=0)


def test_bad_input_is_refused(data):
    x, noise = data
    network = transformer(16, 1, 2, causal=True, positions=T - 1)
    with pytest.raises(ValueError, match="horizon longer than positions: 12 tokens, positions=11"):
        jax.eval_shape(network.init, jax.random.key(0), x, noise)
    network = transformer(16, 1, 2, condition=2)
    for conditions, message in [
        ({}, "built with condition=2, but the batch holds no"),
        ({"condition": jnp.zeros((B, T, 3))}, r"2 features .* got shape \(2, 12, 3\)"),
        ({"condition": jnp.zeros((B, T + 1, 2))}, r"\(2, 12\); got shape"),
    ]:
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(network.init, jax.random.key(0), x, noise, conditions)
    with pytest.raises(TypeError, match="condition must be floating"):
        jax.eval_shape(network.init, jax.random.key(0), x, noise, {"condition": jnp.zeros((B, T, 2), int)})
    with pytest.raises(ValueError, match="the network takes none"):
        jax.eval_shape(
            transformer(16, 1, 2).init, jax.random.key(0), x, noise, {"condition": jnp.zeros((B, T, 2))}
        )


def test_memory_needs_a_causal_network_and_its_own_batch(data, drawn):
    x, noise = data
    network = transformer(16, 1, 2)
    variables = drawn(network, x, noise)
    with pytest.raises(ValueError, match="no memory to extend: build it with causal=True"):
        network.apply(variables, B, method="start")
    causal = transformer(16, 1, 2, causal=True)
    memory = causal.apply(variables, B, method="start")
    with pytest.raises(ValueError, match="no memory to extend"):
        network.apply(variables, x, noise, {}, memory, method="extend")
    with pytest.raises(ValueError, match="memory is of 2 samples, x is of 1"):
        causal.apply(variables, x[:1], noise[:1], {}, memory, method="extend")
