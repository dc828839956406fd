"""A small convolutional classifier of 8x8 handwritten digits, whose last hidden layer makes features.

conv 3x3, 16; conv 3x3, 16, stride 2; dense, 64, the features; dense, 10 classes; SiLU between. Trained once,
by `python -m experiments.digit_features`, on the training split of the digits; 78 kB of parameters.
"""

from __future__ import annotations

from pathlib import Path

import flax.linen as nn
import numpy as np

from diffusion_jax.types import Array

WEIGHTS = Path(__file__).with_name("digit_features.npz")


class DigitClassifier(nn.Module):
    """x [N, 8, 8, 1] in [-1, 1] -> logits [N, 10]; `features` gives [N, 64].

    dropout: rate of dropped features while training; needs the random stream "dropout".
    """

    dropout: float = 0.3

    def setup(self) -> None:
        self.conv0, self.conv1 = nn.Conv(16, (3, 3)), nn.Conv(16, (3, 3), strides=(2, 2))
        self.hidden, self.classes = nn.Dense(64), nn.Dense(10)
        self.drop = nn.Dropout(self.dropout)

    def features(self, x: Array) -> Array:
        h = nn.silu(self.conv1(nn.silu(self.conv0(x))))
        return nn.silu(self.hidden(h.reshape(len(x), -1)))

    def __call__(self, x: Array, train: bool = False) -> Array:
        return self.classes(self.drop(self.features(x), deterministic=not train))


def stored_parameters() -> dict[str, np.ndarray]:
    """The trained parameters, "module/leaf" -> array."""
    with np.load(WEIGHTS, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}
