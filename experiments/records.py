"""Records: what a finished run found, with where and how it was found. JSON, written by runs alone.

    config      the run's config
    commit      of the code; "+changes" where files differed from it
    seed, steps of the run
    hardware    a line for people
    seconds     of training (compiling included), evaluation, sampling
    metrics     "<evaluation>/<metric>" -> value; the standard error of a metric is "<evaluation>/<metric>_se"

A table's records are kept under experiments/results/<paper>/<run>.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.configuration import ROOT, Config

RESULTS = ROOT / "experiments" / "results"

Record = dict[str, Any]

INCIDENTAL = (
    ("sampling",),
    ("data", "data_dir"),
    ("training", "log_every"),
    ("training", "checkpoint_every"),
    ("training", "keep"),
    ("training", "posthoc"),
    ("training", "steps_per_call"),
    ("training", "tensorboard"),
    ("training", "devices"),
    ("training", "mesh"),
    ("training", "rules"),
)
"""Fields that do not change what a record says, but for the time it took."""


def record_of(
    config: Config,
    provenance: Mapping[str, Any],
    hardware: str,
    seconds: Mapping[str, float],
    metrics: Mapping,
) -> Record:
    """A record; see the head of the module."""
    return {
        "config": config,
        "commit": provenance["git"],
        "made": provenance["started"],
        "seed": config["seed"],
        "steps": config["training"]["steps"],
        "hardware": hardware,
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "metrics": dict(metrics),
    }


def read(path: Path) -> Record | None:
    """The record in a file, or None where there is none. Raises ValueError where it cannot be read."""
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not a record: {error}; delete it and run again") from None


def write(path: Path, record: Record) -> None:
    """Write a record, making folders as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def same_run(config: Config, other: Config) -> bool:
    """Whether two configs describe the same run, fields in `INCIDENTAL` apart."""
    return _essential(config) == _essential(other)


def _essential(config: Config) -> Config:
    plain = json.loads(json.dumps(config))
    for *path, last in INCIDENTAL:
        place = plain
        for name in path:
            place = place.get(name, {})
        place.pop(last, None)
    return plain
