"""Roll-outs of runs beside the data."""

import numpy as np
import pytest
from PIL import Image

from experiments import configuration, rollouts, runner


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    runner.train(runner.plan(configuration.load("configs/diffusion_forcing/rollout.py:debug")), folder)
    return folder


def test_a_roll_out_goes_on_from_the_first_tokens_of_the_test_split(workdir):
    trained = runner.load(workdir)
    x, truth = rollouts.rolled(trained, seed=0)
    assert x.shape == truth.shape == (40, 12)
    np.testing.assert_array_equal(truth, trained.plan.dataset.sources["test"].series["x"][0, 36:76])
    again, _ = rollouts.rolled(trained, seed=0)
    np.testing.assert_array_equal(again, x)
    other, _ = rollouts.rolled(trained, seed=1)
    assert (other != x).any()


def test_the_command_draws_two_panels_for_each_run(workdir, tmp_path, capsys):
    widths = []
    for names in (["one"], ["one", "two"]):
        out = tmp_path / f"{len(names)}.png"
        folders = [str(workdir)] * len(names)
        rollouts.main(["--workdir", *folders, "--names", *names, "--rows", "10", "--out", str(out)])
        widths.append(Image.open(out).width)
    assert "2 runs beside the data" in capsys.readouterr().out
    assert widths[1] == pytest.approx(widths[0] * 5 / 3, abs=2)


def test_what_does_not_exist_is_said(workdir, tmp_path):
    with pytest.raises(SystemExit, match="a name of its own for each of 2 runs"):
        rollouts.main(["--workdir", str(workdir), str(workdir)])
    with pytest.raises(SystemExit, match="at least one token, got 0"):
        rollouts.main(["--workdir", str(workdir), "--rows", "0"])
    with pytest.raises(SystemExit, match="is not the folder of a run"):
        rollouts.main(["--workdir", str(tmp_path)])
