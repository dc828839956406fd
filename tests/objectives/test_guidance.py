"""Guidance models against scipy, a linear problem with a closed form, and what their parts promise."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special, stats

from diffusion_jax.build import build, example
from diffusion_jax.levels import per_sample, per_token, uniform
from diffusion_jax.networks.predictor import invariant, perceptron
from diffusion_jax.objectives.ensemble import ensemble
from diffusion_jax.objectives.guidance import guidance
from diffusion_jax.objectives.heads import classification, mixture, reconstruction, regression
from diffusion_jax.objectives.regularisers.domains import coral
from diffusion_jax.preconditioning import bits, noise_label, x0
from diffusion_jax.processes import binomial, learned_beta, vp_linear
from diffusion_jax.types import Statistics

LEVELS = np.array([0.15, 0.4, 0.7])


class Tabled(nn.Module):
    """x and 1, in columns of their own for each of `LEVELS`: linear read-outs of it have closed forms."""

    @nn.compact
    def __call__(self, x, noise, conditions=None, train=False):
        labels = noise_label(vp_linear(), jnp.asarray(LEVELS, jnp.float32))
        here = jnp.abs(noise[:, :1] - labels[None]) < 1e-4
        self.param("unused", nn.initializers.zeros, ())
        rows = jnp.concatenate([x.reshape(len(x), -1), jnp.ones((len(x), 1))], axis=1)
        return (here[:, :, None] * rows[:, None]).reshape(len(x), -1)


def small(head, regulariser=None, levels=None, process=None, coefficients=x0):
    levels = per_sample(uniform()) if levels is None else levels
    network = perceptron(width=8, depth=1)
    return guidance(network, process or vp_linear(), coefficients, levels, head, regulariser)


def clean(key, shape):
    return jnp.zeros((shape[0], 1))


@pytest.fixture
def batch(key):
    one, two, three, four = jax.random.split(key, 4)
    return {
        "x": jax.random.normal(one, (6, 2, 3)),
        "target": jax.random.normal(two, (6, 2)),
        "label": jax.random.randint(three, (6,), 0, 4),
        "context": {"x": jax.random.normal(four, (5, 2, 3)), "label": jnp.zeros(5, jnp.int32)},
    }


def test_the_loss_of_a_regression_is_scipys(batch, key):
    objective = small(regression(2), levels=clean)
    batch = {name: batch[name] for name in ("x", "target")}
    variables = objective.init(key, batch)
    found = objective.bind(variables, key, {}).predictor(batch["x"], 0.0)
    wanted = -stats.norm.logpdf(batch["target"], found.mean, np.sqrt(found.variance)).mean(1)
    loss = objective.loss(variables, key, batch)
    np.testing.assert_allclose(loss.value[:, 0], wanted, rtol=1e-5)
    np.testing.assert_allclose(
        loss.metrics["error"][:, 0], ((batch["target"] - found.mean) ** 2).mean(1), rtol=1e-5
    )


def test_the_loss_of_a_classification_is_scipys_and_its_network_sees_no_labels(batch, key):
    objective = small(classification(4), levels=clean)
    variables = objective.init(key, batch)
    logits = objective.bind(variables, key, {}).predictor(batch["x"], 0.0)
    wanted = -special.log_softmax(np.asarray(logits, np.float64), 1)[np.arange(6), batch["label"]]
    np.testing.assert_allclose(objective.loss(variables, key, batch).value[:, 0], wanted, rtol=1e-5)


def test_a_fitted_model_has_the_closed_form_of_a_linear_problem(key):
    """y = a x0 + b + n, x0 standard normal: m = a alpha x_t/(alpha^2 + sigma^2) + b at every level, and
    v = a^2 sigma^2/(alpha^2 + sigma^2) + Var n."""
    a, b, deviation = jnp.array([[0.8], [-0.5]]), 0.3, 0.4
    process = vp_linear()

    def levels(key, shape):
        return jnp.asarray(LEVELS, jnp.float32)[jax.random.randint(key, (shape[0], 1), 0, 3)]

    objective = guidance(Tabled(), process, x0, levels, regression(1))

    def data(key):
        one, two = jax.random.split(key)
        x = jax.random.normal(one, (1024, 1, 2))
        return {"x": x, "target": x[:, 0] @ a + b + deviation * jax.random.normal(two, (1024, 1))}

    variables = objective.init(key, data(key))
    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, 400))

    def step(carry, key):
        params, state = carry
        batch_key, loss_key = jax.random.split(key)

        def value(params):
            return objective.loss(variables._replace(params=params), loss_key, data(batch_key)).value.mean()

        updates, state = optimizer.update(jax.grad(value)(params), state)
        return (optax.apply_updates(params, updates), state), None

    start = (variables.params, optimizer.init(variables.params))
    (params, _), _ = jax.jit(lambda: jax.lax.scan(step, start, jax.random.split(key, 400)))()
    predictor = objective.bind(variables._replace(params=params), key, {}).predictor
    points = jnp.array([[[0.0, 0.0]], [[1.0, 0.5]], [[-1.0, 1.0]]])
    for t in LEVELS.astype(np.float32):
        alpha, sigma = float(process.alpha(t)), float(process.sigma(t))
        found = predictor(points, jnp.asarray(t))
        gain = alpha / (alpha**2 + sigma**2)
        np.testing.assert_allclose(found.mean, gain * points[:, 0] @ a + b, atol=0.06)
        wanted = float((a**2).sum()) * sigma**2 / (alpha**2 + sigma**2) + deviation**2
        np.testing.assert_allclose(found.variance, np.full((3, 1), wanted), rtol=0.15)


def test_every_sample_counts_once_whatever_its_number_of_tokens(batch, key):
    """Reduced as the training step does, the loss is the mean over samples that have a token."""
    objective = small(regression(2))
    mask = jnp.array([[1, 1], [1, 0], [0, 0], [1, 1], [1, 0], [0, 1.0]])
    batch = {"x": batch["x"], "target": batch["target"]}
    variables = objective.init(key, batch)
    plain = objective.loss(variables, key, batch).value[:, 0]
    loss = objective.loss(variables, key, {**batch, "mask": mask})
    weight = loss.weight * mask
    reduced = (weight * loss.value).sum() / weight.sum()
    np.testing.assert_allclose(reduced, plain[jnp.array([0, 1, 3, 4, 5])].mean(), rtol=1e-5)


def test_the_context_is_noised_on_its_own_and_pulls_the_functions(batch, key):
    regulariser = build("regulariser", {"name": "context", "ramp": "sigmoid", "examples": 6})
    objective, plain = small(regression(2), regulariser), small(regression(2))
    batch = {"x": batch["x"], "target": batch["target"], "context": {"x": batch["context"]["x"]}}
    variables = objective.init(key, batch)
    loss, own = objective.loss(variables, key, batch), plain.loss(variables, key, batch)
    np.testing.assert_allclose(loss.metrics["nll"], own.value, rtol=1e-5)
    np.testing.assert_allclose(loss.value, own.value + loss.metrics["context"], rtol=1e-5)
    for a, b in zip(jax.tree.leaves(loss.state), jax.tree.leaves(variables.state), strict=True):
        np.testing.assert_array_equal(a, b)
    frozen = variables.state["regulariser"]["frozen"]["params"]
    assert jax.tree.structure(frozen) == jax.tree.structure(variables.params["network"])
    kernels = [tree["data"]["kernel"] for tree in (frozen, variables.params["network"])]
    assert jnp.abs(kernels[0] - kernels[1]).min() > 0

    def pull(x):
        return objective.loss(variables, key, {**batch, "context": {"x": x}}).metrics["context"][0, 0]

    assert jnp.abs(pull(batch["context"]["x"] + 1) - pull(batch["context"]["x"])) > 1e-6


def test_nodes_that_a_context_graph_does_not_have_pull_nothing(key):
    regulariser = build("regulariser", {"name": "context", "ramp": "sigmoid", "examples": 6})
    network = invariant(width=4, depth=1)
    objective = guidance(network, vp_linear(), x0, per_sample(uniform()), regression(1), regulariser)
    one, two, three = jax.random.split(key, 3)
    present = jnp.array([[1, 1, 1], [1, 1, 0], [1, 0, 0]])
    context = {"x": jax.random.normal(one, (3, 3, 3)), "present": present}
    batch = {"x": jax.random.normal(two, (4, 3, 3)), "present": jnp.ones((4, 3))}
    batch |= {"target": jax.random.normal(three, (4, 1)), "context": context}
    variables = objective.init(key, batch)
    loss = jax.jit(lambda x: objective.loss(variables, key, {**batch, "context": {**context, "x": x}}).value)
    x = context["x"]
    np.testing.assert_array_equal(loss(x), loss(jnp.where(present[..., None] > 0, x, 100.0)))
    assert (loss(x) != loss(x.at[1, 1].add(1.0))).all()


@pytest.mark.parametrize("name", ["bits", "a level a token"])
def test_any_process_and_levels_will_do(name, batch, key):
    if name == "bits":
        batch = {**batch, "x": (batch["x"] > 0).astype(jnp.float32)}
        batch["context"] = {**batch["context"], "x": batch["x"][:4], "label": batch["label"][:4]}
        objective = small(classification(4), coral(), process=binomial(), coefficients=bits)
    else:
        objective = small(classification(4), coral(), levels=per_token(uniform()))
    loss = objective.loss(objective.init(key, batch), key, batch)
    assert loss.value.shape == (6, 1)
    assert jnp.isfinite(loss.value).all()


def test_a_reconstruction_needs_no_labels_and_lends_its_network(batch, key):
    first, second = small(reconstruction()), small(regression(2))
    shapes = [
        jax.tree.map(jnp.shape, one.init(key, {name: batch[name] for name in names}).params)
        for one, names in ((first, ["x"]), (second, ["x", "target"]))
    ]
    assert shapes[0]["network"] == shapes[1]["network"]
    assert set(shapes[0]) == {"network", "reconstruction"}
    assert shapes[0]["reconstruction"]["kernel"] == (8, 12)
    assert set(shapes[1]) == {"network", "regression"}


def test_an_ensemble_is_the_mixture_of_its_members(batch, key):
    objective = small(regression(2))
    batch = {"x": batch["x"], "target": batch["target"]}
    joined = ensemble(objective, members=3)
    variables = joined.init(key, batch)
    each = [variables._replace(params=variables.params[i], state=variables.state[i]) for i in "012"]
    found = joined.bind(variables, key, {}).predictor(batch["x"], 0.3)
    alone = [objective.bind(one, key, {}).predictor(batch["x"], 0.3) for one in each]
    means, variances = np.stack([one.mean for one in alone]), np.stack([one.variance for one in alone])
    assert means.std(0).min() > 0
    np.testing.assert_allclose(found.mean, means.mean(0), rtol=1e-5)
    second = (variances + means**2).mean(0)
    np.testing.assert_allclose(found.variance, second - means.mean(0) ** 2, rtol=1e-4)
    losses = [objective.loss(one, k, batch).value for one, k in zip(each, jax.random.split(key, 3))]
    np.testing.assert_allclose(joined.loss(variables, key, batch).value, sum(losses) / 3, rtol=1e-5)
    denoising = ensemble(build("objective", example("objective", "denoising")), 1)
    variables = denoising.init(key, batch)
    with pytest.raises(ValueError, match="predictor"):
        denoising.bind(variables, key, {})


def test_a_mixture_of_logits_is_that_of_probabilities():
    logits = np.log([[[0.2, 0.8]], [[0.6, 0.4]]]) + np.array([[[1.0]], [[3.0]]])
    np.testing.assert_allclose(np.exp(mixture(jnp.asarray(logits))), [[0.4, 0.6]], rtol=1e-5)
    one = mixture(Statistics(jnp.array([[[1.0]], [[3.0]]]), jnp.array([[[0.5]], [[1.5]]])))
    np.testing.assert_allclose([one.mean[0, 0], one.variance[0, 0]], [2.0, 2.0])


WRONG_LABELS = [
    (regression(2), "target", None, ValueError, r"needs the labels batch\['target'\]"),
    (regression(3), "target", jnp.ones((6, 2)), ValueError, r"must be \[B, 3\] = \(6, 3\), got \(6, 2\)"),
    (regression(2), "target", jnp.ones((6, 2), int), TypeError, "must be floating"),
    (
        regression(2),
        "target",
        jnp.ones((6, 2)).at[0, 0].set(2.0),
        ValueError,
        "target 1 is 1 in all 6 samples",
    ),
    (regression(2), "target", jnp.full((6, 2), jnp.nan), ValueError, "not finite"),
    (classification(4), "label", None, ValueError, r"needs the labels batch\['label'\]"),
    (classification(4), "label", jnp.full((6,), 2), ValueError, "all 6 samples have the label 2"),
    (classification(4), "label", jnp.arange(6), ValueError, r"labels lie in 0..3, got values in 0..5"),
    (classification(4), "label", jnp.ones(6), TypeError, "must be integers"),
]


@pytest.mark.parametrize(("head", "name", "value", "error", "message"), WRONG_LABELS)
def test_labels_that_do_not_fit_are_refused(head, name, value, error, message, batch, key):
    batch = {"x": batch["x"], **({} if value is None else {name: value})}
    with pytest.raises(error, match=message):
        small(head).init(key, batch)


def test_a_context_set_that_does_not_fit_is_refused(batch, key):
    objective, known = small(regression(2), coral()), {name: batch[name] for name in ("x", "target")}
    for context, message in (
        ({}, r"needs batch\['context'\].*the batch has target, x"),
        ({"context": {"x": jnp.zeros((5, 3, 3))}}, r"inputs of shape \(3, 3\), the training set of \(2, 3\)"),
        ({"context": batch["context"]}, r"conditions \['label'\], the training set with \[\]"),
    ):
        with pytest.raises(ValueError, match=message):
            objective.init(key, {**known, **context})


def test_parts_that_do_not_fit_are_refused(batch, key):
    with pytest.raises(TypeError, match="without learned fields"):
        small(regression(2), process=learned_beta(steps=5))
    network = build("network", {"name": "mlp", "width": 8, "depth": 1})
    objective = guidance(network, vp_linear(), x0, per_sample(uniform()), regression(2))
    with pytest.raises(ValueError, match=r"features \[B, D\].*pooled"):
        objective.init(key, {"x": batch["x"], "target": batch["target"]})
