"""Where data sets are kept: array_record files written by tfds builders, without TensorFlow.

The folder of a set is `data_dir/name/arguments/version`; `data_dir` is the environment's DIFFUSION_JAX_DATA,
or `~/.cache/diffusion_jax`. Sets of our own are written on first use. tfds writes into a folder of another
name and renames it when all is there, so a set whose writing was killed is never taken for whole; the
version grows with every change of what is written.

tfds is imported where it is needed, for it costs half a second.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffusion_jax.data.pipeline import Arrays, Examples, Source

Example = dict[str, Any]
MEMORY_LIMIT = 2 * 2**30
"""Splits of more bytes than this are read from their files, by grain, instead of being held in memory."""


def data_root(data_dir: str | os.PathLike | None = None) -> Path:
    """The folder of all data sets: the argument, DIFFUSION_JAX_DATA or ~/.cache/diffusion_jax."""
    chosen = data_dir or os.environ.get("DIFFUSION_JAX_DATA") or "~/.cache/diffusion_jax"
    return Path(chosen).expanduser().absolute()


def stored(
    name: str,
    version: str,
    arguments: Mapping[str, Any],
    spec: Mapping[str, tuple[tuple[int, ...], Any]],
    splits: Callable[[], Mapping[str, Iterable[Example]]],
    data_dir: str | os.PathLike | None = None,
) -> tuple[dict[str, Source], str]:
    """The splits of a data set of our own, written now if it is not there, and its folder.

    Args:
        name, version: of the data set; the version is "major.minor.patch".
        arguments: what the examples depend on; they are the tfds config, and part of the path.
        spec: key -> (shape, dtype) of one example; `x` is `[T, ...]`.
        splits: gives split -> examples; called only when they are to be written.
        data_dir: see `data_root`.

    Raises:
        ValueError: the folder exists and is not a whole data set.
    """
    config = ",".join(f"{key}={value}" for key, value in arguments.items())
    folder = data_root(data_dir) / name / config / version
    if not folder.exists():
        _write(name, config, version, spec, splits(), folder.parents[2])
    remedy = "delete that folder, and it is written again on the next use"
    return read(folder, remedy), str(folder)


def read(
    folder: Path,
    remedy: str,
    example: Callable[[Example], Example] = dict,
    memory_limit: int = MEMORY_LIMIT,
) -> dict[str, Source]:
    """The splits of a stored data set.

    Args:
        folder: of one version.
        remedy: what to do about a folder that is not whole, for the message.
        example: from an example as stored to our keys, `x` `[T, ...]` and `label`.
        memory_limit: in bytes; larger splits are read from their files whenever they are used.

    Raises:
        ValueError: the folder is not a whole data set in array_record format.
    """
    import tensorflow_datasets as tfds

    with _whole(folder, remedy):
        builder = tfds.builder_from_directory(folder)
        if not builder.info.splits:
            raise ValueError("it has no splits")
        if builder.info.file_format != tfds.core.FileFormat.ARRAY_RECORD:
            raise ValueError(f"its files are {builder.info.file_format}, not array_record")
    sources: dict[str, Source] = {}
    for split in builder.info.splits:
        with _whole(folder, remedy):
            reader = builder.as_data_source(split=split)  # pyright: ignore[reportCallIssue]
        records = Records(reader, example, folder, remedy)
        size = sum(leaf.nbytes for leaf in records.gather(np.arange(1)).values())
        fits = size * len(records) <= memory_limit
        sources[split] = Arrays(records.gather(np.arange(len(records)))) if fits else records
    return sources


@dataclass(frozen=True, eq=False)
class Records:
    """Examples in array_record files."""

    reader: Any
    example: Callable[[Example], Example]
    folder: Path
    remedy: str
    slow = True

    def __len__(self) -> int:
        return len(self.reader)

    def gather(self, index: np.ndarray) -> Examples:
        with _whole(self.folder, self.remedy):
            examples = [self.example(one) for one in self.reader.__getitems__(index.tolist())]
            stacked = {key: np.stack([one[key] for one in examples]) for key in examples[0]}
            # A file cut at a multiple of 64 KiB raises nothing: its records come out empty.
            if any(leaf.dtype == object for leaf in stacked.values()):
                raise ValueError("a record is empty")
        if "label" in stacked:
            stacked["label"] = stacked["label"].astype(np.int32)
        return stacked


def rows(examples: Examples) -> Iterator[Example]:
    """The examples of arrays `[N, ...]`, one by one."""
    for i in range(len(examples["x"])):
        yield {key: leaf[i] for key, leaf in examples.items()}


@contextlib.contextmanager
def _whole(folder: Path, remedy: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # tfds, protobuf, json and riegeli each raise their own
        raise ValueError(f"{folder} is not a whole data set ({error}): {remedy}") from error


def _write(
    name: str,
    config: str,
    version: str,
    spec: Mapping[str, tuple[tuple[int, ...], Any]],
    splits: Mapping[str, Iterable[Example]],
    root: Path,
) -> None:
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict(
        {
            key: tfds.features.Tensor(shape=shape, dtype=np.dtype(dtype))
            for key, (shape, dtype) in spec.items()
        }
    )

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # pyright: ignore
        VERSION = tfds.core.Version(version)
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=config, version=version)]  # noqa: RUF012

        def _info(self) -> Any:
            return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            return {split: enumerate(examples) for split, examples in splits.items()}

        def _generate_examples(self) -> None:
            """Not called: `_split_generators` gives the examples."""

    Builder.name = name
    builder = Builder(data_dir=root, config=config, file_format="array_record")
    folder = Path(builder.data_dir)
    logging.info("writing the data set %s", folder)
    try:
        # tfds tells of downloads and sizes that these sets do not have.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            builder.download_and_prepare()
    except OSError:
        # Another process may have written the same set and renamed its folder first.
        if not folder.exists():
            raise
