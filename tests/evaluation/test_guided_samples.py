"""Guided samples of generators whose law is known, and what is said of them."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.data.pipeline import Arrays, Dataset, Info
from diffusion_jax.data.polybenzenoids import polybenzenoids
from diffusion_jax.data.targets import Targets
from diffusion_jax.evaluation.guided_samples import Guided, drawer, guided_samples, scored, truth_of
from diffusion_jax.evaluation.true_samples import true_samples
from diffusion_jax.objectives.exact import posterior_moments
from diffusion_jax.processes import vp_cosine, vp_linear
from diffusion_jax.processes.centred import centred
from diffusion_jax.sampling.ancestral import ancestral
from diffusion_jax.sampling.euler import euler
from diffusion_jax.sampling.grids import linear_grid
from diffusion_jax.types import Bound, Statistics, Support

PROCESS = vp_cosine()


class Halves(Dataset):
    """Points of the plane; the first target is known of those right of 0."""

    targets = Targets(("first", "second"), np.array([10.0, 0.0]), np.array([2.0, 1.0]))

    def truth(self, x):
        first, right = x[:, 0, 0].astype(float), x[:, 0, 0] > 0
        return {
            "right": right.astype(float),
            "target_0": np.where(right, 10 + 2 * first, np.nan),
            "target_1": x[:, 0, 1].astype(float),
        }


@pytest.fixture(scope="module")
def data():
    x = np.zeros((6, 1, 2), np.float32)
    x[:4, 0, 0] = [1, 2, 3, -1]
    info = Info((1, 2), "continuous", None, None, None, None, {"train": 6}, "")
    return Halves(info, {"train": Arrays({"x": x})})


def two_points(x, t):
    """The exact denoiser of the points (-1, 0) and (1, 0)."""
    return posterior_moments(Support(np.array([[[-1.0, 0.0]], [[1.0, 0.0]]]), 0.0), PROCESS, x, t)[0]


def bind(conditions):
    """A predictor of both coordinates."""
    return Bound(PROCESS, predictor=lambda x, t: Statistics(jnp.tanh(x[:, 0]), jnp.ones((len(x), 2))))


WAY = {"sampler": euler, "grid": linear_grid(20), "weights": (1.0, 0.0)}


def test_what_is_said_of_samples_is_counted_over_those_that_have_it(data, key):
    x = np.array([[1.0, 0.5], [3.0, 0.5], [-2.0, 0.5], [2.0, -1.5]])[:, None]
    guided = Guided(x, np.array([[0.0, 9.0], [1.0, 9.0], [50.0, 9.0], [2.0, 9.0]]))
    found = truth_of(data, guided, (2.0, -1.0))
    np.testing.assert_allclose(found["objective"], np.array([2 - 0.5, 6 - 0.5, np.nan, 4 + 1.5]) / 3)
    metrics = scored(lambda key, scale: guided, data, [3.0], (2.0, -1.0), key).metrics
    assert metrics["right@3"] == 0.75
    assert metrics["target_0@3"] == pytest.approx(10 + 2 * 2)
    assert metrics["target_0_median@3"] == pytest.approx(14)
    assert metrics["predicted@3"] == pytest.approx(10 + 2 * 1)
    assert metrics["objective_best@3"] == pytest.approx(5.5 / 3)
    nothing = Guided(-np.abs(x), guided.mean)
    metrics = scored(lambda key, scale: nothing, data, [3.0], (1.0, 0.0), key).metrics
    assert metrics["right@3"] == 0
    assert metrics["target_0_median@3"] is metrics["objective_best@3"] is None


def test_a_sample_depends_on_its_number_and_guidance_on_its_limit(data, key):
    generator = Bound(PROCESS, two_points)
    draw = functools.partial(drawer, bind, lambda process: generator, (1, 2), **WAY, count=6)
    whole = draw()
    plain, pushed = whole(key, 0.0).x, whole(key, 40.0).x
    np.testing.assert_allclose(draw(batch_size=4)(key, 40.0).x, pushed, atol=1e-5)
    assert (pushed[:, 0, 0] > 0).sum() >= (plain[:, 0, 0] > 0).sum() + 2
    bounded = draw(limit=1e-9)(key, 40.0).x
    np.testing.assert_allclose(bounded, plain, atol=1e-4)


def test_what_does_not_fit_is_said(data, key):
    with pytest.raises(ValueError, match="other levels than the generator"):
        guided_samples(Bound(vp_linear(), two_points), **WAY)(bind, data, key)
    with pytest.raises(ValueError, match="the generator has no denoiser"):
        guided_samples(Bound(PROCESS), **WAY)(bind, data, key)
    with pytest.raises(TypeError, match="generator must be a run"):
        guided_samples("runs/generator", **WAY)
    with pytest.raises(ValueError, match="count and batch_size must be at least 1"):
        guided_samples(Bound(PROCESS, two_points), **WAY, count=0)(bind, data, key)
    with pytest.raises(ValueError, match="2 targets need as many weights, got 1"):
        truth_of(data, Guided(np.ones((1, 1, 2)), np.ones((1, 2))), [1.0])
    with pytest.raises(ValueError, match="no `truth`"):
        true_samples(euler, linear_grid(2))(bind, Dataset(data.info, data.sources), key)


def test_molecules_of_an_exact_generator_are_those_of_its_data(tmp_path, key):
    """From noise to ring centres to molecules to properties, beside what the data set says of itself."""
    data = polybenzenoids(rings=6, segments=(2, 3), data_dir=tmp_path)
    (train,) = data.epoch("train", data.info.splits["train"])
    process = centred(PROCESS)
    support = Support(train["x"], 0.0)

    def exact(conditions):
        del conditions
        return Bound(process, lambda x, t: posterior_moments(support, PROCESS, x, t)[0])

    found = true_samples(ancestral, linear_grid(20), count=24)(exact, data, key).metrics
    assert found["valid"] == found["in_train"] == found["real_valid"] == found["real_in_train"] == 1
    assert found["novel"] == found["real_novel"] == 0
    assert 0 < found["unique"] <= data.info.splits["train"] / 24
    assert found["real_unique"] == 1
    gaps = data.label(sorted(data.trained))[:, 0]
    assert gaps.min() <= found["target_0"] <= gaps.max()
    np.testing.assert_allclose(found["real_target_0_median"], np.median(gaps))
