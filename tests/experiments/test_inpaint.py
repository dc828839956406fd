"""Holes and noise: what is known stays, and a command does it to a run."""

import numpy as np
import pytest

from experiments import configuration, inpaint, runner


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    config = configuration.load("configs/nonequilibrium/digits.py:debug", {"evaluation": {}})
    runner.train(runner.plan(config), folder)
    return folder


@pytest.mark.parametrize("hole", sorted(inpaint.HOLES))
def test_known_pixels_stay_and_holes_are_filled(workdir, hole, tmp_path):
    inpaint.main(
        [
            "--workdir",
            str(workdir),
            "--hole",
            hole,
            "--count",
            "2",
            "--fills",
            "3",
            "--out",
            str(tmp_path / "out"),
        ]
    )
    stored = np.load(tmp_path / "out.npz")
    known = inpaint.HOLES[hole](8, 8)[None, :, :, None]
    assert known.mean() in (0.5, 0.75)
    images, answers = stored["images"], stored["answers"]
    assert answers.shape == (3, *images.shape) == (3, 2, 1, 8, 8, 1)
    np.testing.assert_array_equal(np.where(known, answers, 0), np.where(known, images[None], 0)[[0, 0, 0]])
    assert (answers[0] != answers[1]).any(), "every answer is a draw of its own"
    assert (tmp_path / "out.png").stat().st_size > 0


def test_a_narrow_gaussian_is_the_image_itself(workdir):
    trained = runner.load(workdir)
    images = np.asarray(next(iter(trained.plan.dataset.epoch("test", 2)))["x"])
    given, answers = inpaint.repair(trained, images, hole="left", noise=1e-3, fills=1, seed=0)
    # the last step shows the model's mean on the nearest grey value, 1/8 apart
    assert np.abs(given - images).max() < 0.01
    assert np.isfinite(answers).all()


def test_refuses_what_it_cannot_do(workdir, tmp_path):
    with pytest.raises(SystemExit, match="count and fills must be at least 1"):
        inpaint.main(["--workdir", str(workdir), "--fills", "0"])
    with pytest.raises(SystemExit, match="not the folder of a run"):
        inpaint.main(["--workdir", str(tmp_path / "nowhere")])
