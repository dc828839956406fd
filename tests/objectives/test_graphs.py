"""Objectives on graphs: noise without a centre, nodes that are not there, numbers of nodes."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.build import build
from diffusion_jax.objectives.graphs import drawn_nodes, graphs
from diffusion_jax.processes import vp_linear
from diffusion_jax.sampling.ancestral import ancestral
from diffusion_jax.sampling.loop import sample

N, D = 4, 5
PRESENT = jnp.array([[1.0, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0]])


class Zero(nn.Module):
    """F = 0, whatever it sees."""

    @nn.compact
    def __call__(self, x, noise, conditions=None, train=False):
        return x * self.param("zero", nn.initializers.zeros, ())


class Careless(nn.Module):
    """F = 1 + x: neither centred nor 0 where there is no node."""

    @nn.compact
    def __call__(self, x, noise, conditions=None, train=False):
        return 1 + x * self.param("one", nn.initializers.ones, ())


def spec(network, **arguments):
    return {
        "name": "graphs",
        "objective": {
            "name": "denoising",
            "network": network,
            "coefficients": "eps",
            "levels": {"name": "per_sample", "levels": "low_discrepancy"},
            "weight": "eps",
        },
        "process": "vp_linear",
        **arguments,
    }


def test_the_loss_of_no_network_is_the_dimension_of_the_noise(key):
    """All nodes in one place: eps is all there is, and F = 0 leaves |C eps|^2, of 3 (n - 1)/n + 2 a node."""
    count = 3000
    present = jnp.repeat(PRESENT, count, axis=0)
    batch = {"x": jnp.zeros((3 * count, N, D)), "mask": present, "present": present}
    objective = build("objective", spec(Zero()))
    loss = jax.jit(objective.loss)(objective.init(key, batch), key, batch)
    each = (loss.value * loss.weight).reshape(3, count, N).sum((1, 2)) / (count * PRESENT.sum(1))
    np.testing.assert_allclose(each, [3 * 3 / 4 + 2, 3 * 2 / 3 + 2, 3 * 1 / 2 + 2], rtol=0.03)
    np.testing.assert_array_equal((loss.value * (1 - present)), 0.0)


def test_estimates_have_their_centre_at_zero_whatever_the_network_and_the_data(key):
    objective = build("objective", spec(Careless()))
    x = jax.random.normal(key, (3, N, D))
    bound = objective.bind(objective.init(key, {"x": x}), key, {"present": PRESENT})
    estimate = bound.denoiser(x, jnp.asarray(0.4))
    np.testing.assert_allclose(estimate[..., :3].sum(1), 0.0, atol=1e-5)
    np.testing.assert_array_equal(estimate * (1 - PRESENT[..., None]), 0.0)
    shifted = x.at[..., :3].add(2.0) + 5 * (1 - PRESENT[..., None])
    np.testing.assert_allclose(bound.denoiser(shifted, jnp.asarray(0.4)), estimate, rtol=1e-4, atol=1e-5)
    assert jnp.abs(estimate[..., 3:] * PRESENT[..., None]).max() > 0


def test_samples_have_drawn_numbers_of_nodes_that_their_seeds_tell(key):
    objective = build("objective", spec(Careless(), sizes=(0, 1, 0, 1)))
    variables = objective.init(key, {"x": jnp.zeros((1, N, D))})
    seeds = jnp.arange(6)
    bound = objective.bind(variables, key, {"seed": seeds})
    nodes = bound.process.present.sum(1)
    assert set(np.asarray(nodes).tolist()) == {2.0, 4.0}
    other = objective.bind(variables, key, {"seed": seeds[::-1]})
    np.testing.assert_array_equal(other.process.present, bound.process.present[::-1])
    given = objective.bind(variables, key, {"seed": seeds[:3], "present": PRESENT})
    np.testing.assert_array_equal(given.process.present, PRESENT)
    start = bound.process.prior((6, N, D)).sample(key)
    x = sample(key, bound.denoiser, ancestral(bound.process), start, jnp.array([1.0, 0.5, 0.0]))
    np.testing.assert_array_equal((x != 0).any(-1).sum(1), nodes)
    with pytest.raises(ValueError, match="neither `present` nor `seed`"):
        objective.bind(variables, key, {})


def test_numbers_of_nodes_follow_their_weights(key):
    sizes = (1, 0, 5, 2)
    nodes = drawn_nodes(jax.random.split(key, 8000), sizes).sum(1)
    found = np.bincount(np.asarray(nodes).astype(int), minlength=5)[1:] / 8000
    np.testing.assert_allclose(found, np.array(sizes) / 8, atol=0.02)
    assert found[1] == 0


def test_the_network_sees_which_nodes_are_there(key):
    """The library's own on graphs: what stands where there is no node changes no loss."""
    objective = build("objective", spec({"name": "egnn", "width": 4, "depth": 1}))
    x = objective_data(key)
    batch = {"x": x, "mask": PRESENT, "present": PRESENT}
    variables = objective.init(key, batch)
    compiled = jax.jit(objective.loss)
    loss = compiled(variables, key, batch)
    other = compiled(variables, key, {**batch, "x": x + 3 * (1 - PRESENT[..., None])})
    np.testing.assert_allclose(other.value * PRESENT, loss.value * PRESENT, rtol=1e-5)


def objective_data(key):
    """Centred graphs [3, N, D]."""
    x = jax.random.normal(key, (3, N, D)) * PRESENT[..., None]
    centre = x.sum(1, keepdims=True) / PRESENT.sum(1)[:, None, None]
    return (x - centre * (jnp.arange(D) < 3)[None, None]) * PRESENT[..., None]


def test_what_does_not_fit_is_refused():
    waiting = spec(Zero())
    ready = build("objective", {**waiting["objective"], "process": "vp_linear"})
    with pytest.raises(TypeError, match="without `process`"):
        graphs(ready, vp_linear())
    with pytest.raises(TypeError, match="Gaussian"):
        build("objective", {**waiting, "process": "binomial"})
    for sizes in ((), (0, 0), (1, -1), (1, np.nan)):
        with pytest.raises(ValueError, match="sizes are weights"):
            build("objective", spec(Zero(), sizes=sizes))
