"""Which images of one collection are held out for the test split."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def held_out(names: Sequence[str], share: float) -> list[bool]:
    """Whether each image is in the test split: where a hash of its name falls below `share`.

    So an image stays in its split when others are added; each split has at least one.

    Args:
        names: of the images, two at least.
        share: about this share of them is held out, in (0, 1).

    Raises:
        ValueError: the share lies outside.
    """
    if not 0.0 < share < 1.0:
        raise ValueError(f"test_share must lie between 0 and 1, got {share}")
    places = [int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64 for name in names]
    # The lowest is always held out and the highest never.
    lowest, highest = min(places), max(places)
    return [place == lowest or (place < share and place != highest) for place in places]
