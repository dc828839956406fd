"""Square images of one size in an archive as EDM's dataset tool writes it (arXiv 2206.00364).

The archive is a zip file, or a folder, of images and of `dataset.json`:

    00000/img00000000.png
    00000/img00000001.png
    dataset.json            {"labels": [["00000/img00000000.png", 5], ["00000/img00000001.png", 9], ...]}

Where there are no classes, `labels` is null or the file is missing. Any names and formats of image
will do; the images are ordered by name.

They are decoded once, on first use, and kept as other sets are (see `diffusion_jax.data.storage`), of which
large ones are read from their files. The stored set depends on the content of a zip file, or on the names,
sizes and times of change of a folder's files. The list of what is inside is read at every start: seconds for
a million images.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from diffusion_jax.data.image_folder import SUFFIXES
from diffusion_jax.data.images import image_dataset
from diffusion_jax.data.pipeline import Dataset
from diffusion_jax.data.splits import held_out
from diffusion_jax.data.storage import Example, stored

EXAMPLES = {"image_zip": {"file": "images.zip"}}

LEVELS = 256
LABELS = "dataset.json"


def image_zip(
    file: str | os.PathLike,
    grey: bool = False,
    test_share: float = 0.1,
    dequantise: bool = False,
    standardise: bool = False,
    flip: bool = False,
    data_dir: str | os.PathLike | None = None,
) -> Dataset:
    """Square images, x `[B, 1, size, size, C]`, and `label` `[B]` where the archive has labels.

    Args:
        file: the zip file or folder.
        grey: whether colours become grey (BT.601 luma): C is 1 where `grey`, else 3.
        test_share: about this share of the images is held out, chosen by their names; 0 for no test split.
        dequantise, standardise, flip: see `diffusion_jax.data.images`.
        data_dir: where the set is kept (see `diffusion_jax.data.storage`).

    Raises:
        FileNotFoundError: no such file.
        ValueError: no zip file, no images in it, an image that cannot be read, is not square or has another
            size than the first, labels that are not one class for each image (the message names the image),
            or a share out of range.
    """
    path = Path(file).expanduser()
    with _opened(path) as archive:
        names = sorted(name for name in archive.states if Path(name).suffix.lower() in SUFFIXES)
        least = 2 if test_share else 1
        if len(names) < least:
            raise ValueError(
                f"{archive.path} has {len(names)} images, needed {least} at least; image files end in "
                f"{', '.join(SUFFIXES)}"
            )
        labels = _labels(archive, names)
        size = len(_square(archive, names[0], grey))
        shape = (1, size, size, 1 if grey else 3)
        test = held_out(names, test_share) if test_share else [False] * len(names)

        def images(chosen: bool) -> Iterator[Example]:
            for i, name in enumerate(names):
                if test[i] == chosen:
                    image = _square(archive, name, grey)
                    if len(image) != size:
                        raise ValueError(
                            f"{name} in {archive.path} has {len(image)}x{len(image)} pixels, "
                            f"the first image {size}x{size}: all must have one size"
                        )
                    yield {"x": image[None]} | ({} if labels is None else {"label": labels[i]})

        spec: dict[str, Any] = {"x": (shape, np.uint8)}
        if labels is not None:
            spec["label"] = ((), np.int64)
        sources, stored_in = stored(
            "image_zip",
            "1.0.0",
            {"content": archive.digest(), "grey": bool(grey), "test_share": float(test_share)},
            spec,
            lambda: {"train": images(False)} | ({"test": images(True)} if test_share else {}),
            data_dir,
        )
    return image_dataset(
        sources,
        LEVELS,
        f"{len(names)} images of the archive {path.name}.",
        stored_in,
        classes=None if labels is None else max(labels) + 1,
        dequantise=dequantise,
        standardise=standardise,
        flip=flip,
    )


class _Archive(NamedTuple):
    """path: for messages; states: name of a file -> what changes with its content; read: name -> bytes."""

    path: Path
    states: dict[str, tuple[int, int]]
    read: Callable[[str], bytes]

    def digest(self) -> str:
        return hashlib.sha256(repr(sorted(self.states.items())).encode()).hexdigest()[:16]


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[_Archive]:
    whole = path.absolute()
    if path.is_dir():
        files = {file.relative_to(path).as_posix(): file.stat() for file in path.rglob("*") if file.is_file()}
        states = {name: (state.st_size, state.st_mtime_ns) for name, state in files.items()}
        yield _Archive(whole, states, lambda name: (path / name).read_bytes())
        return
    if not path.is_file():
        raise FileNotFoundError(f"there is no archive of images {whole}")
    try:
        file = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{whole} is not a zip file: {error}") from error
    with file:
        states = {entry.filename: (entry.file_size, entry.CRC) for entry in file.infolist()}
        yield _Archive(whole, states, file.read)


def _labels(archive: _Archive, names: list[str]) -> list[int] | None:
    """The class of each image, or None where there are none."""
    if LABELS not in archive.states:
        return None
    where = f"{LABELS} in {archive.path}"
    try:
        pairs = json.loads(archive.read(LABELS))["labels"]
        given = None if pairs is None else dict(pairs)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f'{where} is not of the form {{"labels": [[name, class], ...]}}: {error!r}'
        ) from None
    if given is None:
        return None
    missing = sorted(set(given) - set(archive.states))
    if missing:
        raise ValueError(f"{where} has a label for {missing[0]}, which is not there")
    for name in names:
        if name not in given:
            raise ValueError(f"{where} has no label for {name}")
        label = given[name]
        if type(label) is not int or label < 0:
            raise ValueError(f"{where} has the label {label!r} for {name}; classes are numbered from 0")
    return [given[name] for name in names]


def _square(archive: _Archive, name: str, grey: bool) -> np.ndarray:
    """uint8 `[size, size, C]`."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(archive.read(name))) as image:
            pixels = np.asarray(image.convert("L" if grey else "RGB"))
    except Exception as error:  # each format's reader raises its own
        raise ValueError(f"{name} in {archive.path} cannot be read as an image: {error}") from error
    height, width = pixels.shape[:2]
    if height != width:
        raise ValueError(f"{name} in {archive.path} is not square: it has {width}x{height} pixels")
    return pixels.reshape(height, width, -1)
