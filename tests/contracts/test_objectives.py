"""What every objective promises, by discovery."""

import inspect
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax import build as building
from diffusion_jax.build import build
from diffusion_jax.types import Objective

SPREAD = 0.5
"""Standard deviation of the data of which `Exact` is the denoiser."""


class Exact(nn.Module):
    """(1 + error) times x0_hat of N(0, SPREAD^2) data under a variance-preserving process."""

    @nn.compact
    def __call__(self, x, noise, conditions=None, train=False):
        error = self.param("error", nn.initializers.zeros, ())
        ratio = jnp.exp(4 * noise).reshape(noise.shape + (1,) * (x.ndim - 2))
        gain = jnp.sqrt(1 + ratio**2) * SPREAD**2 / (SPREAD**2 + ratio**2)
        return (1 + error) * gain * x


@pytest.fixture
def objective(objective_spec):
    return build("objective", objective_spec)


@pytest.fixture
def batch(objective_spec, key):
    """Data that the example's process can carry, [4, T, ...]."""
    shape, spec = (4, 2, 3), {**objective_spec, **objective_spec.get("objective", {})}
    if "support" in spec:
        shape = (4, *build("support", spec["support"]).points.shape[1:])
    x, other = (
        build("process", spec["process"]).prior(shape).sample(one) for one in (key, jax.random.key(1))
    )
    x, other = (0.5 * one if jnp.unique(one).size > 2 else one for one in (x, other))
    target = jnp.stack([x.sum((1, 2)), (x**2).sum((1, 2))], axis=1) if x.ndim == 3 else x[:, 0]
    return {"x": x, "mask": jnp.ones(shape[:2]), "target": target, "context": {"x": other[:3]}}


def reduced(objective, variables, key, batch):
    """As the training step reduces, without the carried state."""
    loss = objective.loss(variables, key, batch)
    weight = jnp.broadcast_to(loss.weight, batch["x"].shape[:2])
    return (weight * jnp.broadcast_to(loss.value, weight.shape)).sum() / jnp.maximum(weight.sum(), 1)


def gradient(objective, variables, key, batch):
    return jax.jit(
        jax.grad(lambda params: reduced(objective, variables._replace(params=params), key, batch))
    )(variables.params)


def test_a_loss_is_unreduced_and_carries_its_state(objective, batch, key):
    assert isinstance(objective, Objective)
    variables = objective.init(key, batch)
    loss = jax.jit(objective.loss)(variables, key, batch)
    for value in (loss.value, loss.weight, *loss.metrics.values()):
        assert value.ndim == 2
        assert all(n in (1, m) for n, m in zip(value.shape, batch["x"].shape[:2]))
        assert value.shape[0] == batch["x"].shape[0]
        assert np.isfinite(value).all()
    for a, b in zip(jax.tree.leaves(loss.state), jax.tree.leaves(variables.state), strict=True):
        assert (a.shape, a.dtype) == (jnp.shape(b), jnp.asarray(b).dtype)


def test_gradients_are_finite(objective, batch, key):
    variables = objective.init(key, batch)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(objective, variables, key, batch)):
        assert np.isfinite(leaf).all(), path


def test_masked_samples_have_no_gradient(objective, batch, key):
    variables = objective.init(key, batch)
    masked = batch["mask"].at[1].set(0.0)
    assert (jnp.broadcast_to(objective.loss(variables, key, batch).weight, masked.shape) == 1).all()
    one = gradient(objective, variables, key, {**batch, "mask": masked})
    other = gradient(
        objective, variables, key, {**batch, "mask": masked, "x": batch["x"].at[1].set(batch["x"][2])}
    )
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other)):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_bind_takes_every_shape_of_level(objective, batch, key):
    bound = objective.bind(objective.init(key, batch), key, batch)
    x = batch["x"]
    levels = [jnp.full(shape, 0.4) for shape in ((), x.shape[:1], x.shape[:2])]
    if bound.denoiser is not None:
        outcome = [bound.denoiser(x, t) for t in levels]
        assert outcome[0].shape == x.shape
    else:
        outcome = [jnp.stack(bound.predictor(x, t)) for t in levels]
        assert outcome[0].shape == (2, *batch["target"].shape)
    for one in outcome:
        np.testing.assert_allclose(one, outcome[0], rtol=1e-5, atol=1e-6)
    if bound.times is not None:
        assert bound.times[0] == 1
        assert bound.times[-1] == 0
    if bound.variance is not None:
        assert bound.variance(x, jnp.asarray(0.4), jnp.asarray(0.3)).shape == x.shape


def test_the_exact_denoiser_is_the_minimum(objective_spec, key):
    name = objective_spec["name"]
    factory = building._locate("objective", name)
    parameters = inspect.signature(getattr(__import__(factory, fromlist=[name]), name)).parameters
    if not {"network", "process", "coefficients"} <= set(parameters):
        pytest.skip("trains no denoiser of its own")
    spec = objective_spec | {"network": Exact(), "process": "vp_linear", "coefficients": "x0"}
    objective = build("objective", spec)
    x = jax.random.normal(key, (4096, 1, 2))
    batch = {"x": SPREAD * (x - x.mean()) / x.std(), "mask": jnp.ones((4096, 1))}
    variables = objective.init(key, batch)
    keys = jax.random.split(key, 8)

    @jax.jit
    def mean(error):
        at = variables._replace(params=jax.tree.map(lambda _: error, variables.params))
        return jax.lax.map(partial(reduced, objective, at, batch=batch), keys).mean()

    best, above, below = (mean(jnp.asarray(error)) for error in (0.0, 0.2, -0.2))
    assert best < above
    assert best < below
    assert abs(above - below) < 0.3 * (above + below - 2 * best)


def test_a_batch_without_data_is_refused(objective, batch, key):
    if not jax.tree.leaves(objective.init(key, batch).params):
        pytest.skip("has no parameters")
    with pytest.raises((ValueError, KeyError), match="x"):
        objective.init(key, {})
