"""Samples whose latents are exchanged: late on the way from noise to data, or one group after the other.

    python -m experiments.exchanges --workdir runs/disco_digits
    python -m experiments.exchanges --workdir runs/disco_digits --groups 2 --out runs/groups.png

A row starts from one noise. From left to right the latents are those of the row until a smaller and smaller
share of the steps is left, and another sample's from there on (DisCo-Diff, arXiv 2407.03300, its swap of
latents); or, with --groups, the row's own, then another's in the first group, in the second, ..., in all.
Samples are drawn as the run's config says; where it has classes, a row and its other are of one class.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from diffusion_jax.build import build
from diffusion_jax.evaluation.compiling import compiled
from diffusion_jax.evaluation.latent_swap import exchanged
from diffusion_jax.evaluation.latent_use import latents_of
from diffusion_jax.evaluation.samples import panels_picture
from diffusion_jax.sampling.loop import fitted
from diffusion_jax.types import Array, Key
from experiments import machine, runner

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


def drawn(trained: runner.Trained, count: int, seed: int, groups: int = 0) -> dict[str, np.ndarray]:
    """What is exchanged -> samples [count, T, ...], the first as they are.

    groups: equal groups of latents that are exchanged one at a time; 0 for all, at the shares of the steps.

    Raises ValueError for a run without latents, prior or sampling, and groups that do not divide the latents.
    """
    model, sampling = latents_of(trained.given), trained.plan.config["sampling"]
    if model.sample is None or sampling is None:
        raise ValueError("to exchange latents, a run needs a prior and a config that says how to sample")
    prior, info = model.sample, trained.plan.dataset.info
    known = {"label": jnp.arange(count) % info.classes} if sampling.get("labels") else {}

    def run(key: Key) -> list[Array]:
        start_key, path_key, own_key, other_key = jax.random.split(key, 4)
        own, other = (prior(jax.random.split(one, count), known) for one in (own_key, other_key))
        first = trained.given({**known, "latents": own})
        process, method = first.process, fitted(build("sampler", sampling["sampler"]), first)
        times = build("grid", sampling["grid"], process=process)
        x = process.prior((count, *info.shape)).sample(start_key)

        def with_latents(latents: Array, share: float) -> Array:
            second = trained.given({**known, "latents": latents})
            return exchanged(path_key, first, second, method, x, times, share)

        if not groups:
            return [with_latents(other, share) for share in SHARES]
        of = (jnp.arange(own.shape[1]) * groups // own.shape[1]).reshape(1, -1, *(1,) * (own.ndim - 2))
        masks = [jnp.zeros_like(of, bool), *(of == group for group in range(groups)), of >= 0]
        return [with_latents(jnp.where(mask, other, own), 1.0) for mask in masks]

    latents = jax.eval_shape(lambda key: prior(jax.random.split(key, count), known), jax.random.key(0)).shape[
        1
    ]
    if groups and latents % groups:
        raise ValueError(f"{latents} latents do not divide into {groups} groups")
    if groups:
        names = ["its own", *(f"group {group + 1}" for group in range(groups)), "all"]
    else:
        names = [f"last {share:.0%}" for share in SHARES]
    return dict(zip(names, map(np.asarray, compiled(run)(jax.random.key(seed))), strict=True))


def main(arguments: Sequence[str] | None = None) -> None:
    """Draws, writes the picture and says where it is."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.exchanges",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workdir", required=True, metavar="DIR", help="the run's folder")
    parser.add_argument(
        "--groups", type=int, default=0, metavar="N", help="default: exchange all at once, later and later"
    )
    parser.add_argument("--count", type=int, default=10, metavar="N", help="rows, default: 10")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--out", type=Path, metavar="PNG", help="default: DIR/exchanges.png")
    options = parser.parse_args(arguments)
    out = options.out or Path(options.workdir) / "exchanges.png"
    try:
        if options.count < 1 or options.groups < 0:
            raise ValueError(
                f"count must be at least 1 and groups 0, got {options.count} and {options.groups}"
            )
        machine.start()
        trained = runner.load(options.workdir)
        panels = drawn(trained, options.count, options.seed, options.groups)
    except (OSError, TypeError, ValueError) as error:
        sys.exit(f"error: {error}")
    panels_picture(out, panels, limits=runner.grey_limits(trained.plan.dataset.info))
    print(f"from left to right, another's latents: {', '.join(panels)}; in {out}")


if __name__ == "__main__":
    main()
