"""Puts together an average of the parameters that was chosen after training.

    python -m experiments.average --workdir runs/digits --sigma-rel 0.08 --out runs/digits_0.08
    python -m experiments.sample --workdir runs/digits_0.08

The run must have saved averages: `training.posthoc` in its config, such as {"every": 500} (see
`diffusion_jax.training.posthoc`). OUT is the folder of a finished run whose `ema` is {"name": "power",
"sigma_rel": 0.08}: it can be evaluated, sampled, named in a config and taken as `init_from`, but not trained
further. Any number of widths may be tried, each in a folder of its own.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp

from diffusion_jax.training import checkpoints
from diffusion_jax.training.posthoc import Mixture, reconstruct
from diffusion_jax.types import Variables
from experiments import runner


def average(workdir: str | Path, sigma_rel: float, out: str | Path, step: int | None = None) -> Mixture:
    """Write OUT; see the head of the module.

    Args:
        workdir: the run's folder.
        sigma_rel: the relative width of the average's profile, in (0, 1/sqrt(12)].
        out: a folder that does not exist, or that this function wrote.
        step: of a snapshot, after which the average is wanted; by default the last.

    Raises FileNotFoundError and ValueError as `posthoc.reconstruct` and `checkpoints.load`, and ValueError
    where `out` belongs to another run.
    """
    stored = runner.stored_config(workdir)
    params, mixture = reconstruct(workdir, sigma_rel, step)
    done = max(checkpoints.saved_profiles(workdir)) if step is None else step
    _, variables = checkpoints.load(workdir)
    config = stored | {
        "ema": {"name": "power", "sigma_rel": sigma_rel},
        "training": stored["training"] | {"steps": done, "posthoc": None},
    }
    averaged = Variables(jax.tree.map(jnp.asarray, params), variables.state)
    runner.store(out, config, averaged, done, {"averaged": str(workdir)})
    return mixture


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the folder and says how well the average's profile is met."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.average",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workdir", required=True, metavar="DIR", help="the run's folder")
    parser.add_argument(
        "--sigma-rel", type=float, required=True, metavar="WIDTH", help="relative width of the average"
    )
    parser.add_argument("--step", type=int, help="of a snapshot; default: the last")
    parser.add_argument("--out", required=True, help="the folder to write")
    options = parser.parse_args(arguments)
    try:
        mixture = average(options.workdir, options.sigma_rel, options.out, options.step)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    count, widths = mixture.weights.shape
    print(
        f"{options.out}: {count} snapshots of {widths} averages; the profile of width {options.sigma_rel} "
        f"is met to {100 * mixture.residual:.2g} %"
    )


if __name__ == "__main__":
    main()
