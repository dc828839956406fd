"""Calibration of predictors whose errors are known, and guided samples of two points."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from diffusion_jax.data.pipeline import Arrays, Dataset, Info
from diffusion_jax.data.targets import Targets
from diffusion_jax.evaluation.calibration import calibration, scores
from diffusion_jax.evaluation.guided_support import guided_support
from diffusion_jax.evaluation.plane import plane_picture, square
from diffusion_jax.processes import vp_cosine
from diffusion_jax.sampling.euler import euler
from diffusion_jax.sampling.grids import linear_grid
from diffusion_jax.types import Bound, Statistics, Support

N = 4000


class Known(Dataset):
    """Points whose label is their first coordinate plus noise of 0.5."""

    targets = Targets(("first",), np.array([10.0]), np.array([2.0]))

    def truth(self, x):
        return {"target_0": 10 + 2 * x[:, 0, 0], "right": (x[:, 0, 0] > 0).astype(float)}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, 1, 2)).astype(np.float32)
    y = (x[:, 0, :1] + 0.5 * rng.standard_normal((N, 1))).astype(np.float32)
    splits = {"test": Arrays({"x": x, "target": y}), "bare": Arrays({"x": x[:3]})}
    info = Info((1, 2), "continuous", None, None, None, None, {"test": N, "bare": 3}, "")
    return Known(info, splits)


def bind_of(deviation):
    """A model that is right about clean points and takes this for the deviation of labels."""

    def predictor(x, t):
        return Statistics(x[:, 0, :1], jnp.full((len(x), 1), deviation**2))

    return lambda conditions: Bound(vp_cosine(), predictor=predictor)


def test_a_model_is_told_which_nodes_a_graph_has(key):
    count = np.random.default_rng(0).integers(1, 4, (40, 1))
    present = (np.arange(3) < count).astype(np.float32)
    arrays = Arrays({"x": np.zeros((40, 3, 2), np.float32), "present": present, "target": 1.0 * count})
    info = Info((3, 2), "continuous", None, None, None, None, {"test": 40}, "")

    def bind(conditions):
        def predictor(x, t):
            told = conditions.get("present", jnp.zeros((1, 3))).sum(1, keepdims=True)
            return Statistics(jnp.broadcast_to(told, (len(x), 1)), jnp.ones((len(x), 1)))

        return Bound(vp_cosine(), predictor=predictor)

    evaluation = calibration(levels=[0.0], batch_size=16)
    assert evaluation(bind, Known(info, {"test": arrays}), key).metrics["test_rmse"] == 0


def test_scores_are_scipys(key):
    rng = np.random.default_rng(1)
    mean, y = rng.standard_normal((2, 5, 3)), rng.standard_normal((2, 5, 3))
    variance = rng.uniform(0.1, 2, (2, 5, 3))
    found = scores(mean, variance, y, [0.0, 0.5])
    log_prob = stats.norm.logpdf(y, mean, np.sqrt(variance))
    np.testing.assert_allclose([found["nll"], found["nll@0.5"]], [-log_prob.mean(), -log_prob[1].mean()])
    np.testing.assert_allclose(found["rmse@0"] ** 2, ((y - mean)[0] ** 2).mean())


def test_a_model_that_is_right_is_found_calibrated_and_a_sure_one_is_not(data, key):
    right, sure = (
        calibration(levels=[0.0], batch_size=1500)(bind_of(d), data, key).metrics for d in (0.5, 0.1)
    )
    np.testing.assert_allclose(
        [right["test_rmse"], right["test_std"], right["test_z"]], [0.5, 0.5, 1], rtol=0.04
    )
    assert right["test_within"] == pytest.approx(0.95, abs=0.012)
    assert sure["test_z"] == pytest.approx(5, rel=0.05)
    assert sure["test_within"] == pytest.approx(2 * stats.norm.cdf(0.196 / 0.5) - 1, abs=0.03)
    assert sure["test_nll"] > right["test_nll"]


def test_noise_takes_what_is_known_away(data, key):
    found = calibration(levels=[0.0, 0.9])(bind_of(0.5), data, key).metrics
    assert found["test_rmse@0.9"] > 2 * found["test_rmse@0"]


def test_what_cannot_be_scored_is_said(data, key):
    with pytest.raises(ValueError, match="'bare' has no targets"):
        calibration(["bare"])(bind_of(0.5), data, key)
    with pytest.raises(ValueError, match="predicts no targets"):
        calibration()(lambda conditions: Bound(vp_cosine()), data, key)
    logits = Bound(vp_cosine(), predictor=lambda x, t: x[:, 0])
    with pytest.raises(TypeError, match="regression"):
        calibration(levels=[0.5])(lambda conditions: logits, data, key)
    with pytest.raises(ValueError, match="levels lie"):
        calibration(levels=[1.5])


def test_guidance_moves_samples_to_the_better_of_two_points(data, key):
    """The points -1 and 1 are equally probable, y is the first coordinate, and E[y | x_t] is exact."""
    support = Support(np.array([[[-1.0, 0.0]], [[1.0, 0.0]]]), 0.0)
    process = vp_cosine()

    def predictor(x, t):
        t = jnp.broadcast_to(t, (len(x), 1)) if jnp.ndim(t) else jnp.full((len(x), 1), t)
        alpha, sigma = process.alpha(t), process.sigma(t)
        mean = jnp.tanh(alpha * x[:, 0, :1] / jnp.maximum(sigma, 1e-3) ** 2)
        return Statistics(mean, jnp.ones_like(mean))

    evaluation = guided_support(support, euler, linear_grid(40), scales=[0.0, 1.0], count=400)
    found = evaluation(lambda conditions: Bound(process, predictor=predictor), data, key).metrics
    assert found["right@0"] == pytest.approx(0.5, abs=0.08)
    assert 0.7 < found["right@1"] <= 1
    np.testing.assert_allclose(found["target_0@0"], 10 + 2 * (2 * found["right@0"] - 1), atol=0.02)
    np.testing.assert_allclose(found["predicted@1"], found["target_0@1"], atol=0.05)
    with pytest.raises(ValueError, match="no `truth`"):
        evaluation(bind_of(0.5), Dataset(data.info, data.sources), key)


def test_the_plane_is_drawn_row_by_row(tmp_path):
    from PIL import Image

    x = square(2.0, 4)
    np.testing.assert_allclose(x[[0, 1, 4, 15], 0], [[-1.5, -1.5], [-0.5, -1.5], [-1.5, -0.5], [1.5, 1.5]])
    field = np.stack([x[:, 0, 0].reshape(1, 4, 4), 1 + x[:, 0, 1].reshape(1, 4, 4) ** 2])
    sizes = []
    for models in (["a"], ["a", "b"]):
        path = tmp_path / f"{len(models)}.png"
        plane_picture(path, dict.fromkeys(models, field), ["t = 0"], 2.0, points={"white": x})
        sizes.append(np.asarray(Image.open(path).convert("L")))
    assert sizes[1].shape[0] == pytest.approx(2 * sizes[0].shape[0], abs=2)
    assert sizes[0].std() > 10
    with pytest.raises(ValueError, match="with L = 2 titles"):
        plane_picture(path, {"a": field}, ["t = 0", "t = 1"], 2.0)
