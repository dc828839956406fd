"""A generator, a guidance model that guides it, and the pictures of where it went."""

import numpy as np
import pytest

from experiments import configuration, ensemble, molecules, records, runner

CONFIGS = "configs/context_guided"


def plan(name, **overrides):
    return runner.plan(configuration.load(f"{CONFIGS}/{name}", overrides))


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    """(folder, record) of a generator that has learned nothing yet."""
    folder = tmp_path_factory.mktemp("generator")
    planned = plan("materials_generator.py:debug", sampling=None)
    return folder, runner.run(planned, folder)


@pytest.fixture(scope="module")
def guided(generator, tmp_path_factory):
    """(folder, record) of a guidance model for it."""
    folder = tmp_path_factory.mktemp("predictor")
    planned = plan("materials.py:debug", **{"evaluation.guided.generator.run": str(generator[0])})
    return folder, runner.run(planned, folder)


def test_the_truth_of_a_generators_samples_stands_beside_its_datas(generator):
    metrics = generator[1]["metrics"]
    assert metrics["valid/real_valid"] == metrics["valid/real_in_train"] == 1
    assert metrics["valid/real_novel"] == 0
    assert 0 <= metrics["valid/valid"] <= 1


def test_a_guidance_model_is_evaluated_by_what_it_leads_another_run_to(guided):
    folder, record = guided
    metrics = record["metrics"]
    assert {"guided/valid@0", "guided/valid@1", "guided/objective_median@1"} <= set(metrics)
    assert {f"calibration/{split}_nll" for split in ("held_out", "validation", "test")} <= set(metrics)
    assert '"least_diagonal"' in (folder / "metrics.jsonl").read_text()


def test_without_its_generator_a_guidance_model_is_not_trained(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not the folder of a run"):
        plan("materials.py:debug", **{"evaluation.guided.generator.run": str(tmp_path)})


def test_the_samples_that_were_scored_are_drawn(guided, tmp_path, capsys):
    folder, record = guided
    found = molecules.led(runner.load(folder), "guided")
    valid = {scale: np.mean([code is not None for code in one.codes]) for scale, one in found.items()}
    assert valid == {scale: record["metrics"][f"guided/valid@{scale:g}"] for scale in (0.0, 1.0)}
    molecules.main(["--workdir", str(folder), "--out", str(tmp_path / "led")])
    assert "at 2 scales" in capsys.readouterr().out
    assert (tmp_path / "led_histograms.png").exists()
    with pytest.raises(SystemExit, match="no evaluation 'calibration' of guided samples"):
        molecules.main(["--workdir", str(folder), "--evaluation", "calibration"])


def test_the_best_molecules_are_drawn_once_each():
    found = molecules.Led(
        ["SE", None, "SSE", "SLE", "SSE", "SSSE"],
        np.array([1.0, np.nan, 3.0, 2.0, 3.0, np.nan]),
        np.array([10.0, np.nan, 30.0, 20.0, 30.0, np.nan]),
    )
    assert molecules.best(found, 2) == [("SSE", 30.0), ("SLE", 20.0)]
    assert len(molecules.best(found, 9)) == 3


@pytest.mark.parametrize("name", ["swiss_roll.py", "materials.py"])
def test_the_ensemble_of_a_table_is_that_of_the_runs_without_a_regulariser(name):
    member, joined = (configuration.load(f"{CONFIGS}/{name}:{one}") for one in ("none", "ensemble"))
    assert records.same_run(ensemble.config_of(member, 5), joined)
