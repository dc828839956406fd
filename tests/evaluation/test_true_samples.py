"""The truth of samples: the nodes that they have are told, and training examples are of the whole split."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.data.pipeline import Arrays, Dataset, Info
from diffusion_jax.data.targets import Targets
from diffusion_jax.evaluation.true_samples import true_samples
from diffusion_jax.objectives.graphs import drawn_nodes
from diffusion_jax.processes import vp_cosine
from diffusion_jax.processes.centred import centred
from diffusion_jax.sampling.euler import euler
from diffusion_jax.sampling.grids import linear_grid
from diffusion_jax.types import Bound

WAY = {"sampler": euler, "grid": linear_grid(2)}


class Counted(Dataset):
    """Graphs, of which is true how many nodes they have, and how far the first lies out."""

    targets = Targets(("first",), np.zeros(1), np.ones(1))

    def truth(self, x, present):
        return {"nodes": present.sum(1), "target_0": x[:, 0, 0].astype(float)}


@pytest.fixture(scope="module")
def data():
    x = np.zeros((1000, 4, 3), np.float32)
    x[:, 0, 0] = np.arange(1000)
    present = np.ones((1000, 4), np.float32)
    present[:, 3] = 0
    info = Info((4, 3), "continuous", None, None, None, None, {"train": 1000}, "")
    return Counted(info, {"train": Arrays({"x": x, "present": present})})


def bind(conditions):
    """Graphs of two nodes or three, three times as often."""
    keys = jax.vmap(jax.random.key)(conditions["seed"])
    process = centred(vp_cosine(), drawn_nodes(keys, [0, 1, 3, 0]))
    return Bound(process, lambda x, t: jnp.zeros_like(x))


def test_samples_are_judged_with_the_nodes_that_they_have(data, key):
    metrics = true_samples(**WAY, count=600)(bind, data, key).metrics
    assert metrics["nodes"] == pytest.approx(2.75, abs=5 * (0.1875 / 600) ** 0.5)
    assert metrics["nodes_median"] == 3
    assert metrics["real_nodes"] == 3


def test_training_examples_are_of_the_whole_split(data, key):
    """Of 0 ... 999 in their order, 250 at random have a mean of 499.5 within five errors, the first 124.5."""
    metrics = true_samples(**WAY, count=2, real=250)(bind, data, key).metrics
    assert metrics["real_target_0"] == pytest.approx(499.5, abs=5 * 288.7 / 250**0.5)
