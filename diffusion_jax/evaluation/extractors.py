"""What makes features of images: the part of a Frechet distance that says what counts as alike.

An extractor is a name and a function of images [N, T, ...], black -1 and white 1 (`grey.images`), to features
[N, D]. Statistics carry the name, and those of another extractor are refused.

    pixels          the numbers themselves
    digit_features  a small classifier of handwritten digits; never called FID
    inception       the 2015 Inception, whose Frechet distance is FID; the user brings its weights
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from diffusion_jax.evaluation.digit_classifier import DigitClassifier, stored_parameters
from diffusion_jax.networks.inception import from_state_dict, inception_2015
from diffusion_jax.types import Array


class Extractor(NamedTuple):
    """name: of the extractor and, where they can differ, of its weights; features: [N, T, ...] -> [N, D]."""

    name: str
    features: Callable[[Array], Array]


def pixels() -> Extractor:
    """The data as they are, D = T ... C numbers an example: for points of the plane and small images."""
    return Extractor("pixels", lambda x: x.reshape(len(x), -1))


def digit_features() -> Extractor:
    """64 features of a classifier of handwritten digits, [N, 1, 8, 8, 1]: a score for scikit-learn's digits.

    Its Frechet distance is the *digit-feature Frechet distance*, which can be compared with nothing else. The
    weights are in the package; `python -m experiments.digit_features` made them, and its record says how well
    they classify. The name holds their checksum, so that statistics of other weights are refused.

    Raises ValueError, when called, for other shapes.
    """
    parameters = stored_parameters()
    checksum = 0
    for name in sorted(parameters):
        checksum = zlib.crc32(parameters[name].tobytes(), checksum)
    network = DigitClassifier()
    nested = {"params": _nested(parameters)}

    def features(x: Array) -> Array:
        if x.shape[1:] != (1, 8, 8, 1):
            raise ValueError(f"digit_features takes images [N, 1, 8, 8, 1], got shape {x.shape}")
        return network.apply(nested, x[:, 0], method="features")  # type: ignore[return-value]

    return Extractor(f"digit-feature-{checksum:08x}", features)


def inception(weights: str | os.PathLike[str]) -> Extractor:
    """The 2048 pooled features of the 2015 Inception, for images [N, 1, H, W, C] of 1 or 3 channels.

    Args:
        weights: an npz file with the arrays of the network under the names that PyTorch ports of the 2015
            graph use (see `networks.inception.from_state_dict`); nothing is downloaded.

    Raises FileNotFoundError where there is no such file, ValueError where entries are missing, unknown or of
    another shape, and, when called, for other images.
    """
    path = Path(weights)
    if not path.exists():
        raise FileNotFoundError(
            f"no weights of the 2015 Inception at {path}: save the state dict of a PyTorch port of the graph "
            "as npz, np.savez(path, **{name: value.numpy() for name, value in state_dict.items()})"
        )
    with np.load(path, allow_pickle=False) as stored:
        variables = from_state_dict({name: stored[name] for name in stored.files})
    network = inception_2015()

    def features(x: Array) -> Array:
        if x.ndim != 5 or x.shape[1] != 1 or x.shape[4] not in (1, 3):
            raise ValueError(f"inception takes images [N, 1, H, W, C] with C = 1 or 3, got shape {x.shape}")
        grey = jnp.broadcast_to((x[:, 0] + 1) * 127.5, (*x.shape[:1], *x.shape[2:4], 3))
        return network.apply(variables, grey)  # type: ignore[return-value]

    return Extractor("inception-2015", features)


def _nested(flat: dict[str, np.ndarray]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        module, leaf = name.split("/")
        nested.setdefault(module, {})[leaf] = jnp.asarray(value)
    return nested


EXAMPLES: dict[str, dict[str, Any]] = {
    "pixels": {},
    "digit_features": {},
    "inception": {"weights": "inception-2015.npz"},
}
