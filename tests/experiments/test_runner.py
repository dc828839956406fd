import json

import numpy as np
import pytest
from PIL import Image

from experiments import benchmark, evaluate, records, runner, sample

FILES = (
    "config.json provenance.json metrics.jsonl timing.jsonl evaluation.json "
    "samples.npz samples.png trajectory.png loss.png"
)


@pytest.mark.parametrize(("fixture", "shape"), [("swiss_roll_run", (1, 2)), ("digits_run", (1, 8, 8, 1))])
def test_a_finished_run_leaves_its_folder_complete(fixture, shape, request):
    folder, record = request.getfixturevalue(fixture)
    assert {path.name for path in folder.iterdir()} >= {*FILES.split(), "checkpoints"}
    config = json.loads((folder / "config.json").read_text())
    assert config == record["config"]
    assert records.read(folder / "evaluation.json") == record
    x = np.load(folder / "samples.npz")["x"]
    assert x.shape == (config["sampling"]["count"], *shape)
    assert np.isfinite(x).all()
    assert (x != x[0]).any()
    for picture in ("samples", "trajectory", "loss"):
        assert np.asarray(Image.open(folder / f"{picture}.png").convert("L")).std() > 0


def test_a_record_says_what_was_found_and_where(swiss_roll_run):
    _, record = swiss_roll_run
    assert np.isfinite(record["metrics"]["bound/bits"])
    assert record["metrics"]["bound/bits_se"] > 0
    assert (record["steps"], record["seed"]) == (8, 0)
    assert record["seconds"]["training"] > 0
    assert record["seconds"]["evaluation"] > 0
    assert set(record) >= {"commit", "made", "hardware", "config"}


def test_a_run_that_was_stopped_goes_on_to_the_same_record(tmp_path, debug, swiss_roll_run):
    whole, record = swiss_roll_run
    plan = debug("swiss_roll")

    class Killed(Exception):
        pass

    def kill(step, metrics):
        if step == 8:
            raise Killed

    with pytest.raises(Killed):
        runner.train(plan, tmp_path, hooks=(kill,))
    with pytest.raises(ValueError, match=r"is not finished: 4 of 8 steps are saved"):
        runner.load(tmp_path)
    again = runner.run(plan, tmp_path)
    for file in ("metrics.jsonl", "config.json"):
        assert (tmp_path / file).read_bytes() == (whole / file).read_bytes()
    assert again["metrics"] == record["metrics"]
    assert np.array_equal(np.load(tmp_path / "samples.npz")["x"], np.load(whole / "samples.npz")["x"])


def test_evaluating_again_finds_the_same(swiss_roll_run, tmp_path, debug, capsys):
    folder, record = swiss_roll_run
    again = runner.evaluate(runner.load(folder), tmp_path)
    assert again["metrics"] == record["metrics"]
    assert "K  " in capsys.readouterr().out
    one = debug(
        "swiss_roll", **{"evaluation.bound": {"name": "held_out_bound", "pairs": 1, "batch_size": 32}}
    )
    with pytest.raises(ValueError, match=r"another config.*seed: 0 there, 1 here"):
        runner.load(folder, debug("swiss_roll", seed=1))
    other = runner.Trained(one, runner.load(folder).variables)
    assert runner.evaluate(other, tmp_path)["metrics"] != record["metrics"]


def test_a_sample_depends_on_its_seed_and_number_alone(swiss_roll_run, tmp_path, capsys):
    folder, _ = swiss_roll_run
    drawn = {}
    for seed in ("0", "1"):
        line = ["--workdir", str(folder), "--count", "3", "--seed", seed]
        sample.main([*line, "--out", str(tmp_path / seed)])
        drawn[seed] = np.load(tmp_path / f"{seed}.npz")["x"]
        assert (tmp_path / f"{seed}.png").exists()
    of_the_run = np.load(folder / "samples.npz")["x"]
    np.testing.assert_allclose(drawn["0"], of_the_run[:3], rtol=1e-5, atol=1e-5)
    assert not np.isclose(drawn["0"], drawn["1"]).any()
    assert "samples/s" in capsys.readouterr().out


def test_any_sampler_and_grid_may_be_asked_for(digits_run, tmp_path):
    folder, _ = digits_run
    trained = runner.load(folder)
    heun = runner.drawn(trained, count=2, seed=0, sampler="heun", grid={"name": "linear_grid", "steps": 3})
    assert heun.states.shape == (4, 2, 1, 8, 8, 1)
    np.testing.assert_array_equal(heun.states[-1], heun.x)
    np.testing.assert_allclose(heun.times, [1, 2 / 3, 1 / 3, 0], atol=1e-6)
    with pytest.raises(ValueError, match="count, the number of samples, must be at least 1, got 0"):
        runner.drawn(trained, count=0, seed=0, sampler="heun")


def test_samples_may_be_guided(digits_run):
    """Scale 1 is no guidance, scale 0 is the model without labels, and a model cannot guide itself."""
    folder, _ = digits_run
    trained = runner.load(folder)
    given = {"count": 20, "seed": 0, "sampler": "ddim", "grid": {"name": "linear_grid", "steps": 3}}
    plain = runner.drawn(trained, labels=True, **given)
    for guidance in ({"scale": 1.0}, {"scale": 3.0, "guide": str(folder)}):
        same = runner.drawn(trained, labels=True, guidance=guidance, **given)
        np.testing.assert_allclose(same.x, plain.x, rtol=1e-4, atol=1e-5)
    free = runner.drawn(trained, **given)
    none = runner.drawn(trained, labels=True, guidance={"scale": 0.0}, **given)
    np.testing.assert_allclose(none.x, free.x, rtol=1e-4, atol=1e-5)
    more = runner.drawn(trained, labels=True, guidance={"scale": 3.0}, **given)
    assert np.abs(more.x - plain.x).max() > 1e-3
    with pytest.raises(ValueError, match="classifier-free guidance is towards a label"):
        runner.drawn(trained, guidance={"scale": 2.0}, **given)


def test_grey_values_of_the_pictures(debug):
    low, high = runner.grey_limits(debug("digits").dataset.info)
    assert (low, high) == (-1.0, 1.0)
    assert runner.grey_limits(debug("heartbeat").dataset.info) == (0.0, 1.0)


def test_an_objective_without_parameters_is_evaluated_without_training(tmp_path, debug):
    exact = {
        "name": "exact",
        "support": {"name": "swiss_roll_curve", "points": 200},
        "process": "vp_2015",
        "grid": {"name": "linear_grid", "steps": 4},
        "decoder": "fixed_kernel",
    }
    plan = debug("swiss_roll", **{"objective": exact, "training.steps": 0, "sampling": None})
    record = runner.run(plan, tmp_path)
    assert record["seconds"]["training"] == 0
    assert record["metrics"]["bound/bits"] < 0
    assert not (tmp_path / "checkpoints").exists()
    assert list(tmp_path.glob("*.png")) == []


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("objective.network", {"name": "mlpp"}, "unknown network 'mlpp'"),
        ("optimizer", {"name": "adam", "learning_rat": 1.0}, "did you mean 'learning_rate'"),
        ("evaluation.bound", {"name": "held_out_bound", "splits": "test"}, "did you mean 'split'"),
        ("sampling.sampler", "ancestrale", "unknown sampler 'ancestrale'"),
        ("data", {"name": "swis_roll"}, "unknown data 'swis_roll'"),
    ],
)
def test_what_is_wrong_with_a_config_shows_before_training(debug, field, value, message):
    with pytest.raises((TypeError, ValueError), match=message):
        debug("swiss_roll", **{field: value})


def test_a_batch_that_the_devices_do_not_share(debug, tmp_path):
    plan = debug("swiss_roll", **{"training.mesh": {"data": 5}})
    with pytest.raises(ValueError, match="the mesh"):
        runner.train(plan, tmp_path)


def test_folders_without_a_run(tmp_path):
    with pytest.raises(SystemExit, match="is not the folder of a run: it has no config.json"):
        sample.main(["--workdir", str(tmp_path)])
    with pytest.raises(SystemExit, match="is not the folder of a run"):
        evaluate.main(["--workdir", str(tmp_path / "nowhere")])


def test_the_benchmark_measures_a_config():
    spec = "configs/nonequilibrium/swiss_roll.py:debug"
    found = benchmark.measure(spec)
    assert set(found) == set(benchmark.CONFIG_COLUMNS[1:])
    assert all(np.isfinite(value) and value > 0 for value in found.values())
    lines = benchmark.render(benchmark.CONFIG_COLUMNS, {spec: found, "broken": {}}).splitlines()
    assert lines[2].startswith(f"| {spec} | {found['compile, s']:.4g} |")
    assert lines[3] == "| broken | - | - | - | - | - |"
