"""Pickles as PyTorch and the official EDM code write them, made without either."""

import contextlib
import io
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from unittest import mock

import ml_dtypes
import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
STORAGE_NAMES = {
    np.dtype(np.float32): "FloatStorage",
    np.dtype(np.float16): "HalfStorage",
    np.dtype(ml_dtypes.bfloat16): "BFloat16Storage",
    np.dtype(np.int64): "LongStorage",
}


class Call:
    """Pickled as the call of `function` with `arguments`."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


class Numbers:
    """Pickled, in an archive, as the persistent id of a storage with these numbers.

    count: what the archive says how many they are; key: their name in it.
    """

    def __init__(self, array, key="0", count=None):
        self.array, self.key = np.ascontiguousarray(array).reshape(-1), key
        self.count = self.array.size if count is None else count


def named(dotted, kind=types.FunctionType):
    """A function or class that pickles as the global `dotted`."""
    module, name = dotted.rsplit(".", 1)
    made = type(name, (), {}) if kind is type else types.FunctionType((lambda: None).__code__, {}, name)
    made.__module__, made.__qualname__ = module, name
    return made


LOAD_FROM_BYTES = named("torch.storage._load_from_bytes")
REBUILD_TENSOR = named("torch._utils._rebuild_tensor_v2")
REBUILD_PARAMETER = named("torch._utils._rebuild_parameter")
RECONSTRUCT = named("torch_utils.persistence._reconstruct_persistent_obj")
MODULE_DICT = named("torch.nn.modules.container.ModuleDict", type)
EASY_DICT = type("EasyDict", (dict,), {"__module__": "dnnlib.util", "__qualname__": "EasyDict"})
STORAGES = {name: named(f"torch.{name}", type) for name in STORAGE_NAMES.values()}
GLOBALS = (
    LOAD_FROM_BYTES,
    REBUILD_TENSOR,
    REBUILD_PARAMETER,
    RECONSTRUCT,
    MODULE_DICT,
    EASY_DICT,
    *STORAGES.values(),
)


@contextlib.contextmanager
def importable(*things):
    """For pickle, which looks up what it is to write down by name: `things` are where they say."""
    modules = {}
    for thing in (*GLOBALS, *things):
        parts = thing.__module__.split(".")
        for depth in range(1, len(parts) + 1):
            name = ".".join(parts[:depth])
            modules.setdefault(name, types.ModuleType(name))
        setattr(modules[thing.__module__], thing.__qualname__, thing)
    with mock.patch.dict(sys.modules, modules):
        yield


class _Pickler(pickle.Pickler):
    def persistent_id(self, thing):
        if not isinstance(thing, Numbers):
            return None
        kind = STORAGES[STORAGE_NAMES[thing.array.dtype]]
        return ("storage", kind, thing.key, "cpu", thing.count, *self.view)


def dumps(thing, protocol=4, view=()):
    """The pickle of `thing`, with persistent ids for `Numbers`."""
    stream = io.BytesIO()
    pickler = _Pickler(stream, protocol)
    pickler.view = view
    with importable():
        pickler.dump(thing)
    return stream.getvalue()


def zip_archive(thing, *storages, compression=zipfile.ZIP_STORED):
    """What torch.save writes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        archive.writestr("archive/data.pkl", dumps(thing, 2))
        archive.writestr("archive/byteorder", "little")
        for storage in storages:
            archive.writestr(f"archive/data/{storage.key}", storage.array.tobytes())
        archive.writestr("archive/version", "3\n")
    return stream.getvalue()


def legacy_archive(thing, *storages):
    """What torch.save wrote before version 1.6, and writes of a storage within a pickle."""
    machine = {
        "protocol_version": 1001,
        "little_endian": True,
        "type_sizes": {"short": 2, "int": 4, "long": 4},
    }
    head = [pickle.dumps(one, 2) for one in (MAGIC, 1001, machine)]
    keys = pickle.dumps([storage.key for storage in storages], 2)
    rows = [struct.pack("<q", storage.array.size) + storage.array.tobytes() for storage in storages]
    return b"".join([*head, dumps(thing, 2, (None,)), keys, *rows])


def tensor(array, archive=legacy_archive, size=None, stride=None, offset=0):
    """A parameter whose numbers are in an archive of their own within the pickle."""
    storage = Numbers(array)
    size = array.shape if size is None else size
    stride = tuple(step // array.itemsize for step in array.strides) if stride is None else stride
    inner = Call(LOAD_FROM_BYTES, archive(storage, storage))
    return Call(REBUILD_PARAMETER, Call(REBUILD_TENSOR, inner, offset, size, stride, False, {}), True, {})


def persistent(class_name, state, version=6):
    """An object of the official code: its source would be executed by those who load it."""
    meta = {
        "type": "class",
        "version": version,
        "module_src": "raise SystemExit('the source in the pickle was executed')",
        "class_name": class_name,
        "state": state,
    }
    return Call(RECONSTRUCT, meta)


def module(arrays, class_name, archive=legacy_archive, **state):
    """The module with these arrays, by dotted names, with modules inside."""
    direct = {name: array for name, array in arrays.items() if "." not in name}
    buffers = ("resample_filter", "freqs", "u")
    inner = {}
    for name in arrays:
        head, _, rest = name.partition(".")
        inner.setdefault(head, {})[rest] = arrays[name]
    parameters = [(n, tensor(a, archive)) for n, a in direct.items() if n not in buffers]
    modules = [
        (n, module(a, None if n in ("enc", "dec") else "Layer", archive))
        for n, a in inner.items()
        if n not in direct
    ]
    known = {
        "training": False,
        "_parameters": OrderedDict([*parameters, ("unused", None)]),
        "_buffers": OrderedDict((n, tensor(a, archive)) for n, a in direct.items() if n in buffers),
        "_non_persistent_buffers_set": set(),
        "_forward_hooks": OrderedDict(),
        "_modules": OrderedDict(modules),
    }
    if class_name is not None:
        return persistent(class_name, {**known, **state})
    made = MODULE_DICT()
    made.__dict__.update(known)
    return made


def snapshot(arrays, class_name, archive=legacy_archive, **arguments):
    """An official snapshot as bytes."""
    network = module(arrays, class_name, archive, _init_args=(), _init_kwargs=EASY_DICT(arguments))
    return dumps(
        {
            "ema": network,
            "loss_fn": persistent("EDMLoss", {"P_mean": -1.2, "P_std": 1.25, "sigma_data": 0.5}),
            "augment_pipe": None,
            "dataset_kwargs": EASY_DICT(path="digits.zip", use_labels=True),
        }
    )
