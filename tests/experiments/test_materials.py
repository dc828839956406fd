"""A generator, a guidance model that guides it, and the pictures of where it went."""

import numpy as np
import pytest
from PIL import Image

from diffusion_jax.data.ring_graphs import RingGraphs
from diffusion_jax.molecules.reading import Reading
from experiments import configuration, ensemble, molecules, records, runner

CONFIGS = "configs/context_guided"
CODES = ["SE", "SSE", "SLE", "SSSE", "SSLE", "SLRE", "SLLE", "SSSSE"]


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
    """(folder, record) of a guidance model for it; whatever is generated counts as a molecule."""
    folder = tmp_path_factory.mktemp("predictor")
    runs = {f"evaluation.{name}.generator.run": str(generator[0]) for name in ("guided", "optimistic")}

    def truth(self, x):
        return {"target_0": np.abs(x).sum((1, 2)), "valid": np.ones(len(x))}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RingGraphs, "truth", truth)
        patch.setattr(RingGraphs, "read", lambda self, x: [Reading(one, None) for one in CODES])
        yield folder, runner.run(plan("materials.py:debug", **runs), folder)


def test_the_truth_of_a_generators_samples_stands_beside_its_datas(generator):
    metrics = generator[1]["metrics"]
    assert metrics["valid/real_valid"] == metrics["valid/real_in_train"] == 1
    assert metrics["valid/real_novel"] == 0


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
    for scale, one in found.items():
        assert one.codes == CODES
        assert one.property.mean() == pytest.approx(record["metrics"][f"guided/target_0@{scale:g}"], rel=1e-5)
    assert (found[0.0].property != found[1.0].property).all()
    molecules.main(["--workdir", str(folder), "--columns", "2", "--out", str(tmp_path / "led")])
    assert "4 molecules at 2 scales" in capsys.readouterr().out
    for picture in ("histograms", "molecules"):
        assert np.asarray(Image.open(tmp_path / f"led_{picture}.png").convert("L")).std() > 0
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
