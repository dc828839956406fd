"""Roll-outs: the three memories tell the same, history is declared as asked, and bad input is named."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.levels import per_token, uniform
from diffusion_jax.networks.recurrent import recurrent
from diffusion_jax.networks.transformer import transformer
from diffusion_jax.objectives.denoising import denoising
from diffusion_jax.objectives.weights import v as flat
from diffusion_jax.preconditioning import v
from diffusion_jax.processes import vp_cosine
from diffusion_jax.sampling.ddim import ddim
from diffusion_jax.sampling.dpmpp_2m import dpmpp_2m
from diffusion_jax.sampling.grids import linear_grid
from diffusion_jax.sampling.loop import sample
from diffusion_jax.sampling.memories import window
from diffusion_jax.sampling.rollout import rollout
from diffusion_jax.sampling.schedules import autoregressive, full_sequence, levels_of, pyramid
from diffusion_jax.types import Memory

PROCESS = vp_cosine()
NETWORKS = {
    "recurrent": recurrent(latent=4, width=8, depth=1, condition=2),
    "transformer": transformer(width=8, depth=1, heads=2, causal=True, condition=2, positions=8),
}


@pytest.fixture(scope="module", params=NETWORKS)
def causal(request):
    """A causal denoiser with random parameters, and its conditions for eight tokens."""
    objective = denoising(NETWORKS[request.param], PROCESS, v, per_token(uniform()), flat)
    actions = jax.random.normal(jax.random.key(1), (3, 8, 2))
    batch = {"x": jnp.zeros((3, 8, 2)), "condition": actions}
    shapes = jax.eval_shape(objective.init, jax.random.key(0), batch)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: jnp.asarray(0.3 * rng.standard_normal(leaf.shape), leaf.dtype), shapes
    )

    def bind(conditions):
        return objective.bind(variables, jax.random.key(0), conditions)

    return SimpleNamespace(bind=bind, memory=bind({}).memory, actions=actions)


def test_all_at_once_is_token_by_token(causal, key):
    """The memory's denoiser of later tokens, after an update, is the denoiser of the whole sequence."""
    x, t = jax.random.normal(key, (3, 8, 2)), jax.random.uniform(key, (3, 8))
    given = [{"condition": causal.actions[:, :5]}, {"condition": causal.actions[:, 5:]}]

    @jax.jit
    def both(x, t):
        memory = causal.memory.update(causal.memory.init(3), given[0], x[:, :5], t[:, :5])
        later = causal.memory.denoiser(memory, given[1])(x[:, 5:], t[:, 5:])
        return later, causal.bind({"condition": causal.actions}).denoiser(x, t)

    later, whole = both(x, t)
    np.testing.assert_allclose(later, whole[:, 5:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stabilise", [0.1, None])
def test_a_window_that_holds_all_is_the_memory_of_the_network(causal, key, stabilise):
    times = levels_of(linear_grid(3), pyramid(3, 3, 1))
    start = jax.random.normal(key, (3, 2, 2))

    @jax.jit
    def run(start):
        shown = window(lambda given: causal.bind(given).denoiser, PROCESS, (8, 2), (2,))
        return [
            rollout(
                key,
                memory,
                dpmpp_2m(PROCESS),
                start,
                times,
                2,
                {"condition": causal.actions},
                process=PROCESS,
                stabilise=stabilise,
            )
            for memory in (causal.memory, shown)
        ]

    carried, shown = run(start)
    assert carried.shape == (3, 6, 2)
    assert carried.std() > 0.1
    np.testing.assert_allclose(carried, shown, rtol=1e-4, atol=1e-5)


def told(stabilise, fresh, matrix):
    """What a memory is told of a window of ones, with unit noise everywhere: x and its level, [B, n] both.

    Its denoiser says one at first, and later what the memory was told: the second window is that.
    """

    def update(memory, given, x, t):
        level = jnp.broadcast_to(t, x.shape[:2])
        return jnp.stack([x[..., 0], level], axis=-1) + jnp.zeros_like(memory)

    memory = Memory(
        lambda count: jnp.ones((count, matrix.shape[1], 2)), lambda memory, given: lambda x, t: memory, update
    )
    x = rollout(
        jax.random.key(0),
        memory,
        ddim(PROCESS),
        jnp.zeros((2, 0, 2)),
        levels_of(linear_grid(2), matrix),
        2,
        process=PROCESS,
        stabilise=stabilise,
        fresh=fresh,
        draw=lambda key, x: jnp.ones_like(x),
    )
    return x[:, matrix.shape[1] :, 0], x[:, matrix.shape[1] :, 1]


def test_history_is_declared_at_its_level():
    """At 1/2 both scales of vp_cosine are sqrt(1/2), but for its small offset."""
    matrix = full_sequence(2, 3)
    x, t = told(0.0, True, matrix)
    np.testing.assert_allclose(x, 1.0, atol=1e-6)
    np.testing.assert_allclose(t, 0.0, atol=1e-6)
    x, t = told(0.5, False, matrix)
    np.testing.assert_allclose(x, 0.7071, atol=0.01)
    np.testing.assert_allclose(t, 0.5, atol=1e-6)
    x, t = told(0.5, True, matrix)
    np.testing.assert_allclose(x, 1.4142, atol=0.01)
    np.testing.assert_allclose(t, 0.5, atol=1e-6)


def test_history_may_stay_as_it_was_before_the_last_step():
    """With noise 1 and x0_hat 1, a token at level t is alpha + sigma: at the last level 1/2, sqrt 2."""
    for matrix in (full_sequence(2, 3), pyramid(2, 3, 1), autoregressive(2, 3)):
        x, t = told(None, True, matrix)
        np.testing.assert_allclose(x, 1.4142, atol=0.01)
        np.testing.assert_allclose(t, 0.5, atol=1e-6)


def test_the_sequence_fills_the_window_and_then_slides():
    """A denoiser that tells what it sees: the levels of the window, as the new tokens' values."""
    seen = []

    def denoiser(x, t):
        seen.append((np.asarray(x[0, :, 0]), np.asarray(t[0])))
        return x

    memory = window(lambda given: denoiser, PROCESS, (4, 1))
    state = memory.init(2)
    for i in range(5):
        x = jnp.full((2, 1, 1), i + 1.0)
        np.testing.assert_array_equal(memory.denoiser(state, {})(x, jnp.asarray(0.5)), x)
        state = memory.update(state, {}, x, 0.1 * i)
    levels = np.array([t for _, t in seen])
    np.testing.assert_allclose(
        levels,
        [[0.5, 1, 1, 1], [0, 0.5, 1, 1], [0, 0.1, 0.5, 1], [0, 0.1, 0.2, 0.5], [0.1, 0.2, 0.3, 0.5]],
        rtol=1e-6,
    )
    np.testing.assert_array_equal(seen[2][0][:3], [1, 2, 3])
    np.testing.assert_array_equal(seen[4][0], [2, 3, 4, 5])
    noise = np.asarray(window(lambda given: denoiser, PROCESS, (4000, 1)).init(2).x)
    np.testing.assert_array_equal(noise[0], noise[1])
    np.testing.assert_allclose([noise.mean(), noise.std()], [0, 1], atol=4 / np.sqrt(4000))


def test_conditions_are_cut_into_windows(key):
    """A memory of the last actions, and a denoiser that adds to them the actions and the label."""
    memory = Memory(
        lambda count: jnp.zeros((count, 1, 2)),
        lambda memory, given: lambda x, t: memory + given["condition"] + given["label"].reshape(-1, 1, 1),
        lambda memory, given, x, t: given["condition"][:, -1:] + 100 * x[:, -1:],
    )
    actions = jnp.arange(10.0).reshape(1, 5, 2)
    x = rollout(
        key,
        memory,
        ddim(PROCESS),
        jnp.ones((1, 1, 2)),
        levels_of(linear_grid(1), full_sequence(1, 2)),
        2,
        {"condition": actions, "label": jnp.array([3])},
        process=PROCESS,
    )
    # the start says 100 + (0, 1); the first window 3 + (2, 3), 3 + (4, 5) on top, and so on
    second = 100 * np.array([107, 109]) + [4, 5]
    np.testing.assert_allclose(x[0], [[105, 107], [107, 109], second + [9, 10], second + [11, 12]], rtol=1e-6)


def test_nothing_is_known_at_first(key):
    """One window without a start is a sample of the denoiser, from the same noise."""

    def denoiser(x, t):
        return 0.5 * x

    times = levels_of(linear_grid(4), pyramid(4, 3, 1))
    memory = window(lambda given: denoiser, PROCESS, (3, 2))
    recorded = jax.random.normal(key, (2, 3, 2))
    x = rollout(
        key,
        memory,
        ddim(PROCESS),
        jnp.zeros((2, 0, 2)),
        times,
        1,
        process=PROCESS,
        draw=lambda key, x: recorded,
    )
    np.testing.assert_allclose(x, sample(key, denoiser, ddim(PROCESS), recorded, times), rtol=1e-6)


def test_a_seed_for_each_sample(key):
    """Sample i depends on its own key alone, fresh noise of its history included."""
    memory = window(lambda given: lambda x, t: 0.5 * (x + x[:, ::-1]), PROCESS, (2, 1))
    times = levels_of(linear_grid(2), full_sequence(2, 1))

    @jax.jit
    def run(keys):
        start = jnp.zeros((3, 0, 1))
        return rollout(keys, memory, ddim(PROCESS), start, times, 3, process=PROCESS, stabilise=0.3)

    keys = jax.random.split(key, 3)
    np.testing.assert_allclose(run(keys[::-1])[::-1], run(keys), rtol=1e-6)
    assert np.unique(run(keys)).size == 9


def test_bad_input_is_named(causal, key):
    start = jnp.zeros((3, 2, 2))
    times = levels_of(linear_grid(2), full_sequence(2, 3))

    def run(memory=causal.memory, start=start, times=times, windows=2, conditions=None, **options):
        given = {"condition": causal.actions} if conditions is None else conditions
        rollout(key, memory, ddim(PROCESS), start, times, windows, given, process=PROCESS, **options)

    with pytest.raises(ValueError, match=r"\[M, #B, n\], as `levels_of`"):
        run(times=linear_grid(2))
    with pytest.raises(ValueError, match="from 1"):
        run(times=times[1:])
    with pytest.raises(ValueError, match="windows"):
        run(windows=0)
    with pytest.raises(ValueError, match=r"level in \[0, 1\)"):
        run(stabilise=1.0)
    with pytest.raises(ValueError, match=r"2 known and 3 x 3 new tokens must be \[B, 11, ...\].*\(3, 8, 2\)"):
        run(windows=3)

    narrow = window(lambda given: causal.bind(given).denoiser, PROCESS, (4, 2), (2,))
    with pytest.raises(ValueError, match="5 tokens at once, but the window holds 4"):
        run(narrow, jnp.zeros((3, 5, 2)), windows=1)
    with pytest.raises(ValueError, match=r"must have shape \(3, 2, 2\), got \(3, 2, 1\)"):
        run(narrow, conditions={"condition": causal.actions[..., :1]})
    with pytest.raises(ValueError, match=r"got None"):
        run(narrow, conditions={})
    with pytest.raises(ValueError, match=r"tokens \(2,\)"):
        run(narrow, jnp.zeros((3, 2, 1)))
    with pytest.raises(ValueError, match="at least one token"):
        window(lambda given: lambda x, t: x, PROCESS, ())
