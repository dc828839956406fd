"""Molecules that a guidance model leads its generator to, drawn with their property; its histograms by scale.

    python -m experiments.molecules --workdir runs/materials
    python -m experiments.molecules --workdir runs/materials --columns 6 --out docs/images/materials

They are the samples that the run's evaluation `guided` scored, drawn again. OUT_molecules.png has of each
scale those of the largest objective, each once, with their first target; OUT_histograms.png that target of
all molecules, beside its law in the training and the test split. Needs RDKit.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from diffusion_jax.evaluation.guided_samples import GuidedSamples, truth_of
from diffusion_jax.evaluation.molecule_pictures import molecules_picture
from diffusion_jax.evaluation.property_pictures import histograms_picture
from experiments import machine, runner


class Led(NamedTuple):
    """Samples at one scale.

    codes:     of molecules; None where a sample is none
    objective: [N], NaN where it is not known
    property:  [N], the first target in its own units
    """

    codes: list[str | None]
    objective: np.ndarray
    property: np.ndarray


def led(trained: runner.Trained, evaluation: str) -> dict[float, Led]:
    """Scale -> the samples that `evaluation` of the run scores.

    Raises ValueError for a run without such an evaluation, or of data that are not molecules.
    """
    scorer, data = trained.plan.evaluations.get(evaluation), trained.plan.dataset
    if not isinstance(scorer, GuidedSamples) or not hasattr(data, "read"):
        raise ValueError(
            f"the run's config has no evaluation {evaluation!r} of guided samples that are molecules"
        )
    draw = scorer.drawer(trained.given, data)
    key, found = runner.evaluation_key(trained.plan.config, evaluation), {}
    for scale in scorer.scales:
        guided = draw(key, scale)
        truth = truth_of(data, guided, scorer.weights)
        codes = [reading.code for reading in data.read(guided.x)]
        found[float(scale)] = Led(codes, truth["objective"], truth["target_0"])
    return found


def best(found: Led, count: int) -> list[tuple[str, float]]:
    """The `count` different molecules of the largest objective, the best first, with their property."""
    chosen: dict[str, float] = {}
    for i in np.argsort(-found.objective, kind="stable"):
        code = found.codes[i]
        if code is not None and np.isfinite(found.objective[i]):
            chosen.setdefault(code, float(found.property[i]))
    return list(chosen.items())[:count]


def main(arguments: Sequence[str] | None = None) -> None:
    """Draws, writes both pictures and says where they are."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.molecules",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workdir", required=True, metavar="DIR", help="the run's folder")
    parser.add_argument("--evaluation", default="guided", metavar="NAME", help="default: guided")
    parser.add_argument("--columns", type=int, default=5, metavar="N", help="molecules a scale, default: 5")
    parser.add_argument("--out", metavar="PREFIX", help="of the pictures; default: DIR/guided")
    options = parser.parse_args(arguments)
    out = options.out or str(Path(options.workdir) / "guided")
    try:
        if options.columns < 1:
            raise ValueError(f"columns must be at least 1, got {options.columns}")
        machine.start()
        trained = runner.load(options.workdir)
        found = led(trained, options.evaluation)
        data = trained.plan.dataset
        name = data.targets.names[0]
        histograms_picture(
            f"{out}_histograms.png",
            {f"scale {scale:g}": one.property for scale, one in found.items()},
            name=name,
            beside={split: _property(data, split) for split in ("train", "test")},
        )
        drawn = [
            (code, f"scale {scale:g}: {name} {value:.3f}")
            for scale, one in found.items()
            for code, value in best(one, options.columns)
        ]
        said = f"{len(drawn)} molecules at {len(found)} scales"
        if drawn:
            codes, captions = zip(*drawn)
            molecules_picture(f"{out}_molecules.png", codes, captions, options.columns)
            said += f" in {out}_molecules.png"
    except (ImportError, OSError, TypeError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"{said}, histograms in {out}_histograms.png")


def _property(data: Any, split: str) -> np.ndarray:
    (batch,) = data.epoch(split, data.info.splits[split])
    return data.targets.mean[0] + data.targets.std[0] * np.asarray(batch["target"], np.float64)[:, 0]


if __name__ == "__main__":
    main()
