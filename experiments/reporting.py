"""Tables of a paper's numbers beside ours, as data, and how they are printed.

A table is a module `experiments/tables/<paper>.py` with a `TABLE`. Its numbers come from records
(experiments/results/<paper>/<run>.json), which runs write; none is typed.
"""

from __future__ import annotations

import importlib
import math
import statistics
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

from experiments import configuration, markdown, records
from experiments.configuration import ROOT, Config
from experiments.records import Record


class Run(NamedTuple):
    """A run whose record a table needs.

    id:         names its record and its folder
    config:     "configs/<paper>/<experiment>.py[:variant,...]"
    overrides:  field of the config -> value
    needs_data: whether its data must be fetched first (see `experiments.prepare`)
    members:    ids of runs that it is made of, by `experiments.ensemble`; empty where it is trained
    """

    id: str
    config: str
    overrides: Mapping[str, Any] = {}
    needs_data: bool = False
    members: tuple[str, ...] = ()


class Row(NamedTuple):
    """A row of a table.

    label:  what was done
    run:    the id of a run; or several, trainings with other seeds: their mean, its standard error from their
            spread, which holds what sampling adds
    metric: its name in the record, "<evaluation>/<metric>"
    unit:   of the metric
    paper:  the published value, a number or text, or None
    limit:  the best that can be reached: a number, or (run, metric), or None
    expect: (low, high) between which our value should lie, or None
    note:   what a reader must know
    se:     the metric that is the standard error; by default the metric's name with "_se"
    per:    what the value, its error and the limit's are divided by, such as the pixels of an image
    shared: whether all of several runs were measured on the same cases, such as the starts of episodes: then
            the error over these, which their spread does not hold, is added to it
    """

    label: str
    run: str | tuple[str, ...]
    metric: str
    unit: str
    paper: float | str | None = None
    limit: float | tuple[str, str] | None = None
    expect: tuple[float, float] | None = None
    note: str = ""
    se: str | None = None
    per: float = 1.0
    shared: bool = False


class Table(NamedTuple):
    """title: with the source; runs and rows: as above."""

    title: str
    runs: tuple[Run, ...]
    rows: tuple[Row, ...]


_PARTS = ("training", "evaluation")
"""What the time of a row is of."""

COLUMNS = ("", "paper", "ours", "limit", "unit", "hardware", "time", "note")


def papers() -> list[str]:
    """The papers that have a table."""
    return sorted(path.stem for path in (ROOT / "experiments" / "tables").glob("[!_]*.py"))


def table(paper: str) -> Table:
    """The table of a paper.

    Raises ValueError where there is none (the message lists those that exist), or where a row or a limit
    names a run that the table has not, or two runs share an id.
    """
    if paper not in papers():
        raise ValueError(f"no table {paper!r}; there are: {', '.join(papers())}")
    found: Table = importlib.import_module(f"experiments.tables.{paper}").TABLE
    ids = [run.id for run in found.runs]
    named = {run for row in found.rows for run in _runs(row)} | {
        row.limit[0] for row in found.rows if isinstance(row.limit, tuple)
    }
    unknown, twice = named - set(ids), {one for one in ids if ids.count(one) > 1}
    if unknown or twice:
        raise ValueError(f"table {paper!r}: unknown runs {sorted(unknown)}, ids used twice {sorted(twice)}")
    return found


def config_of(run: Run) -> Config:
    """The present config of a run."""
    return configuration.load(run.config, run.overrides)


def record_path(paper: str, run: Run, results: Path = records.RESULTS) -> Path:
    """Where the record of a run is kept."""
    return results / paper / f"{run.id}.json"


def selected(found: Table, only: str | None) -> list[Run]:
    """The runs whose id matches the shell pattern `only`, or all. Raises ValueError where none does."""
    runs = [run for run in found.runs if only is None or fnmatch(run.id, only)]
    if not runs:
        raise ValueError(f"no run matches {only!r}; there are: {', '.join(run.id for run in found.runs)}")
    return runs


def render(paper: str, only: str | None = None, results: Path = records.RESULTS) -> str:
    """The table of a paper as Markdown; `only` keeps the rows of the runs that match it."""
    found = table(paper)
    keep = {run.id for run in selected(found, only)}
    runs = {run.id: run for run in found.runs}
    stored = {run.id: records.read(record_path(paper, run, results)) for run in found.runs}
    lines = [_line(row, runs, stored) for row in found.rows if keep.intersection(_runs(row))]
    return f"{found.title}\n\n{markdown.table(COLUMNS, lines, aligned=True)}"


def rows_of(record: Record, results: Path = records.RESULTS) -> str:
    """The rows, of whatever table, that this record of a run belongs to; "" where there are none."""
    lines = []
    for paper, run in _matching(record):
        found = table(paper)
        runs = {one.id: one for one in found.runs}
        stored = {one.id: records.read(record_path(paper, one, results)) for one in found.runs}
        stored[run.id] = record
        lines += [_line(row, runs, stored) for row in found.rows if run.id in _runs(row)]
    return markdown.table(COLUMNS, lines, aligned=True) if lines else ""


def keep(record: Record, results: Path = records.RESULTS) -> list[Path]:
    """Write the record for every run of a table that has its config; returns where."""
    paths = [record_path(paper, run, results) for paper, run in _matching(record)]
    for path in paths:
        records.write(path, record)
    return paths


def _matching(record: Record) -> list[tuple[str, Run]]:
    return [
        (paper, run)
        for paper in papers()
        for run in table(paper).runs
        if records.same_run(config_of(run), record["config"])
    ]


def _runs(row: Row) -> tuple[str, ...]:
    return (row.run,) if isinstance(row.run, str) else row.run


def _line(row: Row, runs: Mapping[str, Run], stored: Mapping[str, Record | None]) -> list[str]:
    found = {run: record for run in _runs(row) if (record := stored[run]) is not None}
    paper = "" if row.paper is None else str(row.paper)
    if not found:
        state = "needs data" if any(runs[run].needs_data for run in _runs(row)) else "not run"
        return [row.label, paper, state, _limit(row, stored), row.unit, "", "", row.note]
    notes = [row.note] if row.note else []
    value, error = _mean(
        [_value(record, row.metric, row.se, row.per) for record in found.values()], row.shared
    )
    if len(found) < len(_runs(row)):
        notes.append(f"**{len(found)} of {len(_runs(row))} trainings**")
    if not all(records.same_run(record["config"], config_of(runs[run])) for run, record in found.items()):
        notes.append("**stale: the config has changed since**")
    if row.expect and value is not None and not row.expect[0] <= value <= row.expect[1]:
        notes.append(f"**outside the expected {row.expect[0]:g} to {row.expect[1]:g}**")
    ours = f"no {row.metric}" if value is None else number(value, error)
    seconds = [record["seconds"].get(part, 0.0) for record in found.values() for part in _PARTS]
    return [
        row.label,
        paper,
        ours,
        _limit(row, stored),
        row.unit,
        ", ".join(sorted({record["hardware"] for record in found.values()})),
        duration(sum(seconds)),
        "; ".join(notes),
    ]


def _mean(found: list[tuple[float | None, float | None]], shared: bool) -> tuple[float | None, float | None]:
    """The mean over runs and its standard error (`Row.shared`); of one run, the run's own."""
    if len(found) == 1:
        return found[0]
    values = [value for value, _ in found if value is not None]
    if len(values) < 2:
        return (values[0] if values else None), None
    variance = statistics.variance(values) / len(values)
    own = [error**2 for _, error in found if error is not None]
    if shared and own:
        variance += statistics.mean(own)
    return statistics.mean(values), math.sqrt(variance)


def _limit(row: Row, stored: Mapping[str, Record | None]) -> str:
    if row.limit is None or not isinstance(row.limit, tuple):
        return "" if row.limit is None else f"{row.limit:g}"
    run, metric = row.limit
    record = stored[run]
    value, error = (None, None) if record is None else _value(record, metric, None, row.per)
    return "not run" if value is None else number(value, error)


def _value(record: Record, metric: str, se: str | None, per: float) -> tuple[float | None, float | None]:
    """(value, standard error or None) of a metric; (None, None) where the record has it not."""
    found = [record["metrics"].get(name) for name in (metric, se or f"{metric}_se")]
    value, error = (None if one is None else one / per for one in found)
    return value, error


def number(value: float, error: float | None = None) -> str:
    """`-2.3752 ± 0.0031`: two digits of the standard error, where there is one, else four of the value."""
    if error is None or not math.isfinite(error) or error <= 0:
        return f"{value:.4g}"
    digits = max(1 - math.floor(math.log10(error)), 0)
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def duration(seconds: float) -> str:
    """`42 s`, `3 min 5 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
