import json
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.training import runs
from diffusion_jax.training.metrics import NonFiniteError, Recorder, keep_lines


def values(*losses, finite=None):
    finite = np.ones(len(losses), bool) if finite is None else np.array(finite)
    return {"loss": jnp.array(losses), "grad_norm": jnp.ones(len(losses)), "finite": jnp.array(finite)}


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_lines_are_means_over_their_window_one_call_late(tmp_path):
    heard = []
    with Recorder(
        tmp_path, start=0, total=5, every=2, hooks=[lambda step, m: heard.append(m["loss"])]
    ) as log:
        log.push(0, values(1.0, 3.0, 5.0))
        assert heard == []
        log.push(3, values(7.0, 9.0))
        assert heard == [2.0]
        log.flush()
        assert heard == [2.0, 6.0]
        assert log.window == {"sums": {"loss": 9.0, "grad_norm": 1.0}, "count": 1}
        log.finish(5)
    assert lines(tmp_path / "metrics.jsonl") == [
        {"step": 2, "grad_norm": 1.0, "loss": 2.0},
        {"step": 4, "grad_norm": 1.0, "loss": 6.0},
        {"step": 5, "grad_norm": 1.0, "loss": 9.0},
    ]
    timing = lines(tmp_path / "timing.jsonl")
    assert [line["step"] for line in timing] == [2, 4, 5]
    assert 0 < timing[0]["seconds"] < timing[1]["seconds"] <= timing[2]["seconds"]


def test_a_window_goes_on_where_it_was_saved(tmp_path):
    with Recorder(tmp_path, start=0, total=4, every=4) as log:
        log.push(0, values(0.1, 0.2, 0.3))
        log.flush()
        window = json.loads(json.dumps(log.window))
        log.push(3, values(0.7))
        log.finish(4)
    whole = (tmp_path / "metrics.jsonl").read_bytes()
    with Recorder(tmp_path, start=3, total=4, every=4, window=window) as log:
        log.push(3, values(0.7))
        log.finish(4)
    assert (tmp_path / "metrics.jsonl").read_bytes() == whole


def test_the_first_step_that_is_not_finite_is_named(tmp_path):
    with Recorder(tmp_path, start=10, total=20, every=1) as log:
        log.push(10, values(1.0, 2.0, np.nan, 4.0, finite=[True, True, False, False]))
        with pytest.raises(NonFiniteError, match="step 13: loss = nan, grad_norm = 1"):
            log.flush()
    assert [line["step"] for line in lines(tmp_path / "metrics.jsonl")] == [11, 12]


def test_lines_past_a_step_and_broken_lines_go(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 1}\n{"st\n[]\n{"step": 2}\n{"step": 3}\n{"step": 2, "loss": 1')
    assert keep_lines(path, 2) == [{"step": 1}, {"step": 2}]
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'
    assert keep_lines(tmp_path / "absent", 2) == []


def test_what_is_not_finite_is_written_as_null(tmp_path):
    with Recorder(tmp_path, start=0, total=1, every=1) as log:
        log.push(0, values(1.0) | {"odd": jnp.array([np.inf])})
        log.flush()
    assert lines(tmp_path / "metrics.jsonl")[0]["odd"] is None


class Terminal:
    """Stands for a standard error that is, or is not, a terminal."""

    def __init__(self, terminal):
        self.terminal, self.text = terminal, ""

    def isatty(self):
        return self.terminal

    def write(self, text):
        self.text += text

    def flush(self):
        pass


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_shown_on_a_terminal_only(tmp_path, monkeypatch, terminal):
    monkeypatch.setattr("sys.stderr", shown := Terminal(terminal))
    with Recorder(tmp_path, start=2, total=4, every=1) as log:
        log.push(2, values(1.5, 0.25))
        log.flush()
    if terminal:
        assert "4/4" in shown.text
        assert "step/s" in shown.text or "s/step" in shown.text
        assert "loss=0.25" in shown.text
    else:
        assert shown.text == ""


def test_tensorboard_is_an_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)  # what Python does with a module it cannot find
    with pytest.raises(ImportError, match=r"diffusion_jax\[logging\]"):
        Recorder(tmp_path, start=0, total=1, every=1, tensorboard=True)


def test_tensorboard_gets_the_same_numbers(tmp_path, monkeypatch):
    scalars = []

    class Writer:
        def __init__(self, folder, purge_step):
            scalars.append((folder, purge_step))

        def add_scalar(self, name, value, step):
            scalars.append((name, value, step))

        def close(self):
            scalars.append("closed")

    fake = type("tensorboardX", (), {"SummaryWriter": Writer})
    monkeypatch.setitem(sys.modules, "tensorboardX", fake)
    with Recorder(tmp_path, start=4, total=6, every=2, tensorboard=True) as log:
        log.push(4, values(1.0, 2.0))
        log.flush()
    assert scalars[0] == (str(tmp_path / "tensorboard"), 5)
    assert ("loss", 1.5, 6) in scalars
    assert scalars[-1] == "closed"


def test_provenance_is_a_record_for_every_start(tmp_path):
    runs.record_start(tmp_path)
    runs.record_start(tmp_path)
    first, second = json.loads((tmp_path / "provenance.json").read_text())
    assert first["command"] == second["command"]
    assert first["devices"]["count"] >= 1
    assert {"jax", "optax"} <= set(first["packages"])
    assert first["git"] is None or len(first["git"].removesuffix("+changes")) == 40
