"""Fan charts of a run's forecasts."""

import numpy as np
import pytest
from PIL import Image

from experiments import configuration, fans, runner


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    config = configuration.load("configs/diffusion_forcing/forecasting.py:debug")
    config["evaluation"] = {"forecast": config["evaluation"]["forecast"]}
    runner.train(runner.plan(config), folder)
    return folder


def test_the_command_draws_a_row_for_each_window(workdir, tmp_path, capsys):
    for name, windows in (("one", ["1"]), ("two", ["1", "3"])):
        out = tmp_path / f"{name}.png"
        fans.main(["--workdir", str(workdir), "--windows", *windows, "--features", "1", "--out", str(out)])
    assert "2 windows with 4 paths each" in capsys.readouterr().out
    one, two = (np.asarray(Image.open(tmp_path / f"{name}.png").convert("L")) for name in ("one", "two"))
    assert two.shape[0] == pytest.approx(2 * one.shape[0], abs=2)
    assert two.std() > 0


def test_what_is_drawn_are_the_series_own_numbers(workdir):
    trained = runner.load(workdir)
    past, paths, future = fans.fans(trained, np.array([2, 0]), seed=0)
    series = trained.plan.dataset.series
    assert paths.shape == (4, 2, 2, 2)
    start = series.starts[2]
    np.testing.assert_allclose(past[0], series.x[start : start + 3], atol=1e-6)
    np.testing.assert_allclose(future[0], series.x[start + 3 : start + 5], atol=1e-6)


def test_what_does_not_exist_is_said(workdir, tmp_path):
    with pytest.raises(SystemExit, match="windows are numbered 0 to 3"):
        fans.main(["--workdir", str(workdir), "--windows", "4", "--out", str(tmp_path / "x.png")])
    with pytest.raises(SystemExit, match="features are numbered 0 to 1"):
        fans.main(["--workdir", str(workdir), "--features", "2", "--out", str(tmp_path / "x.png")])
    with pytest.raises(SystemExit, match="is not the folder of a run"):
        fans.main(["--workdir", str(tmp_path)])
