"""The sigmoid perceptron of the 2015 binary heartbeat.

Sohl-Dickstein et al. (arXiv 1503.03585, appendix D.1.2): sigmoid hidden layers shared over all steps, and a
linear read-out for each step. The output sigmoid belongs to whoever reads the output as a probability.
"""

from __future__ import annotations

import flax.linen as nn

from diffusion_jax.networks.checks import check_counts, check_input, class_row, step_index
from diffusion_jax.networks.rbf import StepReadout
from diffusion_jax.types import Array, Batch

# A sigmoid has slope 1/4 at 0: four times the usual weights keep the signal's size through the layers.
sigmoid_init = nn.initializers.variance_scaling(16.0, "fan_avg", "uniform")


class StepMlp(nn.Module):
    """See `step_mlp`."""

    width: int = 50
    depth: int = 3
    steps: int = 2000
    outputs: int = 1

    @nn.compact
    def __call__(self, x: Array, noise: Array, conditions: Batch | None = None, train: bool = False) -> Array:
        check_input(x, noise)
        class_row(conditions, x.shape[0], 0)
        h = x.reshape(*x.shape[:2], -1)
        features = h.shape[-1] * self.outputs
        for _ in range(self.depth):
            h = nn.sigmoid(nn.Dense(self.width, kernel_init=sigmoid_init)(h))
        out = StepReadout(self.steps, features)(h, step_index(noise, self.steps))
        return out.reshape(*x.shape[:-1], self.outputs * x.shape[-1])


def step_mlp(width: int = 50, depth: int = 3, steps: int = 2000, outputs: int = 1) -> StepMlp:
    """A sigmoid perceptron on the flattened features of each token, with a read-out for each step.

    Its noise label must be t itself, in [0, 1] (coefficients `timed`); the step is round(t steps). Tokens are
    independent.

    Args:
      width: hidden units. depth: hidden layers. steps: T, on the grid t = k/T.
      outputs: values for each entry of x; the output is `[B, T, ..., outputs C]`, the mean's part first.

    Raises:
      ValueError: a count below 1; when applied, shapes that do not fit, levels outside [0, 1] (NaN where
        they could not be checked), or labels.
    """
    check_counts(width=width, depth=depth, steps=steps, outputs=outputs)
    return StepMlp(width, depth, steps, outputs)


EXAMPLES = {"step_mlp": {"width": 6, "depth": 2, "steps": 5}}
SHAPES = {"step_mlp": (3, 2, 4)}
