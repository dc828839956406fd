import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffusion_jax.training import ema, optimizer
from diffusion_jax.training.state import create, variables
from diffusion_jax.training.step import make_step
from diffusion_jax.types import Bound, Loss, Objective, Variables
from tests.training.toy import Points, objective

RATE = optax.sgd(0.1)


def linear(value, weight=lambda batch, v: jnp.ones_like(v), metrics=lambda v: {}):
    """An objective with one parameter, w = 2, whose values are `value(w, x)`."""

    def loss(held, key, batch):
        v = value(held.params["w"], batch["x"])
        return Loss(v, weight(batch, v), metrics(v), held.state)

    return Objective(lambda key, batch: Variables({"w": jnp.float32(2)}), loss, lambda *_: Bound())


def start(one, rule=RATE, averaged=False):
    return create(one.init(jax.random.key(0), {}), rule, averaged)


def test_reduction_divides_by_the_tokens_that_carry_loss():
    """value = w x: the loss is w times the mean of the unmasked x, its gradient that mean."""
    one = linear(lambda w, x: w * x, metrics=lambda v: {"twice": 2 * v})
    x = np.array([[[1.0, 2.0], [3.0, 50.0]]], np.float32)
    mask = np.array([[[1.0, 1.0], [1.0, 0.0]]], np.float32)
    state, metrics = make_step(one, RATE)(start(one), {"x": x, "mask": mask}, jax.random.key(0))
    assert metrics["loss"][0] == 4
    assert metrics["twice"][0] == 8
    assert metrics["grad_norm"][0] == 2
    np.testing.assert_allclose(state.params["w"], 2 - 0.1 * 2, rtol=1e-6)


def test_weight_and_mask_may_overlap_and_broadcast():
    """A per-sample value [B, 1] counts once for every token of its sample that carries loss."""
    one = linear(lambda w, x: w * x[:, :1], weight=lambda batch, v: batch["mask"])
    x = np.array([[[1.0, 9.0], [4.0, 9.0]]], np.float32)
    mask = np.array([[[1.0, 1.0], [1.0, 0.0]]], np.float32)
    _, metrics = make_step(one, RATE)(start(one), {"x": x, "mask": mask}, jax.random.key(0))
    np.testing.assert_allclose(metrics["loss"][0], 2 * (1 + 1 + 4) / 3)


def test_tokens_without_loss_may_hold_anything():
    one = linear(lambda w, x: w * x)
    x, mask = np.array([[[1.0, np.inf]]], np.float32), np.array([[[1.0, 0.0]]], np.float32)
    _, metrics = make_step(one, RATE)(start(one), {"x": x, "mask": mask}, jax.random.key(0))
    assert metrics["loss"][0] == 2


def test_an_empty_batch_gives_zero():
    one = linear(lambda w, x: w * x)
    batch = {"x": np.ones((1, 2, 1), np.float32), "mask": np.zeros((1, 2, 1), np.float32)}
    state, metrics = make_step(one, RATE)(start(one), batch, jax.random.key(0))
    assert metrics["loss"][0] == 0
    assert state.params["w"] == 2
    assert metrics["finite"][0]


@pytest.mark.parametrize("pieces", [2, 4])
def test_accumulated_gradients_are_those_of_the_big_batch(pieces):
    """Masks are uneven, so that the mean of the pieces' means would be wrong."""
    one = objective(noisy=False)
    batch = Points(8).next(3)
    batch["mask"][:, :3] = 0
    start_key = jax.random.key(1)
    example = jax.tree.map(lambda x: x[0], batch)
    ends = []
    for microbatches in (1, pieces):
        state = create(one.init(start_key, example), RATE, averaged=False)
        ends.append(make_step(one, RATE, microbatches=microbatches)(state, batch, jax.random.key(0)))
    (whole, m1), (cut, m2) = ends
    for a, b in zip(jax.tree.leaves(whole.params), jax.tree.leaves(cut.params)):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(m1["loss"], m2["loss"], rtol=1e-5)
    assert whole.state["calls"] == 3
    assert cut.state["calls"] == 3 * pieces


def test_every_sample_is_in_one_microbatch():
    one = linear(lambda w, x: w * x, metrics=lambda v: {"x": v / 2})
    x = np.arange(12, dtype=np.float32).reshape(1, 12, 1)
    _, metrics = make_step(one, RATE, microbatches=3)(start(one), {"x": x}, jax.random.key(0))
    assert metrics["x"][0] == np.mean(x)


def test_many_steps_in_one_call_are_as_many_calls_and_compile_once():
    traces = []

    def value(w, x):
        traces.append(1)
        return (w * x - 1) ** 2

    one, x = linear(value), np.linspace(0, 1, 24, dtype=np.float32).reshape(6, 4, 1)
    step = make_step(one, RATE)
    root = jax.random.key(0)
    together, metrics = step(start(one), {"x": x}, root)
    assert metrics["loss"].shape == (6,)
    single = make_step(one, RATE)
    state = start(one)
    for i in range(6):
        state, _ = single(state, {"x": x[i : i + 1]}, root)
    assert len(traces) == 2
    np.testing.assert_allclose(together.params["w"], state.params["w"], rtol=1e-6)
    assert together.step == state.step == 6


def test_the_key_of_a_step_depends_on_its_number_alone():
    one = objective()
    batch = Points(4).next(2)
    same = jax.tree.map(lambda x: np.stack([x[0], x[0]]), batch)
    step = make_step(one, optax.set_to_zero())
    levels = []
    for done in (0, 1):
        init = one.init(jax.random.key(0), jax.tree.map(lambda x: x[0], batch))
        state = create(init, optax.set_to_zero(), False)._replace(step=jnp.int32(done))
        levels.append(step(state, same, jax.random.key(3))[1]["level"])
    assert levels[0][0] != levels[0][1]
    assert levels[0][1] == levels[1][0]


def test_state_is_donated_and_the_average_is_no_alias():
    one = objective()
    batch = Points(4).next(1)
    init = one.init(jax.random.key(0), jax.tree.map(lambda x: x[0], batch))
    state = create(init, RATE, averaged=True)
    kept = jax.tree.map(np.array, state.params)
    for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(state.ema)):
        assert a.unsafe_buffer_pointer() != b.unsafe_buffer_pointer()
    step = make_step(one, RATE, decay=ema.constant(0.5))
    after, _ = step(state, batch, jax.random.key(0))
    assert all(x.is_deleted() for x in jax.tree.leaves((state.params, state.ema)))
    for old, new, mean in zip(*map(jax.tree.leaves, (kept, after.params, after.ema))):
        np.testing.assert_allclose(mean, (old + new) / 2, rtol=1e-6, atol=1e-8)


def test_variables_of_a_state():
    one = linear(lambda w, x: w * x)
    assert variables(start(one)).params["w"] == 2
    state = start(one, averaged=True)._replace(ema={"w": jnp.float32(7)})
    assert variables(state).params["w"] == 7
    assert variables(state, ema=False).params["w"] == 2


def test_bfloat16_compute_keeps_float32_state():
    one = objective(dtype="bfloat16")
    batch = Points(8).next(40)
    init = one.init(jax.random.key(0), jax.tree.map(lambda x: x[0], batch))
    state = create(init, optax.adam(1e-2), averaged=True)
    step = make_step(one, optax.adam(1e-2), decay=ema.constant(0.9))
    text = step.lower(state, batch, jax.random.key(0)).as_text()
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert products
    assert all("bf16" in line for line in products)
    state, metrics = step(state, batch, jax.random.key(0))
    floating = [x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating)]
    assert {x.dtype.name for x in floating} == {"float32"}
    assert np.mean(metrics["loss"][-10:]) < np.mean(metrics["loss"][:10])


@pytest.mark.parametrize(
    ("value", "finite"),
    [
        (lambda w, x: w * x, True),
        (lambda w, x: jnp.log(w - 2 + 0 * x), False),  # the loss is -inf
        (lambda w, x: jnp.sqrt(w - 2 + 0 * x), False),  # the loss is 0, its gradient infinite
    ],
)
def test_what_is_not_finite_is_flagged(value, finite):
    one = linear(value)
    _, metrics = make_step(one, RATE)(start(one), {"x": np.ones((1, 1, 1), np.float32)}, jax.random.key(0))
    assert metrics["finite"][0] == finite


@pytest.mark.parametrize(
    ("value", "sanitise", "finite"),
    [
        (lambda w, x: jnp.sqrt(w.sum() - 4 + 0 * x), True, True),  # the loss is 0, its gradient infinite
        (lambda w, x: jnp.sqrt(w.sum() - 4 + 0 * x), False, False),
        (lambda w, x: jnp.log(w.sum() - 4 + 0 * x), True, False),  # the loss is -inf
        (lambda w, x: 1e25 * x * (w.sum() - 4), True, False),  # the square of the gradient overflows
    ],
)
def test_a_sanitised_gradient_is_no_failure(value, sanitise, finite):
    one = linear(value)._replace(init=lambda *_: Variables({"w": jnp.full(2, 2.0)}))
    tx, x = optimizer.adam(1e-3, sanitise=sanitise), {"x": np.ones((1, 1, 1), np.float32)}
    state, metrics = make_step(one, tx)(start(one, tx), x, jax.random.key(0))
    assert metrics["finite"][0] == finite
    assert np.isinf(metrics["grad_norm"][0])
    if finite:
        np.testing.assert_allclose(state.params["w"], 2 - 1e-3, rtol=1e-6)


def test_bad_losses_and_batches_are_refused():
    x = {"x": np.ones((1, 4, 1), np.float32)}
    with pytest.raises(ValueError, match="4 cannot be cut into 3"):
        make_step(linear(lambda w, x: w * x), RATE, microbatches=3)(
            start(linear(lambda w, x: x)), x, jax.random.key(0)
        )
    reduced = linear(lambda w, x: jnp.mean(w * x))
    with pytest.raises(ValueError, match=r"\[B, #T\]; 'loss' has \(\)"):
        make_step(reduced, RATE)(start(reduced), x, jax.random.key(0))
    named = linear(lambda w, x: w * x, metrics=lambda v: {"grad_norm": v})
    with pytest.raises(ValueError, match="grad_norm"):
        make_step(named, RATE)(start(named), x, jax.random.key(0))
