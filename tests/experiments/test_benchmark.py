import importlib
import json
import sys

import numpy as np
import pytest

from experiments import benchmark, compare, machine, workloads


@pytest.mark.parametrize("name", ["unet_heun", "mlp_steps", "rollout_cached", "rollout_window"])
def test_a_workload_is_measured(name):
    found = benchmark.work(name, devices=1, tiny=True)
    assert tuple(found) == benchmark.WORKLOAD_COLUMNS[1:]
    assert all(np.isfinite(value) and value > 0 for value in found.values())
    # a run of Heun's method: 2 images, 3 evaluations; of training: 3 batches of 8 points; a roll-out: 2
    # sequences of 3 tokens, 2 evaluations each
    per_step = {"unet_heun": 2 / 3, "mlp_steps": 8}.get(name, 1)
    assert found["images/s"] / found["steps/s"] == pytest.approx(per_step)


def test_the_benchmarked_network_is_the_small_edm_network():
    model = workloads.unet(workloads.FULL)
    count = sum(leaf.size for leaf in _leaves(model.variables.params))
    assert count == 1_754_147
    assert model.x.shape == (16, 1, 32, 32, 3)


def _leaves(tree):
    if not isinstance(tree, dict):
        return [tree]
    return [leaf for branch in tree.values() for leaf in _leaves(branch)]


def test_the_command_records_what_it_prints(tmp_path, capsys, monkeypatch):
    numbers = {"compile, s": 1.5, "steps/s": 2.0, "images/s": 32.0, "program MiB": 3.0, "peak MiB": 400.0}
    asked = []

    def measured(which):
        asked.append(which)
        return numbers

    monkeypatch.setattr(benchmark, "_apart", measured)
    file = tmp_path / "networks.json"
    benchmark.main(["--workload", "unet_step", "--devices", "2", "--tiny", "--record", str(file)])
    assert asked == [["--workload", "unet_step", "--devices", "2", "--tiny"]]
    assert "| unet_step | 1.5 | 2 | 32 | 3 | 400 |" in capsys.readouterr().out
    record = json.loads(file.read_text())
    assert record["workloads"] == {"unet_step": numbers}
    assert record["configs"] == {}
    assert record["devices"] == 2
    assert record["hardware"]
    assert record["busy"] >= 0


@pytest.mark.parametrize(("load", "warned"), [(0.1, False), (3.0, True)])
def test_a_busy_machine_is_told(load, warned, monkeypatch, caplog):
    monkeypatch.setattr("os.getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert machine.busy() == pytest.approx(load / 2)
    assert ("150% of this machine busy" in caplog.text) == warned


def test_comparing_needs_pytorch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SystemExit) as left:
        compare.main(["--tiny"])
    assert "comparing needs PyTorch: pip install 'diffusion_jax[compare]'" in str(left.value.code)


def test_every_workload_but_the_roll_outs_has_a_twin():
    assert list(compare.TWINS) == [name for name in workloads.WORKLOADS if "rollout" not in name]


@pytest.mark.slow
def test_the_twin_computes_the_same(capsys):
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)  # two that share a busy core wait for each other
    compare.main(["--tiny", "--rounds", "2"])
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.split(" | ")[0] for line in lines[2:]] == [f"| {name}" for name in compare.TWINS]


def test_a_twin_that_is_none_is_refused(monkeypatch):
    torch = pytest.importorskip("torch")
    other = compare.Other(torch, importlib.import_module("experiments.twin"), "cpu")
    right = other.twin.denoise
    monkeypatch.setattr(other.twin, "denoise", lambda network, x, sigma: right(network, x, 1.001 * sigma))
    with pytest.raises(ValueError, match="the twin's outputs are .* apart from ours, more than 1e-05"):
        compare.TWINS["mlp_steps"](workloads.TINY, other)
