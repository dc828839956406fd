"""All cata-condensed polybenzenoids up to 11 rings, as graphs of their rings, with Hueckel labels.

They are enumerated, not downloaded (`diffusion_jax.molecules.catafusenes`): 36,043 molecules, 27,034 of them
of 11 rings. Where Context-Guided Diffusion (arXiv 2407.11942) has the 34,072 of COMPAS-1x with xTB labels,
the labels here are exact for every molecule that a model may generate.

On the lattice only planar molecules have a place, 28,762 in all and 21,115 of 11 rings. `relaxed` gives them
all the ring centres of a minimum of MMFF94: fjords open and helicenes wind. That takes RDKit and half an hour
of a core, once.

Two splits of the largest molecules (`ring_graphs` says what the splits are):

    polybenzenoids            by the longest linear segment, which rules the gap: molecules of short ones are
                              trained on, those of long ones, of a small gap, are to be reached
    polybenzenoid_clusters    by spectral clustering of ErG fingerprints, as in the paper: the larger of two
                              clusters is trained on; the other is clustered again, and its larger part is the
                              test

The paper clusters all at once; here a random `subset` is clustered and the others follow their nearest, which
takes a minute and little memory. It needs RDKit.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from diffusion_jax.data.pipeline import integer
from diffusion_jax.data.ring_graphs import LABELLED, RingGraphs, chosen, ring_graphs
from diffusion_jax.data.ring_storage import Stored, stored_clusters, stored_molecules
from diffusion_jax.molecules.catafusenes import catafusenes
from diffusion_jax.molecules.properties import PROPERTIES, properties

EXAMPLES = {
    "polybenzenoids": {"rings": 6, "segments": (2, 3), "context": (6,)},
    "polybenzenoid_clusters": {"rings": 7, "subset": 60, "context": (7,)},
}

_MOST = 13  # rings; there are four times as many molecules with each ring more


def polybenzenoids(
    rings: int = 11,
    segments: tuple[int, int] = (3, 4),
    targets: Sequence[str] = ("gap", "energy", "kekule"),
    context: Sequence[int] | None = None,
    held_out: int = 0,
    relaxed: bool = False,
    scale: float = 3.0,
    data_dir: str | os.PathLike | None = None,
) -> RingGraphs:
    """Ring centres, x `[B, rings, 3]`, with `mask`, `present` and `target`; split by linear segments.

    Args:
        rings: of the largest molecules, 3 to 12; 11 take half a minute, once.
        segments: the longest linear segment of the training split's molecules, and of the validation's.
        targets: what is to be predicted, of `molecules.properties.PROPERTIES`.
        context: numbers of rings in the context; None from 2 to `rings`.
        held_out: so many molecules like those of the training split, at random, are a split of their own.
        relaxed: takes relaxed geometries of all molecules instead of the planar ones on the lattice.
        scale: angstrom in a unit of x.
        data_dir: where the set is kept (see `diffusion_jax.data.storage`).

    Raises:
        TypeError, ValueError: a number out of range, an unknown or constant target, an empty split, or a
            stored set that is not whole.
        ModuleNotFoundError: RDKit is missing and needed.
    """
    rings = integer("rings", rings, 3, _MOST)
    if len(segments) != 2:
        raise ValueError(f"segments are two, of train and validation, got {tuple(segments)}")
    short = integer("segments", segments[0], 2)
    middle = integer("segments", segments[1], short + 1)
    every = _everything(rings, relaxed, data_dir)
    largest = [i for i, code in enumerate(every.codes) if len(code) == rings]
    longest = every.properties[largest, PROPERTIES.index("longest")]
    places = np.select([longest <= short, longest <= middle], LABELLED[:2], LABELLED[2])
    cluster = {every.codes[i]: str(place) for i, place in zip(largest, places)}
    what = f"trained on where no linear segment has more than {short} rings"
    return _dataset(every, cluster, targets, context, held_out, scale, what)


def polybenzenoid_clusters(
    rings: int = 11,
    subset: int = 2000,
    seed: int = 1,
    targets: Sequence[str] = ("gap", "energy", "kekule"),
    context: Sequence[int] | None = None,
    held_out: int = 0,
    relaxed: bool = False,
    scale: float = 3.0,
    data_dir: str | os.PathLike | None = None,
) -> RingGraphs:
    """As `polybenzenoids`, split by clusters of ErG fingerprints.

    Args:
        subset: so many molecules are clustered, the others join their nearest.
        seed: of the subset and the clustering.

    Other arguments and errors as `polybenzenoids`.
    """
    rings = integer("rings", rings, 3, _MOST)
    cluster = stored_clusters(
        "polybenzenoid_clusters",
        {"rings": rings},
        lambda: catafusenes(rings),
        rings,
        subset,
        seed,
        data_dir,
    )
    what = "trained on the larger of two clusters of ErG fingerprints"
    return _dataset(_everything(rings, relaxed, data_dir), cluster, targets, context, held_out, scale, what)


def _everything(rings: int, relaxed: bool, data_dir: str | os.PathLike | None) -> Stored:
    def rows() -> Iterator[tuple[str, np.ndarray]]:
        for size in range(1, rings + 1):
            codes = catafusenes(size)
            yield from zip(codes, properties(codes))

    return stored_molecules(
        "polybenzenoids", {"rings": rings}, rows, rings, len(PROPERTIES), relaxed, data_dir
    )


def _dataset(
    every: Stored,
    cluster: Mapping[str, str],
    targets: Sequence[str],
    context: Sequence[int] | None,
    held_out: int,
    scale: float,
    what: str,
) -> RingGraphs:
    columns = chosen(targets, PROPERTIES)

    def label(codes: Sequence[str]) -> np.ndarray:
        return properties(codes)[:, columns]

    return ring_graphs(
        every,
        columns,
        targets,
        cluster,
        label,
        context=context,
        held_out=held_out,
        scale=scale,
        description=(
            f"{every.placed.sum()} of the {len(every.codes)} cata-condensed polybenzenoids up to "
            f"{every.centres.shape[1]} rings, as ring centres; {what}; Hueckel theory: {', '.join(targets)}."
        ),
    )
