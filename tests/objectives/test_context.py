"""The context regulariser against dense normal laws and the closed forms of special covariances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from diffusion_jax.build import build
from diffusion_jax.objectives.ramps import constant, linear, sigmoid
from diffusion_jax.objectives.regularisers.base import Seen
from diffusion_jax.objectives.regularisers.context import context, covariance
from diffusion_jax.types import Variables

M, D, K = 12, 5, 2
SIGMOID = {
    0.0: (0.1293, 1.0707),
    0.25: (0.248, 0.952),
    0.5: (0.6, 0.6),
    0.75: (0.952, 0.248),
    1.0: (1.0707, 0.1293),
}
"""t -> tau(t), s(t) for strengths of 1, as published."""


def seen(features, t, mean, variance=None):
    """A context batch whose frozen network gives `features`, whatever its variables."""
    count = len(mean)
    t = jnp.broadcast_to(jnp.asarray(t, jnp.float32), (count,))[:, None]
    return Seen(t, features, mean, variance, jnp.ones(count), lambda collections: features)


def penalty(regulariser, context, targets=1):
    """The value and the metrics."""
    own = regulariser.init(jax.random.key(0), lambda key: {"params": {}}, D)
    found = regulariser.loss(own, {"network": {}}, None, context, targets)
    return found.value, found.metrics


@pytest.fixture
def case(key):
    """Features [M, D], means and variances [M, K] of a made-up model."""
    one, two, three = jax.random.split(key, 3)
    features = jax.random.normal(one, (M, D)) / 2
    return features, jax.random.normal(two, (M, K)), jax.nn.softplus(jax.random.normal(three, (M, K)))


@pytest.mark.parametrize("t", SIGMOID)
def test_the_schedule_is_the_published_one(t):
    tau, s = SIGMOID[t]
    assert abs(float(sigmoid()(jnp.asarray(t))) - tau) < 1e-3
    assert abs(float(sigmoid()(jnp.asarray(1 - t))) - s) < 1e-3


@pytest.mark.parametrize("t", [*SIGMOID, "mixed"])
def test_it_is_a_dense_normal_log_density(case, t):
    """R = -log N(f; m, K) up to what the model does not enter: differences of two models' penalties agree."""
    features, mean, variance = case
    table = np.array([list(SIGMOID)[i % 5] for i in range(M)]) if t == "mixed" else np.full(M, t)
    tau, s = (np.array([SIGMOID[one][part] for one in table]) for part in (0, 1))
    phi = np.asarray(features, np.float64)
    dense = np.diag(3.0 * tau)
    for i in range(M):
        for j in range(M):
            dense[i, j] += 2.0 * np.sqrt(s[i] * s[j]) * phi[i] @ phi[j]
    regulariser = context(sigmoid(), examples=7, scale=2.0, diagonal=3.0, mean=0.3, variance=1.5)

    def log_density(mean, variance):
        law = [stats.multivariate_normal(np.full(M, m), dense) for m in (0.3, 1.5)]
        return sum(law[0].logpdf(mean[:, k]) + law[1].logpdf(variance[:, k]) for k in range(K))

    far = (2 * mean + 1, variance**2)
    wanted = (log_density(mean, variance) - log_density(*far)) / (7 * K)
    found = [penalty(regulariser, seen(features, table, *one), K)[0] for one in (far, (mean, variance))]
    np.testing.assert_allclose(found[0] - found[1], wanted, rtol=2e-3)


def test_zero_features_pull_every_input_on_its_own(case):
    """|f - m|^2/(2 tau), here of logits."""
    _, mean, _ = case
    t = np.linspace(0, 1, M)
    value, metrics = penalty(
        context(linear(0.25), 1, diagonal=2.0, mean=0.5), seen(jnp.zeros((M, D)), t, mean)
    )
    np.testing.assert_allclose(value, ((mean - 0.5) ** 2 / (4 * (t + 0.25))[:, None]).sum(), rtol=1e-5)
    assert metrics["least_diagonal"] == 1


def test_orthonormal_features_half_way(key):
    """K = 1.2 I, so that the penalty is |f - m|^2/2.4 for each function."""
    mean = jax.random.normal(key, (4, 1))
    value, _ = penalty(context(sigmoid(), 1), seen(jnp.eye(4, D), 0.5, mean, mean**2))
    np.testing.assert_allclose(value, ((mean**2).sum() + ((mean**2 - 1) ** 2).sum()) / 2.4, rtol=1e-6)


def test_features_that_are_alike_share_one_pull():
    """Two equal inputs: their sum has the variance 4 s |phi|^2 + 2 tau, their difference 2 tau."""
    phi = jnp.broadcast_to(jnp.eye(1, D), (2, D))
    f = jnp.array([[1.7], [-0.4]])
    value, _ = penalty(context(constant(), 1, scale=3.0, diagonal=0.5), seen(phi, 0.2, f))
    np.testing.assert_allclose(value, 0.5 * (1.3**2 / (4 * 3 + 1) + 2.1**2 / 1), rtol=1e-5)


def test_the_metrics_tell_the_weakest_input(case):
    features, mean, _ = case
    features = features.at[3].set(100.0)
    t = jnp.linspace(0, 1, M)
    _, metrics = penalty(context(constant(), 1, scale=2.0), seen(features, t, mean))
    assert (metrics["at_level"], metrics["at_scale"]) == (t[3], 2)
    np.testing.assert_allclose(metrics["least_diagonal"], 1 / (2 * D * 1e4 + 1), rtol=1e-5)


def test_no_gradient_reaches_the_frozen_network_or_the_prior_means(case):
    features, mean, variance = case
    regulariser = context(sigmoid(), 1)

    def value(frozen, mean):
        state = Variables({}, {"frozen": frozen})
        known = seen(None, 0.3, mean, variance)._replace(embed=lambda frozen: features * frozen)
        return regulariser.loss(state, {}, None, known, 1).value

    of_frozen, of_mean = jax.grad(value, (0, 1))(jnp.ones(()), mean)
    assert of_frozen == 0
    matrix = covariance(features, jnp.full(M, float(sigmoid()(0.7))), jnp.full(M, float(sigmoid()(0.3))))
    np.testing.assert_allclose(of_mean, np.linalg.solve(matrix, mean), rtol=1e-4)


def test_the_networks_own_start_is_kept():
    """With `initial`, the first step copies the network, and later ones do not."""
    regulariser = context(constant(), 1, initial=True)
    own = regulariser.init(jax.random.key(0), lambda key: {"params": jnp.zeros(()), "other": jnp.ones(())}, D)
    used = []

    def embed(collections):
        used.append(float(collections["params"]))
        return jnp.zeros((M, D))

    for value in (2.0, 3.0):
        known = seen(None, 0.3, jnp.zeros((M, 1)))._replace(embed=embed)
        found = regulariser.loss(own, {"network": jnp.asarray(value)}, None, known, 1)
        own = Variables({}, found.state)
    assert used == [2.0, 2.0]
    assert own.state["frozen"]["other"] == 1


def test_a_covariance_that_is_not_positive_is_named(case):
    features, mean, _ = case
    with pytest.raises(ValueError, match=r"level t = 0\b.*diagonal tau\(t\) is 0.*scale"):
        context(linear(0.0), 1)
    regulariser = context(sigmoid(), 1, scale=1e3, diagonal=1e-7)
    known = seen(jnp.broadcast_to(10 * features[:1], (M, D)), 0.25, mean)
    with pytest.raises(ValueError, match=r"not positive in float32: at level t = 0.25 .*scale s\(t\) = 952"):
        penalty(regulariser, known)
    value, metrics = jax.jit(lambda mean: penalty(regulariser, known._replace(mean=mean)))(mean)
    assert jnp.isnan(value)
    assert metrics["at_level"] == 0.25
    assert 0 < metrics["least_diagonal"] < 1e-6


@pytest.mark.parametrize("wrong", [{"examples": 0}, {"diagonal": 0.0}, {"scale": -1.0}, {"weight": -1.0}])
def test_strengths_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        build("regulariser", {"name": "context", "ramp": "sigmoid", "examples": 5, **wrong})
