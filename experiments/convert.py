"""Official EDM checkpoints to runs of ours, and back, without PyTorch and without executing what is in them.

    python -m experiments.convert edm-cifar10-32x32-cond-vp.pkl --inspect
    python -m experiments.convert edm-cifar10-32x32-cond-vp.pkl --workdir runs/edm-cifar10
    python -m experiments.convert weights.safetensors --preconditioner edm --workdir runs/mine
    python -m experiments.convert runs/edm-cifar10 --to safetensors --out weights.safetensors

Reads official pickles, files of torch.save, npz and safetensors with the official names; a dump's description
is taken from a JSON file of the same name beside it. A pickle that asks for anything but an official network
is refused, with the name of what it asks for. See docs/checkpoints.md, also for the licence of the weights.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.official import files, runs
from experiments.official.description import PRECONDITIONERS, network_spec


def main(arguments: Sequence[str] | None = None) -> None:
    """Does what the command line says, and prints what it found and what it wrote."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.convert",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="FILE", help="a file of weights, or, with --to, a run's folder")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--inspect", action="store_true", help="list what is inside, write nothing")
    action.add_argument("--workdir", metavar="RUN", help="the folder of the run to be made")
    action.add_argument("--to", choices=files.FORMATS, help="write the weights of a run")
    parser.add_argument("--out", metavar="FILE", help="with --to; default: RUN/official.FORMAT")
    parser.add_argument("--raw", action="store_true", help="with --to: the parameters, not their average")
    parser.add_argument("--preconditioner", choices=PRECONDITIONERS, help="of a dump that does not say")
    parser.add_argument(
        "--data",
        type=_spec,
        metavar="SPEC",
        help="of the run's config: a name or {'name': ...}; default: none",
    )
    options = parser.parse_args(arguments)
    source = Path(options.source)
    try:
        if options.to is not None:
            out = Path(options.out or source / f"official.{options.to}")
            arrays, description = runs.read(source, ema=not options.raw)
            files.write(out, options.to, arrays, description)
            print(f"{_count(arrays)} in {out}, described in {out.with_suffix('.json')}")
        elif options.inspect:
            _inspect(source)
        else:
            found = runs.network(source, options.preconditioner)
            runs.write(source, Path(options.workdir), found, runs.config(found, options.data))
            _say(found.notes)
            print(f"{_count(found.arrays)}: {network_spec(found.description)['name']} in {options.workdir}")
            print(runs.LICENCE)
    except (OSError, TypeError, ValueError) as error:
        sys.exit(f"error: {error}")


def _inspect(path: Path) -> None:
    found = files.contents(path)
    print("\n".join(found.outline))
    for name, array in found.arrays.items():
        print(f"{name}  {array.dtype} {list(array.shape)}")
    print(_count(found.arrays))
    for name, value in (found.description or {}).items():
        print(f"{name} = {value!r}")
    _say(files.weights(found).notes)


def _say(notes: Sequence[str]) -> None:
    for note in notes:
        print(f"note: {note}")


def _count(arrays: Mapping[str, np.ndarray]) -> str:
    return f"{len(arrays)} arrays of {sum(array.size for array in arrays.values()):,} numbers"


def _spec(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


if __name__ == "__main__":
    main()
