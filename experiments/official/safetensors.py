"""The safetensors format: the length of a JSON header (uint64), the header, the numbers.

The header maps the name of an array to its dtype, its shape and the bytes [begin, end) that it takes behind
the header; everything is little-endian, without gaps. Format: github.com/huggingface/safetensors.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

_DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    **{f"I{bits}": np.dtype(f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"U{bits}": np.dtype(f"uint{bits}") for bits in (8, 16, 32, 64)},
    "BOOL": np.dtype(np.bool_),
}
_HEADER = 100_000_000  # bytes; the limit of the format


def load(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file.

    Raises ValueError for a header that cannot be read or does not fit the file, and for unknown dtypes.
    """
    data = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.zeros(0, np.uint8)
    size = int.from_bytes(data[:8].tobytes(), "little")
    if len(data) < 8 or size > min(_HEADER, len(data) - 8):
        raise ValueError(f"{path} is no safetensors file: its header of {size} bytes does not fit in")
    try:
        header = json.loads(data[8 : 8 + size].tobytes())
        rows = sorted((*_row(name, entry), name) for name, entry in header.items() if name != "__metadata__")
    except (AttributeError, KeyError, TypeError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"{path} is no safetensors file: its header cannot be read ({error})") from None
    arrays, place = {}, 0
    numbers = data[8 + size :]
    for begin, end, code, shape, name in rows:
        if code not in _DTYPES:
            raise ValueError(f"{name} in {path} is of dtype {code}; known are: {', '.join(_DTYPES)}")
        wanted = math.prod(shape) * _DTYPES[code].itemsize
        if begin != place or end - begin != wanted or end > len(numbers):
            raise ValueError(
                f"{name} in {path}: bytes {begin} to {end} are not those of {code} {list(shape)}"
            )
        arrays[name] = np.frombuffer(numbers[begin:end].tobytes(), _DTYPES[code]).reshape(shape)
        place = end
    if place != len(numbers):
        raise ValueError(f"{path} has {len(numbers) - place} bytes that belong to no array")
    return arrays


def save(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write the arrays. Raises ValueError for a dtype that the format has not."""
    header: dict[str, Any] = {}
    place = 0
    for name, array in arrays.items():
        code = next((code for code, dtype in _DTYPES.items() if dtype == array.dtype), None)
        if code is None:
            raise ValueError(f"{name} is of dtype {array.dtype}, which safetensors has not")
        end = place + array.nbytes
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [place, end]}
        place = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            file.write(np.ascontiguousarray(array).tobytes())


def _row(name: str, entry: Any) -> tuple[int, int, str, tuple[int, ...]]:
    begin, end = entry["data_offsets"]
    shape = tuple(entry["shape"])
    if any(type(number) is not int or number < 0 for number in (begin, end, *shape)):
        raise ValueError(f"{name} has no whole numbers as shape and place")
    return begin, end, str(entry["dtype"]), shape
