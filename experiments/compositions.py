"""Sequences put together of plans that remember more or less, as a run's evaluation `composition` says.

python -m experiments.compositions --workdir runs/crossings --memories 1 2 20
python -m experiments.compositions --workdir runs/crossings --out docs/images/crossings.png
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from diffusion_jax.build import build
from diffusion_jax.evaluation.composition import composer, conditions_of
from diffusion_jax.evaluation.samples import panels_picture
from experiments import machine, runner


def composed(
    trained: runner.Trained, memories: Sequence[int], count: int, seed: int
) -> dict[int, np.ndarray]:
    """`count` sequences [count, T, ...] for each length of memory.

    Raises ValueError for a run without an evaluation `composition`.
    """
    spec = dict(trained.plan.config["evaluation"].get("composition") or {})
    if spec.pop("name", None) != "composition":
        raise ValueError("the run's config has no evaluation `composition` that says how to draw")
    made = {name: build(name, spec[name]) for name in ("sampler", "grid")}
    dataset, key, drawn = trained.plan.dataset, jax.random.key(seed), {}
    conditions = conditions_of(dataset, count)
    for memory in memories or spec["memories"]:
        draw = composer(trained.given, dataset.info.shape, **made, chunk=spec.get("chunk", 1), memory=memory)
        drawn[memory] = draw(key, count, conditions)
    return drawn


def main(arguments: Sequence[str] | None = None) -> None:
    """Draws, writes the picture and says where it is."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.compositions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workdir", required=True, metavar="DIR", help="the run's folder")
    parser.add_argument("--memories", type=int, nargs="+", metavar="N", help="default: the evaluation's")
    parser.add_argument(
        "--count", type=int, default=30, metavar="N", help="sequences in a panel, default: 30"
    )
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--out", type=Path, metavar="PNG", help="default: DIR/composition.png")
    options = parser.parse_args(arguments)
    out = options.out or Path(options.workdir) / "composition.png"
    try:
        if options.count < 1:
            raise ValueError(f"count must be at least 1, got {options.count}")
        machine.start()
        trained = runner.load(options.workdir)
        drawn = composed(trained, options.memories, options.count, options.seed)
        batch = next(iter(trained.plan.dataset.epoch("test", options.count)))
    except (OSError, TypeError, ValueError) as error:
        sys.exit(f"error: {error}")
    panels = {"the data": batch["x"]} | {f"memory of {memory}": x for memory, x in drawn.items()}
    panels_picture(out, panels)
    print(f"{options.count} sequences for memories of {', '.join(map(str, drawn))} in {out}")


if __name__ == "__main__":
    main()
