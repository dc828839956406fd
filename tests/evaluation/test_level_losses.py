"""The loss level by level, against the exact denoiser's of a normal law."""

import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.data.pipeline import Arrays, Dataset, Info
from diffusion_jax.evaluation.level_losses import level_losses
from diffusion_jax.levels import expand
from diffusion_jax.objectives.weights import edm as edm_weight
from diffusion_jax.processes import edm
from diffusion_jax.types import Bound

PROCESS, STD = edm(20.0), 0.7


def dataset(count):
    x = STD * np.random.default_rng(0).standard_normal((count, 1, 3)).astype(np.float32)
    info = Info((1, 3), "continuous", None, None, None, None, {"test": count}, "")
    return Dataset(info, {"test": Arrays({"x": x})})


def exact(conditions):
    def denoiser(x, t):
        variance = expand(PROCESS.sigma(jnp.reshape(t, (1, 1))), x) ** 2
        return STD**2 * x / (STD**2 + variance)

    return Bound(PROCESS, denoiser)


def test_the_best_denoiser_of_a_normal_has_the_same_loss_at_all_levels(key):
    """With sigma_data its deviation: (s^2 + r^2)/(s r)^2 times D s^2 r^2/(s^2 + r^2)."""
    evaluation = level_losses(lambda process: edm_weight(process, STD), ratios=(0.1, 1.0, 10.0))
    metrics = evaluation(exact, dataset(5100), key).metrics
    assert metrics["samples"] == 5000
    for ratio in ("0.1", "1", "10"):
        error = metrics[f"loss@{ratio}_se"]
        assert 0.02 < error < 0.05
        assert abs(metrics[f"loss@{ratio}"] - 3) < 4 * error


def test_a_split_smaller_than_a_batch_is_refused(key):
    with pytest.raises(ValueError, match="the test split has 20 samples"):
        level_losses(edm_weight)(exact, dataset(20), key)
