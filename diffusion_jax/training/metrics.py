"""Metrics of a training run: fetched one call late, averaged over a window, written as lines of JSON.

workdir/metrics.jsonl   {"step": n, "loss": ..., ...}: means over the steps since the line before, null where
                        one is not finite. Nothing in it depends on time, so that a resumed run writes the
                        same bytes
workdir/timing.jsonl    {"step": n, "seconds": ..., "steps_per_second": ...}: seconds of training so far
workdir/tensorboard/    both, if asked for
"""

from __future__ import annotations

import importlib
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tqdm

from diffusion_jax.training.runs import write_text
from diffusion_jax.types import Array

Hook = Callable[[int, Mapping[str, float]], None]
"""(step, means of the window that ends with it) -> None; called on every process."""


class NonFiniteError(FloatingPointError):
    """The loss or the updates were not finite. The state after that step is worthless."""


class Recorder:
    """Takes the metrics of every call of the step and reports them. Use it in a `with` statement.

    Reading a metric waits for the device, so those of a call are read when the next call has been dispatched.
    Process 0 writes; the others only look for what is not finite.

    Args:
        workdir: the run's folder.
        start: the number of steps done; later lines in the files are dropped.
        total: the number of steps to do in all, for the progress bar (shown on a terminal only).
        every: steps between lines.
        window: what `window` was when the checkpoint was saved, if the run is resumed.
        tensorboard: also write event files; needs the extra `logging`.
        hooks: called with every line.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        start: int,
        total: int,
        every: int,
        window: Mapping[str, Any] | None = None,
        tensorboard: bool = False,
        hooks: Sequence[Hook] = (),
    ) -> None:
        if every < 1:
            raise ValueError(f"log_every must be at least 1, got {every}")
        self._every, self._hooks = every, hooks
        self._sums: dict[str, float] = dict(window["sums"]) if window else {}
        self._count: int = window["count"] if window else 0
        self._pending: tuple[int, Mapping[str, Array]] | None = None
        self._writes = jax.process_index() == 0
        self._events = None
        if self._writes:
            keep_lines(workdir / "metrics.jsonl", start)
            timings = keep_lines(workdir / "timing.jsonl", start)
            self._seconds: float = timings[-1]["seconds"] if timings else 0.0
            self._metrics_file = (workdir / "metrics.jsonl").open("a", encoding="utf-8")
            self._timing_file = (workdir / "timing.jsonl").open("a", encoding="utf-8")
            if tensorboard:
                self._events = _event_writer(workdir / "tensorboard", start)
        self._bar = tqdm.tqdm(
            total=total, initial=start, unit="step", disable=not (self._writes and sys.stderr.isatty())
        )
        self._read = time.perf_counter()
        self._last = (start, self._read)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        if self._writes:
            self._metrics_file.close()
            self._timing_file.close()
        if self._events is not None:
            self._events.close()

    @property
    def window(self) -> dict[str, Any]:
        """Sums over the window that is not complete: JSON-able, for the checkpoint. `flush` first."""
        return {"sums": dict(self._sums), "count": self._count}

    def push(self, first: int, values: Mapping[str, Array]) -> None:
        """Take the metrics `[n]` of the steps first, ..., first + n - 1, and report those of the push before.

        Raises NonFiniteError for the latter.
        """
        self.flush()
        self._pending = (first, values)

    def flush(self) -> None:
        """Report what is pending. Raises NonFiniteError, which names the step, and reports up to there."""
        if self._pending is None:
            return
        (first, values), self._pending = self._pending, None
        rows = {name: np.asarray(value, np.float64) for name, value in jax.device_get(dict(values)).items()}
        finite = rows.pop("finite")
        then, now = self._read, time.perf_counter()
        self._read = now
        for i, sound in enumerate(finite):
            if not sound:
                names = ("loss", "grad_norm", *sorted(rows.keys() - {"loss", "grad_norm"}))
                shown = ", ".join(f"{name} = {rows[name][i]:.6g}" for name in names)
                raise NonFiniteError(f"training diverged at step {first + i + 1}: {shown}")
            for name, row in rows.items():
                self._sums[name] = self._sums.get(name, 0.0) + float(row[i])
            self._count += 1
            if (first + i + 1) % self._every == 0:
                self._line(first + i + 1, then + (now - then) * (i + 1) / len(finite))
        self._bar.update(len(finite))

    def finish(self, step: int) -> None:
        """Report what is pending, and the window that is not complete."""
        self.flush()
        if self._count:
            self._line(step, self._read)

    def _line(self, step: int, now: float) -> None:
        means = {name: total / self._count for name, total in sorted(self._sums.items())}
        self._sums, self._count = {}, 0
        if self._writes:
            then, clock = self._last
            self._last = (step, now)
            self._seconds += now - clock
            timing = {"seconds": self._seconds, "steps_per_second": (step - then) / max(now - clock, 1e-9)}
            _append(self._metrics_file, {"step": step, **means})
            _append(self._timing_file, {"step": step, **timing})
            if self._events is not None:
                for name, value in (means | timing).items():
                    self._events.add_scalar(name, value, step)
            self._bar.set_postfix(loss=f"{means['loss']:.4g}", refresh=False)
        for hook in self._hooks:
            hook(step, means)


def keep_lines(path: Path, step: int) -> list[dict[str, Any]]:
    """Drop the lines of a JSONL file that are past `step` or half written; return those that stay.

    A run that was killed wrote lines after its last checkpoint, which it will write again.
    """
    if not path.exists():
        return []
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        try:
            if line.endswith("\n") and json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            continue
    write_text(path, "".join(kept))
    return [json.loads(line) for line in kept]


def _append(file: Any, line: Mapping[str, Any]) -> None:
    clean = {k: v if not isinstance(v, float) or math.isfinite(v) else None for k, v in line.items()}
    file.write(json.dumps(clean) + "\n")
    file.flush()


def _event_writer(folder: Path, start: int) -> Any:
    try:
        module = importlib.import_module("tensorboardX")
    except ImportError:
        raise ImportError(
            "TensorBoard files need the package tensorboardX: pip install 'diffusion_jax[logging]'"
        ) from None
    return module.SummaryWriter(str(folder), purge_step=start + 1)
