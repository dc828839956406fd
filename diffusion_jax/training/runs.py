"""A run's folder: whose it is, and where what is in it came from.

workdir/config.json       the config of the run; a workdir belongs to one
workdir/provenance.json   a list with a record for every start of the run: code, machine, command, time
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

MAY_CHANGE = (
    "evaluation",
    "sampling",
    "training.checkpoint_every",
    "training.devices",
    "training.keep",
    "training.log_every",
    "training.mesh",
    "training.rules",
    "training.steps",
    "training.steps_per_call",
    "training.tensorboard",
)
"""Fields of a config (and all below them) that a run may change when it goes on in its workdir: how long it
trains, how it is laid out and reported, what is done with it afterwards; not what is trained."""

_ABSENT = object()
_PACKAGES = ("diffusion_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def claim(workdir: str | os.PathLike[str], config: Mapping[str, Any]) -> None:
    """Make `workdir` the folder of this config's run, or see that it is already.

    Fields in `MAY_CHANGE` may differ from those of the run that is there; the new ones are written down.

    Raises:
        TypeError: the config is not JSON-able.
        ValueError: the folder belongs to a run with another config; the message names the fields that differ.
    """
    folder = Path(workdir).absolute()
    wanted = json.loads(json.dumps(dict(config)))
    there = read_config(folder)
    if there is not None:
        old, new = _flat(there), _flat(wanted)
        differing = [
            f"{name}: {old.get(name, 'absent')!r} there, {new.get(name, 'absent')!r} here"
            for name in sorted(old | new)
            if old.get(name, _ABSENT) != new.get(name, _ABSENT)
            and not any(name == free or name.startswith(f"{free}.") for free in MAY_CHANGE)
        ]
        if differing:
            raise ValueError(f"{folder} belongs to a run with another config: {'; '.join(differing)}")
    elif any((folder / "checkpoints").glob("*")):
        raise ValueError(f"{folder} has checkpoints but no config.json: whose they are cannot be known")
    if jax.process_index() == 0 and there != wanted:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "config.json", json.dumps(wanted, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file so that it is, at any moment, the old one or the new one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def read_config(workdir: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The config of the run in `workdir`, or None; raises ValueError if the file is not JSON."""
    path = Path(workdir) / "config.json"
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None


def provenance() -> dict[str, Any]:
    """Where a run's numbers come from: code, packages, machine, devices, command and time (UTC).

    `git` is None outside a repository; otherwise the commit, with `+changes` where files differ from it.
    """
    devices = jax.devices()
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "git": _commit(),
        "python": platform.python_version(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "machine": {"platform": platform.platform(), "cpu": _processor(), "cores": os.cpu_count()},
        "devices": {"kind": devices[0].device_kind, "platform": devices[0].platform, "count": len(devices)},
        "processes": jax.process_count(),
    }


def record_start(workdir: str | os.PathLike[str]) -> None:
    """Append `provenance()` to `workdir/provenance.json`."""
    path = Path(workdir) / "provenance.json"
    starts = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    write_text(path, json.dumps([*starts, provenance()], indent=2) + "\n")


def _commit() -> str | None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        changes = "+changes" if git("status", "--porcelain", "--untracked-files=no") else ""
        return git("rev-parse", "HEAD") + changes
    except (OSError, subprocess.SubprocessError):
        return None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """Nested fields by dotted names; an empty mapping is a value."""
    if not isinstance(config, Mapping) or not config:
        return {prefix: config}
    flat: dict[str, Any] = {}
    for name, value in config.items():
        flat |= _flat(value, f"{prefix}.{name}" if prefix else str(name))
    return flat
