"""Grey values to numbers, for every set of images.

With grey values v in {0, ..., L - 1}, noise u uniform on [0, 1) and x = (v - centre) / unit or
(v + u - centre) / unit:

    plain          x = 2 v / (L - 1) - 1        unit = centre = (L - 1) / 2
    dequantised    x = 2 (v + u) / L - 1        unit = centre = L / 2
    standardised   x = (v + u - m) / s          centre m, unit s: the mean and deviation of v + u

where m and s are one number each, measured on the training split over all pixels and channels. Dequantised
densities are bounds on discrete probabilities: -log2 P(v) <= -log2 p(x) + log2(unit) for each number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from diffusion_jax.data.pipeline import Arrays, Dataset, Draw, Examples, Info, Source


class Grey(NamedTuple):
    """The `Encode` of images stored as uint8: x = (v [+ u] - centre) / unit.

    unit, centre: as in `Info`
    noise:        whether u is added
    flip:         whether training images are mirrored left to right with probability 1/2
    """

    unit: float
    centre: float
    noise: bool
    flip: bool

    def __call__(self, examples: Examples, draw: Draw, training: bool) -> Examples:
        """A batch; x is `[N, T, H, W, C]`."""
        x = examples["x"].astype(np.float32)
        if self.flip and training:
            mirrored = draw("flip", ()) < 0.5
            x[mirrored] = x[mirrored][..., ::-1, :]
        if self.noise:
            x += draw("noise", x.shape[1:])
        x -= np.float32(self.centre)
        x /= np.float32(self.unit)
        return examples | {"x": x}


def image_dataset(
    sources: Mapping[str, Source],
    levels: int,
    description: str,
    folder: str,
    *,
    classes: int | None = None,
    dequantise: bool = False,
    standardise: bool = False,
    flip: bool = False,
) -> Dataset:
    """The data set of images `[T, H, W, C]` in uint8, scaled as the head of this module says.

    Args:
        sources: the splits; "train" is the one that is measured.
        levels: L.
        description, folder, classes: as in `Dataset` and `Info`.
        dequantise: adds u: fresh in training, fixed by the seed of the pass in `Dataset.epoch`.
        standardise: mean 0 and variance 1; implies `dequantise`.
        flip: mirrors half of the training images.

    Raises:
        ValueError: the images to standardise are all of one grey value, or too many to be in memory.
    """
    shape = sources["train"].gather(np.arange(1))["x"].shape[1:]
    if standardise:
        centre, unit = _moments(sources["train"], levels)
    else:
        centre = unit = 0.5 * (levels if dequantise else levels - 1)
    info = Info(
        shape=shape,
        kind="continuous",
        levels=levels,
        unit=unit,
        centre=centre,
        classes=classes,
        splits={split: len(source) for split, source in sources.items()},
        description=description,
        dequantised=dequantise or standardise,
    )
    return Dataset(info, sources, Grey(unit, centre, info.dequantised, flip), folder)


def _moments(source: Source, levels: int) -> tuple[float, float]:
    """Mean and deviation of v + u over all numbers, exact: u has mean 1/2 and variance 1/12."""
    if not isinstance(source, Arrays):
        raise ValueError("only images that fit in memory can be standardised")
    counts = np.bincount(source.examples["x"].reshape(-1), minlength=levels)
    share, grey = counts / counts.sum(), np.arange(len(counts))
    mean = share @ grey
    variance = share @ (grey - mean) ** 2
    if variance == 0.0:
        raise ValueError(f"all pixels have grey value {mean:g}: there is nothing to standardise")
    return float(mean + 0.5), float(np.sqrt(variance + 1.0 / 12.0))
