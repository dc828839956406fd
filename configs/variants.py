"""Variants of a config as data: what `get_config(arg)` does with its argument.

    VARIANTS = {"debug": {"training.steps": 4}, "small": {"objective.network.width": 32}}

    def get_config(arg: str = "") -> ConfigDict:
        return chosen(ConfigDict({...}), arg, VARIANTS)

`--config configs/nonequilibrium/digits.py:small,debug` applies both, in that order.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict


def chosen(config: ConfigDict, arg: str, variants: Mapping[str, Mapping[str, Any]]) -> ConfigDict:
    """The config with the variants that `arg` names (separated by commas) applied; it is changed in place.

    Raises ValueError for a variant or a field that does not exist, TypeError for a value of another type.
    """
    for name in filter(None, (part.strip() for part in arg.split(","))):
        if name not in variants:
            raise ValueError(
                f"unknown variant {name!r}{_did_you_mean(name, variants)}; there are: {', '.join(variants)}"
            )
        for field, value in variants[name].items():
            assign(config, field, value)
    return config


def assign(config: ConfigDict, field: str, value: Any) -> None:
    """config.a.b.c = value for the field "a.b.c", which must exist.

    A number stays a number, a spec (a name or a mapping) a spec, which is replaced as a whole; what is None
    may become anything, and anything may become None.

    Raises ValueError for a field that does not exist, TypeError for a value of another type.
    """
    *path, last = field.split(".")
    place: Any = config
    for i, name in enumerate([*path, last]):
        if not isinstance(place, ConfigDict) or name not in place:
            there = list(place) if isinstance(place, ConfigDict) else []
            wrong, above = ".".join(field.split(".")[: i + 1]), ".".join(path[:i])
            raise ValueError(
                f"the config has no field {wrong!r}{_did_you_mean(name, there)}; "
                f"{above or 'it'} has: {', '.join(sorted(there)) or 'no fields'}"
            )
        place = place[name] if i < len(path) else place
    old = place[last]
    if not _fits(old, value):
        raise TypeError(f"{field} is {old!r}, a {type(old).__name__}; it cannot become {value!r}")
    if isinstance(old, float) and type(value) is int:
        value = float(value)
    with place.ignore_type():
        place[last] = ConfigDict(value) if isinstance(value, Mapping) else value


def _fits(old: Any, new: Any) -> bool:
    if old is None or new is None:
        return True
    if isinstance(old, bool) or isinstance(new, bool):
        return type(old) is type(new)
    if isinstance(old, float):
        return isinstance(new, float | int)
    alike: tuple[tuple[type, ...], ...] = ((int,), (str, Mapping, ConfigDict), (list, tuple))
    return any(isinstance(old, kinds) and isinstance(new, kinds) for kinds in alike)


def _did_you_mean(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(names), 1)
    return f" (did you mean {close[0]!r}?)" if close else ""
