"""Regularisers that guidance models are compared with: known values, and where their gradients go."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.build import available, build, example
from diffusion_jax.objectives.regularisers.base import Seen
from diffusion_jax.objectives.regularisers.domains import coral, domain_adversarial
from diffusion_jax.objectives.regularisers.penalties import l2, total
from diffusion_jax.types import Variables

N, D = 6, 3


def seen(features, weight=None):
    count = len(features)
    weight = jnp.ones(count) if weight is None else weight
    mean = features[:, :1]
    return Seen(jnp.full((count, 1), 0.5), features, mean, mean**2, weight, lambda collections: features)


def fresh(key):
    return {"params": {"kernel": jax.random.normal(key, (2, 2))}}


def own(regulariser):
    return regulariser.init(jax.random.key(0), fresh, D)


PARAMS = {"network": {"kernel": jnp.array([3.0, 4.0])}, "regression": {"bias": jnp.array([12.0])}}


@pytest.mark.parametrize("name", available("regulariser"))
def test_every_regulariser_gives_a_number_metrics_and_its_state(name, key):
    regulariser = build("regulariser", example("regulariser", name))
    train, context = (seen(jax.random.normal(k, (N, D))) for k in jax.random.split(key))
    variables = own(regulariser)
    found = regulariser.loss(variables, PARAMS, train, context if regulariser.context else None, 2)
    assert found.value.shape == ()
    assert found.value > 0
    assert all(value.shape == () for value in found.metrics.values())
    assert jax.tree.structure(found.state) == jax.tree.structure(variables.state)


def test_l2_is_the_square_of_all_parameters():
    """169/(2 variance), for each sample and target."""
    found = l2(examples=10, variance=0.5).loss(Variables({}, {}), PARAMS, None, None, 2)
    np.testing.assert_allclose(found.value, 169 / (2 * 0.5) / 20)


def test_coral_compares_covariances(key):
    """Scaling features by 2 multiplies their covariance by 4; a shift changes nothing."""
    features = jax.random.normal(key, (N, D))
    covariance = np.cov(np.asarray(features, np.float64).T)
    regulariser = coral(weight=2.0)
    found = regulariser.loss(own(regulariser), {}, seen(features), seen(2 * features + 5), 1)
    np.testing.assert_allclose(found.metrics["coral"], 9 * (covariance**2).sum() / (4 * D**2), rtol=1e-4)
    np.testing.assert_allclose(found.value, 2 * found.metrics["coral"])
    padded = seen(jnp.concatenate([features, jnp.full((2, D), 9.0)]), jnp.arange(N + 2) < N)
    assert regulariser.loss(own(regulariser), {}, padded, seen(features), 1).value < 1e-8


def test_the_network_learns_against_the_classifier_of_domains(key):
    """Both gradients are those of the same error, the one to the features times -weight."""
    features, other = (jax.random.normal(k, (N, D)) for k in jax.random.split(key))
    variables = Variables({"kernel": jnp.array([[0.5], [-1.0], [2.0]]), "bias": jnp.array([0.3])}, {})

    def error(weight, params, features):
        regulariser = domain_adversarial(weight)
        return regulariser.loss(Variables(params, {}), {}, seen(features), seen(other), 1).value

    def plain(params, features):
        sizes = [jnp.linalg.norm(one, axis=1, keepdims=True) / D**0.5 for one in (features, other)]
        seen = [one / size for one, size in zip((features, other), sizes)]
        logits = [one @ params["kernel"] + params["bias"][None] for one in seen]
        losses = -jax.nn.log_sigmoid(-logits[0]).mean() - jax.nn.log_sigmoid(logits[1]).mean()
        return losses / 2

    np.testing.assert_allclose(
        error(0.7, variables.params, features), plain(variables.params, features), rtol=1e-5
    )
    of_params, of_features = jax.grad(lambda p, f: error(0.7, p, f), (0, 1))(variables.params, features)
    wanted_params, wanted_features = jax.grad(plain, (0, 1))(variables.params, features)
    np.testing.assert_allclose(of_params["kernel"], wanted_params["kernel"], rtol=1e-4)
    np.testing.assert_allclose(of_features, -0.7 * wanted_features, rtol=1e-4, atol=1e-7)
    nothing = {"kernel": jnp.zeros((D, 1)), "bias": jnp.zeros(1)}
    np.testing.assert_allclose(error(1.0, nothing, features), np.log(2), rtol=1e-6)


def test_a_total_is_the_sum_and_refuses_two_alike():
    both = total([l2(10), coral(0.5)])
    train, context = seen(jnp.eye(N, D)), seen(3 * jnp.eye(N, D))
    parts = [one.loss(Variables({}, {}), PARAMS, train, context, 1) for one in (l2(10), coral(0.5))]
    found = both.loss(own(both), PARAMS, train, context, 1)
    np.testing.assert_allclose(found.value, parts[0].value + parts[1].value, rtol=1e-6)
    assert set(found.metrics) == {"l2", "coral"}
    assert both.context
    assert not total([l2(10)]).context
    twice = total([l2(10), l2(20)])
    with pytest.raises(ValueError, match=r"metrics \['l2'\]"):
        twice.loss(own(twice), PARAMS, train, None, 1)


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "l2", "examples": 0},
        {"name": "l2", "examples": 5, "variance": 0.0},
        {"name": "coral", "weight": -1.0},
        {"name": "domain_adversarial", "weight": -1.0},
    ],
)
def test_numbers_out_of_range_are_refused(spec):
    with pytest.raises(ValueError, match="got"):
        build("regulariser", spec)
