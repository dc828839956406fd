"""How GFN2-xTB goes with the Hueckel gap that the materials are labelled by.

    python -m experiments.gfn2 --rings 4
    python -m experiments.gfn2 --rings 7 --count 123 --out docs/images/gfn2_gap.png \
        --record experiments/results/gfn2.json

A random subset of all cata-condensed polybenzenoids of so many rings is relaxed by MMFF94 and labelled by
GFN2-xTB: gap, ionisation energy and electron affinity, all vertical (`molecules.xtb`). Of each the table has
the correlation with the Hueckel gap and the least-squares line through it, in eV; `deviation` is the largest
from the line. About a second for a molecule of 7 rings. Needs the extra `xtb`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tqdm

from diffusion_jax.evaluation.figures import figure, save
from diffusion_jax.molecules.atoms import relaxed
from diffusion_jax.molecules.catafusenes import catafusenes
from diffusion_jax.molecules.hueckel import hueckel
from diffusion_jax.molecules.xtb import Gfn2, gfn2
from diffusion_jax.training import runs
from experiments import machine, markdown, records

LABELS = ("gap", "ionisation", "affinity")
COLUMNS = ("GFN2-xTB", "n", "Pearson r", "slope, eV per |beta|", "intercept, eV", "deviation, eV")


class Fit(NamedTuple):
    """A least-squares line.

    r:         Pearson's correlation
    slope:     in units of y by those of x
    intercept: in units of y
    deviation: the largest of a point from the line, in units of y
    """

    r: float
    slope: float
    intercept: float
    deviation: float


def fit(x: np.ndarray, y: np.ndarray) -> Fit:
    """The line through points x [n], y [n]. Raises ValueError for fewer than three different x."""
    if len(np.unique(np.round(x, 9))) < 3:
        raise ValueError(f"a line needs molecules of three different gaps at least, got {len(x)} molecules")
    slope, intercept = np.polyfit(x, y, 1)
    deviation = np.abs(y - slope * x - intercept).max()
    return Fit(float(np.corrcoef(x, y)[0, 1]), float(slope), float(intercept), float(deviation))


def chosen(rings: int, count: int, seed: int, smaller: bool = False) -> list[str]:
    """Codes of different molecules, drawn from all of `rings` rings; all of them where there are no more.

    Args:
        rings, count, seed: how many rings, how many molecules, and the draw's seed.
        smaller: whether those of fewer rings are among what is drawn from.

    Raises:
        ValueError: rings or count below 1, or a negative seed.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    if seed < 0:
        raise ValueError(f"the seed must not be negative, got {seed}")
    codes = catafusenes(rings)
    if smaller:
        codes = [code for size in range(1, rings) for code in catafusenes(size)] + codes
    drawn = np.random.default_rng(seed).choice(len(codes), min(count, len(codes)), replace=False)
    return [codes[i] for i in sorted(drawn)]


def labelled(codes: Sequence[str]) -> dict[str, Gfn2]:
    """Code -> its labels, with progress on a terminal.

    Raises:
        ModuleNotFoundError: RDKit or tblite is missing.
        RuntimeError, ValueError: a molecule cannot be relaxed, or its charges do not converge.
    """
    found = {}
    for code in tqdm.tqdm(codes, unit="molecule", disable=not sys.stderr.isatty()):
        try:
            found[code] = gfn2(relaxed(code))
        except ValueError as error:
            raise ValueError(f"{code}: {error}") from error
    return found


def table(fits: Mapping[str, Fit], count: int) -> str:
    """The lines as Markdown, a row for each label."""
    lines = [
        [name, str(count), f"{one.r:.4f}", *(f"{value:.3f}" for value in one[1:])]
        for name, one in fits.items()
    ]
    return markdown.table(COLUMNS, lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Labels, prints the table and, where asked, draws the gaps and writes the record."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.gfn2",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rings", type=int, default=4, metavar="N", help="of each molecule, default: 4")
    parser.add_argument("--smaller", action="store_true", help="molecules of fewer rings too")
    parser.add_argument("--count", type=int, default=20, metavar="N", help="at most, default: 20")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--out", type=Path, metavar="PNG", help="default: no picture")
    parser.add_argument("--record", type=Path, metavar="FILE", help="also write all numbers here, as JSON")
    options = parser.parse_args(arguments)
    try:
        codes = chosen(options.rings, options.count, options.seed, options.smaller)
        gaps = hueckel(codes).gap
        fit(gaps, gaps)  # refuses too few before anything is labelled
        begin = time.perf_counter()
        found = labelled(codes)
        seconds = time.perf_counter() - begin
        labels = {name: np.array([getattr(one, name) for one in found.values()]) for name in LABELS}
        fits = {name: fit(gaps, values) for name, values in labels.items()}
        print(f"{table(fits, len(codes))}\n\n{seconds / len(codes):.2f} s a molecule")
        if options.out is not None:
            _picture(options.out, gaps, labels["gap"], fits["gap"])
        if options.record is not None:
            provenance = runs.provenance()
            molecules = {
                code: {"hueckel_gap": float(gap), **{name: getattr(found[code], name) for name in LABELS}}
                for code, gap in zip(codes, gaps)
            }
            record = {
                "commit": provenance["git"],
                "made": provenance["started"],
                "hardware": machine.hardware(provenance),
                "rings": options.rings,
                "smaller": options.smaller,
                "seed": options.seed,
                "seconds": round(seconds, 1),
                "fits": {name: one._asdict() for name, one in fits.items()},
                "molecules": molecules,
            }
            records.write(options.record, record)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        sys.exit(f"error: {error}")


def _picture(path: Path, x: np.ndarray, y: np.ndarray, line: Fit) -> None:
    drawing = figure(4.2, 3.2)
    axis = drawing.subplots()
    axis.plot(x, y, "o", markersize=4, alpha=0.6)
    ends = np.array([x.min(), x.max()])
    axis.plot(ends, line.slope * ends + line.intercept, color="black", linewidth=1)
    axis.set(xlabel="Hueckel gap, |beta|", ylabel="GFN2-xTB gap, eV")
    axis.tick_params(labelsize=8)
    save(drawing, path)


if __name__ == "__main__":
    main()
