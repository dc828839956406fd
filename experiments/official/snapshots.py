"""The official pickles: `{"ema": network, "loss_fn": ..., "augment_pipe": ..., "dataset_kwargs": ...}`.

Their objects are pickled with the source code of their classes, to be executed when they are read. Here the
source is a string that nobody looks at; of an object only its class's name, the arguments it was made with
and its arrays are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from experiments.official import archives
from experiments.official.archives import Tensor
from experiments.official.description import Description
from experiments.official.pickles import Makers, Object, Refused, Stream, read

_VERSION = 6
_DEPTH = 16  # of modules within modules; the official ones have 5


class Contents(NamedTuple):
    """What a file holds.

    arrays:      official name -> array, of any dtype
    description: of the network in official terms, or None where the file does not say
    loss:        numbers of the loss the network was trained with, such as P_mean
    outline:     lines that say what else there is
    """

    arrays: dict[str, np.ndarray]
    description: Description | None
    loss: dict[str, Any]
    outline: list[str]


def _persistent_object(meta: Any) -> Object:
    """What `torch_utils.persistence` makes: the object's class by name, and its state."""
    if type(meta) is not dict or meta.get("type") != "class" or type(meta.get("class_name")) is not str:
        raise Refused("a persistent object does not say of which class it is")
    if meta.get("version") != _VERSION:
        raise Refused(
            f"{meta['class_name']} is of persistence version {meta.get('version')}; expected {_VERSION}"
        )
    return Object(meta["class_name"], meta.get("state"))


MAKERS: Makers = {
    **archives.MAKERS,
    "dnnlib.util.EasyDict": lambda: {},
    "torch.storage._load_from_bytes": archives.storage_from_bytes,
    "torch_utils.persistence._reconstruct_persistent_obj": _persistent_object,
}
"""What an official pickle may call."""


def from_pickle(stream: Stream, source: str) -> Contents:
    """The contents of an official pickle. Raises Refused, or ValueError where it holds no network."""
    return from_value(read(stream, source, MAKERS), source)


def from_torch(payload: bytes, source: str) -> Contents:
    """The same of a file that `torch.save` wrote, of a snapshot or of a state dictionary."""
    return from_value(archives.from_archive(payload, source, MAKERS), source)


def from_value(value: Any, source: str) -> Contents:
    """The contents of what was unpickled. Raises ValueError where there is no network."""
    if type(value) is not dict:
        raise ValueError(
            f"{source} holds a {_what(value)}; expected a dictionary with 'ema', or one of arrays"
        )
    if value and all(isinstance(one, Tensor) for one in value.values()):
        return Contents({str(name): one.array() for name, one in value.items()}, None, {}, [])
    network = value.get("ema")
    if not isinstance(network, Object) or type(network.state) is not dict:
        held = ", ".join(f"{name} ({_what(one)})" for name, one in value.items()) or "nothing"
        raise ValueError(f"{source} has no network under 'ema'; it holds: {held}")
    if network.state.get("_init_args"):
        raise ValueError(f"{network.kind} was made with arguments without names: they cannot be told apart")
    arguments = network.state.get("_init_kwargs")
    if type(arguments) is not dict:
        raise ValueError(f"{network.kind} does not say which arguments it was made with")
    strange = [name for name, one in arguments.items() if not _plain(one)]
    if strange:
        raise ValueError(f"{network.kind} was made with more than numbers and words: {', '.join(strange)}")
    return Contents(
        dict(_arrays(network, "", 0)),
        {**arguments, "class_name": network.kind},
        _numbers(value.get("loss_fn")),
        [_line(name, one) for name, one in value.items()],
    )


def _arrays(module: Object, prefix: str, depth: int) -> Any:
    """(name, array) of all parameters and buffers of a module and of those within."""
    state = module.state
    if type(state) is not dict or depth > _DEPTH:
        raise ValueError(f"{prefix or module.kind} is no module: it has no parameters and modules")
    for part in ("_parameters", "_buffers"):
        for name, one in _entries(state, part, prefix):
            if isinstance(one, Tensor):
                yield f"{prefix}{name}", one.array()
            elif one is not None:
                raise ValueError(f"{prefix}{name} is a {_what(one)}; expected a tensor")
    for name, one in _entries(state, "_modules", prefix):
        if not isinstance(one, Object):
            raise ValueError(f"{prefix}{name} is a {_what(one)}; expected a module")
        yield from _arrays(one, f"{prefix}{name}.", depth + 1)


def _entries(state: Mapping[str, Any], part: str, prefix: str) -> Any:
    found = state.get(part, {})
    if type(found) is not dict:
        raise ValueError(f"{prefix}{part} is a {_what(found)}; expected a dictionary")
    return found.items()


def _plain(value: Any) -> bool:
    scalars = (bool, int, float, str, type(None))
    return type(value) in scalars or (
        type(value) in (list, tuple) and all(type(one) in scalars for one in value)
    )


def _numbers(thing: Any) -> dict[str, Any]:
    state = thing.state if isinstance(thing, Object) and type(thing.state) is dict else {}
    return {name: one for name, one in state.items() if type(one) in (int, float)}


def _line(name: str, thing: Any) -> str:
    if isinstance(thing, Object):
        numbers = ", ".join(f"{key}={value:g}" for key, value in _numbers(thing).items())
        return f"{name}: {thing.kind}({numbers})"
    if type(thing) is dict and all(_plain(value) for value in thing.values()):
        return f"{name}: {thing}"
    return f"{name}: {_what(thing)}"


def _what(value: Any) -> str:
    return value.kind if isinstance(value, Object) else type(value).__name__
