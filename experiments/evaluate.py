"""Evaluates a finished run again, from its last checkpoint.

    python -m experiments.evaluate --workdir runs/digits
    python -m experiments.evaluate --workdir runs/digits --config configs/nonequilibrium/digits.py

With --config, the run is evaluated as that config says, which must describe the same training.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments import configuration, machine, reporting, runner


def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluates, writes workdir/evaluation.json and prints it."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--workdir", required=True, metavar="DIR", help="the run's folder")
    parser.add_argument("--config", metavar="FILE[:VARIANT,...]", help="by default the run's own")
    parser.add_argument("--record", action="store_true", help="keep the record in experiments/results")
    options, settings = configuration.parse(parser, arguments)
    if settings and options.config is None:
        parser.error("--config.FIELD=VALUE needs --config")
    try:
        machine.start(runner.stored_config(options.workdir)["training"]["devices"])
        planned = None
        if options.config is not None:
            planned = runner.plan(configuration.load(options.config, settings))
        trained = runner.load(options.workdir, planned)
    except (OSError, TypeError, ValueError) as error:
        sys.exit(f"error: {error}")
    record = runner.evaluate(trained, Path(options.workdir))
    if options.record:
        for path in reporting.keep(record):
            print(f"record kept as {path}")
    rows = reporting.rows_of(record)
    if rows:
        print(rows)


if __name__ == "__main__":
    main()
