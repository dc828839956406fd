"""Images of which only the shape is known: for models whose training data are not here.

A run that was converted from somebody else's weights can be sampled without its data. Whatever would look at
an example is refused: there are no splits.
"""

from __future__ import annotations

from typing import Any

from diffusion_jax.data.pipeline import Dataset, Info, integer

EXAMPLES: dict[str, dict[str, Any]] = {"no_images": {"size": 8}}

LEVELS = 256


def no_images(size: int, channels: int = 3, classes: int | None = None) -> Dataset:
    """Shape, grey values and classes of `[1, size, size, channels]` images in [-1, 1], without any image.

    Args:
        size: of a side, in pixels.
        channels: 3 for colours, 1 for grey.
        classes: number of classes, or None.

    Raises ValueError for numbers below 1, TypeError for what are no integers.
    """
    size, channels = integer("size", size, 1), integer("channels", channels, 1)
    centre = 0.5 * (LEVELS - 1)
    info = Info(
        shape=(1, size, size, channels),
        kind="continuous",
        levels=LEVELS,
        unit=centre,
        centre=centre,
        classes=None if classes is None else integer("classes", classes, 1),
        splits={},
        description="No images: the data of this model are not here.",
    )
    return Dataset(info, {})
