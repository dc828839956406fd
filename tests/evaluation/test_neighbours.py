"""Precision and recall of sets made for the answer, and distances to the nearest example."""

import numpy as np
import pytest

from diffusion_jax.evaluation import neighbours
from diffusion_jax.evaluation.neighbours import nearest, precision_recall


@pytest.fixture(params=[2**24, 8], ids=["one block", "many blocks"])
def block(request, monkeypatch):
    monkeypatch.setattr(neighbours, "_BLOCK", request.param)


@pytest.mark.usefixtures("block")
def test_sets_made_for_the_answer():
    line = np.arange(10.0).reshape(-1, 1)  # balls of radius 1 at k = 1
    assert precision_recall(line, line + 0.5, neighbours=1) == (1.0, 1.0)
    assert precision_recall(line, line + 100, neighbours=1) == (0.0, 0.0)
    # half of the samples are in a mode that the data have not, and half of the data in one that is dropped
    two = np.concatenate([line, line + 50])
    assert precision_recall(two, np.concatenate([line + 0.25, line - 50]), neighbours=1) == (0.5, 0.5)
    # samples crowded about one datum: all precise, and their balls reach that datum alone
    crowd = 4 + 0.01 * line
    assert precision_recall(line, crowd, neighbours=1) == (1.0, 0.1)
    # the ball about a datum ends at its k-th neighbour, itself not counted
    assert precision_recall(line, np.array([[-1.5]] * 3), neighbours=1)[0] == 0.0
    assert precision_recall(line, np.array([[-1.5]] * 3), neighbours=2)[0] == 1.0


@pytest.mark.usefixtures("block")
def test_equal_laws_have_equal_precision_and_recall():
    rng = np.random.default_rng(0)
    precision, recall = precision_recall(rng.standard_normal((400, 2)), rng.standard_normal((400, 2)))
    assert precision > 0.9
    assert abs(precision - recall) < 0.06


@pytest.mark.usefixtures("block")
def test_the_nearest_example():
    found = nearest(np.array([[0.0, 0.0], [3.0, 4.0], [10.0, 0.0]]), np.array([[3.0, 4.0], [9.0, 0.0]]))
    np.testing.assert_allclose(found, [5.0, 0.0, 1.0], atol=1e-6)


def test_too_few_for_neighbours():
    with pytest.raises(ValueError, match="neighbour 3 needs a number of at least 1, below that"):
        precision_recall(np.zeros((3, 2)), np.zeros((9, 2)))
    with pytest.raises(ValueError, match="neighbour 0"):
        precision_recall(np.zeros((9, 2)), np.zeros((9, 2)), neighbours=0)
