"""Files of weights of any format that is known, by what they begin with, and dumps of arrays.

    pickle         official snapshots (.pkl)
    torch.save     snapshots and state dictionaries (.pt, .pth), both formats
    npz            arrays by their official names
    safetensors    the same

A dump does not say what it is; a JSON file of the same name beside it may (`description`).
"""

from __future__ import annotations

import json
import mmap
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import ml_dtypes
import numpy as np

from experiments.official import safetensors, snapshots
from experiments.official.archives import is_archive
from experiments.official.description import Description
from experiments.official.snapshots import Contents

FORMATS = ("npz", "safetensors")
"""What `write` writes."""

_HALF = (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))
_INFLATION = 100  # how much larger than its file an npz may be


class Weights(NamedTuple):
    """Arrays of a network as float32, and notes on what was changed or left out."""

    arrays: dict[str, np.ndarray]
    notes: list[str]


def contents(path: Path) -> Contents:
    """What the file holds.

    Raises:
        FileNotFoundError: there is no such file.
        Refused: it holds what a checkpoint does not, which is named.
        ValueError: it is of no known format, damaged, or without a network.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    with path.open("rb") as file:
        head = file.read(16)
    if head.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(path) as archive:
            torch = any(name.endswith("/data.pkl") for name in archive.namelist())
        if torch:
            return snapshots.from_torch(path.read_bytes(), path.name)
        return Contents(_npz(path), _beside(path), {}, [])
    if head.startswith(b"\x80"):
        if is_archive(head):
            return snapshots.from_torch(path.read_bytes(), path.name)
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            return snapshots.from_pickle(mapped, path.name)
    if head[8:9] == b"{":
        return Contents(safetensors.load(path), _beside(path), {}, [])
    raise ValueError(f"{path} is neither a pickle nor an archive of torch.save, npz or safetensors")


def weights(found: Contents) -> Weights:
    """The arrays of the network itself, as float32.

    Raises ValueError for arrays of other types than floating ones of up to 32 bits, for empty ones, and for
    numbers that are not finite.
    """
    own = {name: array for name, array in found.arrays.items() if name.startswith("model.")}
    others = sorted(set(found.arrays) - set(own))
    wrong = [
        f"{name} ({array.dtype})" for name, array in own.items() if array.dtype not in (*_HALF, np.float32)
    ]
    empty = [name for name, array in own.items() if not array.ndim or not array.size]
    if empty:
        raise ValueError(f"expected rows of numbers, at least one each; these are not: {', '.join(empty)}")
    if wrong:
        raise ValueError(
            f"expected arrays of float32, float16 or bfloat16; these are not: {', '.join(wrong)}"
        )
    half = [name for name, array in own.items() if array.dtype in _HALF]
    arrays = {name: np.asarray(array, np.float32) for name, array in own.items()}
    infinite = [name for name, array in arrays.items() if not np.isfinite(array).all()]
    if infinite:
        raise ValueError(f"numbers that are not finite in: {', '.join(infinite)}")
    notes = [f"{len(half)} arrays of half precision became float32"] if half else []
    notes += [f"left out, since it is no part of the network: {name}" for name in others]
    return Weights(arrays, notes)


def write(path: Path, form: str, arrays: Mapping[str, np.ndarray], description: Description) -> None:
    """Write arrays as one of `FORMATS`, and the description beside them. Nothing is overwritten.

    Raises ValueError for another format, FileExistsError where one of the two files exists.
    """
    if form not in FORMATS:
        raise ValueError(f"unknown format {form!r}; there are: {', '.join(FORMATS)}")
    beside = path.with_suffix(".json")
    there = [str(one) for one in (path, beside) if one.exists()]
    if there:
        raise FileExistsError(f"there already is: {', '.join(there)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    if form == "npz":
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
    else:
        safetensors.save(path, arrays)
    finite = {name: value for name, value in description.items() if value != float("inf")}
    beside.write_text(json.dumps(finite, indent=2) + "\n", encoding="utf-8")


def _npz(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > _INFLATION * path.stat().st_size:
        raise ValueError(
            f"{path} unpacks to {size} bytes, more than {_INFLATION} times its own size: no weights do"
        )
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read as npz: {error}") from None


def _beside(path: Path) -> Description | None:
    beside = path.with_suffix(".json")
    if not beside.exists():
        return None
    try:
        description = json.loads(beside.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{beside} is not JSON: {error}") from None
    if not isinstance(description, dict):
        raise ValueError(f"{beside} holds a {type(description).__name__}; expected names and values")
    return description
