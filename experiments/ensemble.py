"""Puts finished runs of one config, which differ in their seeds, together as an ensemble.

    python -m experiments.ensemble --workdir runs/none_s0 runs/none_s1 runs/none_s2 --out runs/ensemble
    python -m experiments.evaluate --workdir runs/ensemble

OUT is the folder of a finished run whose objective is `ensemble` around theirs (see
`diffusion_jax.objectives.ensemble`): it can be evaluated and named in a config, but not trained further.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from diffusion_jax.types import Variables
from experiments import records, runner
from experiments.configuration import Config


def ensemble(workdirs: Sequence[str | Path], out: str | Path, seed: int = 0) -> None:
    """Write OUT; see the head of the module.

    seed: of its evaluations.

    Raises FileNotFoundError or ValueError for a folder that is no finished run, ValueError for runs whose
    configs differ in more than the seed, for a run given twice, and where `out` belongs to another run.
    """
    configs = [runner.stored_config(folder) for folder in workdirs]
    first = configs[0]
    for folder, config in zip(workdirs, configs):
        if not records.same_run(config | {"seed": first["seed"]}, first):
            raise ValueError(f"{folder} and {workdirs[0]} are runs of different configs")
    seeds = [config["seed"] for config in configs]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"the members of an ensemble need seeds of their own, got {seeds}")
    members = [runner.load(folder).variables for folder in workdirs]
    joined = Variables(
        {str(i): one.params for i, one in enumerate(members)},
        {str(i): one.state for i, one in enumerate(members)},
    )
    config = config_of(first, len(members)) | {"seed": seed}
    runner.store(out, config, joined, first["training"]["steps"], {"members": [str(one) for one in workdirs]})


def config_of(member: Config, members: int) -> Config:
    """The config of an ensemble of so many runs of the config `member`; the seed is the member's."""
    objective = {"name": "ensemble", "objective": member["objective"], "members": members}
    return member | {"objective": objective, "ema": None, "init_from": None}


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the folder and says how many members it has."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.ensemble",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workdir", required=True, nargs="+", metavar="DIR", help="folders of runs")
    parser.add_argument("--out", required=True, help="the folder to write")
    parser.add_argument("--seed", type=int, default=0, help="of its evaluations, default: 0")
    options = parser.parse_args(arguments)
    try:
        ensemble(options.workdir, options.out, options.seed)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"{options.out}: an ensemble of {len(options.workdir)}")


if __name__ == "__main__":
    main()
