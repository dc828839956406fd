"""A folder of the user's own images, resized and cropped to squares.

Every image under the folder is turned upright, scaled so that its short side is `size` (Lanczos, antialiased)
and cropped at its centre. It belongs to the test split if a hash of its path within the folder falls below
`test_share`, so it stays in its split when others are added; each split has at least one image.

The stored set depends on the names, sizes and times of change of the files: it is written again when any of
them changes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from diffusion_jax.data.images import image_dataset
from diffusion_jax.data.pipeline import Dataset, integer
from diffusion_jax.data.splits import held_out
from diffusion_jax.data.storage import Example, stored

EXAMPLES = {"image_folder": {"folder": "images", "size": 16}}

LEVELS = 256
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


def image_folder(
    folder: str | os.PathLike,
    size: int,
    grey: bool = False,
    test_share: float = 0.1,
    dequantise: bool = False,
    standardise: bool = False,
    flip: bool = False,
    data_dir: str | os.PathLike | None = None,
) -> Dataset:
    """Square images, x `[B, 1, size, size, C]`; C is 1 where `grey`, else 3.

    Args:
        folder: of the images, searched with its subfolders.
        size: of a side, in pixels.
        grey: whether colours become grey (BT.601 luma).
        test_share: about this share of the images is held out.
        dequantise, standardise, flip: see `diffusion_jax.data.images`.
        data_dir: where the set is kept (see `diffusion_jax.data.storage`).

    Raises:
        FileNotFoundError: no such folder.
        ValueError: fewer than two images, an image that cannot be read (the message names it), or a number
            out of range.
    """
    size = integer("size", size, 1)
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder of images {root.absolute()}")
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if len(paths) < 2:
        raise ValueError(
            f"{root.absolute()} has {len(paths)} images, a training and a test split need 2 at least; "
            f"image files end in {', '.join(SUFFIXES)}"
        )
    names = [path.relative_to(root).as_posix() for path in paths]
    test = held_out(names, test_share)

    def images(chosen: bool) -> Iterator[Example]:
        for path, is_test in zip(paths, test):
            if is_test == chosen:
                yield {"x": _square(path, size, grey)[None]}

    sources, stored_in = stored(
        "image_folder",
        "1.0.0",
        {"files": _digest(paths, names), "size": size, "grey": bool(grey), "test_share": float(test_share)},
        {"x": ((1, size, size, 1 if grey else 3), np.uint8)},
        lambda: {"train": images(False), "test": images(True)},
        data_dir,
    )
    return image_dataset(
        sources,
        LEVELS,
        f"{len(paths)} images of the folder {root.name}.",
        stored_in,
        dequantise=dequantise,
        standardise=standardise,
        flip=flip,
    )


def _digest(paths: list[Path], names: list[str]) -> str:
    states = [path.stat() for path in paths]
    listing = [(name, state.st_size, state.st_mtime_ns) for name, state in zip(names, states)]
    return hashlib.sha256(repr(listing).encode()).hexdigest()[:16]


def _square(path: Path, size: int, grey: bool) -> np.ndarray:
    """uint8 `[size, size, C]`."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image).convert("L" if grey else "RGB")
    except Exception as error:  # each format's reader raises its own
        raise ValueError(f"{path.absolute()} cannot be read as an image: {error}") from error
    square = ImageOps.fit(upright, (size, size), Image.Resampling.LANCZOS)
    return np.asarray(square).reshape(size, size, -1)
