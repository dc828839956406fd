"""Measures every config's debug and small variants: speed, compile time and peak memory.

    python -m experiments.benchmark
    python -m experiments.benchmark --config configs/nonequilibrium/digits.py:small --record benchmark.json

Each is trained for a few calls and sampled, in a process of its own and without the cache of compiled
programs. What is printed, as Markdown: seconds to compile (and initialise) training and sampling, training
steps and samples a second after that, and the peak memory of the process (of the device, where it tells).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from experiments import configuration, machine, records, runner

VARIANTS = ("debug", "small")
COLUMNS = ("config", "compile, s", "steps/s", "compile sampler, s", "samples/s", "peak MiB")
_CALLS = 3


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures what the command line says and prints it."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmark",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--config",
        action="append",
        metavar="FILE[:VARIANT,...]",
        help="may be given several times; default: the variants debug and small of every config",
    )
    parser.add_argument("--record", metavar="FILE", help="also write the numbers here, as JSON")
    parser.add_argument("--here", action="store_true", help="measure one config in this process, print JSON")
    options = parser.parse_args(arguments)
    try:
        chosen = options.config or _all()
        if options.here:
            print(json.dumps(measure(chosen[0])))
            return
        for one in chosen:
            configuration.load(one)
    except (OSError, TypeError, ValueError) as error:
        sys.exit(f"error: {error}")
    found = {}
    for one in chosen:
        print(one, file=sys.stderr, flush=True)
        found[one] = _apart(one)
    print(f"{machine.hardware()}, jax {jax.__version__}\n\n{render(found)}")
    if options.record:
        records.write(Path(options.record), {"hardware": machine.hardware(), "configs": found})


def measure(spec: str) -> dict[str, float]:
    """Train a config for a few calls and sample it, in this process; column -> number, but for the config."""
    config = configuration.load(spec)
    training = config["training"]
    machine.start(training["devices"], cache=False)
    plan = runner.plan(config)
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder)
        if training["steps"] > 0:
            call = training["steps_per_call"]
            training |= {"steps": _CALLS * call, "log_every": call, "checkpoint_every": _CALLS * call}
            clock = _Clock()
            begin = time.perf_counter()
            runner.train(plan, workdir, hooks=(clock,))
            rate = (_CALLS - 1) * call / (clock.times[-1] - clock.times[0])
            found["compile, s"] = max(clock.times[0] - begin - call / rate, 0.0)
            found["steps/s"] = rate
        else:
            runner.train(plan, workdir)
        if config["sampling"] is not None:
            draws = runner.drawn(runner.load(workdir, plan), seed=0, **config["sampling"])
            found["compile sampler, s"] = draws.compile_seconds
            found["samples/s"] = len(draws.x) / draws.seconds
    found["peak MiB"] = _peak_bytes() / 2**20
    return found


def render(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The measurements as Markdown; what a config has not, a dash."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    for spec, numbers in found.items():
        cells = [f"{numbers[name]:.4g}" if name in numbers else "-" for name in COLUMNS[1:]]
        lines.append(f"| {' | '.join([spec, *cells])} |")
    return "\n".join(lines)


class _Clock:
    """A hook that notes when the metrics of each call were there."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
        del step, metrics
        self.times.append(time.perf_counter())


def _all() -> list[str]:
    return [
        f"{path}:{variant}"
        for path in configuration.files()
        for variant in VARIANTS
        if variant in configuration.variants(path)
    ]


def _apart(spec: str) -> dict[str, float]:
    """`measure` in a process of its own; empty, with its message printed, where it fails."""
    command = [sys.executable, "-m", "experiments.benchmark", "--here", "--config", spec]
    done = subprocess.run(command, cwd=configuration.ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr.strip().splitlines()[-1] if done.stderr else "failed", file=sys.stderr)
        return {}
    return json.loads(done.stdout.splitlines()[-1])


def _peak_bytes() -> float:
    statistics = jax.devices()[0].memory_stats() or {}
    process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return statistics.get("peak_bytes_in_use", process)


if __name__ == "__main__":
    main()
