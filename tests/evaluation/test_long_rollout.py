"""Long roll-outs of tokens that are independent of each other, where every statistic is known."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.data.windows import Windows
from diffusion_jax.evaluation.long_rollout import compared, distances, long_rollout, roller
from diffusion_jax.levels import canonical, expand
from diffusion_jax.processes import edm
from diffusion_jax.sampling.dpmpp_2m import dpmpp_2m
from diffusion_jax.sampling.grids import karras_grid
from diffusion_jax.sampling.schedules import full_sequence, pyramid
from diffusion_jax.types import Bound

PROCESS = edm(20.0)
GRID = karras_grid(PROCESS, 16)
SHAPE = (4, 2)


def bound(mean=0.0):
    """The exact denoiser of independent normal entries of variance 1."""

    def denoiser(x, t):
        sigma = expand(PROCESS.sigma(canonical(t, x)), x)
        return mean + (x - mean) / (1 + sigma**2)

    return lambda conditions: Bound(PROCESS, denoiser)


def dataset(count=24, length=44):
    rng = np.random.default_rng(0)
    sources = {
        split: Windows({"x": rng.standard_normal((count, length, 2)).astype(np.float32)}, 4)
        for split in ("train", "test")
    }
    return SimpleNamespace(info=SimpleNamespace(shape=SHAPE), sources=sources)


def test_a_perfect_model_is_as_far_from_the_data_as_they_are_from_themselves(key):
    run = long_rollout(dpmpp_2m, GRID, length=40, count=24, blocks=2, far=0.5)
    good, shifted = (run(bound(mean), dataset(), key).metrics for mean in (0.0, 1.5))
    assert good["marginal"] < 1.5 * good["floor_marginal"]
    assert good["increment"] < 1.5 * good["floor_increment"]
    assert good["off"] < 0.05
    # moved by 1.5, it has the right increments at the wrong places, some where no token ever was
    np.testing.assert_allclose(shifted["marginal"], 1.5, atol=0.2)
    assert shifted["increment"] < 1.5 * good["floor_increment"]
    assert shifted["off"] > good["off"]
    assert [shifted[f"marginal/block={i}"] for i in range(2)] == pytest.approx(
        [shifted["marginal_first"], shifted["marginal_last"]], abs=1e-5
    )


def test_a_model_that_explodes_is_off_and_not_an_error(key):
    run = long_rollout(dpmpp_2m, GRID, length=8, count=2, blocks=2)
    found = run(lambda conditions: Bound(PROCESS, lambda x, t: x + jnp.nan), dataset(), key).metrics
    assert found["off_last"] == 1.0
    assert found["sequences_off"] == 1.0
    assert np.isfinite(found["marginal"])


def test_distances_between_sorted_values_and_to_the_nearest_token():
    x = np.arange(24.0).reshape(1, 12, 2)
    found = compared(x + 3.0, np.concatenate([x, x]), 3)
    np.testing.assert_allclose(found["marginal"], 3.0)
    np.testing.assert_allclose(found["increment"], 0.0)
    np.testing.assert_allclose(compared(2 * x, x, 1)["increment"], 2.0)
    tokens = np.array([[[0.0, 0.0], [3.0, 1.0]]])
    np.testing.assert_allclose(
        distances(tokens, np.array([[3.0, 4.0], [3.0, 1.5]])), [[11.25**0.5 / 2**0.5, 0.125**0.5]]
    )


def test_how_the_history_is_shown(key):
    """A denoiser that says of every token at which level the first one is declared."""

    def telling(conditions):
        return Bound(PROCESS, lambda x, t: jnp.broadcast_to(canonical(t, x)[:, :1, None], x.shape))

    start = np.zeros((2, 4, 1), np.float32)
    options = {"sampler": dpmpp_2m, "grid": jnp.array([1.0, 0.5, 0.0]), "schedule": full_sequence(2, 2)}
    plain = roller(telling, (4, 1), **options, stabilise=0.125)(key, start, 6)
    # the first window follows the known tokens, the others what has been generated
    np.testing.assert_allclose(plain[0, :, 0], [0, 0, 0.125, 0.125, 0.125, 0.125], atol=1e-6)
    even = roller(telling, (4, 1), **options, even=True)(key, start, 4)
    np.testing.assert_allclose(even, 0.5, atol=1e-6)


def test_schedules_give_the_number_of_tokens_at_a_time_and_the_length_is_kept(key):
    roll = roller(bound(), SHAPE, sampler=dpmpp_2m, grid=GRID, schedule=pyramid(16, 3, lag=4))
    assert roll(key, np.zeros((2, 1, 2), np.float32), 7).shape == (2, 7, 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"length": 10, "blocks": 4}, "its blocks share equally"),
        ({"count": 1}, "two sequences"),
        ({"far": 0.0}, "positive"),
        ({"length": 60}, r"24 test sequences of 64 tokens are needed, there are \(24, 44\)"),
        ({"count": 30}, r"30 test sequences of 44 tokens"),
        ({"even": True, "start": 2}, "must fill the window: 3 tokens"),
    ],
)
def test_bad_input_is_refused(arguments, words, key):
    with pytest.raises(ValueError, match=words):
        long_rollout(dpmpp_2m, GRID, **{"length": 40, "count": 24, "blocks": 2} | arguments)(
            bound(), dataset(), key
        )
