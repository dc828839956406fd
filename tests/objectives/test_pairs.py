"""The laws of drawn steps: rings of losses by hand, and unbiased weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.objectives.pairs import even, importance


def frequencies(pairs, state, n, key):
    """The share of each step among many draws, and the mean of 1/p over n draws of each: [n] each."""
    u = jax.random.uniform(key, (40_000, 1))
    index, weight = pairs.draw(state, u, n)
    assert index.shape == weight.shape == u.shape
    share = np.bincount(np.asarray(index).ravel(), minlength=n) / u.size
    return share, np.asarray(weight), np.asarray(index)


def test_even_steps(key):
    share, weight, _ = frequencies(even(), (), 5, key)
    np.testing.assert_allclose(share, 0.2, atol=0.01)
    np.testing.assert_array_equal(weight, 5.0)
    index, _ = even().draw((), jnp.array([[0.0, 0.19, 0.21, 0.999, 1.0]]), 5)
    np.testing.assert_array_equal(index, [[0, 0, 1, 4, 4]])


@pytest.mark.parametrize("kept", [2, 3])
def test_the_latest_losses_are_kept_in_a_ring(kept, key):
    """Against a list for each step, over batches that hold a step once, twice and more often than fits."""
    pairs = importance(kept)
    state, lists = pairs.init(3), [[], [], []]
    rng = np.random.default_rng(0)
    for batch in ([0], [1, 1], [2, 0, 2, 2], [1, 1, 1, 1, 1, 0], [2]):
        losses = rng.uniform(1, 2, len(batch)).astype(np.float32)
        state = pairs.update(state, jnp.array(batch)[:, None], jnp.asarray(losses)[:, None])
        for step, loss in zip(batch, losses):
            lists[step] = [*lists[step], loss][-kept:]
    for step in range(3):
        np.testing.assert_array_equal(np.sort(state.losses[step]), np.sort(lists[step]))
    np.testing.assert_array_equal(state.count, [3, 7, 4])


def filled(pairs, losses):
    """The state after steps 0, 1, ... had these losses, a row of the latest ones each."""
    state = pairs.init(len(losses))
    for column in np.asarray(losses, np.float32).T:
        state = pairs.update(state, jnp.arange(len(losses))[:, None], jnp.asarray(column)[:, None])
    return state


def test_steps_are_even_until_each_has_its_losses(key):
    pairs = importance(kept=2)
    state = pairs.update(filled(pairs, [[9.0], [1.0], [1.0]]), jnp.array([[0], [1]]), jnp.ones((2, 1)))
    share, weight, _ = frequencies(pairs, state, 3, key)
    np.testing.assert_allclose(share, 1 / 3, atol=0.01)
    np.testing.assert_allclose(weight, 3.0, rtol=1e-6)


def test_then_they_follow_the_root_mean_square_of_the_losses(key):
    """RMS 5, 1, 4, and 0: 0.5, 0.1, 0.4 of what `floor` leaves, and the weight is 1/p."""
    pairs = importance(kept=2, floor=0.04)
    state = filled(pairs, [[1.0, 7.0], [-1.0, 1.0], [4.0, 4.0], [0.0, 0.0]])
    share, weight, index = frequencies(pairs, state, 4, key)
    p = 0.96 * np.array([0.5, 0.1, 0.4, 0.0]) + 0.01
    np.testing.assert_allclose(share, p, atol=0.01)
    np.testing.assert_allclose(weight.ravel(), 1 / p[index.ravel()], rtol=1e-4)
    assert set(np.unique(index)) == {0, 1, 2, 3}


def test_weights_make_the_mean_over_steps_the_sum(key):
    pairs = importance(kept=1, floor=0.05)
    state = filled(pairs, [[0.3], [5.0], [1.0]])
    values = np.array([2.0, -1.0, 0.5])
    _, weight, index = frequencies(pairs, state, 3, key)
    estimate = (weight * values[index]).mean()
    error = (weight * values[index]).std() / np.sqrt(index.size)
    assert abs(estimate - values.sum()) < 4 * error


def test_the_end_of_the_range_is_a_step():
    pairs = importance(kept=1)
    index, weight = pairs.draw(filled(pairs, [[0.1], [0.2], [0.3]]), jnp.array([[0.0, 1.0]]), 3)
    np.testing.assert_array_equal(index, [[0, 2]])
    assert np.isfinite(weight).all()


def test_impossible_arguments_are_named():
    with pytest.raises(ValueError, match="kept=0"):
        importance(kept=0)
    with pytest.raises(ValueError, match="floor=0"):
        importance(floor=0.0)
