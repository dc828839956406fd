import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from diffusion_jax.training import sharding
from diffusion_jax.training.state import create
from diffusion_jax.types import Variables
from tests.training import toy

ROOT = Path(__file__).parents[2]

EIGHT = """
import json, sys
import jax, numpy as np
from tests.training import toy

assert jax.device_count() == 8
folder = sys.argv[1]
for name, workdir, steps, mesh, rules in [
    ("data", "data", 5, {"data": 8}, []),
    ("sharded", "moved", 4, {"data": -1}, [(".*", "data")]),
    ("both", "moved", 5, {"data": 2, "model": 4}, [("Dense_1/kernel", [None, "model"]), ("kernel", "model")]),
]:
    state = toy.run(f"{folder}/{workdir}", steps=steps, steps_per_call=1, mesh=mesh, rules=rules)
    np.savez(f"{folder}/{name}.npz", *jax.tree.leaves((state.params, state.ema)))
    shapes = jax.tree.map(lambda x: x.addressable_shards[0].data.shape, (state.params, state.opt_state[0].mu))
    print(json.dumps([name, shapes]))
"""

TWO = """
import sys
import jax, numpy as np
from diffusion_jax.training import sharding
from tests.training import toy

folder, delay, *steps = sys.argv[1:]
sharding.initialise_distributed()
index, count = sharding.process_slice(sharding.make_mesh({"data": -1}))
assert (index, count) == (jax.process_index(), 2)
for last in steps:
    points = toy.Points(index=index, count=count, delay=float(delay))
    state = toy.run(f"{folder}/two", points, steps=int(last))
np.savez(f"{folder}/{index}.npz", *jax.tree.leaves((state.params, state.ema)))
"""


def close(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7)


def arrays(path):
    with np.load(path) as file:
        return [file[name] for name in file.files]


def test_one_device_is_eight(tmp_path, compilation_cache):
    """A process with eight CPU devices does five steps: data-parallel; with all parameters sharded over the
    batch's axis for four of them, then with some sharded over another axis, from the checkpoint."""
    alone = {n: toy.run(tmp_path / f"alone{n}", steps=n, steps_per_call=1) for n in (4, 5)}
    flags = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    run = subprocess.run(
        [sys.executable, "-c", EIGHT, str(tmp_path)],
        cwd=ROOT,
        env=os.environ | flags | compilation_cache,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    for name, steps in {"data": 5, "sharded": 4, "both": 5}.items():
        close(jax.tree.leaves((alone[steps].params, alone[steps].ema)), arrays(tmp_path / f"{name}.npz"))
    shards = dict(json.loads(line) for line in run.stdout.splitlines())
    whole = {"Dense_0": {"bias": [2], "kernel": [16, 2]}, "Dense_1": {"bias": [16], "kernel": [3, 16]}}
    assert shards["data"] == [whole, whole]
    cut = {"Dense_0": {"bias": [2], "kernel": [2, 2]}, "Dense_1": {"bias": [2], "kernel": [3, 2]}}
    assert shards["sharded"] == [cut, cut]
    cut = {"Dense_0": {"bias": [2], "kernel": [4, 2]}, "Dense_1": {"bias": [16], "kernel": [3, 4]}}
    assert shards["both"] == [cut, cut]


def start_two(folder, cache, *arguments):
    """The toy run in two processes that share its batches."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    environment = os.environ | cache | {"JAX_PLATFORMS": "cpu", "JAX_COORDINATOR_ADDRESS": address}
    return [
        subprocess.Popen(
            [sys.executable, "-c", TWO, str(folder), *map(str, arguments)],
            cwd=ROOT,
            env=environment | {"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": str(index)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]


def wait_two(processes):
    errors = [process.communicate(timeout=200)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)
    return errors


def check_two(folder, alone):
    """Equal parameters in both processes; parameters and losses of one process."""
    first, second = arrays(folder / "0.npz"), arrays(folder / "1.npz")
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    close(jax.tree.leaves((alone.params, alone.ema)), first)
    losses = [
        [json.loads(line)["loss"] for line in (folder / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("alone", "two")
    ]
    assert len(losses[0]) == alone.step // 3
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_two_processes_are_one(tmp_path, compilation_cache):
    """They do half of the steps, resume from their checkpoint, and end where one process does."""
    processes = start_two(tmp_path, compilation_cache, 0, 6, 12)
    alone = toy.run(tmp_path / "alone")
    wait_two(processes)
    check_two(tmp_path, alone)


@pytest.mark.slow
def test_sigterm_to_one_process_stops_both(tmp_path, compilation_cache):
    alone = toy.run(tmp_path / "alone", steps=60)
    processes = start_two(tmp_path, compilation_cache, 1, 60)
    lines = tmp_path / "two" / "metrics.jsonl"
    while not (lines.exists() and lines.read_text()):
        assert all(process.poll() is None for process in processes), wait_two(processes)
        time.sleep(0.05)
    processes[1].send_signal(signal.SIGTERM)
    for errors in wait_two(processes):
        assert "is saved in" in errors
    assert not (tmp_path / "0.npz").exists()
    wait_two(start_two(tmp_path, compilation_cache, 0, 60))
    check_two(tmp_path, alone)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"model": -1}, "needs an axis 'data'"),
        ({"data": -1, "model": -1}, "one of them may be -1"),
        ({"data": 0}, "are positive"),
        ({"data": 3}, "does not fit 1 devices: it needs 3"),
        ({"data": -1, "model": 2}, "does not fit 1 devices: 1 is no multiple of 2"),
    ],
)
def test_meshes_that_do_not_fit(axes, message):
    with pytest.raises(ValueError, match=message):
        sharding.make_mesh(axes)


class Eight:
    """Stands for a mesh of eight devices, of which this process has one."""

    shape = {"data": 8}  # noqa: RUF012


def test_a_batch_that_the_devices_do_not_divide():
    sharding.check_batch(32, Eight, microbatches=4)
    with pytest.raises(
        ValueError, match="batch of 20 .* 8 devices .* 2 micro-batches; a batch of 16 or 32 can"
    ):
        sharding.check_batch(20, Eight, microbatches=2)
    with pytest.raises(ValueError, match="batch of 3 .* a batch of 8 can"):
        sharding.check_batch(3, Eight)


def test_rules_choose_axes():
    mesh = jax.sharding.AbstractMesh((2, 4), ("data", "model"))
    shapes = {
        "a": {"w": jnp.zeros((6, 8, 12)), "b": jnp.zeros(6)},
        "c": {"w": jnp.zeros((4, 2))},
        "d": jnp.zeros(()),
        "e": jnp.zeros((7, 12)),
    }
    rules = [
        ("^c/", ["model", "data"]),
        ("w$", "model"),
        ("b$", "model"),
        ("e", lambda shape, mesh: PartitionSpec(None, tuple(mesh.axis_names)[1])),
    ]
    found = sharding.shardings(shapes, mesh, rules)
    assert found["a"]["w"].spec == PartitionSpec(None, None, "model")
    assert found["a"]["b"].spec == found["d"].spec == PartitionSpec()
    assert found["c"]["w"].spec == PartitionSpec("model", "data")
    assert found["e"].spec == PartitionSpec(None, "model")


def test_moments_and_averages_live_with_their_parameters():
    mesh = jax.sharding.AbstractMesh((4,), ("data",))
    params = {"kernel": jnp.zeros((8, 3)), "Dense": {"kernel": jnp.zeros((3, 4))}}
    variables = Variables(params, {"frozen": params, "other": {"kernel": jnp.zeros(8)}})
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))
    state = create(variables, optimizer, averaged=True)
    homes = sharding.state_shardings(state, mesh, [("Dense", "replicate"), ("kernel", "data")])
    for part in (homes.params, homes.ema, homes.opt_state[1][0].nu, homes.state["frozen"]):
        assert part["kernel"].spec == PartitionSpec("data")
        assert part["Dense"]["kernel"].spec == PartitionSpec()
    assert homes.state["other"]["kernel"].spec == homes.opt_state[1][0].count.spec == PartitionSpec()


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("modle", "names 'modle'; a rule is 'replicate', an axis of the mesh .data."),
        (["data", None], "cannot split w, which has the shape .3, 8."),
        ([None, None, "data"], "cannot split w"),
    ],
)
def test_bad_rules(rule, message):
    mesh = jax.sharding.AbstractMesh((4,), ("data",))
    with pytest.raises(ValueError, match=message):
        sharding.shardings({"w": jnp.zeros((3, 8))}, mesh, [("w", rule)])


def test_spread_refuses_what_is_no_stack_of_batches():
    mesh = sharding.make_mesh({"data": -1})
    with pytest.raises(ValueError, match=r"batch's context/label has the shape \(4,\)"):
        sharding.spread({"x": np.zeros((1, 4, 1)), "context": {"label": np.zeros(4)}}, mesh)


def test_distributed_arguments(monkeypatch):
    for name in ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"):
        monkeypatch.delenv(name, raising=False)
    sharding.initialise_distributed()
    assert not jax.distributed.is_initialized()
    with pytest.raises(ValueError, match="nor the environment variable JAX_PROCESS_ID"):
        sharding.initialise_distributed("localhost:1", num_processes=2)
