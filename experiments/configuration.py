"""From the command line to a config: `--config FILE[:VARIANT,...]` and `--config.FIELD=VALUE`."""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from configs.variants import assign

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "configs"

Config = dict[str, Any]
"""A config as JSON has it: dicts, lists, numbers, strings, None."""

DEFAULTS: Config = {
    "conditions": [],
    "context": None,
    "ema": None,
    "init_from": None,
    "sampling": {"sampler": "ancestral", "grid": None, "count": 100, "labels": False, "guidance": None},
    "training": {
        "microbatches": 1,
        "steps_per_call": 1,
        "log_every": 100,
        "checkpoint_every": 1000,
        "keep": 2,
        "posthoc": None,
        "mesh": {"data": -1},
        "rules": [],
        "tensorboard": False,
        "devices": None,
    },
}
"""What a config may leave out. The rest must be there.

conditions: keys of a batch, beside x, mask and target, that the model is trained with, such as ["label"]
context:    {"split": ..., "size": ...} of the unlabelled inputs beside each training batch; None for none
training:   arguments of `training.loop.train`, and `devices`, into how many the CPU is divided; under
            `posthoc` those of `training.posthoc.Tracking`
sampling:   what a run draws at its end (see `runner.drawn`); None for nothing
evaluation: name -> spec
"""


def load(spec: str, overrides: Mapping[str, Any] | None = None) -> Config:
    """The config that `spec` names.

    Args:
        spec: "configs/nonequilibrium/digits.py", or with variants, "configs/nonequilibrium/digits.py:debug".
            The file is looked for here and in the repository.
        overrides: field ("training.steps") -> value.

    Raises:
        FileNotFoundError: there is no such file (the message lists those that exist).
        ValueError: a variant or a field does not exist (the message lists those that do), or one is missing.
        TypeError: a value of another type than the field's.
    """
    path, arg = _split(spec)
    config = _complete(module(path).get_config(arg))
    for field, value in (overrides or {}).items():
        assign(config, field, value)
    return json.loads(json.dumps(config.to_dict()))


def module(path: str | Path) -> ModuleType:
    """The module of a config file. Raises FileNotFoundError, or ValueError where it is no config."""
    found = next((place for place in (Path(path), ROOT / path) if place.is_file()), None)
    if found is None:
        raise FileNotFoundError(f"no config file {str(path)!r}; there are: {', '.join(files())}")
    spec = importlib.util.spec_from_file_location(found.stem, found)
    if spec is None or spec.loader is None:
        raise ValueError(f"{found} is not a Python file")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    if not hasattr(loaded, "get_config"):
        raise ValueError(f"{found} is not a config: it has no function get_config(arg)")
    return loaded


def files() -> list[str]:
    """The config files of the repository, relative to it."""
    return sorted(str(path.relative_to(ROOT)) for path in CONFIGS.glob("*/*.py"))


def variants(path: str | Path) -> list[str]:
    """The names of the variants of a config file."""
    return list(getattr(module(path), "VARIANTS", {}))


def settings(arguments: Iterable[str]) -> dict[str, Any]:
    """Overrides from the command line: `--config.training.steps=10` or `--config.training.steps 10`.

    Values are Python literals; what is none is a string. Raises ValueError for anything else on the line.
    """
    found: dict[str, Any] = {}
    pending = list(arguments)
    while pending:
        flag = pending.pop(0)
        name, given, value = flag.partition("=")
        if not name.startswith("--config."):
            raise ValueError(f"unrecognised argument: {flag}")
        if not given:
            if not pending or pending[0].startswith("--"):
                raise ValueError(f"{name} needs a value: {name}=VALUE")
            value = pending.pop(0)
        found[name.removeprefix("--config.")] = _literal(value)
    return found


def parse(
    parser: argparse.ArgumentParser, arguments: Iterable[str] | None
) -> tuple[argparse.Namespace, dict[str, Any]]:
    """The parser's options and the overrides `--config.FIELD=VALUE`; exits with a message on errors."""
    options, rest = parser.parse_known_args(None if arguments is None else list(arguments))
    try:
        return options, settings(rest)
    except ValueError as error:
        parser.error(str(error))


def _complete(config: ConfigDict) -> ConfigDict:
    """The config with what it leaves out; raises ValueError where it must not."""
    for name in ("seed", "data", "objective", "optimizer", "training", "evaluation"):
        if name not in config:
            raise ValueError(f"the config has no field {name!r}; it has: {', '.join(sorted(config))}")
    for name, default in DEFAULTS.items():
        if name not in config:
            config[name] = default
        elif isinstance(default, dict) and config[name] is not None:
            given: Any = config[name]
            config[name] = ConfigDict(default | given.to_dict())
    return config


def _split(spec: str) -> tuple[str, str]:
    path, found, arg = spec.partition(".py:")
    return (f"{path}.py", arg) if found else (spec, "")


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text
