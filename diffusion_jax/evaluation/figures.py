"""Figures by matplotlib, without a display: how every picture of this library begins and ends."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def figure(width: float, height: float) -> Any:
    """An empty figure of so many inches, an inch each way at least."""
    from matplotlib.figure import Figure

    return Figure(figsize=(max(width, 1.0), max(height, 1.0)), layout="constrained")


def save(figure: Any, path: str | os.PathLike[str]) -> None:
    """Write the PNG file, and its folder where there is none."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100, format="png")
