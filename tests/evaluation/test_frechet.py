"""The Frechet distance against closed forms and scipy's root of a matrix."""

import numpy as np
import pytest
from scipy import linalg, stats

from diffusion_jax.evaluation.frechet import (
    Statistics,
    frechet_distance,
    load_statistics,
    save_statistics,
    statistics,
)


def law(mu, sigma, name="test"):
    return Statistics(np.asarray(mu, float), np.asarray(sigma, float), 1000, name)


def covariance(rng, size, rank=None):
    root = rng.standard_normal((size, rank or 2 * size))
    return root @ root.T / size


def test_commuting_covariances_have_a_closed_form():
    """|mu|^2 + sum (sqrt a - sqrt b)^2, whatever the common eigenvectors."""
    a, b, gap = np.array([4.0, 1.0, 0.25]), np.array([1.0, 9.0, 0.0]), np.array([1.0, -2.0, 0.5])
    expected = 5.25 + 1.0 + 4.0 + 0.25
    turn = stats.ortho_group.rvs(3, random_state=0)
    for rotation in (np.eye(3), turn):
        one = law(rotation @ gap, rotation * a @ rotation.T)
        other = law(np.zeros(3), rotation * b @ rotation.T)
        np.testing.assert_allclose(frechet_distance(one, other), expected, rtol=1e-8)
        np.testing.assert_allclose(frechet_distance(other, one), expected, rtol=1e-8)


def test_it_is_the_published_formula_with_scipys_root():
    rng = np.random.default_rng(0)
    one, other = (law(rng.standard_normal(6), covariance(rng, 6)) for _ in range(2))
    root = np.real(linalg.sqrtm(one.sigma @ other.sigma))
    gap = one.mu - other.mu
    expected = gap @ gap + np.trace(one.sigma + other.sigma - 2 * root)
    np.testing.assert_allclose(frechet_distance(one, other), expected, rtol=1e-10)


def test_nothing_is_added_to_singular_covariances():
    """Equal laws of rank 3 in 40 dimensions are at distance 0; an epsilon would show, as would a bad root."""
    rng = np.random.default_rng(1)
    one = law(np.zeros(40), covariance(rng, 40, rank=3))
    assert abs(frechet_distance(one, one)) < 1e-12 * np.trace(one.sigma)
    thin = law(np.zeros(40), np.diag([1.0] + [0.0] * 39))
    wide = law(np.zeros(40), np.diag([0.0, 1.0] + [0.0] * 38))
    np.testing.assert_allclose(frechet_distance(thin, wide), 2.0, rtol=1e-12)


def test_statistics_come_in_batches_and_keep_double_precision():
    rng = np.random.default_rng(2)
    x = (1000 + rng.standard_normal((70, 3)) @ covariance(rng, 3)).astype(np.float32)
    found = statistics((x[first : first + 32] for first in range(0, 70, 32)), "test")
    np.testing.assert_allclose(found.mu, x.mean(0, dtype=np.float64), rtol=1e-14)
    np.testing.assert_allclose(found.sigma, np.cov(x.T.astype(np.float64)), rtol=1e-7)
    assert (found.count, found.extractor, found.sigma.dtype) == (70, "test", np.float64)


def test_the_distance_of_samples_tends_to_that_of_their_laws():
    rng = np.random.default_rng(3)
    one = statistics([rng.standard_normal((40_000, 2))], "test")
    other = statistics([[1.0, 0.0] + 3 * rng.standard_normal((40_000, 2))], "test")
    np.testing.assert_allclose(frechet_distance(one, other), 1.0 + 2 * (3 - 1) ** 2, rtol=0.02)


def test_too_few_examples_are_warned_of_and_what_is_no_features_refused():
    rng = np.random.default_rng(4)
    with pytest.warns(UserWarning, match="5 examples are too few for the covariance of 5 features"):
        statistics([rng.standard_normal((5, 5))], "test")
    with pytest.raises(ValueError, match="at least two examples, got 1"):
        statistics([np.zeros((1, 2))], "test")
    with pytest.raises(ValueError, match="at least two examples, got 0"):
        statistics([], "test")
    with pytest.raises(ValueError, match=r"must be \[n, 2\], got shape \(3, 4\)"):
        statistics([np.zeros((3, 2)), np.zeros((3, 4))], "test")
    with pytest.raises(ValueError, match="features of example 4 are not finite"):
        statistics([np.zeros((3, 2)), np.array([[0, 0], [0, np.nan]])], "test")


def test_statistics_of_another_extractor_are_refused(tmp_path):
    ours = law([0, 1], np.eye(2), "ours")
    with pytest.raises(ValueError, match="different extractors cannot be compared: 'ours', 'theirs'"):
        frechet_distance(ours, law([0, 1], np.eye(2), "theirs"))
    with pytest.raises(ValueError, match="of 2 and of 3 features"):
        frechet_distance(ours, law([0, 1, 2], np.eye(3), "ours"))
    save_statistics(tmp_path / "folder" / "ours.npz", ours)
    with pytest.raises(ValueError, match="statistics of the extractor 'ours'; this one is 'theirs'"):
        load_statistics(tmp_path / "folder" / "ours.npz", "theirs")


def test_statistics_are_stored_and_read(tmp_path):
    ours = law([0.5, 1], [[2, 0.1], [0.1, 1]], "ours")
    save_statistics(tmp_path / "ours", ours)
    again = load_statistics(tmp_path / "ours", "ours")
    assert frechet_distance(ours, again) == pytest.approx(0, abs=1e-14)
    assert again[2:] == ours[2:]
    np.savez(tmp_path / "foreign.npz", mu=ours.mu, sigma=ours.sigma)
    foreign = load_statistics(tmp_path / "foreign.npz", "inception-2015")
    assert (foreign.count, foreign.extractor) == (None, "inception-2015")
    save_statistics(tmp_path / "again.npz", foreign)
    assert load_statistics(tmp_path / "again.npz", "inception-2015").count is None


def test_files_that_hold_no_statistics(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_statistics(tmp_path / "nowhere.npz", "ours")
    (tmp_path / "text.npz").write_text("mu")
    np.save(tmp_path / "array.npy", np.zeros(3))
    for name in ("text.npz", "array.npy"):
        with pytest.raises(ValueError, match="is not an npz file of statistics"):
            load_statistics(tmp_path / name, "ours")
    np.savez(tmp_path / "other.npz", mean=np.zeros(2))
    with pytest.raises(ValueError, match=r"must hold `mu` and `sigma`; it holds \['mean'\]"):
        load_statistics(tmp_path / "other.npz", "ours")
    np.savez(tmp_path / "odd.npz", mu=np.zeros(2), sigma=np.eye(3))
    with pytest.raises(ValueError, match=r"mu must be \[D\] and sigma \[D, D\]"):
        load_statistics(tmp_path / "odd.npz", "ours")
