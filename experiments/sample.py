"""Draws samples of a finished run.

    python -m experiments.sample --workdir runs/digits --count 100 --out /tmp/digits
    python -m experiments.sample --workdir runs/digits --sampler heun --steps 50 --grid karras_grid
    python -m experiments.sample --workdir runs/digits --labels --guidance 2
    python -m experiments.sample --workdir runs/disco_digits --labels --latent-guidance 1

Without --sampler and --steps samples are drawn as the run's config says. A --sampler without --steps walks
the grid of the run's bound, whose decoder takes the last step. Sample i depends on the seed and i alone.
Writes OUT.npz, with the array x [N, T, ...], and OUT.png. --export adds OUT_uint8.npz, whose arr_0 is uint8
[N, H, W, 3], as other projects' evaluators read images.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffusion_jax.build import available
from diffusion_jax.evaluation.grey import rgb
from experiments import machine, runner


def main(arguments: Sequence[str] | None = None) -> None:
    """Draws, writes the files and prints how long it took."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.sample",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workdir", required=True, metavar="DIR", help="the run's folder")
    parser.add_argument("--count", type=int, default=100, metavar="N", help="default: 100")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument(
        "--sampler", help=f"{', '.join(available('sampler'))}; default: the run's, with --steps ancestral"
    )
    parser.add_argument("--steps", type=int, help="of a grid of its own, down to level 0")
    parser.add_argument(
        "--grid", default="linear_grid", help=f"{', '.join(available('grid'))}; default: linear_grid"
    )
    parser.add_argument(
        "--labels", action="store_true", help="the classes in turn, for a model that knows them"
    )
    parser.add_argument(
        "--guidance",
        type=float,
        metavar="W",
        help="classifier-free, or by --guide; 1 is none, 0 the weak model",
    )
    parser.add_argument("--guide", metavar="DIR", help="a finished run, the weak model; default: no label")
    parser.add_argument(
        "--interval", type=float, nargs=2, metavar=("LOW", "HIGH"), help="of sigma/alpha that is guided"
    )
    parser.add_argument(
        "--latent-guidance",
        type=float,
        metavar="G",
        help="away from null latents, for a model that has latents; 0 is none. Adds to --guidance",
    )
    parser.add_argument(
        "--latent-temperature", type=float, metavar="TAU", help="of the draws of latents; default: 1"
    )
    parser.add_argument("--out", metavar="OUT", help="without a suffix; default: DIR/samples")
    parser.add_argument(
        "--export", action="store_true", help="also OUT_uint8.npz for evaluators outside; images only"
    )
    options = parser.parse_args(arguments)
    out = Path(options.out or Path(options.workdir) / "samples")
    method: dict[str, Any] = {"sampler": options.sampler or "ancestral", "grid": None}
    if options.steps is not None:
        method["grid"] = {"name": options.grid, "steps": options.steps}
    try:
        machine.start(runner.stored_config(options.workdir)["training"]["devices"])
        trained = runner.load(options.workdir)
        own = trained.plan.config["sampling"]
        if own is not None and options.sampler is None and options.steps is None:
            method = {name: own[name] for name in method}
        draws = runner.drawn(
            trained,
            count=options.count,
            seed=options.seed,
            **method,
            labels=options.labels,
            guidance=_guidance(options),
            latents=_latents(options),
        )
        exported = rgb(draws.x, trained.plan.dataset.info) if options.export else None
    except (OSError, TypeError, ValueError) as error:
        sys.exit(f"error: {error}")
    runner.save_samples(out, trained, draws)
    if exported is not None:
        np.savez(out.with_name(f"{out.name}_uint8.npz"), exported)  # numpy calls it arr_0
    print(f"{options.count} samples in {out}.npz and {out}.png")
    print(
        f"{options.count / draws.seconds:.4g} samples/s on {machine.hardware()} "
        f"({draws.seconds:.2f} s, and {draws.compile_seconds:.1f} s to compile)"
    )


def _guidance(options: argparse.Namespace) -> dict[str, Any] | None:
    if options.guidance is None:
        if options.guide is not None:
            raise ValueError("--guide needs --guidance W")
        if options.interval is not None and options.latent_guidance is None:
            raise ValueError("--interval needs --guidance W or --latent-guidance G")
        return None
    guidance = {"scale": options.guidance}
    if options.guide is not None:
        guidance["guide"] = options.guide
    return guidance | _interval(options)


def _latents(options: argparse.Namespace) -> dict[str, Any] | None:
    latents = {}
    if options.latent_guidance is not None:
        latents |= {"excess": options.latent_guidance, **_interval(options)}
    if options.latent_temperature is not None:
        latents["temperature"] = options.latent_temperature
    return latents or None


def _interval(options: argparse.Namespace) -> dict[str, float]:
    return dict(zip(("low", "high"), options.interval or (), strict=False))


if __name__ == "__main__":
    main()
