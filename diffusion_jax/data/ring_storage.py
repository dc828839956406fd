"""Ring graphs and their clusters on disk: what takes long, written once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from diffusion_jax.data.pipeline import Source, integer, seed_of
from diffusion_jax.data.ring_graphs import LABELLED, Stored
from diffusion_jax.data.storage import Example, stored
from diffusion_jax.molecules.catafusenes import centres, planar


def stored_molecules(
    name: str,
    arguments: Mapping[str, object],
    rows: Callable[[], Iterable[tuple[str, np.ndarray]]],
    rings: int,
    columns: int,
    relaxed: bool,
    data_dir: str | os.PathLike | None,
) -> Stored:
    """Molecules of N = `rings` rings at most with their ring centres and properties.

    Args:
        name, arguments: of the stored set; what the rows depend on.
        rows: gives (canonical code, properties [P]); called only when they are to be written.
        rings, columns: N and P.
        relaxed: whether the geometries are minima of MMFF94, or those of planar molecules on the lattice.
        data_dir: where the set is kept (see `diffusion_jax.data.storage`).

    Raises:
        ModuleNotFoundError: geometries are to be relaxed and RDKit is missing.
        ValueError: the stored set is not whole.
    """

    def written() -> Iterator[Example]:
        for code, numbers in rows():
            x = _geometry(code, relaxed)
            centred = np.zeros((rings, 3), np.float32)
            if x is not None:
                centred[: len(code)] = x
            yield {
                "x": centred,
                "code": _letters(code, rings),
                "properties": numbers,
                "placed": np.uint8(x is not None),
            }

    sources, folder = stored(
        name,
        "1.0.0",
        {**arguments, "relaxed": bool(relaxed)},
        {
            "x": ((rings, 3), np.float32),
            "code": ((rings,), np.uint8),
            "properties": ((columns,), np.float64),
            "placed": ((), np.uint8),
        },
        lambda: {"molecules": written()},
        data_dir,
    )
    every = _all(sources["molecules"])
    codes = [_word(row) for row in every["code"]]
    return Stored(codes, every["x"], every["properties"], every["placed"] > 0, folder)


def stored_clusters(
    name: str,
    arguments: Mapping[str, object],
    codes: Callable[[], Sequence[str]],
    rings: int,
    subset: int,
    seed: int,
    data_dir: str | os.PathLike | None,
) -> dict[str, str]:
    """The split of molecules of `rings` rings by clusters of ErG fingerprints: code -> one of `LABELLED`.

    The larger of two clusters is train; the other is clustered again, its larger part being test.

    Args:
        name, arguments: of the stored set; what the codes depend on.
        codes: gives the molecules; called only when the clusters are to be written.
        subset, seed: see `molecules.clusters.clusters`.
        data_dir: where the set is kept.

    Raises:
        ModuleNotFoundError: RDKit is missing.
        TypeError, ValueError: a number out of range, too few molecules, or a stored set that is not whole.
    """
    subset = integer("subset", subset, 4)

    def written() -> Iterator[Example]:
        from diffusion_jax.molecules.clusters import clusters

        every = codes()
        place = np.zeros(len(every), np.uint8)
        other = np.flatnonzero(clusters(every, 2, subset, seed) == 1)
        smaller = clusters([every[int(i)] for i in other], 2, subset, seed) == 1
        place[other] = np.where(smaller, LABELLED.index("validation"), LABELLED.index("test"))
        for code, one in zip(every, place):
            yield {"x": _letters(code, rings), "split": one}

    sources, _ = stored(
        name,
        "1.0.0",
        {**arguments, "subset": subset, "seed": seed_of(seed)},
        {"x": ((rings,), np.uint8), "split": ((), np.uint8)},
        lambda: {"molecules": written()},
        data_dir,
    )
    table = _all(sources["molecules"])
    return {_word(row): LABELLED[place] for row, place in zip(table["x"], table["split"])}


def _geometry(code: str, relaxed: bool) -> np.ndarray | None:
    """Ring centres in angstrom, or None where the molecule has no place."""
    if not relaxed:
        return centres(code) if planar(code) else None
    from diffusion_jax.molecules import atoms

    try:
        return atoms.ring_centres(code, atoms.relaxed(code).positions)
    except ValueError:
        return None


def _all(source: Source) -> dict[str, np.ndarray]:
    return source.gather(np.arange(len(source)))


def _letters(code: str, rings: int) -> np.ndarray:
    return np.frombuffer(code.ljust(rings).encode(), np.uint8)


def _word(letters: np.ndarray) -> str:
    return letters.tobytes().decode().rstrip()
