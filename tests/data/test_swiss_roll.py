import numpy as np
import pytest

from diffusion_jax.data.swiss_roll import NOISE, curve, swiss_roll


@pytest.fixture(scope="module")
def points():
    data = swiss_roll(train=4000, test=500)
    assert data.info.splits == {"train": 4000, "test": 500}
    (batch,) = data.epoch("train", 4000)
    return batch["x"][:, 0].astype(np.float64)


def test_the_curve_is_the_standardised_spiral():
    theta = np.linspace(1.5 * np.pi, 4.5 * np.pi, 20_001)
    theta = (theta[1:] + theta[:-1]) / 2
    spiral = np.stack([theta * np.cos(theta), theta * np.sin(theta)], axis=1)
    np.testing.assert_allclose(curve(20_000), (spiral - spiral.mean(axis=0)) / spiral.std(axis=0), atol=1e-6)


def test_points_have_mean_0_and_the_stated_mean_square(points):
    # standard errors 0.016 and about 0.014
    assert np.abs(points.mean(axis=0)).max() < 0.06
    np.testing.assert_allclose((points**2).mean(axis=0), 1 + NOISE**2, atol=0.05)


def test_points_lie_about_the_curve_with_the_stated_noise_and_evenly_in_theta(points):
    line = curve(6000)
    distance = ((points[:1000, None] - line) ** 2).sum(axis=-1)
    # across the curve the noise is one-dimensional; standard error of its mean square 4.5 %
    np.testing.assert_allclose(distance.min(axis=1).mean(), NOISE**2, rtol=0.15)
    places = np.sort(distance.argmin(axis=1)) / 6000
    # Kolmogorov-Smirnov distance of 1000 draws: below 0.061 with probability 0.999
    assert np.abs(places - np.arange(1000) / 1000).max() < 0.065


def test_generation_is_fixed_by_the_seed(points):
    np.testing.assert_allclose(points[:2], [[-0.2339044, -0.7536304], [0.4842894, 0.6345069]], atol=1e-6)
    (other,) = swiss_roll(train=4, test=4, seed=1).epoch("train", 4)
    (held_out,) = swiss_roll(train=4, test=4).epoch("test", 4)
    assert not np.intersect1d(points, other["x"]).size
    assert not np.intersect1d(points, held_out["x"]).size


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"train": 0}, ValueError, "train must be at least 1, got 0"),
        ({"test": 1.5}, TypeError, r"test must be an integer, got 1\.5"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
    ],
)
def test_bad_numbers(arguments, error, message):
    with pytest.raises(error, match=message):
        swiss_roll(**arguments)
