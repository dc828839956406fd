"""What a regression model says of the plane: pictures of its means and its deviations, by matplotlib."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diffusion_jax.evaluation.figures import figure, save

_PANEL = 2.2  # inches


def square(edge: float, size: int) -> np.ndarray:
    """The centres of size x size cells of [-edge, edge]^2, row by row from below: [size^2, 1, 2]."""
    line = edge * (2 * (np.arange(size) + 0.5) / size - 1)
    across, up = np.meshgrid(line, line)
    return np.stack([across, up], -1).reshape(-1, 1, 2).astype(np.float32)


def plane_picture(
    path: str | os.PathLike[str],
    fields: Mapping[str, Any],
    titles: Sequence[str],
    edge: float,
    *,
    points: Mapping[str, Any] | None = None,
    name: str = "",
) -> None:
    """Draw fields over a square of the plane, two rows a model: its means and its deviations, level by level.

    Args:
        path: of the PNG file.
        fields: model -> [2, L, H, W], means and deviations at L levels, row 0 below; all share their colours.
        titles: of the L columns.
        edge: the square is [-edge, edge]^2.
        points: colour -> [N, 1, 2], drawn on top.
        name: of what is predicted, with its unit.

    Raises ValueError where there is no field or the shapes do not fit.
    """
    panels = {model: np.asarray(field, float) for model, field in fields.items()}
    shapes = {field.shape for field in panels.values()}
    shape = next(iter(shapes), ())
    if len(shapes) != 1 or len(shape) != 4 or shape[:2] != (2, len(titles)):
        raise ValueError(
            f"fields are [2, L, H, W], all alike, with L = {len(titles)} titles; got {sorted(shapes)}"
        )
    drawing = figure(_PANEL * len(titles) + 1, 2 * _PANEL * len(panels))
    axes = drawing.subplots(2 * len(panels), len(titles), squeeze=False)
    for part, what in enumerate(("mean", "deviation")):
        every = np.stack([field[part] for field in panels.values()])
        low, high = np.quantile(every, (0.01, 0.99))
        rows = axes[part::2]
        image: Any = None
        for (model, field), row in zip(panels.items(), rows):
            for axis, one, title in zip(row, field[part], titles):
                image = axis.imshow(
                    one,
                    origin="lower",
                    extent=(-edge, edge, -edge, edge),
                    vmin=low,
                    vmax=high,
                    cmap="viridis",
                )
                for colour, x in (points or {}).items():
                    axis.plot(*np.asarray(x).reshape(-1, 2).T, ",", color=colour, alpha=0.7)
                axis.set(xlim=(-edge, edge), ylim=(-edge, edge), xticks=[], yticks=[])
                axis.set_title(title, fontsize=8)
            row[0].set_ylabel(f"{model}: {what}", fontsize=8)
            drawing.colorbar(image, ax=list(row), label=f"{what} {name}".strip(), shrink=0.8)
    save(drawing, path)
