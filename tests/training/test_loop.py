import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from diffusion_jax.training import checkpoints
from diffusion_jax.training.metrics import NonFiniteError
from tests.training import toy

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A run that nothing interrupts: (its folder, its last state)."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    return folder, toy.run(folder)


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)))


def start(compilation_cache, folder, *arguments):
    """The same run in a process of its own."""
    command = [sys.executable, "-m", "tests.training.toy", str(folder), *arguments]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUMPY_RANK_PROMOTION": "raise"} | compilation_cache,
        stderr=subprocess.PIPE,
        text=True,
    )


def saved(folder):
    return sorted(int(one.name) for one in (folder / "checkpoints").glob("*") if one.name.isdigit())


def wait_for(process, condition):
    for _ in range(1200):
        if condition():
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    raise AssertionError("the run did not get there within a minute")


class Stops(toy.Points):
    """A stream that fails after some batches, as a crash would."""

    def __init__(self, after):
        super().__init__()
        self.after = after

    def next(self, n):
        if self.position >= self.after:
            raise ConnectionError("gone")
        return super().next(n)


def test_a_run_leaves_its_folder(uninterrupted):
    folder, state = uninterrupted
    assert state.step == 12
    assert json.loads((folder / "config.json").read_text()) == toy.DEFAULTS["config"]
    assert [json.loads(x)["step"] for x in (folder / "metrics.jsonl").read_text().splitlines()] == [
        3,
        6,
        9,
        12,
    ]
    assert saved(folder) == [8, 12]
    (start,) = json.loads((folder / "provenance.json").read_text())
    assert start["packages"]["jax"] == jax.__version__
    config, variables = checkpoints.load(folder)
    assert config == toy.DEFAULTS["config"]
    assert same(variables.params, state.ema)
    assert same(checkpoints.load(folder, ema=False)[1].params, state.params)
    assert variables.state["calls"] == 12


def test_resumed_is_uninterrupted_to_the_bit(uninterrupted, tmp_path):
    """It crashes at step 10, two steps past a checkpoint that lies within a window of metrics."""
    with pytest.raises(ConnectionError):
        toy.run(tmp_path, Stops(after=10))
    assert saved(tmp_path) == [4, 8]
    folder, state = uninterrupted
    assert same(toy.run(tmp_path), state)
    assert (tmp_path / "metrics.jsonl").read_bytes() == (folder / "metrics.jsonl").read_bytes()
    assert len(json.loads((tmp_path / "provenance.json").read_text())) == 2


def test_a_finished_run_may_grow(uninterrupted, tmp_path):
    toy.run(tmp_path, steps=6)
    assert same(toy.run(tmp_path), uninterrupted[1])
    assert same(toy.run(tmp_path), uninterrupted[1])


def test_kill_at_any_moment_loses_nothing_saved(uninterrupted, tmp_path, compilation_cache):
    moments, before = random.Random(0), 0
    for _ in range(2):
        process = start(
            compilation_cache,
            tmp_path,
            "--delay",
            "0.05",
            "--changes",
            '{"checkpoint_every": 2, "steps_per_call": 1}',
        )
        wait_for(process, lambda seen=before: max(saved(tmp_path), default=0) > seen)
        time.sleep(moments.uniform(0, 0.2))
        before = max(saved(tmp_path))
        process.kill()
        process.communicate()
        assert max(saved(tmp_path)) >= before
        checkpoints.load(tmp_path, step=max(saved(tmp_path)))
    state = toy.run(tmp_path)
    assert same(state, uninterrupted[1])
    assert (tmp_path / "metrics.jsonl").read_bytes() == (uninterrupted[0] / "metrics.jsonl").read_bytes()


def test_sigterm_saves_and_leaves(uninterrupted, tmp_path, compilation_cache):
    process = start(compilation_cache, tmp_path, "--delay", "0.3", "--changes", '{"checkpoint_every": 100}')
    wait_for(
        process, lambda: (tmp_path / "metrics.jsonl").exists() and (tmp_path / "metrics.jsonl").read_text()
    )
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    (step,) = saved(tmp_path)
    assert 0 < step < 12
    assert f"SIGTERM: step {step} is saved in {tmp_path}" in errors
    assert same(toy.run(tmp_path), uninterrupted[1])
    assert (tmp_path / "metrics.jsonl").read_bytes() == (uninterrupted[0] / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize("poison", [7, 11])
def test_nan_stops_and_keeps_the_last_good_checkpoint(tmp_path, poison):
    """The batch of index 11 belongs to the last step, after which a checkpoint is due."""
    with pytest.raises(
        NonFiniteError, match=rf"step {poison + 1}: loss = nan.*checkpoint.*step {poison // 4 * 4}"
    ):
        toy.run(tmp_path, toy.Points(poison=poison))
    assert max(saved(tmp_path)) == poison // 4 * 4
    params = checkpoints.load(tmp_path)[1].params
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(params))


def test_corrupt_checkpoints_are_passed_over(uninterrupted, tmp_path, caplog):
    toy.run(tmp_path, steps=8)
    largest = max((tmp_path / "checkpoints" / "8").rglob("*"), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-10])
    state = toy.run(tmp_path)
    assert "going on from step 4: step 8" in caplog.text
    assert (tmp_path / "corrupt" / "8").is_dir()
    assert same(state, uninterrupted[1])


def test_it_compiles_once(tmp_path, monkeypatch):
    traces = []
    original = toy.objective

    def counted(width):
        one = original(width)

        def loss(*arguments):
            traces.append(1)
            return one.loss(*arguments)

        return one._replace(loss=loss)

    monkeypatch.setattr(toy, "objective", counted)
    toy.run(tmp_path)
    assert len(traces) == 1


def test_a_workdir_of_another_config_is_refused(uninterrupted, tmp_path):
    folder, _ = uninterrupted
    other = {"objective": "other", "training": {"steps": 1}, "seed": 3}
    with pytest.raises(
        ValueError, match="objective: 'toy' there, 'other' here; seed: 'absent' there, 3 here"
    ):
        toy.run(folder, config=other)
    assert json.loads((folder / "config.json").read_text()) == toy.DEFAULTS["config"]


def test_an_optimiser_of_another_shape_is_refused(uninterrupted):
    """The same config, but the code has changed: sound checkpoints must not count as corrupt."""
    with pytest.raises(
        checkpoints.StructureError, match=r"kernel: \(\(16, 2\), 'float32'\) there, \(\(8, 2\)"
    ):
        toy.run(uninterrupted[0], width=8)
    assert not (uninterrupted[0] / "corrupt").exists()


def test_init_from_starts_with_the_other_runs_average(uninterrupted, tmp_path, caplog):
    folder, state = uninterrupted
    again = toy.run(tmp_path, steps=1, init_from=folder)
    assert "5 arrays taken; new here: none; not used: none" in caplog.text
    moved = max(
        np.abs(a - b).max() for a, b in zip(jax.tree.leaves(again.params), jax.tree.leaves(state.ema))
    )
    assert 0 < moved < 0.011  # one step of Adam at 0.01
    assert again.state["calls"] == 13


def test_hooks_see_every_line(tmp_path):
    lines = []
    toy.run(tmp_path, steps=7, ema=None, hooks=[lambda step, metrics: lines.append((step, metrics["loss"]))])
    written = [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [(line["step"], line["loss"]) for line in written]
    assert [step for step, _ in lines] == [3, 6, 7]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "at least 1"),
        ({"keep": 0}, "keep must be at least 1"),
        ({"log_every": 0}, "log_every must be at least 1"),
        (
            {"batch_size": 15, "microbatches": 2},
            "a batch of 15 cannot.*1 devices and 2 micro-batches.*14 or 16",
        ),
    ],
)
def test_bad_arguments(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        toy.run(tmp_path, **changes)


def test_an_average_is_a_function(tmp_path):
    with pytest.raises(TypeError, match="ema is a function step -> decay.*got 0.9"):
        toy.run(tmp_path, ema=0.9)


def test_an_iterator_of_another_batch_size_is_refused(tmp_path):
    with pytest.raises(ValueError, match="gives 8 samples a batch in each of 1 processes.*batch_size of 16"):
        toy.run(tmp_path, toy.Points(8))
