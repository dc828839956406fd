"""The training objective: unbiased for the bound that `bind` gives, with the gradients it promises."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.evaluation.bound import bound_terms
from diffusion_jax.levels import per_token, uniform, with_clean
from diffusion_jax.objectives.base import conditions
from diffusion_jax.objectives.elbo import elbo
from diffusion_jax.objectives.pairs import Pairs, even, importance
from diffusion_jax.objectives.terms import hybrid, simple
from diffusion_jax.processes import (
    large,
)
from diffusion_jax.sampling.grids import linear_grid
from tests.objectives.cases import (
    CASES,
    KEY,
    SHAPE,
    SLOW,
    Toy,
    case,
    case_gradient,
    changed,
    close,
    norm,
    value_and_gradient,
)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in CASES]
)
def test_the_mean_loss_is_the_bound_that_bind_gives(name, key):
    """Token by token, in nats a dimension; draws of one step against all steps."""
    objective, variables, batch = case(name)
    continuous = "continuous" in name
    count = 3000 if name != "2015" else 12_000

    @jax.jit
    def both(variables, key):
        if name == "importance":  # histories that make the steps unequal
            state = objective.loss(variables, key, batch).state
            filled = state["pairs"]._replace(
                count=jnp.full((4,), 5), losses=jnp.array([[0.5], [0.1], [1.0], [0.3]])
            )
            variables = variables._replace(state={**state, "pairs": filled})
        loss = jax.vmap(lambda k: objective.loss(variables, k, batch).value)(jax.random.split(key, count))
        bound = objective.bind(variables, key, batch)
        exact = jax.vmap(
            lambda k: bound_terms(k, bound, batch["x"], 8 if continuous else None, continuous).total
        )(jax.random.split(jax.random.fold_in(key, 1), count // 3))
        return loss, exact

    loss, exact = (np.asarray(values, np.float64) for values in both(variables, key))
    exact = exact / (4 if name != "categories" else 1)
    error = np.hypot(loss.std(0) / math.sqrt(len(loss)), exact.std(0) / math.sqrt(len(exact)))
    assert (error < 0.1 * np.abs(exact.mean(0)) + 0.1).all(), "the test would not see a wrong factor"
    np.testing.assert_array_less(np.abs(loss.mean(0) - exact.mean(0)), 5 * error)


# Steps and levels


def recording():
    """`even()` that leaves the drawn step numbers in the state."""
    inner = even()
    return Pairs(lambda n: (), inner.draw, lambda state, index, loss: (index, loss))


def test_low_discrepancy_visits_every_step_once_and_histories_hold_the_losses():
    objective, variables, batch = changed("bits", pairs=recording())
    steps, losses = jax.jit(objective.loss)(variables, KEY, batch).state["pairs"]
    assert steps.shape == (4, 1)
    np.testing.assert_array_equal(np.sort(steps[:, 0]), [0, 1, 2, 3])
    objective, variables, batch = changed("bits", pairs=importance(kept=2))
    state = jax.jit(objective.loss)(variables, KEY, batch).state["pairs"]
    np.testing.assert_array_equal(state.count, 1)
    np.testing.assert_allclose(state.losses[steps[:, 0], 0], losses[:, 0], rtol=1e-5)
    assert (state.losses[:, 0] != 0).all()


def test_each_token_can_have_its_own_step(key):
    objective, variables, batch = changed("bits", pairs=recording(), levels=per_token(uniform()))
    loss = jax.jit(objective.loss)(variables, key, batch)
    steps, losses = loss.state["pairs"]
    assert steps.shape == losses.shape == loss.value.shape == (4, 2)
    assert (steps[:, 0] != steps[:, 1]).any()


def test_clean_levels_are_the_cleanest_step(key):
    levels = with_clean(per_token(uniform()), 1.0)
    objective, variables, batch = changed("bits", pairs=recording(), levels=levels)
    steps, _ = jax.jit(objective.loss)(variables, key, batch).state["pairs"]
    np.testing.assert_array_equal(steps, 3)


def test_a_learned_decoder_adds_the_last_step():
    """Steps that are drawn from: all five where the network decodes, else four."""
    for name, count in (("bits", 4), ("ddpm", 5), ("vdm", 4)):
        _, variables, _ = changed(name, pairs=importance())
        assert variables.state["pairs"].count.shape == (count,)


# Gradients


def test_hybrid_trains_the_mean_by_the_simple_term_alone():
    plain, bound = case_gradient("2015")
    (_, of_simple), (loss, of_hybrid) = (
        value_and_gradient(*changed("2015", term=term)) for term in (simple(), hybrid(0.01))
    )
    bound, of_simple, of_hybrid = (gradient["network"] for gradient in (bound, of_simple, of_hybrid))
    close(of_hybrid["mean"], of_simple["mean"])
    assert norm(of_simple["variance"]) == 0
    close(of_hybrid["variance"], jax.tree.map(lambda g: 0.01 / math.log(2) * g, bound["variance"]))
    assert norm(bound["variance"]) > 1e-2
    assert norm(bound["mean"]) > 1e-2
    np.testing.assert_allclose(loss.metrics["nats_per_dim"], plain.value, rtol=1e-5)


def test_minimised_variance_leaves_the_value_and_the_other_gradients():
    """Of the inner shape the gradient is that of the mean square, over the mean size."""
    objective, variables, batch = case("bent, continuous")
    one, bound = case_gradient("bent, continuous")
    two, found = value_and_gradient(*changed("bent, continuous", minimise_variance=True))
    np.testing.assert_allclose(two.value, one.value, rtol=1e-6)
    close(found["network"], bound["network"])
    close(found["process"]["ends"], bound["process"]["ends"])
    squared = value_and_gradient(objective, variables, batch, power=2)[1]["process"]["inner"]
    size = np.abs(one.value).mean()
    close(found["process"]["inner"], jax.tree.map(lambda g: g / size, squared), rtol=1e-3, atol=1e-5)
    assert norm(squared) > 1e-3


def test_masked_tokens_carry_no_loss_and_no_gradient(key):
    """Whatever stands in a partial batch's rows and in tokens that are masked."""
    objective, variables, batch = case("2015")
    mask = jnp.array([[1.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])

    @jax.jit
    def gradients(params, x, mask):
        def of(params, x):
            loss = objective.loss(variables._replace(params=params), key, {"x": x, "mask": mask})
            return (loss.weight * loss.value).sum() / loss.weight.sum(), loss.weight

        return jax.grad(of, argnums=(0, 1), has_aux=True)(params, x)

    (one, of_data), weight = gradients(variables.params, batch["x"], mask)
    np.testing.assert_array_equal(weight, mask)
    np.testing.assert_array_equal(of_data == 0, np.broadcast_to(mask[..., None] == 0, SHAPE))
    other = jnp.where(mask[..., None] > 0, batch["x"], 7.0)
    (two, _), _ = gradients(variables.params, other, mask)
    close(one, two)
    assert norm(one) > 1e-2
    (whole, _), _ = gradients(variables.params, batch["x"], jnp.ones_like(mask))
    assert norm(jax.tree.map(lambda a, b: a - b, one, whole)) > 1e-2


@pytest.mark.parametrize(
    "name",
    ["2015", "bits", "importance"]
    + [
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("ddpm", "vdm", "vdm, continuous", "categories")
    ],
)
def test_gradients_are_finite_and_reach_every_parameter(name):
    _, gradient = case_gradient(name)
    for path, leaf in jax.tree.leaves_with_path(gradient):
        assert np.isfinite(leaf).all(), path
        assert (leaf != 0).any(), path


def test_a_learned_schedule_is_trained_with_the_network(key):
    objective, variables, batch = case("importance")
    assert set(variables.params) == {"network", "process"}
    assert (case_gradient("importance")[1]["process"]["raw"] != 0).any()

    @jax.jit
    def noise(raw):
        params = {**variables.params, "process": {"raw": raw}}
        return objective.bind(variables._replace(params=params), key, batch).process.sigma(jnp.array(0.5))

    raw = variables.params["process"]["raw"]
    assert noise(raw + 1) > noise(raw) + 0.01


# What the network is shown, and what is refused


def test_the_network_sees_conditions_only():
    every = ("x", "mask", "target", "context", "label", "condition", "augment", "latents")
    assert sorted(conditions(dict.fromkeys(every))) == ["augment", "condition", "label", "latents"]


class Labelled(nn.Module):
    """x shifted by a number for each class, -1 being none; one more collection that is carried along."""

    @nn.compact
    def __call__(self, x, noise, conditions=None, train=False):
        shift = self.param("shift", nn.initializers.ones, (3,))
        self.variable("frozen", "scale", lambda: jnp.array(2.0))
        dropped = nn.Dropout(0.5, deterministic=not train)(jnp.ones_like(x))
        return x * dropped + shift[conditions["label"]][:, None, None]


def test_labels_state_and_dropout_reach_the_network(key):
    data, arguments = CASES["2015"]
    objective = elbo(**{**arguments, "network": Labelled(), "variance": large})
    batch = {"x": data(key, SHAPE), "label": jnp.array([0, 1, -1, 1]), "mask": jnp.ones((4, 2))}
    variables = jax.jit(objective.init)(key, batch)
    assert set(variables.params["network"]) == {"shift"}
    assert variables.state["network"]["frozen"]["scale"] == 2.0
    loss = jax.eval_shape(objective.loss, variables, key, batch)
    assert jax.tree.structure(loss.state) == jax.tree.structure(variables.state)
    denoiser = jax.jit(objective.bind(variables, key, batch).denoiser)
    x = jnp.ones(SHAPE)
    np.testing.assert_array_equal(denoiser(x, jnp.array(0.5)), denoiser(x, jnp.array(0.5)))
    other = elbo(**{**arguments, "network": Labelled(), "variance": large, "unlabelled": 1.0})
    gradient = value_and_gradient(other, variables, batch)[1]["network"]["shift"]
    assert (gradient[:2] == 0).all()
    assert gradient[2] != 0


@pytest.mark.parametrize("t", [0.5, np.array([0.2, 0.5, 0.7, 0.9]), np.full((4, 2), 0.3)], ids=np.shape)
def test_what_bind_gives_takes_every_shape_of_level(t, key):
    objective, variables, batch = case("2015")
    bound = objective.bind(variables, key, batch)
    t = jnp.asarray(t)
    assert jax.eval_shape(bound.denoiser, batch["x"], t).shape == SHAPE
    assert jax.eval_shape(bound.variance, batch["x"], t, t / 2).shape == SHAPE
    np.testing.assert_array_equal(bound.times, linear_grid(5))


def test_unusable_batches_are_refused(key):
    objective, variables, _ = case("bits")
    for batch, error, message in (
        ({"label": jnp.zeros(4, int)}, ValueError, r"needs the key 'x'; it has \['label'\]"),
        ({"x": jnp.zeros((4, 2))}, ValueError, r"\[B, T, ...\].*got shape \(4, 2\)"),
        ({"x": jnp.zeros(SHAPE, int)}, TypeError, "must be floating.*got int32"),
    ):
        with pytest.raises(error, match=message):
            objective.loss(variables, key, batch)
        with pytest.raises(error, match=message):
            objective.init(key, batch)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("vdm, continuous", {"variance": large}, "no reverse variance of its own"),
        ("bits", {"continuous": True}, "that of a Gaussian process, not of Binomial"),
        ("2015", {"minimise_variance": True}, "learned field 'inner', such as vdm"),
    ],
)
def test_options_that_exclude_each_other_are_refused(name, changes, message):
    with pytest.raises(ValueError, match=message):
        elbo(**{**CASES[name][1], **changes})


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("2015", {"network": Toy(1)}, "must have outputs=2"),
        ("bits", {"term": simple()}, "needs a Gaussian process, not Binomial"),
        ("bits", {"grid": jnp.array([1.0, 0.0])}, "at least 2 steps, got shape"),
    ],
)
def test_parts_that_do_not_fit_are_named(name, changes, message, key):
    data, arguments = CASES[name]
    objective, batch = elbo(**{**arguments, **changes}), {"x": data(key, SHAPE)}

    def step():
        return objective.loss(objective.init(key, batch), key, batch)

    with pytest.raises(ValueError, match=message):
        jax.eval_shape(step)


def test_impossible_shares_are_refused():
    with pytest.raises(ValueError, match="share must be positive, got 0"):
        hybrid(0.0)
