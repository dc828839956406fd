"""Molecules as graphs of rings: what the sets of polybenzenoids have in common.

x `[B, N, 3]` are ring centres, their mean at zero, and zero where there is no ring: `mask` and `present`
`[B, N]` are 0 there. All rings are alike, so there are no types. `target` `[B, K]` are properties,
standardised. Splits are

    train        one cluster of the largest molecules; generators and predictors are trained on it
    validation   another, nearer one, to choose settings by
    test         a third, that guidance should reach
    held_out     molecules like those of train, if any are asked for: neither trained on nor in the context
    context      molecules without targets: of the sizes asked for, everything that is not in train

so that the context holds the molecules of validation and test where it has their size, never their targets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from diffusion_jax.data.pipeline import Arrays, Dataset, Examples, Info, integer
from diffusion_jax.data.targets import Targets, targets_of
from diffusion_jax.molecules.reading import Reading, read

LABELLED = ("train", "validation", "test")


@dataclass(frozen=True, eq=False, kw_only=True)
class RingGraphs(Dataset):
    """Ring graphs, and what an evaluation of samples has to know of them.

    targets: of the K properties
    scale:   x = ring centres in angstrom / scale
    label:   codes -> properties [n, K]; NaN of a molecule whose properties are not known
    cluster: code -> the split whose molecules it is like, of `LABELLED`; also of molecules in no split
    trained: the codes of the training split; a molecule is novel where it is not one of them
    """

    targets: Targets
    scale: float
    label: Callable[[Sequence[str]], np.ndarray]
    cluster: Mapping[str, str]
    trained: frozenset[str]

    def read(self, x: Any, present: Any = None) -> list[Reading]:
        """The molecules that samples x `[n, N, 3]` are, `present` `[n, N]`. Raises as `reading.read`."""
        return read(np.asarray(x, np.float64) * self.scale, present)

    def truth(self, x: Any, present: Any = None) -> dict[str, np.ndarray]:
        """What is true of samples x `[n, N, 3]`, each `[n]`; of no molecule NaN, but for the first two.

        valid, novel: 1 where it is a molecule, and one that was not trained on, else 0; unique: 1 for the
        first of the samples that are this molecule, 0 for those after it; target_0, ...: its properties;
        in_train, in_validation, in_test: 1 where it is in that cluster, else 0.
        Raises as `reading.read`.
        """
        codes = [reading.code for reading in self.read(x, present)]
        valid = np.array([code is not None for code in codes], bool)
        found = {
            "valid": valid.astype(float),
            "novel": np.array([code is not None and code not in self.trained for code in codes], float),
        }
        known = [code for code in codes if code is not None]
        first = np.full(len(codes), np.nan)
        places = np.unique(known, return_index=True)[1]
        first[valid] = np.isin(np.arange(len(known)), places)
        found["unique"] = first
        values = np.full((len(codes), len(self.targets.names)), np.nan)
        if known:
            values[valid] = self.label(known)
        found |= {f"target_{k}": column for k, column in enumerate(values.T)}
        for split in LABELLED:
            inside = [self.cluster.get(code) == split if code is not None else np.nan for code in codes]
            found[f"in_{split}"] = np.array(inside, float)
        return found


class Stored(NamedTuple):
    """M molecules.

    codes:      canonical
    centres:    [M, N, 3], in angstrom, zero beyond the rings of a molecule
    properties: [M, P]
    placed:     bool [M], whether there are centres: on the lattice only planar molecules have a place
    folder:     where they are stored
    """

    codes: list[str]
    centres: np.ndarray
    properties: np.ndarray
    placed: np.ndarray
    folder: str


def ring_graphs(
    every: Stored,
    columns: Sequence[int],
    names: Sequence[str],
    cluster: Mapping[str, str],
    label: Callable[[Sequence[str]], np.ndarray],
    *,
    context: Sequence[int] | None,
    held_out: int,
    scale: float,
    description: str,
) -> RingGraphs:
    """The data set of the molecules that have a place, and their clusters.

    Args:
        every: molecules of all sizes, N rings at most.
        columns: K of their properties.
        names: of these.
        cluster, label: see `RingGraphs`.
        context: numbers of rings of the context; None from 2 to N.
        held_out: so many molecules of the cluster `train`, at random, are kept out of it.
        scale: angstrom in a unit of x.
        description: of the data set.

    Raises:
        ValueError: a split is empty, a property is not finite or constant over the training split, or a
            number is out of range.
    """
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale must be positive and finite, got {scale}")
    placed = np.flatnonzero(every.placed)
    codes, centres = [every.codes[i] for i in placed], every.centres[placed]
    properties, rings = every.properties[placed][:, columns], centres.shape[1]
    sizes = np.array([len(code) for code in codes])
    wanted = {integer("context", size, 1, rings + 1) for size in context or ()}
    wanted = wanted if context is not None else set(range(2, rings + 1))
    place = np.array([cluster.get(code, "") if len(code) == rings else "" for code in codes])
    members = {split: np.flatnonzero(place == split) for split in LABELLED}
    if integer("held_out", held_out, 0):
        mixed = np.random.default_rng(0).permutation(members["train"])
        members["train"], members["held_out"] = np.sort(mixed[held_out:]), np.sort(mixed[:held_out])
    members["context"] = np.flatnonzero(np.isin(sizes, sorted(wanted)) & (place != "train"))
    counts = {split: len(index) for split, index in members.items()}
    empty = [split for split, count in counts.items() if not count]
    if empty:
        raise ValueError(f"no molecules in {', '.join(empty)}; there are: {counts}")
    labelled = [split for split in members if split != "context"]
    for split in labelled:
        missing = ~np.isfinite(properties[members[split]]).all(axis=1)
        if missing.any():
            raise ValueError(f"{missing.sum()} molecules of {split} lack labels of {', '.join(names)}")
    targets = targets_of(names, properties[members["train"]])

    here = (np.arange(rings) < sizes[:, None]).astype(np.float32)
    x, target = (centres / scale).astype(np.float32), targets.standardised(properties)
    sources = {}
    for split, index in members.items():
        examples: Examples = {"x": x[index], "mask": here[index], "present": here[index]}
        sources[split] = Arrays(examples | ({"target": target[index]} if split in labelled else {}))
    info = Info(
        shape=(rings, 3),
        kind="continuous",
        levels=None,
        unit=None,
        centre=None,
        classes=None,
        splits=counts,
        description=description,
    )
    return RingGraphs(
        info=info,
        sources=sources,
        folder=every.folder,
        targets=targets,
        scale=float(scale),
        label=label,
        cluster=dict(cluster),
        trained=frozenset(codes[int(i)] for i in members["train"]),
    )


def chosen(targets: Sequence[str], names: Sequence[str]) -> list[int]:
    """The places of the targets among the names. Raises ValueError for none, unknown or repeated ones."""
    if set(targets) - set(names) or not targets or len(set(targets)) < len(targets):
        raise ValueError(f"targets are different ones of {', '.join(names)}; got {list(targets)}")
    return [list(names).index(name) for name in targets]
