"""Equivariant networks: symmetries to rounding, nodes that are not there, the published sizes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.networks.egnn import bumps, egnn
from diffusion_jax.networks.predictor import invariant

B, N, P, F = 2, 5, 3, 2
PRESENT = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 1, 0]])
NETWORKS = {
    "egnn": lambda: egnn(width=6, depth=2, outputs=2),
    "shared": lambda: egnn(width=6, depth=2, outputs=2, shared=True),
    "invariant": lambda: invariant(width=6, depth=2),
    "bumps": lambda: egnn(width=6, depth=2, outputs=2, bases=4),
    "invariant bumps": lambda: invariant(width=6, depth=2, bases=4),
}


@functools.cache
def program(name):
    network = NETWORKS[name]()
    return network, jax.jit(network.apply)


@pytest.fixture(params=NETWORKS)
def call(request, filled, x64):
    """(x, present) -> out in double precision, with random weights."""
    network, apply = program(request.param)
    noise = jnp.array([[0.3], [0.7]])
    variables = filled(network, jnp.zeros((B, N, P + F)), noise)
    return lambda x, present: apply(variables, x, noise, {"present": jnp.asarray(present)})


@pytest.fixture
def x(key, x64):
    return jax.random.normal(key, (B, N, P + F))


def parts(out):
    """Moves [B, N, 3] and what should not change; of a predictor, which has no nodes, None."""
    return (out[..., :P], out[..., P:]) if out.ndim == 3 else (None, out)


def turned(kind):
    """An orthogonal map of determinant 1, or -1."""
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(P, P)))
    return jnp.asarray(q * np.linalg.det(q) * (1 if kind == "rotation" else -1))


@pytest.mark.parametrize("kind", ["rotation", "reflection"])
def test_moves_turn_with_the_positions_and_nothing_else_changes(call, x, kind):
    q = turned(kind)
    moves, rest = parts(call(x, PRESENT))
    other, same = parts(call(x.at[..., :P].set(x[..., :P] @ q), PRESENT))
    np.testing.assert_allclose(same, rest, rtol=1e-9, atol=1e-9)
    assert jnp.abs(rest).max() > 1e-2
    if moves is not None:
        np.testing.assert_allclose(other, moves @ q, rtol=1e-9, atol=1e-9)
        assert jnp.abs(moves).max() > 1e-2


def test_shifted_positions_change_nothing(call, x):
    out = call(x, PRESENT)
    np.testing.assert_allclose(call(x.at[..., :P].add(7.0), PRESENT), out, rtol=1e-9, atol=1e-9)


def test_nodes_have_no_order(call, x):
    order = np.array([3, 0, 4, 2, 1])
    out, other = call(x, PRESENT), call(x[:, order], PRESENT[:, order])
    np.testing.assert_allclose(other, out[:, order] if out.ndim == 3 else out, rtol=1e-9, atol=1e-9)


def test_nodes_that_are_not_there_change_nothing_and_are_zero(call, x):
    out = call(x, PRESENT)
    np.testing.assert_array_equal(call(x.at[1, 2].set(jnp.nan).at[1, 4].set(9.0), PRESENT), out)
    moved = call(x.at[1, 3].add(0.5), PRESENT)
    assert jnp.abs(moved[1] - out[1]).max() > 1e-3
    if out.ndim == 3:
        np.testing.assert_array_equal(out[1, PRESENT[1] == 0], 0.0)


def test_the_moves_have_no_mean_over_the_nodes(call, x):
    moves, _ = parts(call(x, PRESENT))
    if moves is None:
        pytest.skip("has no moves")
    np.testing.assert_allclose(moves.sum(1), 0.0, atol=1e-12)


def test_padding_is_the_same_as_a_smaller_graph(call, x):
    there = PRESENT[1] == 1
    padded, alone = call(x, PRESENT)[1], call(x[:, there], np.ones((B, 3), int))[1]
    np.testing.assert_allclose(padded[there] if padded.ndim == 2 else padded, alone, rtol=1e-9, atol=1e-12)


def test_a_position_has_one_variance_for_all_of_its_entries(call, x):
    out = call(x, PRESENT)
    if out.ndim < 3:
        pytest.skip("has no nodes")
    second = out[:1, :, P + F :]
    np.testing.assert_array_equal(second[..., :P], jnp.repeat(second[..., :1], P, axis=-1))
    assert (second[..., 0] != second[..., P]).all()


def test_a_bump_is_one_at_its_centre_and_its_neighbours_stand_a_deviation_off():
    squares = jnp.array([[0.0], [1.0], [2.25], [9.0], [100.0]])
    found = bumps(squares, 4, 3.0)
    wanted = np.exp(-0.5 * np.array([[0, 1, 4, 9], [1, 0, 1, 4], [2.25, 0.25, 0.25, 2.25], [9, 4, 1, 0]]))
    np.testing.assert_allclose(found[:4], wanted, atol=2e-4)
    np.testing.assert_allclose(found[4], 0.0, atol=1e-6)
    assert bumps(squares, 0, 3.0).shape == (5, 0)


@pytest.mark.parametrize("bases", [0, 3])
def test_gradients_are_finite_where_nodes_meet_and_where_there_are_none(bases, filled):
    network = egnn(width=4, depth=1, bases=bases)
    x, noise = jnp.zeros((2, 3, 3)), jnp.full((1, 1), 0.4)
    variables = filled(network, x, noise)
    present = jnp.array([[1, 1, 1], [0, 0, 0]])

    def total(variables, x):
        return (network.apply(variables, x, noise, {"present": present}) ** 2).sum()

    for leaf in jax.tree.leaves(jax.jit(jax.grad(total, argnums=(0, 1)))(variables, x)):
        assert np.isfinite(leaf).all()


def test_published_sizes(parameters):
    """By hand, of width H: layers of 9 H^2 + 12 H + 1, or 7 H^2 + 9 H + 1 where moves see the messages.

    The generator has a type and the time as features, and reads one value out; of the predictor's last layer,
    H^2 + 2 H are moves, which are left out.
    """
    x, noise = jnp.zeros((1, 11, 4)), jnp.zeros((1, 1))
    assert parameters(egnn(), x, noise) == 9 * 334_081 + 3 * 192 + 193 == 3_007_498
    assert parameters(invariant(), x, noise) == 12 * 270_677 + 3 * 196 - 38_808 == 3_209_904


def test_what_does_not_fit_is_refused(key):
    network, x, noise = egnn(width=4, depth=1), jnp.zeros((2, 3, 4)), jnp.zeros((2, 1))
    for conditions, message in (
        ({"present": jnp.ones((2, 4))}, r"present must be \[B, N\]"),
        ({"present": jnp.full((2, 3), 0.5)}, "present is 1 where"),
        ({"label": jnp.zeros(2, int)}, "label"),
        ({"latents": jnp.zeros((2, 1), int)}, "latents"),
    ):
        with pytest.raises(ValueError, match=message):
            network.init(key, x, noise, conditions)
    for wrong in (x[..., :2], x[:, :, None]):
        with pytest.raises(ValueError, match="a graph is"):
            network.init(key, wrong, noise)
    for make in (egnn, invariant):
        with pytest.raises(ValueError, match="reach must be positive"):
            make(reach=0.0)
        with pytest.raises(ValueError, match="depth must be at least 1"):
            make(depth=0)
        with pytest.raises(ValueError, match="bases must be 0 or at least 2"):
            make(bases=1)
        with pytest.raises(ValueError, match="span positive"):
            make(bases=4, span=-1.0)
