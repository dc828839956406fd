"""Tensors as PyTorch writes them, read without PyTorch.

A tensor is a window (offset, size, stride) on a flat storage. Storages lie in archives of two formats:

    zip      NAME/data.pkl, a pickle in which storages are persistent ids, and NAME/data/KEY, their numbers
    legacy   five pickles (a magic number, the version, the machine, the object, the list of keys), and for
             each key the count of its numbers (int64) and the numbers

Documented in PyTorch's notes on serialization (docs.pytorch.org/docs/stable/notes/serialization.html). All
sizes are checked against what the file really has before anything of that size is made.
"""

from __future__ import annotations

import io
import math
import zipfile
from dataclasses import dataclass
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from experiments.official.pickles import Makers, Name, Object, Refused, Stream, read

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001

STORAGES: dict[str, np.dtype] = {
    "torch.FloatStorage": np.dtype(np.float32),
    "torch.HalfStorage": np.dtype(np.float16),
    "torch.BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "torch.DoubleStorage": np.dtype(np.float64),
    "torch.LongStorage": np.dtype(np.int64),
    "torch.IntStorage": np.dtype(np.int32),
    "torch.ShortStorage": np.dtype(np.int16),
    "torch.CharStorage": np.dtype(np.int8),
    "torch.ByteStorage": np.dtype(np.uint8),
    "torch.BoolStorage": np.dtype(np.bool_),
}
"""PyTorch's name of a storage -> its numbers (little-endian)."""


@dataclass(eq=False)
class Storage:
    """A flat row of `count` numbers; `data` follows later in legacy archives."""

    dtype: np.dtype
    count: int
    data: bytes | None = None


class Tensor(NamedTuple):
    """A window on a storage: entry (i, j, ...) is number offset + i stride[0] + j stride[1] + ..."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def array(self) -> np.ndarray:
        """A copy as an array of shape `size`. Raises Refused where the window leaves its storage."""
        if self.storage.data is None:
            raise Refused("a tensor has no numbers in the file")
        flat = np.frombuffer(self.storage.data, self.storage.dtype)
        count = math.prod(self.size)
        last = self.offset + sum((n - 1) * step for n, step in zip(self.size, self.stride))
        if count > flat.size or (count and last >= flat.size):
            raise Refused(
                f"a tensor of shape {self.size} at {self.offset} leaves its storage of {flat.size} numbers"
            )
        if not count:
            return np.zeros(self.size, flat.dtype)
        steps = [step * flat.itemsize for step in self.stride]
        return np.lib.stride_tricks.as_strided(flat[self.offset :], self.size, steps).copy()


def tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Tensor:
    """What `torch._utils._rebuild_tensor_v2` makes; `rest`: requires_grad, hooks and metadata.

    Raises Refused unless the first four are a storage, an integer and two tuples of integers, none negative.
    """
    del rest
    numbers = (offset, *size, *stride) if type(size) is type(stride) is tuple else (None,)
    whole = all(type(number) is int and number >= 0 for number in numbers)
    if not isinstance(storage, Storage) or not whole or len(size) != len(stride) or len(size) > 8:
        raise Refused(
            "a tensor is rebuilt from something other than a storage, an offset, a size and a stride"
        )
    return Tensor(storage, offset, size, stride)


def parameter(data: Any, requires_grad: Any, hooks: Any) -> Tensor:
    """What `torch._utils._rebuild_parameter` makes: the tensor itself."""
    del requires_grad, hooks
    if not isinstance(data, Tensor):
        raise Refused(f"a parameter is made of a {type(data).__name__}; expected a tensor")
    return data


def _set(items: Any = ()) -> set[str]:
    if not all(type(item) is str for item in items):
        raise Refused("a set holds something other than strings")
    return set(items)


MAKERS: Makers = {
    "builtins.set": _set,
    "__builtin__.set": _set,
    "collections.OrderedDict": lambda: {},
    "torch._utils._rebuild_parameter": parameter,
    "torch._utils._rebuild_tensor_v2": tensor,
    "torch.nn.modules.container.ModuleDict": lambda: Object("torch.nn.ModuleDict"),
}
"""What any file of tensors may call."""


def storage_from_bytes(payload: Any) -> Storage:
    """What `torch.storage._load_from_bytes` makes: the storage in an archive within a pickle."""
    if type(payload) is not bytes:
        raise Refused(f"a storage is read from a {type(payload).__name__}; expected bytes")
    found = from_archive(payload, "an archive within the pickle")
    if not isinstance(found, Storage):
        raise Refused(f"an archive within the pickle holds a {type(found).__name__}; expected a storage")
    return found


def is_archive(head: bytes) -> bool:
    """Whether a file that begins with `head` (16 bytes) is an archive of PyTorch's legacy format."""
    return head[2:].startswith(b"\x8a\x0a" + _MAGIC.to_bytes(10, "little"))


def from_archive(payload: bytes, source: str, makers: Makers = MAKERS) -> Any:
    """The object in an archive of either format.

    Raises Refused for anything unexpected: names, sizes, compression, the other byte order, views.
    """
    if payload[:4] == b"PK\x03\x04":
        return _from_zip(payload, source, makers)
    return _from_legacy(io.BytesIO(payload), source, makers)


def _from_zip(payload: bytes, source: str, makers: Makers) -> Any:
    try:
        with zipfile.ZipFile(io.BytesIO(payload)) as archive:
            return _from_members(archive, source, makers)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise Refused(f"{source} is not a zip archive that can be read: {error}") from None


def _from_members(archive: zipfile.ZipFile, source: str, makers: Makers) -> Any:
    members = {member.filename: member for member in archive.infolist()}
    roots = [name.removesuffix("data.pkl") for name in members if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise Refused(f"{source} is a zip archive with {len(roots)} members data.pkl; expected one")
    packed = [name for name, member in members.items() if member.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise Refused(f"{source} has compressed members, which PyTorch never writes: {', '.join(packed[:3])}")
    root, found = roots[0], {}
    if f"{root}byteorder" in members and archive.read(f"{root}byteorder") != b"little":
        raise Refused(f"{source} was written by a big-endian machine; expected little-endian numbers")

    def persistent(pid: Any) -> Storage:
        key, storage = _storage(pid, source)
        name = f"{root}data/{key}"
        size = members[name].file_size if name in members else None
        if size != storage.count * storage.dtype.itemsize:
            raise Refused(f"{source}: {storage.count} {storage.dtype} are wanted of {name}, of {size} bytes")
        if key not in found:
            storage.data = archive.read(name)
            found[key] = storage
        return found[key]

    pickled = io.BytesIO(archive.read(f"{root}data.pkl"))
    return read(pickled, f"data.pkl of {source}", makers, frozenset(STORAGES), persistent)


def _from_legacy(stream: Stream, source: str, makers: Makers) -> Any:
    if read(stream, source, {}) != _MAGIC:
        raise Refused(f"{source} is no archive of PyTorch: its magic number is another")
    version, machine = read(stream, source, {}), read(stream, source, {})
    if version != _VERSION or type(machine) is not dict or machine.get("little_endian") is not True:
        raise Refused(f"{source} is no little-endian archive of version {_VERSION}")
    found: dict[str, Storage] = {}

    def persistent(pid: Any) -> Storage:
        key, storage = _storage(pid, source)
        return found.setdefault(key, storage)

    value = read(stream, source, makers, frozenset(STORAGES), persistent)
    keys = read(stream, source, {})
    if type(keys) is not list or sorted(map(str, keys)) != sorted(found):
        raise Refused(f"{source} lists other storages than it uses")
    for key in keys:
        storage = found[key]
        count = int.from_bytes(stream.read(8), "little")
        data = stream.read(storage.count * storage.dtype.itemsize) if count == storage.count else b""
        if len(data) != storage.count * storage.dtype.itemsize:
            raise Refused(f"{source}: {storage.count} {storage.dtype} are wanted of a storage of {count}")
        storage.data = data
    return value


def _storage(pid: Any, source: str) -> tuple[str, Storage]:
    """The key and the storage of a persistent id ("storage", type, key, device, count[, view])."""
    if type(pid) is tuple and len(pid) in (5, 6) and pid[5:] in ((), (None,)):
        word, kind, key, _, count = pid[:5]
        known = isinstance(kind, Name) and kind.dotted in STORAGES
        if word == "storage" and known and type(key) is str and type(count) is int and count >= 0:
            return key, Storage(STORAGES[kind.dotted], count)
    raise Refused(f"{source} has a persistent id that is not that of a storage of known numbers")
