import jax
import numpy as np
import pytest

from diffusion_jax.training import checkpoints
from diffusion_jax.training.posthoc import reconstruct
from experiments import average, configuration, runner


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """A run of points that tracked averages."""
    folder = tmp_path_factory.mktemp("tracked")
    overrides = {"training.posthoc": {"every": 4}, "training.steps": 16, "training.steps_per_call": 4}
    config = configuration.load("configs/nonequilibrium/swiss_roll.py:debug", overrides)
    runner.train(runner.plan(config), folder)
    return folder


def test_an_average_is_a_finished_run(tracked, tmp_path, capsys):
    out = tmp_path / "wide"
    average.main(["--workdir", str(tracked), "--sigma-rel", "0.15", "--out", str(out)])
    said = capsys.readouterr().out
    assert "4 snapshots of 2 averages; the profile of width 0.15 is met to" in said
    trained = runner.load(out)
    wanted, _ = reconstruct(tracked, 0.15)
    for a, b in zip(jax.tree.leaves(trained.variables.params), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_array_equal(a, b)
    config = trained.plan.config
    assert config["ema"] == {"name": "power", "sigma_rel": 0.15}
    assert config["objective"] == runner.stored_config(tracked)["objective"]
    with pytest.raises(checkpoints.StructureError):
        runner.train(runner.plan(config | {"training": config["training"] | {"steps": 20}}), out)


def test_an_average_of_an_earlier_step(tracked, tmp_path):
    average.average(tracked, 0.08, tmp_path, step=8)
    assert runner.load(tmp_path).plan.config["training"]["steps"] == 8


def test_what_cannot_be_averaged_ends_with_one_line(tracked, tmp_path):
    line = ["--out", str(tmp_path / "out"), "--workdir"]
    for rest, message in (
        ([str(tmp_path), "--sigma-rel", "0.1"], "error: .* is not the folder of a run"),
        ([str(tracked), "--sigma-rel", "0.5"], r"error: .*must be in \(0, 0.2887\], got 0.5"),
        ([str(tracked), "--sigma-rel", "0.1", "--step", "5"], r"error: .*no averages of step 5"),
    ):
        with pytest.raises(SystemExit, match=message):
            average.main([*line, *rest])
    assert not (tmp_path / "out").exists()
