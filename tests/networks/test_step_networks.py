"""The networks of 2015 with a read-out for each step."""

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.networks.rbf import rbf
from diffusion_jax.networks.step_mlp import step_mlp


def test_parameters_of_the_paper(parameters):
    noise = jnp.zeros((1, 1))
    swiss_roll = rbf(units=16, steps=40, outputs=2)
    assert parameters(swiss_roll, jnp.zeros((1, 1, 2)), noise) == 16 * 2 + 16 + 41 * (16 * 4 + 4)
    heartbeat = step_mlp(width=50, depth=3, steps=2000)
    hidden = 20 * 50 + 50 + 2 * (50 * 50 + 50)
    assert parameters(heartbeat, jnp.zeros((1, 1, 20)), noise) == hidden + 2001 * (50 * 20 + 20)


@pytest.mark.parametrize("make", [rbf, step_mlp], ids=["rbf", "step_mlp"])
@pytest.mark.parametrize("steps", [7, 2000])
def test_every_level_of_the_grid_reads_its_own_row(make, steps, filled):
    network = make(3, steps=steps)
    t = jnp.linspace(0.0, 1.0, steps + 1)[None]  # float32 points, not exactly k/steps
    x = jnp.zeros((1, steps + 1, 1))
    variables = jax.tree.map(jnp.zeros_like, filled(network, x, t))
    flat = flax.traverse_util.flatten_dict(variables, sep="/")
    name = next(name for name in flat if name.endswith("StepReadout_0/bias"))
    flat[name] = jnp.arange(steps + 1.0)[:, None]
    out = jax.jit(network.apply)(flax.traverse_util.unflatten_dict(flat, sep="/"), x, t)
    np.testing.assert_array_equal(out[0, :, 0], np.arange(steps + 1))


def test_levels_between_steps_go_to_the_nearest(filled, key):
    network = step_mlp(4, 1, steps=4)
    x = jax.random.normal(key, (1, 1, 3))
    variables = filled(network, x, jnp.zeros((1, 1)))
    apply = jax.jit(network.apply)
    read = lambda t: apply(variables, x, jnp.full((1, 1), t))  # noqa: E731
    np.testing.assert_array_equal(read(0.6), read(0.5))
    np.testing.assert_array_equal(read(0.65), read(0.75))
    assert jnp.abs(read(0.5) - read(0.75)).max() > 1e-3


def test_only_the_read_out_of_the_step_learns(filled, key):
    network = step_mlp(4, 1, steps=4)
    x = jax.random.normal(key, (2, 1, 3))
    noise = jnp.array([[0.25], [1.0]])
    variables = filled(network, x, noise)
    gradient = jax.jit(jax.grad(lambda v: (network.apply(v, x, noise) ** 2).sum()))(variables)
    touched = jnp.abs(gradient["params"]["StepReadout_0"]["kernel"]).sum((1, 2)) > 0
    np.testing.assert_array_equal(touched, [False, True, False, False, True])


def test_activations_sum_to_one_and_the_nearest_centre_wins(filled):
    network = rbf(units=3, steps=2)
    x = jnp.array([[[0.0, 0.0], [2.0, 0.0], [900.0, -900.0]]])
    variables = filled(network, x, jnp.zeros((1, 1)))
    variables["params"]["centres"] = jnp.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    variables["params"]["log_widths"] = jnp.zeros(3)
    _, seen = network.apply(
        variables, x, jnp.zeros((1, 1)), capture_intermediates=lambda _, method: method == "activations"
    )
    (activations,) = seen["intermediates"]["activations"]
    np.testing.assert_allclose(activations.sum(-1), 1.0, rtol=1e-6)
    far = np.exp(-2.0)  # a centre at distance 2, width 1
    farther = np.exp(-4.0)  # at distance sqrt(8)
    np.testing.assert_allclose(activations[0, 0], np.array([1, far, far]) / (1 + 2 * far), rtol=1e-6)
    np.testing.assert_allclose(
        activations[0, 1], np.array([far, 1, farther]) / (1 + far + farther), rtol=1e-6
    )
    np.testing.assert_allclose(activations[0, 2], [0, 1, 0], atol=1e-6)  # normalised even where all are tiny
