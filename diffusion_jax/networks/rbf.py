"""The normalised radial basis function network of the 2015 Swiss roll.

Sohl-Dickstein et al. (arXiv 1503.03585, appendix D.1.1): one hidden layer of units shared over all steps and
over mean and covariance, with centres c_j and widths w_j, whose activations sum to one,

    phi_j(x) = exp(-|x - c_j|^2 / (2 w_j^2)) / sum_i exp(-|x - c_i|^2 / (2 w_i^2)),   out = A_k phi(x) + b_k,

and a read-out (A_k, b_k) for each step k. The covariance's part is emitted before its sigmoid, which belongs
to the reverse law.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from diffusion_jax.networks.checks import check_counts, check_input, class_row, row, step_index
from diffusion_jax.types import Array, Batch


class StepReadout(nn.Module):
    """A linear read-out for each step: `[B, T, units], k [#B, #T] -> [B, T, features]`.

    Zero at the start. There are `steps + 1` of them, so that clean data, k = 0, have one too. A step outside
    0..steps gives NaN.
    """

    steps: int
    features: int

    @nn.compact
    def __call__(self, h: Array, index: Array) -> Array:
        kernel = self.param("kernel", nn.initializers.zeros, (self.steps + 1, h.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.steps + 1, self.features))
        return (h[..., None, :] @ row(kernel, index))[..., 0, :] + row(bias, index)


class Rbf(nn.Module):
    """See `rbf`."""

    units: int = 16
    steps: int = 40
    outputs: int = 1

    @nn.compact
    def __call__(self, x: Array, noise: Array, conditions: Batch | None = None, train: bool = False) -> Array:
        check_input(x, noise)
        class_row(conditions, x.shape[0], 0)
        rows = x.reshape(*x.shape[:2], -1)
        out = StepReadout(self.steps, rows.shape[-1] * self.outputs)(
            self.activations(rows), step_index(noise, self.steps)
        )
        return out.reshape(*x.shape[:-1], self.outputs * x.shape[-1])

    def activations(self, rows: Array) -> Array:
        """phi of flattened tokens: `[B, T, features] -> [B, T, units]`, summing to one."""
        centres = self.param("centres", nn.initializers.normal(1.0), (self.units, rows.shape[-1]))
        log_widths = self.param("log_widths", nn.initializers.zeros, (self.units,))
        distance = jnp.square(rows[..., None, :] - centres[None, None]).sum(-1)
        return nn.softmax(-0.5 * distance * jnp.exp(-2 * log_widths)[None, None])


def rbf(units: int = 16, steps: int = 40, outputs: int = 1) -> Rbf:
    """A normalised radial basis function network on each token, with a read-out for each step.

    Its noise label must be t itself, in [0, 1] (coefficients `timed`); the step is round(t steps). Tokens are
    independent.

    Args:
      units: radial basis functions. steps: T, on the grid t = k/T.
      outputs: values for each entry of x; the output is `[B, T, ..., outputs C]`, the mean's part first.

    Raises:
      ValueError: a count below 1; when applied, shapes that do not fit, levels outside [0, 1] (NaN where
        they could not be checked), or labels.
    """
    check_counts(units=units, steps=steps, outputs=outputs)
    return Rbf(units, steps, outputs)


EXAMPLES = {"rbf": {"units": 4, "steps": 5}}
SHAPES = {"rbf": (3, 2, 2)}
