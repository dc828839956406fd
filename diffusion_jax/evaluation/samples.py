"""Pictures of samples, of the path from noise to data, of schedules, the loss and curves, by matplotlib.

What a picture looks like follows from the shape of the data: `[N, T, H, W, C]` are images (a row of T frames
each), `[N, T, 2]` points of the plane, T > 1 joined by a line; everything else is a raster, a sample a row,
from dark (low) to bright.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diffusion_jax.evaluation.figures import figure, save

_PANEL = 2.2  # inches, a scatter plot
_TITLE = 0.7  # inches that a title "t = 0.123" needs
_MOST = 4000  # points that a scatter plot shows
_ROWS = 100  # samples that a raster shows


def samples_picture(
    path: str | os.PathLike[str], x: Any, *, limits: tuple[float, float] = (-1.0, 1.0), most: int = 100
) -> None:
    """Draw samples.

    Args:
        path: of the PNG file.
        x: samples [N, T, ...].
        limits: values shown as black and as white; of images and rasters.
        most: how many images or rows are shown at most.

    Raises ValueError where x is not [N, T, ...] with N >= 1.
    """
    x = _checked(x, 3)
    if _are_points(x):
        figure, axes = _canvas(1, 1, 2 * _PANEL, 2 * _PANEL)
        _scatter(axes[0, 0], x, _extent(x))
    else:
        shown = x[:most]
        picture = _grid(shown) if _are_images(x) else shown.reshape(len(shown), -1)
        figure, axes = _canvas(1, 1, *_size(picture))
        _show(axes[0, 0], picture, limits)
    save(figure, path)


def trajectory_picture(
    path: str | os.PathLike[str],
    states: Any,
    times: Any,
    *,
    limits: tuple[float, float] = (-1.0, 1.0),
    panels: int = 9,
    rows: int = 8,
) -> None:
    """Draw the path from noise to data, left to right: a strip of scatter plots, images or rasters.

    Args:
        path: of the PNG file.
        states: [S + 1, N, T, ...], the samples at every level, as `sampling.sample_path` keeps them.
        times: the levels [S + 1].
        limits: values shown as black and as white; of images and rasters.
        panels: how many of the levels are shown, evenly spread, with the first and the last.
        rows: how many samples are shown at most; of images.

    Raises ValueError where the shapes do not fit.
    """
    states = _checked(states, 4)
    times = np.asarray(times)
    if times.shape != states.shape[:1]:
        raise ValueError(f"times must be the {len(states)} levels of the states, got shape {times.shape}")
    chosen = np.unique(np.linspace(0, len(states) - 1, min(panels, len(states))).round().astype(int))
    titles, size = [f"t = {times[i]:.3g}" for i in chosen], 8
    if _are_points(states[0]):
        figure, axes = _canvas(1, len(chosen), _PANEL * len(chosen), _PANEL * 1.15)
        for axis, i in zip(axes[0], chosen):
            _scatter(axis, states[i], _extent(states[i]))
    else:
        images = _are_images(states[0])
        shown = states[:, : rows if images else _ROWS]
        columns = [_grid(shown[i], 1) if images else shown[i].reshape(shown.shape[1], -1) for i in chosen]
        width, height = _size(columns[0])
        figure, axes = _canvas(1, len(chosen), width * len(chosen), height + 0.3)
        if width < _TITLE:
            titles, size = [f"{times[i]:.2g}" for i in chosen], 6
        for axis, column in zip(axes[0], columns):
            _show(axis, column, limits)
    for axis, title in zip(axes[0], titles):
        axis.set_title(title, fontsize=size)
    save(figure, path)


def panels_picture(
    path: str | os.PathLike[str], panels: Mapping[str, Any], *, limits: tuple[float, float] = (-1.0, 1.0)
) -> None:
    """Draw sets of samples side by side, each under its name.

    Args:
        path: of the PNG file.
        panels: name -> samples [N, T, ...]: points of the plane, images one below the other, or rasters,
            whose rows are the N samples.
        limits: values shown as black and as white; of images and rasters.

    Raises ValueError where there is none, or one is not [N, T, ...] with N >= 1.
    """
    if not panels:
        raise ValueError("there is nothing to draw: no panel")
    sets = {name: _checked(x, 3) for name, x in panels.items()}
    points = all(_are_points(x) for x in sets.values())
    pictures = {name: _grid(x, 1) if _are_images(x) else x.reshape(len(x), -1) for name, x in sets.items()}
    height = _PANEL * 1.15 if points else max(_size(picture)[1] for picture in pictures.values()) + 0.3
    width = 0.8 * _PANEL
    if all(_are_images(x) for x in sets.values()):
        width = max(_size(picture)[0] for picture in pictures.values()) + 0.4
    figure, axes = _canvas(1, len(sets), width * len(sets), height)
    for axis, (name, x) in zip(axes[0], sets.items()):
        if points:
            _scatter(axis, x, max(_extent(one) for one in sets.values()))
        else:
            _show(axis, pictures[name], limits)
        axis.set_title(name, fontsize=8)
    save(figure, path)


def loss_picture(
    path: str | os.PathLike[str], lines: Sequence[Mapping[str, Any]], name: str = "loss"
) -> None:
    """Draw the loss over the steps.

    Args:
        path: of the PNG file.
        lines: of metrics.jsonl: mappings with `step` and the metric, which is None where it was not finite.
        name: of the metric.

    Raises ValueError where there is no line, or none has the metric.
    """
    seen = [(line["step"], line[name]) for line in lines if line.get(name) is not None]
    if not seen:
        raise ValueError(f"there is nothing to draw: no line has {name!r}")
    figure, axes = _canvas(1, 1, 5.0, 3.2, frame=True)
    steps, values = np.array(seen, float).T
    axes[0, 0].plot(steps, values, linewidth=1)
    axes[0, 0].set_xlabel("step")
    axes[0, 0].set_ylabel(name)
    if values.min() > 0 and values.max() > 20 * values.min():
        axes[0, 0].set_yscale("log")
    save(figure, path)


_STYLES = (("o", "-"), ("s", "--"), ("^", ":"))


def curves_picture(
    path: str | os.PathLike[str],
    curves: Mapping[str, Sequence[tuple[float, float, float | None]]],
    *,
    across: str,
    up: str,
) -> None:
    """Draw curves in one frame, both axes logarithmic.

    Args:
        path: of the PNG file.
        curves: name -> points (x, y, standard error of y or None), x and y positive.
        across, up: what x and y are.

    Raises ValueError where there is no point, or one is not positive.
    """
    if not any(curves.values()):
        raise ValueError("there is nothing to draw: no curve has a point")
    figure, axes = _canvas(1, 1, 6.0, 4.0, frame=True)
    axis = axes[0, 0]
    for number, (name, points) in enumerate(curves.items()):
        x, y = (np.array([point[i] for point in points], float) for i in (0, 1))
        if not ((x > 0) & (y > 0)).all():
            raise ValueError(f"logarithmic axes need positive numbers; {name!r} has others")
        error = [point[2] or 0.0 for point in points]
        # the colours come round after ten
        marker, line = _STYLES[number // 10 % len(_STYLES)]
        axis.errorbar(
            x, y, error, label=name, marker=marker, linestyle=line, markersize=3, linewidth=1, capsize=2
        )
    axis.set(xscale="log", yscale="log", xlabel=across, ylabel=up)
    axis.legend(fontsize=8)
    save(figure, path)


def schedules_picture(path: str | os.PathLike[str], matrices: Mapping[str, Any]) -> None:
    """Draw scheduling matrices side by side: a token a column, a row for each step, from noise to clean.

    Args:
        path: of the PNG file.
        matrices: name -> int [M, T], steps taken (`sampling.schedules`); the larger, the brighter.

    Raises ValueError where there is none, or one is not [M, T].
    """
    shapes = [np.shape(matrix) for matrix in matrices.values()]
    if not shapes or any(len(shape) != 2 or 0 in shape for shape in shapes):
        raise ValueError(f"there must be matrices [M, T] to draw, got shapes {shapes}")
    figure, axes = _canvas(1, len(shapes), 0.75 * _PANEL * len(shapes), 1.3 * _PANEL, frame=True)
    for axis, (name, matrix) in zip(axes[0], matrices.items()):
        matrix = np.asarray(matrix)
        axis.imshow(matrix, cmap="gray", vmin=0, vmax=matrix.max(), interpolation="nearest", aspect="auto")
        axis.set_title(name, fontsize=8)
        axis.set_xlabel("token", fontsize=7)
        axis.tick_params(labelsize=6)
    axes[0, 0].set_ylabel("row", fontsize=7)
    save(figure, path)


def fan_picture(
    path: str | os.PathLike[str],
    past: Any,
    paths: Any,
    future: Any,
    *,
    names: Sequence[str] = (),
    titles: Sequence[str] = (),
) -> None:
    """Draw fan charts of forecasts: the past, bands that hold 50 and 90 % of the paths, median and truth.

    Args:
        path: of the PNG file.
        past: [N, P, D], a row of D panels for each of N windows.
        paths: [S, N, H, D]. future: [N, H, D], what came.
        names: of the features. titles: of the windows.

    Raises ValueError where the shapes do not fit.
    """
    past, paths, future = (np.asarray(one, float) for one in (past, paths, future))
    if past.ndim != 3 or paths.shape[1:] != future.shape or past.shape[::2] != future.shape[::2]:
        raise ValueError(
            f"fans are drawn of past [N, P, D], paths [S, N, H, D] and future [N, H, D]; got {past.shape}, "
            f"{paths.shape} and {future.shape}"
        )
    count, known, width = past.shape
    figure, axes = _canvas(count, width, 3.2 * width, 1.9 * count, frame=True)
    before, after = np.arange(1 - known, 1), np.arange(future.shape[1] + 1)
    for row in range(count):
        for i, axis in enumerate(axes[row]):
            last = past[row, -1, i]
            joined = np.concatenate([np.full((len(paths), 1), last), paths[:, row, :, i]], 1)
            for share, shade in ((0.9, 0.2), (0.5, 0.4)):
                low, high = np.quantile(joined, (0.5 - share / 2, 0.5 + share / 2), axis=0)
                axis.fill_between(after, low, high, color="tab:blue", alpha=shade, linewidth=0)
            axis.plot(after, np.median(joined, 0), color="tab:blue", linewidth=1)
            axis.plot(before, past[row, :, i], color="black", linewidth=1)
            axis.plot(after, [last, *future[row, :, i]], color="black", linewidth=1, linestyle=":")
            axis.tick_params(labelsize=6)
            if row == 0 and names:
                axis.set_title(names[i], fontsize=8)
        if titles:
            axes[row, 0].set_ylabel(titles[row], fontsize=7)
    save(figure, path)


def plans_picture(
    path: str | os.PathLike[str],
    walls: Any,
    panels: Any,
    levels: Any,
    goals: Any,
    *,
    titles: Sequence[str] = (),
) -> None:
    """Draw ways through a maze, a column for each moment and a row for each way, coloured by level.

    Args:
        path: of the PNG file.
        walls: bool [H, W], a cell the unit square around its indices.
        panels: [N, K, n, 2], N ways at K moments, (row, column) in cells.
        levels: [K, n], of each point at each moment: 1 (noise) is yellow, 0 (clean) is violet.
        goals: [N, 2], marked by a cross.
        titles: of the moments.

    Raises ValueError where the shapes do not fit.
    """
    walls, panels, levels, goals = (np.asarray(one) for one in (walls, panels, levels, goals))
    if panels.ndim != 4 or levels.shape != panels.shape[1:3] or goals.shape != (len(panels), 2):
        raise ValueError(
            f"plans are drawn of panels [N, K, n, 2], levels [K, n] and goals [N, 2]; got {panels.shape}, "
            f"{levels.shape} and {goals.shape}"
        )
    count, moments = panels.shape[:2]
    height, width = walls.shape
    figure, axes = _canvas(count, moments, _PANEL * moments, _PANEL * (count * height / width + 0.15))
    for row, way in enumerate(panels):
        for k, axis in enumerate(axes[row]):
            axis.imshow(walls, cmap="gray_r", vmin=0, vmax=3, interpolation="nearest")
            axis.plot(*way[k].T[::-1], color="0.7", linewidth=0.6)
            axis.scatter(*way[k].T[::-1], s=9, c=levels[k], cmap="viridis", vmin=0, vmax=1, zorder=2)
            axis.plot(*goals[row][::-1], marker="x", color="tab:red", markersize=6)
            axis.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
            if row == 0 and titles:
                axis.set_title(titles[k], fontsize=8)
    save(figure, path)


def _checked(x: Any, rank: int) -> np.ndarray:
    x = np.asarray(x, np.float32)
    if x.ndim < rank or 0 in x.shape:
        shape = "[S + 1, N, T, ...]" if rank == 4 else "[N, T, ...]"
        raise ValueError(f"samples to be drawn must be {shape} and not empty, got shape {x.shape}")
    return x


def _are_images(x: np.ndarray) -> bool:
    return x.ndim == 5


def _are_points(x: np.ndarray) -> bool:
    """[N, T, 2]: points; also a point whose coordinates are two tokens, [N, 2, 1]."""
    return x.ndim == 3 and (x.shape[2] == 2 or x.shape[1:] == (2, 1))


def _canvas(rows: int, columns: int, width: float, height: float, frame: bool = False) -> tuple[Any, Any]:
    drawing = figure(width, height)
    axes = drawing.subplots(rows, columns, squeeze=False)
    if not frame:
        for axis in axes.flat:
            axis.set_xticks([])
            axis.set_yticks([])
    return drawing, axes


def _extent(x: np.ndarray) -> float:
    """Half the side of a square around zero that holds all but the farthest hundredth of the numbers."""
    return float(max(1.1 * np.quantile(np.abs(x), 0.99), 1e-6))


def _scatter(axis: Any, x: np.ndarray, extent: float) -> None:
    points = x[:_MOST].reshape(len(x[:_MOST]), -1, 2)
    if points.shape[1] > 1:
        for one in points:
            axis.plot(*one.T, linewidth=0.5, alpha=0.5)
    axis.plot(*points.reshape(-1, 2).T, ".", markersize=1.5, alpha=0.6)
    axis.set(xlim=(-extent, extent), ylim=(-extent, extent), aspect="equal")


def _show(axis: Any, picture: np.ndarray, limits: tuple[float, float]) -> None:
    low, high = limits
    unit = np.clip((picture - low) / (high - low), 0, 1)
    axis.imshow(unit, cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="equal")


def _grid(x: np.ndarray, columns: int | None = None) -> np.ndarray:
    """[N, T, H, W, C] as one picture [h, w] or [h, w, 3], tiles one pixel apart, white between them."""
    count, frames, height, width, channels = x.shape
    columns = columns or math.ceil(math.sqrt(count / frames))
    rows = math.ceil(count / columns)
    side = np.concatenate(list(np.moveaxis(x, 1, 0)), axis=2)
    side = side if channels in (1, 3) else side[..., :1]
    picture = np.full((rows * (height + 1) - 1, columns * (frames * width + 1) - 1, side.shape[-1]), np.inf)
    for i, one in enumerate(side):
        top, left = i // columns * (height + 1), i % columns * (frames * width + 1)
        picture[top : top + height, left : left + frames * width] = one
    return picture[..., 0] if picture.shape[-1] == 1 else picture


def _size(picture: np.ndarray) -> tuple[float, float]:
    """(width, height) in inches; the larger side is between 2 and 12."""
    height, width = picture.shape[:2]
    scale = min(max(0.06 * max(height, width), 2.0), 12.0) / max(height, width)
    return width * scale, height * scale
