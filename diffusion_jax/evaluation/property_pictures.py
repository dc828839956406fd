"""Pictures of a property of samples: histograms, and fronts of one metric against another, by matplotlib."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diffusion_jax.evaluation.figures import figure, save

_BINS = 40


def histograms_picture(
    path: str | os.PathLike[str],
    values: Mapping[str, Any],
    *,
    name: str,
    beside: Mapping[str, Any] | None = None,
) -> None:
    """Draw histograms one above the other, all of the same bins, each with its median.

    Args:
        path: of the PNG file.
        values: title -> numbers [n]; those that are not finite are left out.
        name: of the property, with its unit.
        beside: title -> numbers, drawn as outlines in every panel, such as those of the data.

    Raises ValueError where there is no panel, or not one finite number.
    """
    panels = {title: _finite(one) for title, one in values.items()}
    outlines = {title: _finite(one) for title, one in (beside or {}).items()}
    every = np.concatenate([np.zeros(0), *panels.values(), *outlines.values()])
    if not panels or not len(every):
        raise ValueError("there is nothing to draw: no histogram has a number")
    drawing = figure(5.0, 1.3 * len(panels) + 0.6)
    edges = np.linspace(every.min(), max(every.max(), every.min() + 1e-9), _BINS + 1)
    for axis, (title, one) in zip(drawing.subplots(len(panels), 1, squeeze=False)[:, 0], panels.items()):
        for number, (label, outline) in enumerate(outlines.items()):
            axis.hist(outline, edges, density=True, histtype="step", color=f"C{number + 1}", label=label)
        if len(one):
            axis.hist(one, edges, density=True, color="C0", alpha=0.6)
            axis.axvline(float(np.median(one)), color="black", linewidth=1)
        axis.set_ylabel(f"{title}\n({len(one)})", fontsize=8)
        axis.set(yticks=[], xlim=(edges[0], edges[-1]))
        axis.tick_params(labelsize=7)
    if outlines:
        drawing.axes[0].legend(fontsize=7)
    drawing.axes[-1].set_xlabel(name)
    save(drawing, path)


def undominated(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Of points (x, y), large being good: whether no other is as good in both and better in one."""
    return [
        not any(a >= x and b >= y and (a > x or b > y) for a, b in points if (a, b) != (x, y))
        for x, y in points
    ]


def fronts_picture(
    path: str | os.PathLike[str],
    fronts: Mapping[str, Sequence[tuple[str, float, float]]],
    *,
    across: str,
    up: str,
) -> None:
    """Draw one metric against another, a line for each model; what is undominated among all is filled.

    Args:
        path: of the PNG file.
        fronts: model -> points (label, x, y), larger being better of both.
        across, up: what x and y are.

    Raises ValueError where there is no point.
    """
    every = [(x, y) for points in fronts.values() for _, x, y in points]
    if not every:
        raise ValueError("there is nothing to draw: no front has a point")
    best = {point for point, is_best in zip(every, undominated(every)) if is_best}
    drawing = figure(6.0, 4.2)
    axis = drawing.subplots()
    for number, (model, points) in enumerate(fronts.items()):
        # the colours come round after ten
        colour, line = f"C{number % 10}", ("-", "--", ":")[number // 10 % 3]
        x, y = ([point[i] for point in points] for i in (1, 2))
        axis.plot(x, y, line, color=colour, linewidth=1, label=model)
        for label, a, b in points:
            axis.plot(a, b, "o", color=colour, markersize=5, fillstyle="full" if (a, b) in best else "none")
            axis.annotate(label, (a, b), fontsize=6, xytext=(3, 3), textcoords="offset points")
    axis.set(xlabel=across, ylabel=up)
    axis.legend(fontsize=7)
    save(drawing, path)


def _finite(values: Any) -> np.ndarray:
    found = np.asarray(values, float).reshape(-1)
    return found[np.isfinite(found)]
