"""Trains, evaluates and samples a config: one run, one folder.

    python -m experiments.train --config configs/nonequilibrium/digits.py --workdir runs/digits
    python -m experiments.train --config configs/nonequilibrium/digits.py --workdir /tmp/d --config.seed=1

The same command goes on with a run that was stopped. Any field of the config can be set.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from diffusion_jax.training import runs
from diffusion_jax.training.metrics import NonFiniteError
from experiments import configuration, machine, reporting, runner


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what the command line says and prints the record and the rows of the tables that it belongs to."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", required=True, metavar="FILE[:VARIANT,...]", help="the config file")
    parser.add_argument("--workdir", required=True, metavar="DIR", help="the run's folder")
    parser.add_argument(
        "--record", action="store_true", help="keep the record in experiments/results, for the tables"
    )
    options, settings = configuration.parse(parser, arguments)
    try:
        config = configuration.load(options.config, settings)
        machine.start(config["training"]["devices"])
        plan = runner.plan(config)
        runs.claim(options.workdir, config)
    except (OSError, TypeError, ValueError) as error:
        sys.exit(f"error: {error}")
    try:
        record = runner.run(plan, options.workdir)
    except NonFiniteError as error:
        sys.exit(f"error: {error}")
    if record is None:
        return
    seconds = record["seconds"]
    spent = ", ".join(f"{part} {reporting.duration(value)}" for part, value in seconds.items())
    print(f"{spent}, on {record['hardware']}; everything is in {options.workdir}")
    if options.record:
        print(*(f"record kept as {path}" for path in reporting.keep(record)), sep="\n")
    rows = reporting.rows_of(record)
    if rows:
        print(f"\n{rows}")


if __name__ == "__main__":
    main()
