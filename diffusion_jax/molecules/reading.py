"""From ring centres in space to the molecule they are, or what keeps them from being one.

The criteria are GaUDI's (Weiss et al. 2023) for cata-condensed systems, every bound widened by `TOLERANCE`:

    close      two rings are nearer than rings that are fused, 2.42 to 2.48 angstrom
    apart      fused rings do not connect all
    cycle      they do, but not as a tree: peri-condensed, or a corona
    angle      of three rings in a row: neither a kink, 105.8 to 133.2 degrees, nor straight, 177.3 or more;
               or a ring with three neighbours, two of which face each other, or with more
    dihedral   of two kinks in a row: neither to the same side, 43.9 degrees or less, nor to the other, 135.0
               or more

What passes has a code (`catafusenes`), from which its atoms and energies follow exactly. Left and right are
seen from a normal that is carried along from the first kink, through straight segments too, so helicenes are
read in space as they wind and nothing is projected.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from diffusion_jax.molecules.catafusenes import canonical

FUSED = (2.42, 2.48)
KINK = (105.8, 133.2)
STRAIGHT = 177.3
SAME_SIDE, OTHER_SIDE = 43.9, 135.0
TOLERANCE = 0.1

PROBLEMS = ("empty", "not finite", "close", "apart", "cycle", "angle", "dihedral")


class Reading(NamedTuple):
    """code: the canonical one, or None; problem: None, or one of `PROBLEMS`."""

    code: str | None
    problem: str | None


class _Problem(Exception):
    pass


def read(centres: Any, mask: Any = None) -> list[Reading]:
    """What molecules ring centres are.

    Args:
        centres: [B, N, 3], in angstrom.
        mask: [B, N], 1 where there is a ring; None for all.

    Raises:
        ValueError: shapes that do not fit, or a mask that is not 0 and 1.
    """
    centres = np.asarray(centres, np.float64)
    if centres.ndim != 3 or centres.shape[2] != 3:
        raise ValueError(f"ring centres are [B, N, 3], got shape {centres.shape}")
    mask = np.ones(centres.shape[:2]) if mask is None else np.asarray(mask)
    if mask.shape != centres.shape[:2] or not np.isin(mask, (0, 1)).all():
        raise ValueError(f"mask must be {centres.shape[:2]} of 0 and 1, got shape {mask.shape}")
    return [_read(x[here]) for x, here in zip(centres, mask.astype(bool))]


def problems(readings: Iterable[Reading]) -> dict[str, float]:
    """The share of readings with each problem, and of valid ones. Raises ValueError where there is none."""
    counts = Counter(reading.problem for reading in readings)
    total = sum(counts.values())
    if not total:
        raise ValueError("there are no readings to count")
    return {"valid": counts[None] / total} | {problem: counts[problem] / total for problem in PROBLEMS}


def _read(x: np.ndarray) -> Reading:
    if not len(x):
        return Reading(None, "empty")
    if not np.isfinite(x).all():
        return Reading(None, "not finite")
    try:
        return Reading(canonical(_code(x, _neighbours(x))), None)
    except _Problem as problem:
        return Reading(None, str(problem))


def _neighbours(x: np.ndarray) -> list[list[int]]:
    """The rings that each is fused to; they are a tree."""
    rings = len(x)
    distance = np.linalg.norm(x[:, None] - x[None], axis=2)
    distance[np.diag_indices(rings)] = np.inf
    if distance.min() < FUSED[0] * (1 - TOLERANCE):
        raise _Problem("close")
    fused = distance <= FUSED[1] * (1 + TOLERANCE)
    near = [np.flatnonzero(row).tolist() for row in fused]
    reached, left = {0}, [0]
    while left:
        new = set(near[left.pop()]) - reached
        reached |= new
        left += new
    if len(reached) < rings:
        raise _Problem("apart")
    if fused.sum() != 2 * (rings - 1):
        raise _Problem("cycle")
    return near


def _code(x: np.ndarray, near: list[list[int]]) -> str:
    """A code, in letters; its first ring is the first that is an end."""
    if len(x) == 1:
        return "E"
    first = next(i for i, others in enumerate(near) if len(others) == 1)
    letters = ["S"]
    # what waits: (ring, the one before it, unit vector between them, normal or None), the next one last
    second = near[first][0]
    waiting: list[tuple[int, int, np.ndarray, np.ndarray | None]] = [
        (second, first, _unit(x[second] - x[first]), None)
    ]
    while waiting:
        ring, before, heading, normal = waiting.pop()
        ways = [i for i in near[ring] if i != before]
        onward = [_unit(x[i] - x[ring]) for i in ways]
        kinks = [_kink(heading, way) for way in onward]
        if not ways:
            letters.append("E")
        elif len(ways) == 1 and not kinks[0]:
            if normal is not None:
                normal = _unit(normal - (normal @ onward[0]) * onward[0])
            letters.append("S")
            waiting.append((ways[0], ring, onward[0], normal))
        elif all(kinks) and len(ways) <= 2 and (len(ways) == 1 or _kink(-onward[0], onward[1])):
            axes = [_unit(_cross(heading, way)) for way in onward]
            if normal is None:
                normal = axes[0]
            left = [_is_left(axis, normal) for axis in axes]
            if len(ways) == 2 and left[0] == left[1]:
                raise _Problem("dihedral")
            letters.append("B" if len(ways) == 2 else "L" if left[0] else "R")
            own = [
                (i, ring, way, axis if to else -axis) for i, way, axis, to in zip(ways, onward, axes, left)
            ]
            # the left way is walked first, so it is put on last
            waiting += own if left[-1] else own[::-1]
        else:
            raise _Problem("angle")
    return "".join(letters)


def _kink(heading: np.ndarray, way: np.ndarray) -> bool:
    """Whether three rings in a row are a kink; a straight segment otherwise."""
    angle = _degrees(-heading, way)
    if KINK[0] * (1 - TOLERANCE) <= angle <= KINK[1] * (1 + TOLERANCE):
        return True
    if angle >= STRAIGHT * (1 - TOLERANCE):
        return False
    raise _Problem("angle")


def _is_left(axis: np.ndarray, normal: np.ndarray) -> bool:
    angle = _degrees(axis, normal)
    if angle <= SAME_SIDE * (1 + TOLERANCE):
        return True
    if angle >= OTHER_SIDE * (1 - TOLERANCE):
        return False
    raise _Problem("dihedral")


def _degrees(a: np.ndarray, b: np.ndarray) -> float:
    """The angle between unit vectors."""
    return math.degrees(math.acos(min(max(float(a @ b), -1.0), 1.0)))


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.sqrt(v @ v)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    # numpy's own costs forty times as much for a single pair
    return np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])
