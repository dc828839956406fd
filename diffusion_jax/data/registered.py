"""Public sets by their tfds name: CIFAR-10, MNIST, and ImageNet at 32x32 and 64x64 pixels.

    python -m experiments.prepare --data cifar10

downloads one and writes it as array_record, once; that needs TensorFlow (`pip install '.[prepare]'`).
Reading needs no TensorFlow. CIFAR-10 and MNIST are held in memory, the ImageNets are read from their files.

The ImageNets are tfds's `downsampled_imagenet` (van den Oord et al., arXiv 1601.06759): the *old* set, which
Score SDE and VDM use. The newer, antialiased set is easier by about 0.26 bits/dim; never compare across.
"""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path
from typing import NamedTuple

from diffusion_jax.data.images import image_dataset
from diffusion_jax.data.pipeline import Dataset
from diffusion_jax.data.storage import Example, data_root, read

EXAMPLES = {"cifar10": {}, "mnist": {}, "imagenet32": {}, "imagenet64": {}}

LEVELS = 256


class Registered(NamedTuple):
    """tfds: its name or name/config; test: what it calls the test split; classes: of `label`, or None."""

    tfds: str
    test: str
    classes: int | None


SETS = {
    "cifar10": Registered("cifar10", "test", 10),
    "mnist": Registered("mnist", "test", 10),
    "imagenet32": Registered("downsampled_imagenet/32x32", "validation", None),
    "imagenet64": Registered("downsampled_imagenet/64x64", "validation", None),
}


def cifar10(
    dequantise: bool = False,
    standardise: bool = False,
    flip: bool = False,
    data_dir: str | os.PathLike | None = None,
) -> Dataset:
    """CIFAR-10 (Krizhevsky 2009), x `[B, 1, 32, 32, 3]`, `label` `[B]`; 50,000 and 10,000 images.

    Args:
        dequantise, standardise, flip: see `diffusion_jax.data.images`.
        data_dir: where it was prepared (see `diffusion_jax.data.storage`).

    Raises:
        FileNotFoundError: it is not prepared; the message has the command.
        ValueError: what was prepared is not whole.
    """
    return _registered("cifar10", dequantise, standardise, flip, data_dir)


def mnist(
    dequantise: bool = False, standardise: bool = False, data_dir: str | os.PathLike | None = None
) -> Dataset:
    """MNIST (LeCun et al. 1998), x `[B, 1, 28, 28, 1]`, `label` `[B]`; 60,000 and 10,000 images.

    Arguments and errors as `cifar10`; a mirrored digit is no digit, so there is no flip.
    """
    return _registered("mnist", dequantise, standardise, False, data_dir)


def imagenet32(
    dequantise: bool = False, flip: bool = False, data_dir: str | os.PathLike | None = None
) -> Dataset:
    """ImageNet at 32x32 (the old set), x `[B, 1, 32, 32, 3]`; its validation split is our test.

    Arguments and errors as `cifar10`.
    """
    return _registered("imagenet32", dequantise, False, flip, data_dir)


def imagenet64(
    dequantise: bool = False, flip: bool = False, data_dir: str | os.PathLike | None = None
) -> Dataset:
    """ImageNet at 64x64 (the old set), x `[B, 1, 64, 64, 3]`; its validation split is our test.

    Arguments and errors as `cifar10`.
    """
    return _registered("imagenet64", dequantise, False, flip, data_dir)


def prepare(name: str, data_dir: str | os.PathLike | None = None) -> Path:
    """Downloads a set of `SETS` and writes it as array_record, unless it is there; returns its folder.

    Raises:
        ModuleNotFoundError: TensorFlow is not installed.
    """
    folder = _newest(data_root(data_dir) / SETS[name].tfds)
    if folder is not None:
        return folder
    if importlib.util.find_spec("tensorflow") is None:
        raise ModuleNotFoundError("it is not prepared, and that needs TensorFlow: pip install '.[prepare]'")
    import tensorflow_datasets as tfds

    builder = tfds.builder(SETS[name].tfds, data_dir=data_root(data_dir), file_format="array_record")
    builder.download_and_prepare()
    return Path(builder.data_dir)


def _registered(
    name: str, dequantise: bool, standardise: bool, flip: bool, data_dir: str | os.PathLike | None
) -> Dataset:
    registered = SETS[name]
    root = data_root(data_dir)
    command = f"python -m experiments.prepare --data {name} --data_dir {root}"
    folder = _newest(root / registered.tfds)
    if folder is None:
        raise FileNotFoundError(f"{name} is not prepared under {root}: run {command}")
    sources = read(folder, f"delete that folder and run {command}", _example)
    missing = {"train", registered.test} - set(sources)
    if missing:
        raise ValueError(f"{folder} lacks the splits {sorted(missing)}: delete that folder and run {command}")
    return image_dataset(
        {"train": sources["train"], "test": sources[registered.test]},
        LEVELS,
        f"{registered.tfds} {folder.name} of TensorFlow Datasets.",
        str(folder),
        classes=registered.classes,
        dequantise=dequantise,
        standardise=standardise,
        flip=flip,
    )


def _example(stored: Example) -> Example:
    example = {"x": stored["image"][None]}
    if "label" in stored:
        example["label"] = stored["label"]
    return example


def _newest(folder: Path) -> Path | None:
    versions = [path for path in folder.glob("*") if re.fullmatch(r"\d+\.\d+\.\d+", path.name)]
    return max(versions, key=lambda path: tuple(map(int, path.name.split("."))), default=None)
