import importlib
import json
import sys

import jax
import numpy as np
import pytest

from diffusion_jax.build import build
from experiments import benchmark, compare, machine, workloads


@pytest.mark.parametrize(
    "name",
    [
        "unet_heun",
        "mlp_steps",
        "rollout_cached",
        "rollout_window",
        "latents_step",
        "prior_draws",
        "context_step",
    ],
)
def test_a_workload_is_measured(name):
    found = benchmark.work(name, devices=1, tiny=True)
    assert tuple(found) == benchmark.WORKLOAD_COLUMNS[1:]
    assert all(np.isfinite(value) and value > 0 for value in found.values())
    # a run of Heun's method: 2 images, 3 evaluations; of training: 3 batches of 8 points; a roll-out: 2
    # sequences of 3 tokens, 2 evaluations each; a step with latents: 2 images; 2 latents for each of 2
    # images; a step with a context: 4 molecules
    per_step = {"unet_heun": 2 / 3, "mlp_steps": 8, "latents_step": 2, "context_step": 4}.get(name, 1)
    assert found["images/s"] / found["steps/s"] == pytest.approx(per_step)


def test_the_benchmarked_network_is_the_small_edm_network():
    model = workloads.unet(workloads.FULL)
    count = sum(leaf.size for leaf in _leaves(model.variables.params))
    assert count == 1_754_147
    assert model.x.shape == (16, 1, 32, 32, 3)


def test_latents_cost_beside_the_same_network():
    """The network is unet_step's; the prior is to it as 38 million parameters to 296."""
    latent = workloads.with_latents(workloads.FULL).variables.params["network"]
    plain = workloads.unet(workloads.FULL).variables.params["network"]
    tokens = sum(leaf.size for leaf in _leaves(latent["latents"]))
    cross = sum(leaf.size for name in plain for leaf in _leaves(latent[name].get("latents", {})))
    both = sum(leaf.size for leaf in _leaves(latent))
    assert both - tokens - cross == sum(leaf.size for leaf in _leaves(plain)) == 1_754_147
    assert cross > 0
    prior = build("prior", {"name": "autoregressive", "latents": 10, "codes": 100, **workloads.FULL.prior})
    like = jax.eval_shape(prior.init, jax.random.key(0), np.zeros((1, 10), np.int32))
    count = sum(leaf.size for leaf in jax.tree.leaves(like))
    assert count / 1_754_147 == pytest.approx(38 / 296, rel=0.15)


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


def test_every_workload_but_of_roll_outs_latents_and_guidance_has_a_twin():
    without = ("rollout", "latents", "prior", "guidance", "context")
    assert list(compare.TWINS) == [name for name in workloads.WORKLOADS if not name.startswith(without)]


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
