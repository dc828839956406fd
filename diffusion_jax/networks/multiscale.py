"""The multi-scale convolutional network of the 2015 image runs.

Sohl-Dickstein et al. (arXiv 1503.03585, appendix D.2):

* a multi-scale convolution pools the image by the mean over 1, 2, 4, ... pixels, convolves each scale,
  repeats the pixels back to full size, sums, and then applies one softplus; `layers` of them in a row;
* in parallel, a dense path of tanh layers on the whole image ends in some features of each pixel;
* 1x1 convolutions with tanh follow on both, and a linear layer gives J values y_j for each output;
* the output is sum_j g_j(t) y_j with J bumps in t that sum to one,

    g_j(t) = exp(-(t - tau_j)^2 / (2 w^2)) / sum_i exp(-(t - tau_i)^2 / (2 w^2)),
    tau_j = (j + 1/2)/J,   w = 1/J.

With two outputs they are z_mu and z_Sigma; the paper's mean and covariance,

    Sigma = sigmoid(z_Sigma + logit beta_t),   mu = (x - z_mu)(1 - Sigma) + z_mu,

are the business of the reverse law.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from diffusion_jax.networks.checks import check_counts, check_image, check_input, class_row, unit
from diffusion_jax.networks.layers import pool, upsample
from diffusion_jax.types import Array, Batch


def bump_weights(t: Array, count: int) -> Array:
    """Normalised Gaussian bumps in t: `[...] -> [..., count]`, summing to one."""
    centres = (np.arange(count, dtype=np.float32) + 0.5) / count
    distance = (t[..., None] - centres.reshape((1,) * t.ndim + (-1,))) * count
    return nn.softmax(-0.5 * jnp.square(distance))


class MultiscaleConvolution(nn.Module):
    """The sum over `scales` of convolutions of the pooled image, before its non-linearity."""

    scales: int
    filters: int
    kernel: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        parts = []
        for scale in range(self.scales):
            h = nn.Conv(self.filters, (self.kernel, self.kernel), name=f"scale_{scale}")(x)
            parts.append(upsample(h, 2**scale))
            if scale + 1 < self.scales:
                x = pool(x)
        return sum(parts[1:], parts[0])


class Multiscale(nn.Module):
    """See `multiscale`."""

    scales: int = 3
    filters: int = 32
    layers: int = 2
    kernel: int = 3
    pixel_width: int = 32
    pixel_depth: int = 2
    dense_width: int = 128
    dense_depth: int = 0
    dense_features: int = 2
    bumps: int = 10
    outputs: int = 1

    @nn.compact
    def __call__(self, x: Array, noise: Array, conditions: Batch | None = None, train: bool = False) -> Array:
        check_input(x, noise)
        check_image(x, self.scales if self.layers else 1)
        class_row(conditions, x.shape[0], 0)
        pixels, channels = x.shape[:4], x.shape[4]
        paths = []
        if self.layers:
            h = x
            for _ in range(self.layers):
                h = nn.softplus(MultiscaleConvolution(self.scales, self.filters, self.kernel)(h))
            paths.append(h)
        if self.dense_depth:
            h = x.reshape(*x.shape[:2], -1)
            for _ in range(self.dense_depth):
                h = nn.tanh(nn.Dense(self.dense_width)(h))
            h = nn.tanh(nn.Dense(x.shape[2] * x.shape[3] * self.dense_features)(h))
            paths.append(h.reshape(*pixels, self.dense_features))
        h = jnp.concatenate(paths, axis=-1)
        for _ in range(self.pixel_depth):
            h = nn.tanh(nn.Dense(self.pixel_width)(h))
        features = self.outputs * channels
        y = nn.Dense(self.bumps * features, kernel_init=nn.initializers.zeros, name="readout")(h)
        weights = bump_weights(unit(noise), self.bumps)[:, :, None, None, :, None]
        return (y.reshape(*pixels, self.bumps, features) * weights).sum(-2)


def multiscale(
    scales: int = 3,
    filters: int = 32,
    layers: int = 2,
    kernel: int = 3,
    pixel_width: int = 32,
    pixel_depth: int = 2,
    dense_width: int = 128,
    dense_depth: int = 0,
    dense_features: int = 2,
    bumps: int = 10,
    outputs: int = 1,
) -> Multiscale:
    """The 2015 network for images `[B, T, H, W, C]`; each frame is processed by itself.

    Its noise label must be t itself, in [0, 1] (coefficients `timed`).

    Args:
      scales: of each multi-scale convolution; H and W must be multiples of 2^(scales - 1).
      filters, layers, kernel: of the multi-scale convolutions; `layers=0` leaves them out (the paper's MNIST
        run).
      pixel_width, pixel_depth: of the 1x1 tanh layers.
      dense_width, dense_depth, dense_features: of the dense path and the features of each pixel it ends in;
        `dense_depth=0` leaves it out.
      bumps: J, the temporal basis.
      outputs: values for each entry of x; the output is `[B, T, H, W, outputs C]`, the mean's part first.

    Raises:
      ValueError: a count below 1 (below 0 for the depths), or neither path; when applied, shapes that do not
        fit, levels outside [0, 1], or labels.
    """
    check_counts(scales=scales, filters=filters, kernel=kernel, pixel_width=pixel_width, bumps=bumps)
    check_counts(dense_width=dense_width, dense_features=dense_features, outputs=outputs)
    check_counts(minimum=0, layers=layers, pixel_depth=pixel_depth, dense_depth=dense_depth)
    if layers + dense_depth == 0:
        raise ValueError("layers=0 and dense_depth=0 leave no path from the image to the output")
    return Multiscale(
        scales=scales,
        filters=filters,
        layers=layers,
        kernel=kernel,
        pixel_width=pixel_width,
        pixel_depth=pixel_depth,
        dense_width=dense_width,
        dense_depth=dense_depth,
        dense_features=dense_features,
        bumps=bumps,
        outputs=outputs,
    )


EXAMPLES = {
    "multiscale": {
        "scales": 2,
        "filters": 4,
        "layers": 1,
        "pixel_width": 4,
        "dense_width": 5,
        "dense_depth": 1,
        "bumps": 3,
    }
}
SHAPES = {"multiscale": (2, 2, 4, 4, 1)}
