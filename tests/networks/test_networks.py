"""What all networks of tokens share: independence of tokens, outputs, the start at zero, wrong arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.networks.convnet import convnet
from diffusion_jax.networks.mlp import mlp
from diffusion_jax.networks.multiscale import multiscale
from diffusion_jax.networks.rbf import rbf
from diffusion_jax.networks.step_mlp import step_mlp

IMAGE = (2, 3, 4, 4, 2)
NETWORKS = {
    "mlp": lambda **kwargs: mlp(width=8, depth=2, **kwargs),
    "rbf": lambda **kwargs: rbf(units=5, steps=10, **kwargs),
    "step_mlp": lambda **kwargs: step_mlp(width=6, depth=2, steps=10, **kwargs),
    "multiscale": lambda **kwargs: multiscale(
        scales=2, filters=3, layers=1, dense_depth=1, bumps=4, **kwargs
    ),
    "convnet": lambda **kwargs: convnet(width=4, depth=1, multipliers=(1,), groups=2, **kwargs),
}
every = pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
of_t = pytest.mark.parametrize("name", ["rbf", "step_mlp", "multiscale"])


@pytest.fixture
def x(key):
    return jax.random.normal(key, IMAGE)


@every
def test_a_token_sees_only_itself_and_its_level(make, x, filled):
    network = make()
    noise = jnp.array([[0.2, 0.5, 0.8], [0.3, 0.3, 1.0]])
    apply = jax.jit(network.apply)
    variables = filled(network, x, noise)
    out = apply(variables, x, noise)
    moved = apply(variables, x.at[:, 1].add(1.0), noise.at[:, 1].set(0.9))
    np.testing.assert_array_equal(moved[:, [0, 2]], out[:, [0, 2]])
    assert jnp.abs(moved[:, 1] - out[:, 1]).max() > 1e-3
    swapped = apply(variables, x[:, ::-1], noise[:, ::-1])
    np.testing.assert_allclose(swapped[:, ::-1], out, rtol=1e-5, atol=1e-5)


@every
def test_two_outputs_double_the_last_axis(make, x):
    network = make(outputs=2)
    out, _ = jax.eval_shape(network.init_with_output, jax.random.key(0), x, jnp.full((1, 1), 0.5))
    assert out.shape == IMAGE[:-1] + (4,)


@every
def test_training_starts_from_zero_and_lowers_the_loss(make, x, key):
    network = make()
    noise = jnp.full((1, 1), 0.5)

    def loss(variables):
        return ((network.apply(variables, x, noise, train=True) - x) ** 2).mean()

    @jax.jit
    def descend(key):
        def step(variables, _):
            value, gradient = jax.value_and_grad(loss)(variables)
            return jax.tree.map(lambda v, g: v - 0.1 * g, variables, gradient), value

        return jax.lax.scan(step, network.init(key, x, noise), None, length=4)[1]

    losses = np.asarray(descend(key))
    np.testing.assert_allclose(losses[0], (x**2).mean(), rtol=1e-6)
    assert (np.diff(losses) < 0).all()


@every
def test_a_network_without_classes_refuses_labels(make, x):
    batch = {"label": jnp.array([0, 1])}
    with pytest.raises(ValueError, match="no classes.*labels="):
        jax.eval_shape(lambda key: make().init(key, x, jnp.full((1, 1), 0.5), batch), jax.random.key(0))


@every
@pytest.mark.parametrize("shape", [(), (2,), (3,), (2, 2), (3, 1), (2, 3, 1)])
def test_levels_that_do_not_broadcast_are_refused(make, x, shape):
    with pytest.raises(ValueError, match=r"\[#B, #T\].*\(2, 3\)"):
        jax.eval_shape(make().init, jax.random.key(0), x, jnp.full(shape, 0.5))


@of_t
@pytest.mark.parametrize("label", [-0.1, 1.5])
def test_a_label_that_is_not_t_is_refused_or_gives_nan(name, x, filled, label):
    network = NETWORKS[name]()
    wrong = jnp.full((1, 1), label)
    variables = filled(network, x, jnp.full((1, 1), 0.5))
    with pytest.raises(ValueError, match="level t in"):
        jax.eval_shape(lambda x: network.apply(variables, x, wrong), x)
    assert jnp.isnan(jax.jit(network.apply)(variables, x, wrong)).all()


@pytest.mark.parametrize("network", [multiscale(scales=2), convnet()], ids=["multiscale", "convnet"])
def test_image_networks_say_which_sides_are_possible(network):
    with pytest.raises(ValueError, match=r"multiples of 2 \(2, 4, 6, ...\); got 5 x 4"):
        jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 1, 5, 4, 1)), jnp.full((1, 1), 0.5))
    with pytest.raises(ValueError, match=r"images \[B, T, H, W, C\], got shape \(1, 4, 4, 1\)"):
        jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 4, 4, 1)), jnp.full((1, 1), 0.5))


@pytest.mark.parametrize(
    ("factory", "arguments", "message"),
    [
        (mlp, {"width": 0}, "width must be at least 1, got 0"),
        (mlp, {"labels": -1}, "labels must be at least 0"),
        (rbf, {"steps": 0}, "steps must be at least 1, got 0"),
        (step_mlp, {"steps": -3}, "steps must be at least 1, got -3"),
        (multiscale, {"scales": 0}, "scales must be at least 1"),
        (multiscale, {"pixel_depth": -1}, "pixel_depth must be at least 0"),
        (multiscale, {"layers": 0}, "no path"),
        (convnet, {"multipliers": ()}, "multipliers must be at least 1"),
        (convnet, {"width": 12, "groups": 8}, r"groups=8 must divide every width, but not \[12\]"),
    ],
)
def test_impossible_arguments_are_refused_when_built(factory, arguments, message):
    with pytest.raises(ValueError, match=message):
        factory(**arguments)


@pytest.mark.parametrize("name", ["mlp", "convnet"])
def test_bfloat16_computes_in_bfloat16_and_keeps_float32_parameters(name, x, filled):
    noise = jnp.full((1, 1), 0.5)
    full, half = NETWORKS[name](), NETWORKS[name](dtype="bfloat16")
    variables = filled(half, x, noise)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    out, exact = (jax.jit(network.apply)(variables, x, noise) for network in (half, full))
    assert out.dtype == jnp.float32
    error = float(jnp.abs(out - exact).max() / jnp.abs(exact).max())
    assert 1e-4 < error < 5e-2


@pytest.mark.parametrize("name", ["mlp", "convnet"])
def test_dropout_acts_only_in_training(name, x, filled):
    noise = jnp.full((1, 1), 0.5)
    network = NETWORKS[name](dropout=0.5)
    variables = filled(network, x, noise)

    @jax.jit
    def both(key):
        train = network.apply(variables, x, noise, train=True, rngs={"dropout": key})
        return network.apply(variables, x, noise), NETWORKS[name]().apply(variables, x, noise), train

    out, plain, one = both(jax.random.key(0))
    np.testing.assert_allclose(out, plain, rtol=1e-4, atol=1e-6)
    assert jnp.abs(one - both(jax.random.key(1))[2]).max() > 1e-3
    assert jnp.isfinite(one).all()


@pytest.mark.parametrize("name", ["mlp", "convnet"])
def test_no_label_is_the_null_class_and_labels_are_checked(name, x, filled):
    noise = jnp.full((1, 1), 0.5)
    network = NETWORKS[name](labels=3)
    variables = filled(network, x, noise)

    @jax.jit
    def classed(label):
        return network.apply(variables, x, noise, {"label": label})

    def apply(*label):
        return classed(jnp.array(label))

    def check(*label):
        return jax.eval_shape(lambda x: network.apply(variables, x, noise, {"label": np.array(label)}), x)

    nothing = jax.jit(network.apply)(variables, x, noise, None)
    np.testing.assert_allclose(apply(-1, -1), nothing, rtol=1e-4, atol=1e-6)
    mixed = apply(-1, 2)
    np.testing.assert_allclose(mixed[0], nothing[0], rtol=1e-4, atol=1e-6)
    assert jnp.abs(mixed[1] - nothing[1]).max() > 1e-3
    assert jnp.abs(apply(0, 1)[1] - mixed[1]).max() > 1e-3
    for wrong in ((0, 3), (-2, 0)):
        with pytest.raises(ValueError, match=r"0\.\.2, or be -1"):
            check(*wrong)
        unchecked = apply(*wrong)
        assert jnp.isnan(unchecked).any()
        assert jnp.isfinite(unchecked[wrong.index(0)]).all()
    with pytest.raises(ValueError, match=r"\[B\] = \(2,\), got \(1,\)"):
        check(0)
    with pytest.raises(TypeError, match="integer"):
        check(0.0, 1.0)
