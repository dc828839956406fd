"""The loss beside the least there is: of the exact denoiser, and of one that is wrong by a known amount."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.data.autoregression import autoregression
from diffusion_jax.evaluation.oracle import optimal_loss
from diffusion_jax.levels import expand, per_token, uniform
from diffusion_jax.objectives.linear_gaussian import linear_gaussian
from diffusion_jax.objectives.weights import v
from diffusion_jax.processes import vp_cosine
from diffusion_jax.types import Bound

PROCESS = vp_cosine()
DATA = autoregression(dims=2, context=2, horizon=1, train=10, test=900)
EXACT = linear_gaussian(DATA.law, PROCESS).bind(None, None, {})


def evaluated(denoiser, **options):
    evaluation = optimal_loss(per_token(uniform()), v, batch_size=400, **options)
    return evaluation(lambda conditions: Bound(PROCESS, denoiser), DATA, jax.random.key(0)).metrics


def test_the_exact_denoiser_has_the_least_loss():
    metrics = evaluated(EXACT.denoiser, copies=10)
    assert metrics["ratio"] == pytest.approx(1, abs=1e-6)
    assert metrics["sequences"] == 800
    # 800 sequences of at least two independent numbers: a sum of squares with an error of sqrt(2/1600)
    assert metrics["optimal"] == pytest.approx(metrics["expected"], rel=3 * (2 / 1600) ** 0.5)


def test_what_is_wrong_adds_its_square():
    """Above level 1/2 each of two features is wrong by 0.3/sqrt(lambda): 0.09 more on average over levels."""

    def denoiser(x, t):
        wrong = jnp.where(t > 0.5, 0.3, 0.0) / jnp.sqrt(v(PROCESS)(t))
        return EXACT.denoiser(x, t) + expand(wrong, x)

    metrics = evaluated(denoiser, copies=10, bins=2)
    np.testing.assert_allclose(metrics["ratio_1"], 1, atol=1e-5)
    excess = metrics["loss"] - metrics["optimal"]
    np.testing.assert_allclose(excess, 2 * 0.3**2 * 0.5, rtol=0.15)
    assert metrics["ratio_2"] > metrics["ratio"] > 1
    assert metrics["ratio"] == pytest.approx(1 + excess / metrics["optimal"])
    assert 0 < metrics["ratio_se"] < 0.01


def test_clean_tokens_carry_no_loss():
    """A third of the tokens at level 0, where the weight is infinite: the mean is over all tokens."""
    whole = evaluated(EXACT.denoiser)
    evaluation = optimal_loss(lambda key, shape: jnp.array([[0.0, 0.5, 0.5]]), v, batch_size=400, bins=2)
    metrics = evaluation(lambda conditions: EXACT, DATA, jax.random.key(0)).metrics
    assert np.isfinite([metrics[name] for name in ("loss", "optimal", "expected", "ratio")]).all()
    assert metrics["ratio"] == pytest.approx(1, abs=1e-6)
    assert 0 < metrics["optimal"] < whole["optimal"] * 2
    assert metrics["ratio_1"] is None


def test_a_law_is_needed():
    evaluation = optimal_loss(per_token(uniform()), v)
    other = autoregression(dims=2, context=2, horizon=2, train=10, test=300)
    object.__setattr__(other, "law", DATA.law)
    with pytest.raises(ValueError, match=r"no law of sequences \(4, 2\)"):
        evaluation(lambda conditions: EXACT, other, jax.random.key(0))
    with pytest.raises(ValueError, match="900 sequences, less than a batch of 1000"):
        optimal_loss(per_token(uniform()), v, batch_size=1000)(lambda c: EXACT, DATA, jax.random.key(0))
    with pytest.raises(ValueError, match="copies"):
        optimal_loss(per_token(uniform()), v, copies=0)
