"""Runs of guidance models: their context, an ensemble of them, pictures, and what ends them."""

import jax
import numpy as np
import pytest
from PIL import Image

from diffusion_jax.training import checkpoints
from experiments import configuration, ensemble, plane, records, reporting, runner, train
from experiments.reporting import Run
from experiments.tables import __main__ as tables

CONFIG = "configs/context_guided/swiss_roll.py"


def plan(variants, **overrides):
    return runner.plan(configuration.load(f"{CONFIG}:{variants}", overrides))


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """Folders of two runs that differ in their seeds; their network is that of the variant `ensemble`."""
    folders = [tmp_path_factory.mktemp(f"s{seed}") for seed in (0, 1)]
    size = {"objective.predictor.width": 128, "objective.predictor.depth": 3}
    for seed, folder in enumerate(folders):
        runner.train(plan("debug,none", seed=seed, **size), folder)
    return folders


def test_a_run_trains_with_its_context_and_is_evaluated(tmp_path):
    record = runner.run(plan("debug"), tmp_path)
    metrics = record["metrics"]
    assert metrics["calibration/test_nll"] < metrics["calibration/shifted_nll"]
    lines = (tmp_path / "metrics.jsonl").read_text()
    assert '"context"' in lines
    assert '"least_diagonal"' in lines


def test_with_a_context_a_model_is_less_sure_away_from_its_labels(tmp_path):
    """The point of it all: a deviation three times as large after 3,000 steps; here are 1,000."""
    deviation = {}
    for name, variants in (("none", "small,none"), ("context", "small")):
        runner.train(plan(variants), tmp_path / name)
        trained = runner.load(tmp_path / name)
        (batch,) = trained.plan.dataset.epoch("shifted", trained.plan.dataset.info.splits["shifted"])
        predict = jax.jit(trained.given({}).predictor)
        deviation[name] = np.sqrt(predict(batch["x"], 0.0).variance).mean()
    assert deviation["context"] > 1.5 * deviation["none"]


def test_runs_become_an_ensemble(members, tmp_path, capsys):
    line = ["--workdir", *map(str, members)]
    ensemble.main([*line, "--out", str(tmp_path)])
    assert "an ensemble of 2" in capsys.readouterr().out
    x = np.random.default_rng(0).standard_normal((5, 1, 2)).astype(np.float32)
    loaded = [runner.load(one).given({}).predictor for one in (tmp_path, *members)]
    # together: compiled once, and not operation by operation
    found, *each = jax.jit(lambda x: [predictor(x, 0.3) for predictor in loaded])(x)
    np.testing.assert_allclose(found.mean, (each[0].mean + each[1].mean) / 2, rtol=1e-5)
    spread = (each[0].mean - each[1].mean) ** 2 / 4
    np.testing.assert_allclose(found.variance, (each[0].variance + each[1].variance) / 2 + spread, rtol=1e-4)
    with pytest.raises(SystemExit, match="seeds of their own"):
        ensemble.main(["--workdir", str(members[0]), str(members[0]), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match="different configs"):
        ensemble.main(["--workdir", str(members[0]), str(tmp_path), "--out", str(tmp_path / "out")])


def test_a_table_puts_its_ensemble_together_before_it_is_evaluated(members, tmp_path, monkeypatch, capsys):
    ids = tuple(folder.name for folder in members)
    run = Run("joined", f"{CONFIG}:debug,ensemble", {"objective.members": 2, "seed": 3}, members=ids)
    workdir, seen = members[0].parent / "joined", []

    def process(arguments, **_):
        seen.append(runner.load(arguments[-1]).plan.config)

    monkeypatch.setattr(tables.subprocess, "run", process)
    assert not tables._run("context_guided", run, workdir, tmp_path)  # the stand-in evaluates nothing
    assert len(seen) == 1
    assert records.same_run(seen[0], reporting.config_of(run))
    absent = run._replace(id="other", members=(ids[0], "absent"))
    assert not tables._run("context_guided", absent, members[0].parent / "other", tmp_path)
    assert "absent is not the folder of a run" in capsys.readouterr().err
    assert len(seen) == 1


def test_the_plane_of_runs_is_drawn(members, tmp_path, capsys):
    out = tmp_path / "plane.png"
    plane.main(["--workdir", *map(str, members), "--levels", "0", "0.5", "--out", str(out)])
    assert "2 runs at 2 levels" in capsys.readouterr().out
    assert np.asarray(Image.open(out).convert("L")).std() > 0
    trained = runner.load(members[0])
    field = plane.fields(trained, [0.5])
    corner = trained.given({}).predictor(jax.numpy.full((1, 1, 2), -2.5 * (1 - 1 / 80)), 0.5)
    targets = trained.plan.dataset.targets
    np.testing.assert_allclose(
        field[0, 0, 0, 0], targets.mean[0] + targets.std[0] * corner.mean[0, 0], rtol=1e-4
    )
    with pytest.raises(SystemExit, match="levels lie"):
        plane.main(["--workdir", str(members[0]), "--levels", "2", "--out", str(out)])


def test_a_pretrained_network_is_taken_over(tmp_path):
    runner.train(plan("debug,pretrain"), tmp_path)
    first, later = runner.load(tmp_path).variables, plan("debug,pretrained")
    batch = next(iter(later.dataset.epoch("test", 4)))
    merge = checkpoints.init_from(tmp_path, jax.jit(later.objective.init)(jax.random.key(1), batch))
    assert {path.split("/")[1] for path in merge.taken} == {"network"}
    assert {path.split("/")[1] for path in merge.new} == {"regression"}
    for a, b in zip(
        jax.tree.leaves(first.params["network"]),
        jax.tree.leaves(merge.variables.params["network"]),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def test_a_covariance_that_is_not_positive_ends_training_with_its_level(tmp_path):
    # more inputs than features: without its diagonal the covariance is singular
    line = ["--config", f"{CONFIG}:debug", "--workdir", str(tmp_path), "--config.context.size=64"]
    scales = ["--config.objective.regulariser.scale=1e6", "--config.objective.regulariser.diagonal=1e-7"]
    with pytest.raises(
        SystemExit, match=r"diverged at step 1: loss = nan.*at_level = 0\.\d+, at_scale = \d+.*least_diagonal"
    ):
        train.main([*line, *scales])
