import numpy as np
import pytest

from diffusion_jax.data.labelled_roll import EDGE, labelled_roll
from diffusion_jax.data.swiss_roll import NOISE, START, STOP, curve_at
from diffusion_jax.data.targets import targets_of


@pytest.fixture(scope="module")
def data():
    return labelled_roll(train=3000, test=400, context=2000)


def values(data, split):
    """Points and labels in radians."""
    (batch,) = data.epoch(split, data.info.splits[split])
    return batch["x"], data.targets.mean + data.targets.std * batch["target"].astype(np.float64)


def test_labels_are_the_angles_of_the_points(data):
    for split in ("train", "test", "shifted"):
        x, y = values(data, split)
        # the distance of a point from the place that its label names: label noise times the curve's speed
        near = np.sqrt(((x[:, 0] - curve_at(y[:, 0])) ** 2).sum(1))
        assert np.median(near) < 0.15
        truth = data.truth(x)
        assert np.abs(truth["target_0"] - y[:, 0]).max() < 0.5
        np.testing.assert_allclose((truth["target_0"] - y[:, 0]).std(), 0.1, rtol=0.15)


def test_only_the_inner_part_has_labels_to_train_on(data):
    border = (START + STOP) / 2
    assert data.border == pytest.approx(border)
    for split, inside in (("train", True), ("test", True), ("shifted", False)):
        x, _ = values(data, split)
        shifted = data.truth(x)["shifted"]
        assert shifted.mean() == pytest.approx(0 if inside else 1, abs=0.01)


def test_targets_are_standardised_on_the_training_split(data):
    (batch,) = data.epoch("train", 3000)
    assert batch["target"].dtype == np.float32
    np.testing.assert_allclose([batch["target"].mean(), batch["target"].std()], [0, 1], atol=1e-5)


def test_the_context_is_the_plane_without_labels(data):
    (batch,) = data.epoch("context", 2000)
    assert "target" not in batch
    x = batch["x"][:, 0]
    assert np.abs(x).max() <= EDGE
    # uniform: standard deviation EDGE/sqrt 3, its standard error 1 %
    np.testing.assert_allclose(x.std(0), EDGE / np.sqrt(3), rtol=0.04)
    assert (data.truth(batch["x"])["away"] > 3).mean() > 0.5


def test_points_of_the_curve_are_known(data):
    theta = np.array([5.0, 9.0, 10.0, 14.0])
    truth = data.truth(curve_at(theta)[:, None])
    np.testing.assert_allclose(truth["target_0"], theta, atol=2e-3)
    np.testing.assert_array_equal(truth["shifted"], [0, 0, 1, 1])
    assert truth["away"].max() < 0.1
    # straight out from the centre of the spiral, near its end
    end = curve_at(np.array([14.0]))[0]
    moved = truth_away(data, end + 3 * NOISE * np.array([0.0, 1.0]))
    assert 1.0 < moved < 3.01


def truth_away(data, point):
    return float(data.truth(point[None, None])["away"][0])


def test_bad_numbers_are_refused():
    for arguments in ({"labelled": 0.0}, {"labelled": 1.0}, {"label_noise": -1.0}, {"train": 0}):
        with pytest.raises(ValueError, match=next(iter(arguments))):
            labelled_roll(**arguments)
    with pytest.raises(ValueError, match=r"'angle \(rad\)' of all 1 training samples"):
        labelled_roll(train=1)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (np.ones((4, 1)), r"\[N, 2\], got shape \(4, 1\)"),
        (
            np.array([[1.0, 2.0], [3.0, 2.0]]),
            "'b' of all 2 training samples are 2: there is nothing to learn",
        ),
        (np.array([[1.0, 2.0], [3.0, np.nan]]), "1 of the 2 labels 'b' are not finite"),
    ],
)
def test_labels_that_cannot_be_standardised_are_named(train, message):
    with pytest.raises(ValueError, match=message):
        targets_of(["a", "b"], train)


def test_standardised_targets_are_undone_by_their_mean_and_deviation():
    targets = targets_of(["a"], np.array([[1.0], [5.0]]))
    np.testing.assert_allclose(targets.standardised(np.array([[7.0]])), [[2.0]])
