"""Samples whose latents are exchanged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments import configuration, exchanges, runner


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    runner.train(runner.plan(configuration.load("configs/disco_diff/toy.py:debug")), folder)
    return folder


@pytest.fixture
def trained(workdir):
    """The run with weights that are not small: latents count from the first step on."""
    found, rng = runner.load(workdir), np.random.default_rng(0)
    params = dict(found.variables.params)
    params["network"] = jax.tree.map(
        lambda leaf: jnp.asarray(0.5 * rng.normal(size=leaf.shape), leaf.dtype), params["network"]
    )
    return found._replace(variables=found.variables._replace(params=params))


def test_the_last_none_is_the_first_sample_and_the_more_the_farther(trained):
    drawn = exchanges.drawn(trained, 6, seed=0)
    assert list(drawn) == ["last 0%", "last 25%", "last 50%", "last 75%", "last 100%"]
    assert {x.shape for x in drawn.values()} == {(6, 1, 2)}
    assert (drawn["last 0%"] != drawn["last 100%"]).any()
    again = exchanges.drawn(trained, 6, seed=0)
    np.testing.assert_array_equal(again["last 100%"], drawn["last 100%"])


def test_one_group_is_all_and_groups_must_divide_the_latents(trained):
    shares, groups = exchanges.drawn(trained, 4, seed=0), exchanges.drawn(trained, 4, seed=0, groups=1)
    np.testing.assert_allclose(groups["its own"], shares["last 0%"], atol=1e-5)
    np.testing.assert_allclose(groups["group 1"], groups["all"], atol=1e-5)
    np.testing.assert_allclose(groups["all"], shares["last 100%"], atol=1e-5)
    with pytest.raises(ValueError, match="1 latents do not divide into 2 groups"):
        exchanges.drawn(trained, 4, seed=0, groups=2)


def test_latents_guide_away_from_null_ones(trained):
    """No excess is no guidance, D + g (D - D_null) is linear in g where the sampler takes one step."""
    given = {"count": 5, "seed": 3, "sampler": "ddim", "grid": {"name": "linear_grid", "steps": 1}}
    plain, none, one, two = (
        runner.drawn(trained, latents=latents, **given).x
        for latents in (None, {"excess": 0.0}, {"excess": 1.0}, {"excess": 2.0})
    )
    np.testing.assert_allclose(none, plain, rtol=1e-5)
    np.testing.assert_allclose(two - plain, 2 * (one - plain), rtol=1e-3, atol=1e-4)
    assert np.abs(one - plain).max() > 1e-2
    outside = runner.drawn(trained, latents={"excess": 1.0, "low": 1e6, "high": 1e7}, **given).x
    np.testing.assert_allclose(outside, plain, rtol=1e-5)
    cold = runner.drawn(trained, latents={"temperature": 0.0}, **given).x
    assert cold.shape == plain.shape


def test_the_command_draws_a_panel_for_each_exchange(workdir, tmp_path, capsys):
    out = tmp_path / "exchanges.png"
    exchanges.main(["--workdir", str(workdir), "--count", "3", "--out", str(out)])
    assert "last 0%, last 25%, last 50%, last 75%, last 100%" in capsys.readouterr().out
    assert np.asarray(Image.open(out).convert("L")).std() > 0
    with pytest.raises(SystemExit, match="count must be at least 1"):
        exchanges.main(["--workdir", str(workdir), "--count", "0"])
    with pytest.raises(SystemExit, match="is not the folder of a run"):
        exchanges.main(["--workdir", str(tmp_path)])
