"""Prepares a data set, so that the first run does not have to.

    python -m experiments.prepare --data cifar10 --data_dir /data
    python -m experiments.prepare --data dead_leaves --set size=256 --set train=512

CIFAR-10, MNIST and ImageNet are downloaded; that needs TensorFlow, once (`pip install '.[prepare]'`). Our own
sets are generated. A set that is there already is only read through.
"""

from __future__ import annotations

import argparse
import ast
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from diffusion_jax.build import available, build
from diffusion_jax.data import registered
from diffusion_jax.data.storage import data_root


def main(arguments: Sequence[str] | None = None) -> None:
    """Prepares what the command line says and prints where it is and how many examples it has."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.prepare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", required=True, metavar="NAME", help=", ".join(available("data")))
    parser.add_argument("--data_dir", default=None, help=f"default: {data_root()}, or $DIFFUSION_JAX_DATA")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=setting,
        metavar="KEY=VALUE",
        help="an argument of the data set, as in a config; may be given several times",
    )
    options = parser.parse_args(arguments)
    start = time.monotonic()
    try:
        if options.data in registered.SETS:
            registered.prepare(options.data, options.data_dir)
        dataset = build("data", {"name": options.data, "data_dir": options.data_dir, **dict(options.set)})
    except (ImportError, OSError, TypeError, ValueError) as error:
        sys.exit(f"{options.data}: {error}")
    examples = ", ".join(f"{count} {split}" for split, count in dataset.info.splits.items())
    print(f"{options.data}: {dataset.info.description}")
    print(f"  {examples}; {dataset.info.kind}, each of shape {dataset.info.shape}")
    print(
        f"  in {dataset.folder} ({_bytes(dataset.folder) / 2**20:.1f} MiB, {time.monotonic() - start:.1f} s)"
    )


def setting(text: str) -> tuple[str, Any]:
    """The key and value of KEY=VALUE, for argparse; values are Python literals, what is none is a string."""
    key, found, value = text.partition("=")
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form KEY=VALUE")
    try:
        return key, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return key, value


def _bytes(folder: str) -> int:
    return sum(entry.stat().st_size for entry in os.scandir(folder))


if __name__ == "__main__":
    main()
