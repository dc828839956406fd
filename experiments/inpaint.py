"""Fills holes in held-out images, or takes noise off them, by products of kernels (arXiv 1503.03585).

    python -m experiments.inpaint --workdir runs/digits --hole left --fills 4
    python -m experiments.inpaint --workdir runs/dead_leaves --noise 1.0

The model's reverse kernels are multiplied by a delta on the known pixels, or by a Gaussian around the noisy
image (Sohl-Dickstein et al. 2015, section 2.5). Each kernel is exact, the chain is not. Writes OUT.npz and
OUT.png: a row for each image, with the image, what the method is given, and its answers.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from diffusion_jax.evaluation import samples as pictures
from diffusion_jax.sampling.ancestral import ancestral
from diffusion_jax.sampling.loop import sample_bound
from diffusion_jax.sampling.products import delta, gaussian_factor
from diffusion_jax.types import Array
from experiments import machine, runner


def left(height: int, width: int) -> np.ndarray:
    """Known [H, W]: the right half."""
    return np.broadcast_to(np.arange(width) >= width // 2, (height, width))


def centre(height: int, width: int) -> np.ndarray:
    """Known [H, W]: all but a square of half the sides in the middle."""
    rows, columns = np.ogrid[:height, :width]
    inside = (abs(rows - (height - 1) / 2) < height / 4) & (abs(columns - (width - 1) / 2) < width / 4)
    return ~inside


HOLES: dict[str, Callable[[int, int], np.ndarray]] = {"left": left, "centre": centre}


def repair(
    trained: runner.Trained, images: np.ndarray, *, hole: str, noise: float | None, fills: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """What the method is given, [N, T, H, W, C], and its answers, [fills, N, T, H, W, C].

    images: [N, T, H, W, C]. With `noise`, a standard deviation in units of x, the images are noised
    instead of holed. Raises ValueError for data that are not images.
    """
    if images.ndim != 5:
        raise ValueError(f"there are holes in images only; the data have the shape {images.shape[1:]}")
    root, noise_key = jax.random.split(jax.random.key(seed))
    if noise is None:
        known = HOLES[hole](*images.shape[2:4])[None, None, :, :, None] & np.ones_like(images, bool)
        given = np.where(known, images, images.min())
    else:
        known = np.zeros_like(images, bool)
        given = images + noise * np.asarray(jax.random.normal(noise_key, images.shape))
    bound = trained.given({})

    @jax.jit
    def fill(key: jax.Array, target: Array) -> Array:
        factor = delta(target, jnp.asarray(known)) if noise is None else gaussian_factor(target, noise)
        start_key, path_key = jax.random.split(key)
        x = bound.process.prior(target.shape).sample(start_key)
        x0 = sample_bound(path_key, bound, x, ancestral(bound.process, bound.variance, factor))
        return jnp.where(jnp.asarray(known), target, x0)

    target = jnp.asarray(images if noise is None else given)
    return given, np.stack([np.asarray(fill(jax.random.fold_in(root, i), target)) for i in range(fills)])


def main(arguments: Sequence[str] | None = None) -> None:
    """Repairs, writes the files and says where they are."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.inpaint",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workdir", required=True, metavar="DIR", help="the run's folder")
    parser.add_argument("--hole", choices=sorted(HOLES), default="left", help="default: left")
    parser.add_argument(
        "--noise", type=float, metavar="STD", help="noise the images instead, in units of x, and take it off"
    )
    parser.add_argument("--count", type=int, default=6, metavar="N", help="of the test split; default: 6")
    parser.add_argument("--fills", type=int, default=4, metavar="M", help="answers for each; default: 4")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--out", metavar="OUT", help="without a suffix; default: DIR/repaired")
    options = parser.parse_args(arguments)
    out = Path(options.out or Path(options.workdir) / "repaired")
    try:
        if min(options.count, options.fills) < 1 or (options.noise is not None and options.noise <= 0):
            raise ValueError("count and fills must be at least 1, and noise above 0")
        machine.start()
        trained = runner.load(options.workdir)
        dataset = trained.plan.dataset
        images = np.asarray(next(iter(dataset.epoch("test", options.count)))["x"])
        given, answers = repair(
            trained, images, hole=options.hole, noise=options.noise, fills=options.fills, seed=options.seed
        )
    except (OSError, TypeError, ValueError) as error:
        sys.exit(f"error: {error}")
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out.with_name(f"{out.name}.npz"), images=images, given=given, answers=answers)
    rows = np.concatenate([images[None], given[None], answers]).swapaxes(0, 1)
    frames = rows[:, :, 0]  # to the picture, an image, what is given and the answers are frames of a video
    limits = runner.grey_limits(dataset.info)
    pictures.samples_picture(out.with_name(f"{out.name}.png"), frames, limits=limits)
    print(f"{options.count} images with {options.fills} answers each in {out}.npz and {out}.png")


if __name__ == "__main__":
    main()
