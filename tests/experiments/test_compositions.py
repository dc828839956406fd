"""Sequences put together of plans that remember more or less."""

import numpy as np
import pytest
from PIL import Image

from experiments import compositions, configuration, runner


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    runner.train(runner.plan(configuration.load("configs/diffusion_forcing/crossings.py:debug")), folder)
    return folder


def test_sequences_for_each_memory_are_those_of_the_seed(workdir):
    trained = runner.load(workdir)
    drawn = compositions.composed(trained, [], 3, seed=0)
    assert {memory: x.shape for memory, x in drawn.items()} == {1: (3, 6, 2), 6: (3, 6, 2)}
    again = compositions.composed(trained, [6], 3, seed=0)
    np.testing.assert_array_equal(again[6], drawn[6])
    assert (drawn[1] != drawn[6]).any()


def test_the_command_draws_a_panel_for_the_data_and_each_memory(workdir, tmp_path, capsys):
    out = tmp_path / "ways.png"
    compositions.main(["--workdir", str(workdir), "--memories", "2", "6", "--count", "2", "--out", str(out)])
    assert "2 sequences for memories of 2, 6" in capsys.readouterr().out
    width, height = Image.open(out).size
    assert width > 1.8 * height
    with pytest.raises(SystemExit, match="count must be at least 1"):
        compositions.main(["--workdir", str(workdir), "--count", "0"])
    with pytest.raises(SystemExit, match="is not the folder of a run"):
        compositions.main(["--workdir", str(tmp_path)])
