import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffusion_jax.build import build, example
from diffusion_jax.training import optimizer

PARAMS = {"encoder": {"w": jnp.ones(3)}, "head": {"w": jnp.full(3, 2.0), "b": jnp.zeros(3)}}
GRADS = {"encoder": {"w": jnp.full(3, 50.0)}, "head": {"w": jnp.full(3, 4.0), "b": jnp.zeros(3)}}


def first_update(tx):
    return tx.update(GRADS, tx.init(PARAMS), PARAMS)[0]


@pytest.mark.parametrize("name", sorted(optimizer.EXAMPLES))
def test_every_optimiser_minimises_a_parabola(name):
    tx = build("optimizer", {"name": name, **example("optimizer", name), "decay_steps": None})
    x = {"x": jnp.array([0.1, -0.05])}
    state = tx.init(x)
    for _ in range(200):
        updates, state = tx.update(x, state, x)
        x = optax.apply_updates(x, updates)
    assert jnp.abs(x["x"]).max() < 0.02


def rates_of(tx, steps):
    """With plain descent on a gradient of one, the update is minus the rate."""
    one = {"x": jnp.ones(())}
    _, updates = jax.lax.scan(lambda state, _: tx.update(one, state)[::-1], tx.init(one), length=steps)
    return -updates["x"]


def test_schedule_rises_then_falls_as_a_cosine():
    rates = rates_of(optimizer.sgd(0.8, warmup=4, decay_steps=12, final=0.25), 16)
    assert rates[0] == 0
    np.testing.assert_allclose(rates[:5], [0, 0.2, 0.4, 0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(rates[8], (0.8 + 0.2) / 2, rtol=1e-6)
    np.testing.assert_allclose(rates[12:], 0.2, rtol=1e-6)


def test_schedule_falls_as_the_inverse_root():
    rates = rates_of(optimizer.sgd(0.8, warmup=4, inverse_sqrt=9), 82)
    np.testing.assert_allclose(
        rates[np.array([0, 1, 4, 9, 36, 81])], [0, 0.2, 0.8, 0.8, 0.4, 0.8 / 3], rtol=1e-6
    )
    early = rates_of(optimizer.sgd(0.8, warmup=8, inverse_sqrt=1), 9)
    np.testing.assert_allclose(early[4::4], [0.2, 0.8 / 8**0.5], rtol=1e-6)


def test_sanitised_gradients_are_finite_before_they_are_clipped():
    grads = {"w": jnp.array([jnp.nan, jnp.inf, -jnp.inf, 3.0])}
    tx = optimizer.sgd(1.0, sanitise=True)
    np.testing.assert_array_equal(tx.update(grads, tx.init(grads))[0]["w"], [0, -1e5, 1e5, -3])
    clipped = optimizer.sgd(1.0, sanitise=True, clip=1.0)
    update = clipped.update(grads, clipped.init(grads))[0]["w"]
    np.testing.assert_allclose(update, [0, -(2**-0.5), 2**-0.5, -3e-5 * 2**-0.5], rtol=1e-5)


def test_clip_bounds_the_global_norm():
    updates = first_update(optimizer.sgd(1.0, clip=1.0))
    np.testing.assert_allclose(optax.tree.norm(updates), 1, rtol=1e-6)


def test_frozen_parameters_stay_and_do_not_count_in_the_norm():
    updates = first_update(optimizer.sgd(1.0, clip=1.0, freeze="^encoder/"))
    assert jnp.all(updates["encoder"]["w"] == 0)
    np.testing.assert_allclose(updates["head"]["w"], -jnp.ones(3) / jnp.sqrt(3.0), rtol=1e-6)


def test_weight_decay_is_decoupled():
    updates = first_update(optimizer.adamw(0.1, weight_decay=0.5))
    plain = first_update(optimizer.adam(0.1))
    difference = jax.tree.map(lambda a, b: a - b, updates, plain)
    np.testing.assert_allclose(difference["head"]["w"], -0.1 * 0.5 * 2, rtol=1e-5)


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"freeze matches no parameter.*head/w"):
        optimizer.adam(0.1, freeze=["head", "decoder"]).init(PARAMS)
    with pytest.raises(ValueError, match=r"decay_steps \(3\) must be more than warmup \(3\)"):
        optimizer.adam(0.1, warmup=3, decay_steps=3)
    with pytest.raises(ValueError, match="must not be negative"):
        optimizer.rmsprop(-0.1)
    with pytest.raises(ValueError, match="not as both: got decay_steps=3 and inverse_sqrt=2"):
        optimizer.sgd(0.1, decay_steps=3, inverse_sqrt=2)
    with pytest.raises(ValueError, match="inverse_sqrt must be positive or None, got 0"):
        optimizer.sgd(0.1, inverse_sqrt=0)
    with pytest.raises(ValueError, match="clip must be positive"):
        optimizer.sgd(0.1, clip=0.0)
