"""Samples for an evaluation: sample i depends on the key and i alone, whatever the batch it is drawn in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffusion_jax.evaluation.compiling import compiled
from diffusion_jax.evaluation.outcome import Bind
from diffusion_jax.sampling.loop import counted, fitted, sample, sample_bound, walked
from diffusion_jax.sampling.transforms.under import under
from diffusion_jax.types import Array, Bound, Key, Sampler

Method = Sampler | Callable[..., Sampler]
Grid = Array | Callable[[Any], Array] | None


class Drawn(NamedTuple):
    """Samples.

    x:           [N, T, ...]
    evaluations: of the denoiser for a sample, as counted while they were drawn
    present:     [N, T], which nodes the graphs have where the model draws their number; None otherwise
    """

    x: np.ndarray
    evaluations: float
    present: np.ndarray | None = None


def classes_in_turn(info: Any, labels: bool) -> Callable[[Array], dict[str, Array]]:
    """Numbers of samples [B] -> their `label`, the number modulo that of the classes; or nothing.

    Raises ValueError for labels of a data set without classes.
    """
    if labels and info.classes is None:
        raise ValueError("the data set has no classes to draw samples of")
    return lambda index: {"label": index % info.classes} if labels else {}


def drawer(
    bind: Bind,
    info: Any,
    *,
    sampler: Method,
    grid: Grid,
    count: int,
    labels: bool,
    batch_size: int = 500,
    process: Any = None,
) -> Callable[[Key], Drawn]:
    """key -> `count` samples of what `bind` gives; compiles once.

    Args:
        bind: conditions -> Bound; called with a seed for each sample, and perhaps its label.
        info: of the data set: the shape of a sample, and its classes.
        sampler: what draws; a factory is given the bound's process, and its variance where it takes one.
        grid: levels to walk, an array or process -> array; None takes the bound's grid and decoder.
        count: N, at least 1.
        labels: gives sample i the class i modulo their number.
        batch_size: samples in a call.
        process: to sample in instead of the bound's, whose denoiser is then seen `under` it.

    Raises ValueError for a count or batch size below 1, and for labels of a data set without classes.
    """
    if count < 1 or batch_size < 1:
        raise ValueError(f"count and batch_size must be at least 1, got {count} and {batch_size}")
    known = classes_in_turn(info, labels)
    batch = min(count, batch_size)
    counters = []

    def draw(key: Key, index: Array) -> tuple[Array, Array | None]:
        own = jax.vmap(jax.random.fold_in, (None, 0))(key, index)
        seed = jax.vmap(lambda one: jax.random.bits(jax.random.fold_in(one, 2)))(own)
        bound = bind({"seed": seed, **known(index)})
        assert bound.denoiser is not None
        if process is not None:
            bound = Bound(process, under(bound.denoiser, bound.process, process))
            assert bound.denoiser is not None
        denoiser, evaluations = counted(bound.denoiser)
        counters.append(evaluations)
        keys = jax.vmap(jax.random.split)(own)
        x = bound.process.prior((batch, *info.shape)).sample(keys[:, 0])
        method = fitted(sampler, bound)
        present = getattr(bound.process, "present", None)
        if grid is None:
            return sample_bound(keys[:, 1], bound._replace(denoiser=denoiser), x, method), present
        return sample(keys[:, 1], denoiser, method, x, walked(grid, bound.process)), present

    run = compiled(draw)

    def evaluations() -> int:
        return sum(one() for one in counters)

    def call(key: Key) -> Drawn:
        before = evaluations()
        starts = range(0, count, batch)
        parts = [run(key, jnp.arange(first, first + batch)) for first in starts]
        x, present = jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *parts)
        return Drawn(x, (evaluations() - before) / len(starts), present)

    return call
