"""Molecules as graphs of rings: what the sets of polybenzenoids have in common.

x `[B, N, 3]` are ring centres, their mean at zero, zero where `mask` `[B, N]` is 0; all rings are alike, so
there are no types. `target` `[B, K]` are properties standardised by the training split. Splits are

    train        one cluster of the largest molecules; generators and predictors are trained on it
    validation   another, nearer one, to choose settings by
    test         a third, that guidance should reach
    context      molecules without targets: of the sizes asked for, everything that is not in train

so that the context holds the molecules of validation and test where it has their size, never their targets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from diffusion_jax.data.pipeline import Arrays, Dataset, Draw, Examples, Info, integer
from diffusion_jax.molecules.codec import RingCodec

LABELLED = ("train", "validation", "test")


def chosen(targets: Sequence[str], names: Sequence[str]) -> list[int]:
    """The places of the targets among the names. Raises ValueError for none, unknown or repeated ones."""
    if set(targets) - set(names) or not targets or len(set(targets)) < len(targets):
        raise ValueError(f"targets are different ones of {', '.join(names)}; got {list(targets)}")
    return [list(names).index(name) for name in targets]


def ring_graphs(
    codes: Sequence[str],
    centres: np.ndarray,
    properties: np.ndarray,
    names: Sequence[str],
    cluster: Mapping[str, str],
    truth: Callable[[Sequence[str]], np.ndarray],
    *,
    context: Sequence[int] | None,
    scale: float,
    description: str,
    folder: str | None,
) -> Dataset:
    """The data set of molecules and their clusters.

    Args:
        codes: of M molecules, canonical, of all sizes, N rings at most.
        centres: [M, N, 3] of their rings, in angstrom, zero beyond a molecule's rings.
        properties: [M, K].
        names: of the K properties.
        cluster: code -> its split, of the largest molecules; it may know more than there are here.
        truth: see `RingCodec`.
        context: numbers of rings of the context; None from 2 to N.
        scale: angstrom in a unit of x.
        description, folder: of the data set.

    Raises:
        ValueError: a split is empty, a property is not finite or constant over the training split, or a
            number is out of range.
    """
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale must be positive and finite, got {scale}")
    rings = centres.shape[1]
    sizes = np.array([len(code) for code in codes])
    wanted = {integer("context", size, 1, rings + 1) for size in context or ()}
    wanted = wanted if context is not None else set(range(2, rings + 1))
    place = np.array([cluster.get(code, "") if len(code) == rings else "" for code in codes])
    members = {split: np.flatnonzero(place == split) for split in LABELLED}
    members["context"] = np.flatnonzero(np.isin(sizes, sorted(wanted)) & (place != "train"))
    empty = [split for split, index in members.items() if not len(index)]
    if empty:
        counts = {split: len(index) for split, index in members.items()}
        raise ValueError(f"no molecules in {', '.join(empty)}; there are: {counts}")

    properties = np.asarray(properties, np.float64)
    labelled = np.concatenate([members[split] for split in LABELLED])
    if not np.isfinite(properties[labelled]).all():
        raise ValueError(f"of {list(names)}, some are not finite for molecules of {', '.join(LABELLED)}")
    train = properties[members["train"]]
    constant = [name for name, least, most in zip(names, train.min(0), train.max(0)) if least == most]
    if constant:
        raise ValueError(f"constant over the training split, so nothing to predict: {', '.join(constant)}")
    codec = RingCodec(
        float(scale),
        tuple(names),
        train.mean(axis=0),
        train.std(axis=0),
        truth,
        dict(cluster),
        frozenset(codes[int(i)] for i in members["train"]),
    )

    mask = (np.arange(rings) < sizes[:, None]).astype(np.float32)
    x, target = codec.encode(centres), codec.standardised(properties).astype(np.float32)
    sources = {
        split: Arrays(
            {"x": x[index], "mask": mask[index]} | ({"target": target[index]} if split in LABELLED else {})
        )
        for split, index in members.items()
    }

    def encode(examples: Examples, draw: Draw, training: bool) -> Examples:
        return examples

    info = Info(
        shape=(rings, 3),
        kind="continuous",
        levels=None,
        unit=None,
        centre=None,
        classes=None,
        splits={split: len(source) for split, source in sources.items()},
        description=description,
        codec=codec,
    )
    return Dataset(info, sources, encode, folder)
