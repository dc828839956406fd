"""Plans as they denoise."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments import configuration, plans, runner


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    runner.train(runner.plan(configuration.load("configs/diffusion_forcing/maze2d.py:debug")), folder)
    return folder


def test_a_plan_starts_at_the_ball_and_its_near_tokens_are_clean_first(workdir):
    ways, levels, goals = plans.plans(runner.load(workdir), "single", 2, 3, seed=0)
    assert ways.shape == (2, 3, 4, 2)
    np.testing.assert_allclose(goals, [[1, 1], [1, 1]])
    np.testing.assert_allclose(ways[:, 0, 0], ways[:, 2, 0], atol=1e-6)
    # Two steps a token and a lag of one: after half the rows the first new token is clean, the last is noise.
    np.testing.assert_allclose(levels, [[0, 1, 1, 1], [0, 0, 0.5, 1], [0, 0, 0, 0]])
    assert jnp.abs(ways[:, 2] - 2).max() <= 1.6 + 1e-5


def test_the_command_draws_a_row_for_each_plan(workdir, tmp_path, capsys):
    out = tmp_path / "plans.png"
    plans.main(["--workdir", str(workdir), "--count", "2", "--moments", "4", "--out", str(out)])
    assert "2 plans in" in capsys.readouterr().out
    width, height = Image.open(out).size
    assert 1.5 < width / height < 2.2
    with pytest.raises(SystemExit, match="no evaluation 'other'"):
        plans.main(["--workdir", str(workdir), "--evaluation", "other"])
    with pytest.raises(SystemExit, match="1 plan and 2 moments"):
        plans.main(["--workdir", str(workdir), "--count", "0"])
