"""Group norm against float64, dense layers and convolutions against Flax's, dropout's rate, pooling."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.networks.layers import Dense, Dropout, GroupNorm, LoopConv, pool, silu, upsample


def reference(x, groups, scale, shift):
    """Group norm in float64, one group at a time."""
    x = np.asarray(x, np.float64)
    out = np.empty_like(x)
    size = x.shape[-1] // groups
    for index in np.ndindex(*x.shape[:2], groups):
        part = (*index[:2], slice(None), slice(None), slice(index[2] * size, (index[2] + 1) * size))
        out[part] = (x[part] - x[part].mean()) / np.sqrt(x[part].var() + 1e-5)
    return out * (1 + np.asarray(scale, np.float64)) + np.asarray(shift, np.float64)


@pytest.mark.parametrize(("offset", "tolerance"), [(0.0, 3e-6), (100.0, 3e-5), (1e4, 2e-3)])
def test_group_norm_is_exact_at_a_large_offset(offset, tolerance, key):
    """At 1e4 float32 itself resolves 1e-3; E[x^2] - mu^2 would leave nothing of a variance of 1."""
    a, b, c, d = jax.random.split(key, 4)
    x = offset + jax.random.normal(a, (2, 3, 16, 16, 8)) + jax.random.normal(b, (1, 1, 1, 1, 8))
    scale, shift = jax.random.normal(c, (2, 1, 8)), jax.random.normal(d, (1, 3, 8))
    layer = GroupNorm(4)
    variables = layer.init(key, x)
    out = jax.jit(layer.apply)(variables, x, scale, shift)
    wanted = reference(x, 4, scale[:, :, None, None], shift[:, :, None, None])
    np.testing.assert_allclose(out, wanted, atol=tolerance * np.abs(wanted).max())


def test_group_norm_has_the_gradient_of_the_definition(key, x64):
    """The shift whose gradient is stopped must not show: against finite differences in float64."""
    a, b = jax.random.split(key)
    x = 3.0 + jax.random.normal(a, (1, 1, 2, 2, 4), jnp.float64)
    weights = jax.random.normal(b, x.shape, jnp.float64)
    layer = GroupNorm(2)
    variables = layer.init(key, x)
    gradient = jax.jit(jax.grad(lambda x: (layer.apply(variables, x) * weights).sum()))(x)
    numeric = np.zeros(x.shape)
    for index in np.ndindex(*x.shape):
        step = np.zeros(x.shape)
        step[index] = 1e-5
        change = reference(np.asarray(x) + step, 2, 0.0, 0.0) - reference(np.asarray(x) - step, 2, 0.0, 0.0)
        numeric[index] = (change * np.asarray(weights)).sum() / 2e-5
    np.testing.assert_allclose(gradient, numeric, atol=1e-5)


def test_group_norm_of_bfloat16_keeps_float32_statistics(key):
    x = (20 + jax.random.normal(key, (1, 1, 32, 32, 8))).astype(jnp.bfloat16)
    layer = GroupNorm(2)
    out = layer.apply(layer.init(key, x), x)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_allclose(out.astype(jnp.float32), reference(x, 2, 0.0, 0.0), atol=2e-2)


def test_group_norm_refuses_groups_that_do_not_divide(key):
    with pytest.raises(ValueError, match="6 channels do not divide into 4 groups"):
        GroupNorm(4).init(key, jnp.zeros((1, 1, 2, 2, 6)))


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_keeps_the_mean_at_its_rate(rate, key):
    out = Dropout(rate).apply({}, jnp.ones(200_000), True, rngs={"dropout": key})
    error = 5 * np.sqrt(rate / (1 - rate) / out.size)
    assert abs(float(out.mean()) - 1) < error
    assert abs(float((out == 0).mean()) - rate) < error
    assert len(np.unique(out)) == 2


@pytest.mark.parametrize("shape", [(200, 3), (400, 33)])
def test_dropout_of_odd_widths_draws_every_element_by_itself(shape, key):
    kept = np.asarray(Dropout(0.5).apply({}, jnp.ones(shape), True, rngs={"dropout": key})) > 0
    assert np.abs(kept.mean(0) - 0.5).max() < 0.2
    assert len({tuple(column) for column in kept.T}) == shape[-1]


def test_silu_and_its_slope_are_right_and_finite_everywhere(x64):
    x = np.array([-1000.0, -90.0, -3.0, -0.1, 0.0, 0.7, 5.0, 1000.0])
    with np.errstate(over="ignore"):
        share = 1 / (1 + np.exp(-x))
    np.testing.assert_allclose(silu(x), x * share, rtol=1e-12, atol=1e-30)
    numeric = (silu(x + 1e-6) - silu(x - 1e-6)) / 2e-6
    np.testing.assert_allclose(jax.vmap(jax.grad(silu))(x), numeric, atol=1e-8)
    assert jnp.isfinite(jax.vmap(jax.grad(silu))(x.astype(np.float32))).all()


def test_dropout_refuses_a_rate_of_one(key):
    with pytest.raises(ValueError, match=r"\[0, 1\), got 1.0"):
        Dropout(1.0).apply({}, jnp.ones(3), True, rngs={"dropout": key})


def test_pooling_undoes_upsampling_and_averages_blocks(key):
    x = jax.random.normal(key, (2, 1, 3, 5, 2))
    np.testing.assert_allclose(pool(upsample(x)), x, rtol=1e-6)
    np.testing.assert_array_equal(upsample(x, 4)[:, :, 3::4, ::4], x)
    one = jnp.arange(16.0).reshape(1, 1, 4, 4, 1)
    np.testing.assert_array_equal(pool(one)[0, 0, :, :, 0], [[2.5, 4.5], [10.5, 12.5]])


@pytest.mark.parametrize(
    ("ours", "flax"), [(Dense(4), nn.Dense(4)), (LoopConv(4), nn.Conv(4, (3, 3)))], ids=["dense", "conv"]
)
def test_layers_and_their_gradients_are_those_of_flax(ours, flax, key):
    x, wanted = jax.random.normal(key, (2, 3, 5, 6, 2)), jnp.linspace(-1.0, 1.0, 2 * 3 * 5 * 6 * 4)
    params = jax.tree.map(lambda leaf: leaf + 0.1, jax.jit(flax.init)(key, x))
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, jax.eval_shape(ours.init, key, x))

    def loss(params, x, layer):
        return (jnp.tanh(layer.apply(params, x)).ravel() * wanted).sum()

    gradient = jax.jit(jax.value_and_grad(loss, (0, 1)), static_argnums=2)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
        gradient(params, x, ours),
        gradient(params, x, flax),
    )
