"""Measures speed, compile time and peak memory: of networks at work, and of configs.

    python -m experiments.benchmark
    python -m experiments.benchmark --workload unet_step --record experiments/results/benchmark/networks.json
    python -m experiments.benchmark --config configs/nonequilibrium/digits.py:small

Without arguments: every workload (see `workloads`), and every config's debug and small variants. Each is
measured in a process of its own and without the cache of compiled programs. What is printed, as Markdown:

    workloads   seconds to compile; steps (of training) or evaluations of the network, and images, points or
                tokens, a second, from the median run; MiB of the program's arrays on each device, and of the
                peak
    configs     trained for a few calls and sampled: seconds to compile (and initialise) training and
                sampling, training steps and samples a second after that, the peak

Nothing else should run meanwhile; the record's `busy` is the share of the cores that was busy before.
The peak is the device's, where it tells, else that of the whole process, of which compiling may be the most.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from diffusion_jax.training import runs
from experiments import configuration, machine, markdown, records, runner, workloads

VARIANTS = ("debug", "small")
CONFIG_COLUMNS = ("config", "compile, s", "steps/s", "compile sampler, s", "samples/s", "peak MiB")
WORKLOAD_COLUMNS = ("workload", "compile, s", "steps/s", "images/s", "program MiB", "peak MiB")
_CALLS = 3
_RUNS, _SECONDS = 5, 10.0


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
        help="may be given several times; default: the variants debug and small of all, unless a --workload",
    )
    parser.add_argument(
        "--workload",
        action="append",
        choices=workloads.WORKLOADS,
        help="may be given several times; default: all, unless there is a --config",
    )
    parser.add_argument("--devices", type=int, help="into how many the CPU is divided; default: its cores")
    parser.add_argument("--tiny", action="store_true", help="small workloads, to try the command")
    parser.add_argument("--record", metavar="FILE", help="also write the numbers here, as JSON")
    parser.add_argument("--here", action="store_true", help="measure one in this process, print JSON")
    options = parser.parse_args(arguments)
    everything = not (options.config or options.workload)
    names = list(workloads.WORKLOADS) if everything else options.workload or []
    devices = options.devices or os.cpu_count() or 1
    try:
        specs = _all() if everything else options.config or []
        if options.here:
            print(json.dumps(measure(specs[0]) if specs else work(names[0], devices, options.tiny)))
            return
        for one in specs:
            configuration.load(one)
    except (OSError, TypeError, ValueError) as error:
        sys.exit(f"error: {error}")
    busy = machine.busy()
    size = ["--devices", str(devices), *(["--tiny"] if options.tiny else [])]
    worked = {one: _apart(["--workload", one, *size]) for one in names}
    found = {one: _apart(["--config", one]) for one in specs}
    provenance = runs.provenance()
    hardware = machine.hardware(provenance)
    print(f"{hardware}, jax {jax.__version__}")
    for columns, rows in ((WORKLOAD_COLUMNS, worked), (CONFIG_COLUMNS, found)):
        if rows:
            print(f"\n{render(columns, rows)}")
    if options.record:
        record = {"commit": provenance["git"], "made": provenance["started"], "hardware": hardware}
        versions = {"packages": provenance["packages"], "devices": devices, "busy": busy}
        records.write(Path(options.record), record | versions | {"workloads": worked, "configs": found})


def work(name: str, devices: int, tiny: bool) -> dict[str, float]:
    """Compile a workload and run it for a while, in this process; column -> number, but for the name."""
    machine.start(devices, cache=False)
    found = workloads.WORKLOADS[name](workloads.TINY if tiny else workloads.FULL)
    found.run()
    times: list[float] = []
    while len(times) < _RUNS or sum(times) < _SECONDS * (not tiny):
        begin = time.perf_counter()
        found.run()
        times.append(time.perf_counter() - begin)
    seconds = statistics.median(times)
    numbers = found.compile_seconds, found.steps / seconds, found.samples / seconds
    memory = found.buffers / 2**20, _peak_bytes() / 2**20
    return dict(zip(WORKLOAD_COLUMNS[1:], (*numbers, *memory)))


def measure(spec: str) -> dict[str, float]:
    """Train a config for a few calls and sample it, in this process; column -> number, but for the config."""
    config = configuration.load(spec)
    training = config["training"]
    machine.start(training["devices"], cache=False)
    # it is not evaluated, for which some configs need other runs
    plan = runner.plan(config | {"evaluation": {}})
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


def render(columns: Sequence[str], found: Mapping[str, Mapping[str, Any]]) -> str:
    """The measurements as Markdown; what was not measured, a dash."""
    return markdown.table(
        columns,
        [
            [name, *(f"{numbers[column]:.4g}" if column in numbers else "-" for column in columns[1:])]
            for name, numbers in found.items()
        ],
    )


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


def _apart(which: Sequence[str]) -> dict[str, float]:
    """What one prints in a process of its own; empty, with its message printed, where it fails."""
    print(which[1], file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "experiments.benchmark", "--here", *which]
    done = subprocess.run(command, cwd=configuration.ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr.strip().splitlines()[-1] if done.stderr else "failed", file=sys.stderr)
        return {}
    return json.loads(done.stdout.splitlines()[-1])


def _peak_bytes() -> float:
    device = jax.devices()[0].memory_stats() or {}
    process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return device.get("peak_bytes_in_use", process)


if __name__ == "__main__":
    main()
