"""Catafusenes, the cata-condensed polybenzenoids: their codes, all of them, and their places on the lattice.

Hexagons are fused along edges, and no three share an atom. The rings are the nodes of a tree, the *dualist*.
Seen from the edge by which a ring is entered, its edges are numbered counterclockwise, 0 being that edge.
Rings may go on at 2, 3 and 4, but not at two neighbouring edges:

    E  nowhere, the end         R  at 2, a turn to the right by 60 degrees    B  at 4 and at 2, a branch:
    S  at 3, straight on        L  at 4, a turn to the left                      the left way first

A *code* is these letters in the order of a walk that starts at an end: one letter a ring, the first ring
being an S that goes on, or the E of benzene. Naphthalene is "SE", anthracene "SSE", phenanthrene "SLE" and
triphenylene "SBEE". A molecule has a code for each of its ends and its mirror image; the least is canonical.

There are 1, 1, 2, 5, 12, 37, 123, 446, 1689, 6693, 27034 catafusenes of 1 to 11 rings (OEIS A002216), among
them 1, 1, 2, 5, 12, 36, 118, 411, 1489, 5572, 21115 planar ones (A038142): on the lattice no two of their
rings coincide, or touch without being fused. The others, beginning with hexahelicene, wind out of the plane.
"""

from __future__ import annotations

import functools
import operator
from typing import NamedTuple

import numpy as np

ENTRY, RIGHT, STRAIGHT, LEFT = 0, 2, 3, 4
ONWARD = {"E": (), "R": (RIGHT,), "S": (STRAIGHT,), "L": (LEFT,), "B": (LEFT, RIGHT)}
"""Letter -> the edges at which its rings go on, in the order of the code."""

SPACING = 2.445
"""Between the centres of two fused rings, in angstrom."""

_STEPS = ((1, 0), (0, 1), (-1, 1), (-1, 0), (0, -1), (1, -1))  # counterclockwise, in axial coordinates
_AXES = np.array([[1.0, 0.0], [0.5, 0.75**0.5]])

Tree = list[dict[int, int]]
"""For each ring, edge -> the ring fused there. The entry edge of every ring but the first is 0."""


class Structure(NamedTuple):
    """What a code says at a glance.

    rings:    how many there are
    longest:  rings in the longest linear segment; 1 of benzene, 2 of anything without an S inside
    branches: rings with three neighbours
    """

    rings: int
    longest: int
    branches: int


def tree(code: str) -> Tree:
    """The dualist tree of a code, rings in the code's order. The first ring goes on at its edge 3.

    Raises:
        ValueError: it is no code: empty, unknown letters, not starting with S, too short or too long.
    """
    if code == "E":
        return [{}]
    if not code or set(code) - set(ONWARD):
        raise ValueError(f"a code has the letters {', '.join(ONWARD)}, one a ring; got {code!r}")
    if code[0] != "S":
        raise ValueError(
            f"the code of two rings or more starts with S, for its first ring is an end: {code!r}"
        )
    rings: Tree = []
    ways: list[tuple[int, int]] = []  # (ring, edge) that wait for a ring, the next one last
    for i, letter in enumerate(code):
        if i and not ways:
            raise ValueError(f"{code!r} goes on after its last end, at letter {i + 1}")
        rings.append({})
        if i:
            ring, edge = ways.pop()
            rings[ring][edge] = i
            rings[i][ENTRY] = ring
        ways += [(i, edge) for edge in reversed(ONWARD[letter])]
    if ways:
        raise ValueError(f"{code!r} stops before all its ways have ended; {len(ways)} are open")
    return rings


def code_of(rings: Tree) -> str:
    """The canonical code of a tree of rings, wherever their edges are counted from, counterclockwise.

    Raises:
        ValueError: rings are fused at neighbouring edges, so that three share an atom.
    """
    if len(rings) == 1:
        return "E"
    known: dict[tuple[int, int], tuple[str, str]] = {}

    def walk(start: int, ring: int) -> tuple[str, str]:
        """The code of the part behind the edge from `start` into `ring`, and that of its mirror image."""
        if (start, ring) in known:
            return known[start, ring]
        near = rings[ring]
        entry = next(edge for edge, other in near.items() if other == start)
        onward = {(edge - entry) % 6: other for edge, other in near.items() if other != start}
        parts = {edge: walk(ring, other) for edge, other in onward.items()}
        if set(parts) == {LEFT, RIGHT}:
            (left, left_mirrored), (right, right_mirrored) = parts[LEFT], parts[RIGHT]
            codes = "B" + left + right, "B" + right_mirrored + left_mirrored
        elif not parts:
            codes = "E", "E"
        elif set(parts) == {STRAIGHT}:
            codes = "S" + parts[STRAIGHT][0], "S" + parts[STRAIGHT][1]
        elif set(parts) == {LEFT}:
            codes = "L" + parts[LEFT][0], "R" + parts[LEFT][1]
        elif set(parts) == {RIGHT}:
            codes = "R" + parts[RIGHT][0], "L" + parts[RIGHT][1]
        else:
            raise ValueError(f"three rings share an atom: one is entered at 0 and left at {sorted(parts)}")
        known[start, ring] = codes
        return codes

    ends = [i for i, near in enumerate(rings) if len(near) == 1]
    return "S" + min(min(walk(end, *rings[end].values())) for end in ends)


def canonical(code: str) -> str:
    """The canonical code of the molecule that has this code. Raises ValueError as `tree`."""
    return code_of(tree(code))


def catafusenes(rings: int) -> list[str]:
    """The canonical codes of all catafusenes with so many rings, sorted.

    They are grown from those with a ring less, which are kept: 11 rings take about 10 s, 9 half a second.

    Raises:
        TypeError, ValueError: the number is no integer, or below 1.
    """
    try:
        rings = operator.index(rings)
    except TypeError:
        raise TypeError(f"rings must be an integer, got {rings!r}") from None
    if rings < 1:
        raise ValueError(f"rings must be at least 1, got {rings}")
    return list(_catafusenes(rings))


@functools.cache
def _catafusenes(rings: int) -> tuple[str, ...]:
    if rings == 1:
        return ("E",)
    return tuple(sorted({larger for code in _catafusenes(rings - 1) for larger in grown(code)}))


def grown(code: str) -> set[str]:
    """The canonical codes of all molecules with one ring more. Raises ValueError as `tree`."""
    rings = tree(code)
    found = set()
    for near in rings:
        # the code's first ring counts its edges from one that is free; benzene's edges are alike
        free = range(1 if len(rings) == 1 else 6)
        for edge in free:
            if any((edge + step) % 6 in near for step in (-1, 0, 1)):
                continue
            near[edge] = len(rings)
            found.add(code_of([*rings, {ENTRY: next(i for i, one in enumerate(rings) if one is near)}]))
            del near[edge]
    return found


def axial(code: str) -> np.ndarray:
    """Where the rings lie on the triangular lattice, int `[h, 2]` in axial coordinates, the first at zero.

    Rings of a code that is not planar may coincide. Raises ValueError as `tree`.
    """
    rings = tree(code)
    place, heading = np.zeros((len(rings), 2), int), [0] * len(rings)
    for i, near in enumerate(rings):
        for edge, other in near.items():
            if other > i:
                heading[other] = (heading[i] + edge - STRAIGHT) % 6
                place[other] = place[i] + _STEPS[heading[other]]
    return place


def planar(code: str) -> bool:
    """Whether rings touch on the lattice only where they are fused. Raises ValueError as `tree`."""
    place = axial(code)
    apart = place[:, None] - place[None, :]
    # the number of lattice steps between two places
    steps = np.maximum(np.abs(apart).max(axis=2), np.abs(apart.sum(axis=2)))
    rings = len(code)
    return bool((steps == 1).sum() == 2 * (rings - 1) and (steps == 0).sum() == rings)


def centres(code: str) -> np.ndarray:
    """The ring centres on the lattice in angstrom, `[h, 3]`, z = 0, their mean at zero.

    Raises ValueError as `tree`.
    """
    flat = SPACING * axial(code) @ _AXES
    return np.pad(flat - flat.mean(axis=0), [(0, 0), (0, 1)])


def structure(code: str) -> Structure:
    """Numbers of rings and branches and the longest linear segment. Raises ValueError as `tree`."""
    rings = tree(code)
    run, longest = [1] * len(rings), 1
    for i, near in enumerate(rings):
        for edge, other in near.items():
            if other > i:
                run[other] = run[i] + 1 if edge == STRAIGHT else 2
                longest = max(longest, run[other])
    return Structure(len(rings), longest, code.count("B"))
