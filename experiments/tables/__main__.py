"""Prints the table of a paper as Markdown, our numbers from the records of runs.

    python -m experiments.tables nonequilibrium
    python -m experiments.tables nonequilibrium --run --only 'swiss_roll*'

With --run, what has no record or an outdated one is run first, each run in a process of its own, in
ROOT/<run>; a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments import configuration, ensemble, records, reporting
from experiments.reporting import Run


def main(arguments: Sequence[str] | None = None) -> None:
    """Does what the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.tables",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paper", help=", ".join(reporting.papers()))
    parser.add_argument("--only", metavar="PATTERN", help="only runs whose id matches, such as 'swiss_roll*'")
    parser.add_argument("--list", action="store_true", help="list the runs and whether they have records")
    parser.add_argument("--run", action="store_true", help="run first what has no record or an outdated one")
    parser.add_argument("--workdir", default="runs", metavar="ROOT", help="where the runs' folders are")
    parser.add_argument(
        "--results", default=str(records.RESULTS), metavar="DIR", help="where the records are kept"
    )
    options = parser.parse_args(arguments)
    results = Path(options.results)
    try:
        runs = reporting.selected(reporting.table(options.paper), options.only)
        if options.list:
            for run in runs:
                print(f"{run.id:32} {_state(options.paper, run, results):10} {_command(run)}")
            return
        failed = []
        if options.run:
            waiting = [run for run in runs if _state(options.paper, run, results) in ("not run", "stale")]
            if options.only:
                waiting += [run for run in runs if _state(options.paper, run, results) == "needs data"]
            for i, run in enumerate(waiting):
                print(f"[{i + 1}/{len(waiting)}] {run.id}", file=sys.stderr, flush=True)
                if not _run(options.paper, run, Path(options.workdir) / run.id, results):
                    failed.append(run.id)
        print(reporting.render(options.paper, options.only, results))
    except (OSError, TypeError, ValueError) as error:
        sys.exit(f"error: {error}")
    if failed:
        sys.exit(f"these runs failed: {', '.join(failed)}")


def _state(paper: str, run: Run, results: Path) -> str:
    record = records.read(reporting.record_path(paper, run, results))
    if record is None:
        return "needs data" if run.needs_data else "not run"
    return "done" if records.same_run(record["config"], reporting.config_of(run)) else "stale"


def _run(paper: str, run: Run, workdir: Path, results: Path) -> bool:
    """Run in a process of its own, unless its folder holds the record already; whether there is one now.

    A run that is made of others is put together first, from their folders beside its own.
    """
    if not _finished(run, workdir):
        if run.members and not (workdir / "config.json").exists():
            folders = [workdir.parent / member for member in run.members]
            try:
                ensemble.ensemble(folders, workdir, reporting.config_of(run)["seed"])
            except (OSError, ValueError) as error:
                print(f"error: {error}", file=sys.stderr)
                return False
        command = [sys.executable, "-m", "experiments.train", *_arguments(run), "--workdir", str(workdir)]
        subprocess.run(command, cwd=configuration.ROOT, stdout=sys.stderr, check=False)
    record = records.read(workdir / "evaluation.json")
    if record is None or not _finished(run, workdir):
        return False
    records.write(reporting.record_path(paper, run, results), record)
    return True


def _finished(run: Run, workdir: Path) -> bool:
    record = records.read(workdir / "evaluation.json")
    return record is not None and records.same_run(record["config"], reporting.config_of(run))


def _arguments(run: Run) -> list[str]:
    return ["--config", run.config, *(f"--config.{name}={value!r}" for name, value in run.overrides.items())]


def _command(run: Run) -> str:
    return " ".join(_arguments(run))


if __name__ == "__main__":
    main()
