"""The commands as a newcomer types them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import train
from experiments.tables import __main__ as tables

ROOT = Path(__file__).parents[2]


def test_train_from_the_shell_and_again(tmp_path):
    """One process trains, evaluates and samples; the same command in this one finds nothing left to train."""
    config = "configs/nonequilibrium/heartbeat.py:debug"
    line = ["--config", config, "--workdir", str(tmp_path / "run"), "--config.seed=3"]
    run = subprocess.run(
        [sys.executable, "-m", "experiments.train", *line],
        cwd=ROOT,
        env=os.environ | {"MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert "step 8 of 8: loss" in run.stdout
    assert "bits an example" in run.stdout
    first = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    train.main(line)
    again = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert again["metrics"] == first["metrics"]
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2
    with pytest.raises(SystemExit, match="belongs to a run with another config: seed: 3 there, 0 here"):
        train.main(line[:-1])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["--config", "configs/no.py"], "error: no config file 'configs/no.py'; there are: .*swiss_roll.py"),
        (["--config", "configs/nonequilibrium/digits.py:smal"], "unknown variant 'smal'.*there are: debug"),
        (
            ["--config", "configs/nonequilibrium/digits.py", "--config.trainin.steps=1"],
            "no field 'trainin' .did you mean 'training'",
        ),
    ],
)
def test_wrong_lines_end_with_one_line(line, message, tmp_path):
    with pytest.raises(SystemExit, match=message):
        train.main([*line, "--workdir", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


def test_a_diverging_run_names_its_step(tmp_path):
    line = ["--config", "configs/nonequilibrium/swiss_roll.py:debug", "--workdir", str(tmp_path)]
    with pytest.raises(
        SystemExit, match=r"error: training diverged at step \d+: loss = .*last good checkpoint"
    ):
        train.main([*line, "--config.optimizer.learning_rate=1e38", "--config.optimizer.clip=None"])


def test_an_unknown_table():
    with pytest.raises(SystemExit, match="no table 'nonequilibrum'; there are: .*nonequilibrium"):
        tables.main(["nonequilibrum"])
