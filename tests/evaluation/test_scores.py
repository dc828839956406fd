"""Scores of samples whose law is known."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from diffusion_jax.build import build
from diffusion_jax.data import digits
from diffusion_jax.data.pipeline import Arrays, Dataset, Info
from diffusion_jax.evaluation.extractors import digit_features, pixels
from diffusion_jax.evaluation.frechet import save_statistics, statistics
from diffusion_jax.evaluation.scores import frechet, frechet_curve
from diffusion_jax.levels import expand
from diffusion_jax.processes import edm
from diffusion_jax.sampling.euler import euler
from diffusion_jax.sampling.grids import karras_grid
from diffusion_jax.sampling.heun import heun
from diffusion_jax.types import Bound

PROCESS = edm(80.0)
GRID = functools.partial(karras_grid, steps=24)


def normal_dataset(count=4000, held_out=500):
    """N(0, 1) in the plane."""
    rng = np.random.default_rng(0)
    splits = {"train": count, "test": held_out}
    sources = {
        split: Arrays({"x": rng.standard_normal((n, 1, 2)).astype(np.float32)}) for split, n in splits.items()
    }
    return Dataset(Info((1, 2), "continuous", None, None, None, None, splits, ""), sources)


def bind(conditions, mean=0.0, deviation=1.0):
    """The exact denoiser of N(mean, deviation^2)."""

    def denoiser(x, t):
        share = deviation**2 / (deviation**2 + expand(PROCESS.sigma(t), x) ** 2)
        return mean + share * (x - mean)

    return Bound(process=PROCESS, denoiser=denoiser)


DATA = normal_dataset()
SCORE = functools.partial(frechet, heun, pixels(), GRID, batch_size=1000)


def test_samples_of_the_law_of_the_data_score_as_held_out_data_do(key):
    found = SCORE(count=2000, seeds=2)(bind, DATA, key).metrics
    assert found["nfe"] == 47
    assert found["frechet"] < 0.02
    assert found["matched"] > found["frechet"], "fewer examples are farther"
    assert 0 < found["lowest"] <= found["frechet"]
    assert abs(found["kernel"]) < 0.1
    for name in ("precision", "recall", "nearest"):
        np.testing.assert_allclose(found[name], found[f"real_{name}"], rtol=0.15, err_msg=name)
    assert (found["count"], found["real_count"], found["seeds"]) == (2000, 500, 2)


def test_a_shift_and_a_spread_show_as_their_distance(key):
    """|mean|^2 + D (deviation - 1)^2, in the plane."""
    outcome = SCORE(count=3000, seeds=2)(functools.partial(bind, mean=3.0, deviation=0.5), DATA, key)
    found = outcome.metrics
    np.testing.assert_allclose(found["frechet"], 2 * 3.0**2 + 2 * 0.5**2, rtol=0.03)
    assert found["recall"] < 0.2 < found["precision"] < 0.9
    assert found["kernel"] > 1
    assert "pixels Frechet distance: 18." in outcome.text
    assert "(500 held-out: " in outcome.text


def test_copies_of_the_training_set_show_in_the_distance_to_it(key):
    stored = jnp.asarray(DATA.sources["train"].examples["x"][:500])

    def copying(conditions):
        def denoiser(x, t):
            nearest = jnp.argmin(((x[:, None] - stored[None]) ** 2).sum((2, 3)), axis=1)
            return stored[nearest]

        return Bound(process=PROCESS, denoiser=denoiser)

    found = SCORE(count=500, seeds=1)(copying, DATA, key).metrics
    assert found["nearest"] < 1e-5 < 0.01 < found["real_nearest"]
    assert found["frechet_se"] is None


def test_a_reference_of_statistics_stands_for_the_training_split(key, tmp_path):
    x = np.random.default_rng(1).standard_normal((5000, 2)) + 5
    save_statistics(tmp_path / "far.npz", statistics([x], "pixels"))
    far = SCORE(count=1000, seeds=1, held_out=None, reference=str(tmp_path / "far.npz"))(bind, DATA, key)
    np.testing.assert_allclose(far.metrics["frechet"], 50, rtol=0.05)
    assert not [name for name in far.metrics if name.startswith("real")]
    save_statistics(tmp_path / "other.npz", statistics([x], "another"))
    refused = SCORE(count=10, seeds=1, reference=str(tmp_path / "other.npz"))
    with pytest.raises(ValueError, match="statistics of the extractor 'another'; this one is 'pixels'"):
        refused(bind, DATA, key)


def test_too_few_samples_are_warned_of_and_wrong_arguments_named(key):
    wide = Dataset(
        DATA.info._replace(shape=(1, 30)),
        {"train": Arrays({"x": np.random.default_rng(2).standard_normal((400, 1, 30)).astype(np.float32)})},
    )
    with pytest.warns(UserWarning, match="20 examples are too few for the covariance of 30 features"):
        SCORE(count=20, seeds=1, held_out=None)(bind, wide, key)
    with pytest.raises(ValueError, match="seeds must be at least 1, got 0"):
        SCORE(seeds=0)
    with pytest.raises(ValueError, match="no classes to draw samples of"):
        SCORE(labels=True)(bind, DATA, key)
    with pytest.raises(ValueError, match="example 0 are not finite"):
        SCORE(count=20, seeds=1)(functools.partial(bind, mean=jnp.nan), DATA, key)


def test_a_curve_names_its_points_by_the_evaluations_that_were_counted(key):
    """For a normal law, Heun's few steps are nearer than as many evaluations of Euler's."""
    spec = {
        "name": "frechet_curve",
        "extractor": "pixels",
        "count": 1000,
        "seeds": 2,
        "methods": {
            name: {
                "sampler": name,
                "grid": [{"name": "karras_grid", "steps": n, "sigma_min": 0.01} for n in steps],
            }
            for name, steps in (("euler", (5, 17)), ("heun", (3, 9)))
        },
    }
    found = build("evaluation", spec)(functools.partial(bind, deviation=0.5), DATA, key).metrics
    places = [f"{name}/nfe={nfe}" for name in ("euler", "heun") for nfe in (5, 17)]
    assert list(found) == [name for place in places for name in (place, f"{place}_se")]
    assert found["euler/nfe=5"] > found["euler/nfe=17"] > found["heun/nfe=17"]


def test_a_curve_whose_points_coincide_or_that_has_none(key):
    twice = frechet_curve({"euler": {"sampler": euler, "grid": [GRID, GRID]}}, pixels(), count=20, seeds=1)
    with pytest.raises(ValueError, match=r"the same number of evaluations: euler/nfe=24"):
        twice(bind, DATA, key)
    with pytest.raises(ValueError, match=r"'euler' must have a sampler and a grid.*; it has \['sampler'\]"):
        frechet_curve({"euler": {"sampler": euler}}, pixels())
    with pytest.raises(ValueError, match="at least one method"):
        frechet_curve({}, pixels())


def test_class_means_of_digits_are_far_from_digits_and_held_out_digits_are_near(key):
    data = digits.digits()
    batch = next(data.epoch("train", data.info.splits["train"]))
    means = jnp.stack([batch["x"][batch["label"] == c].mean(0) for c in range(10)])

    def blurred(conditions):
        return Bound(process=PROCESS, denoiser=lambda x, t: means[conditions["label"]])

    few = functools.partial(karras_grid, steps=2)
    score = frechet(euler, digit_features(), few, count=400, seeds=1, labels=True)
    outcome = score(blurred, data, key)
    found = outcome.metrics
    assert found["matched"] > 10 * found["real_matched"] > 0
    assert found["recall"] < 0.1 < 0.7 < found["real_recall"]
    assert "digit-feature" in outcome.text
    assert "FID" not in outcome.text
    flat = [next(data.epoch(split, n))["x"].reshape(n, -1) for split, n in data.info.splits.items()]
    train, held_out = sorted(flat, key=len, reverse=True)
    truth = NearestNeighbors(n_neighbors=1).fit(train).kneighbors(held_out)[0].mean()
    np.testing.assert_allclose(found["real_nearest"], truth, rtol=1e-5)
