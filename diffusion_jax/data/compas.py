"""COMPAS-1x (Wahab et al. 2022), from its table: 34,072 cata-condensed polybenzenoids and xTB properties.

The table is compas-1x.csv of https://gitlab.com/porannegroup/compas (CC-BY-NC-SA); it is read where it lies,
in the folder of the data sets, and nothing is downloaded. Of its columns `smiles` and `COLUMNS` are used.

Molecules become ring graphs as in `polybenzenoids`: on the lattice, which has no place for those that are not
planar, or relaxed by MMFF94; geometries by xTB are not part of the table. They are split by clusters of ErG
fingerprints. All of it needs RDKit.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diffusion_jax.data.ring_graphs import RingGraphs, chosen, ring_graphs
from diffusion_jax.data.ring_storage import stored_clusters, stored_molecules
from diffusion_jax.data.storage import data_root

EXAMPLES = {"compas1x": {}}

FILE = "compas-1x.csv"
COLUMNS = ("HOMO_eV", "LUMO_eV", "GAP_eV", "Dipmom_Debye", "Etot_eV", "aEA_eV", "aIP_eV", "Erel_eV")


def compas1x(
    targets: Sequence[str] = ("LUMO_eV", "GAP_eV", "Erel_eV", "aIP_eV", "aEA_eV"),
    context: Sequence[int] | None = None,
    held_out: int = 0,
    relaxed: bool = False,
    subset: int = 2000,
    seed: int = 1,
    scale: float = 3.0,
    data_dir: str | os.PathLike | None = None,
) -> RingGraphs:
    """Ring centres, x `[B, N, 3]`, with `mask`, `present` and `target`; N is of the largest molecules.

    Properties and clusters of molecules that are not in the table are unknown (`RingGraphs`).

    Args:
        targets: what is to be predicted, of `COLUMNS`.
        context, held_out, relaxed, subset, seed, scale: see `diffusion_jax.data.polybenzenoids`.
        data_dir: where the table lies, and what is made of it (see `diffusion_jax.data.storage`).

    Raises:
        FileNotFoundError: the table is not there; the message says where it is to be had.
        ModuleNotFoundError: RDKit is missing.
        ValueError: the table lacks a column, or a row of it cannot be read; or as `polybenzenoids`.
    """
    columns = chosen(targets, COLUMNS)
    path = data_root(data_dir) / FILE
    if not path.exists():
        raise FileNotFoundError(
            f"there is no {path}: it is COMPAS-1/{FILE} of https://gitlab.com/porannegroup/compas"
        )
    arguments = {"file": hashlib.sha256(path.read_bytes()).hexdigest()[:16]}
    # a SMILES cannot say how many rings it has without being read, its number of carbons does: C_{4h+2}
    rings = (max(row["smiles"].lower().count("c") for row in _rows(path)) - 2) // 4
    every = stored_molecules(
        "compas1x", arguments, lambda: _molecules(path), rings, len(COLUMNS), relaxed, data_dir
    )
    largest = [code for code in every.codes if len(code) == rings]
    cluster = stored_clusters("compas1x_clusters", arguments, lambda: largest, rings, subset, seed, data_dir)
    known = dict(zip(every.codes, every.properties[:, columns]))

    def label(codes: Sequence[str]) -> np.ndarray:
        nothing = np.full(len(columns), np.nan)
        return np.stack([known.get(code, nothing) for code in codes])

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
            f"{every.placed.sum()} of the {len(every.codes)} molecules of COMPAS-1x (Wahab et al. 2022), as "
            f"ring centres; trained on the larger of two clusters of ErG fingerprints; {', '.join(targets)}."
        ),
    )


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = {"smiles", *COLUMNS} - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"{path} lacks the columns {sorted(missing)}; it has {reader.fieldnames}")
        rows = list(reader)
    if not rows:
        raise ValueError(f"{path} has no molecules")
    return rows


def _molecules(path: Path) -> list[tuple[str, np.ndarray]]:
    from diffusion_jax.molecules.atoms import code_of_smiles

    found = []
    for line, row in enumerate(_rows(path), start=2):
        try:
            found.append((code_of_smiles(row["smiles"]), np.array([float(row[name]) for name in COLUMNS])))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}, line {line}: {error}") from error
    return found
