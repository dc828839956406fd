"""The Inception network of 2015 whose pooled features define FID, for weights that the user brings.

Szegedy et al., arXiv 1512.00567, as in the graph `inception-2015-12-05` that Heusel et al. (arXiv 1706.08500)
used. It differs from the network usually called Inception v3:

* images of any size are resized to 299 x 299 by TensorFlow 1's bilinear rule, whose sampling points are
  i in/out (no half pixels) and which does not average on the way down; grey values become (v - 128)/128;
* average pools inside blocks divide by the number of pixels that they cover, so borders are no darker;
* the last block pools by the maximum.

A convolution has no bias and is followed by a batch norm with stored moments (epsilon 0.001) and a ReLU.
Variables are named as in PyTorch ports of the graph: `Mixed_5b.branch1x1.conv.weight` is
variables["params"]["Mixed_5b"]["branch1x1"]["conv"]["kernel"].
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from diffusion_jax.types import Array

SIDE, FEATURES = 299, 2048

_LEAVES = {
    ("params", "kernel"): "weight",
    ("params", "scale"): "weight",
    ("params", "bias"): "bias",
    ("batch_stats", "mean"): "running_mean",
    ("batch_stats", "var"): "running_var",
}
_UNUSED = ("fc.", "AuxLogits.")
_AROUND: Any = ((1, 1), (1, 1))  # flax takes pairs, though its annotation says str


class Conv(nn.Module):
    """Convolution, stored batch norm, ReLU: [N, H, W, C] -> [N, H', W', width]; `pad` 0 is unpadded."""

    width: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    pad: tuple[int, int] = (0, 0)

    @nn.compact
    def __call__(self, x: Array) -> Array:
        padding = tuple((n, n) for n in self.pad)
        x = nn.Conv(
            self.width, self.kernel, strides=self.stride, padding=padding, use_bias=False, name="conv"
        )(x)
        return nn.relu(nn.BatchNorm(use_running_average=True, epsilon=1e-3, name="bn")(x))


def _same(width: int, height: int, across: int, name: str) -> Conv:
    """A convolution that keeps the size."""
    return Conv(width, (height, across), pad=(height // 2, across // 2), name=name)


class BlockA(nn.Module):
    """35 x 35, to 224 + `pooled` channels."""

    pooled: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        five = _same(64, 5, 5, "branch5x5_2")(Conv(48, name="branch5x5_1")(x))
        three = _same(96, 3, 3, "branch3x3dbl_2")(Conv(64, name="branch3x3dbl_1")(x))
        three = _same(96, 3, 3, "branch3x3dbl_3")(three)
        pooled = Conv(self.pooled, name="branch_pool")(average_pool(x))
        return jnp.concatenate([Conv(64, name="branch1x1")(x), five, three, pooled], -1)


class BlockB(nn.Module):
    """35 x 35 to 17 x 17, adding 480 channels."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        double = _same(96, 3, 3, "branch3x3dbl_2")(Conv(64, name="branch3x3dbl_1")(x))
        double = Conv(96, (3, 3), 2, name="branch3x3dbl_3")(double)
        return jnp.concatenate([Conv(384, (3, 3), 2, name="branch3x3")(x), double, _halved(x)], -1)


class BlockC(nn.Module):
    """17 x 17, to 768 channels, with 7x7 convolutions in two passes of `inner` channels."""

    inner: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        seven = _same(self.inner, 1, 7, "branch7x7_2")(Conv(self.inner, name="branch7x7_1")(x))
        seven = _same(192, 7, 1, "branch7x7_3")(seven)
        double = _same(self.inner, 7, 1, "branch7x7dbl_2")(Conv(self.inner, name="branch7x7dbl_1")(x))
        double = _same(self.inner, 1, 7, "branch7x7dbl_3")(double)
        double = _same(self.inner, 7, 1, "branch7x7dbl_4")(double)
        double = _same(192, 1, 7, "branch7x7dbl_5")(double)
        pooled = Conv(192, name="branch_pool")(average_pool(x))
        return jnp.concatenate([Conv(192, name="branch1x1")(x), seven, double, pooled], -1)


class BlockD(nn.Module):
    """17 x 17 to 8 x 8, adding 512 channels."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        three = Conv(320, (3, 3), 2, name="branch3x3_2")(Conv(192, name="branch3x3_1")(x))
        seven = _same(192, 1, 7, "branch7x7x3_2")(Conv(192, name="branch7x7x3_1")(x))
        seven = _same(192, 7, 1, "branch7x7x3_3")(seven)
        seven = Conv(192, (3, 3), 2, name="branch7x7x3_4")(seven)
        return jnp.concatenate([three, seven, _halved(x)], -1)


class BlockE(nn.Module):
    """8 x 8, to 2048 channels; `pool` keeps the size."""

    pool: Callable[[Array], Array]

    @nn.compact
    def __call__(self, x: Array) -> Array:
        three = Conv(384, name="branch3x3_1")(x)
        double = _same(384, 3, 3, "branch3x3dbl_2")(Conv(448, name="branch3x3dbl_1")(x))
        parts = [
            Conv(320, name="branch1x1")(x),
            _same(384, 1, 3, "branch3x3_2a")(three),
            _same(384, 3, 1, "branch3x3_2b")(three),
            _same(384, 1, 3, "branch3x3dbl_3a")(double),
            _same(384, 3, 1, "branch3x3dbl_3b")(double),
            Conv(192, name="branch_pool")(self.pool(x)),
        ]
        return jnp.concatenate(parts, -1)


class Inception(nn.Module):
    """Grey values [N, H, W, 3] in 0..255 -> features [N, 2048]."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        if x.ndim != 4 or x.shape[-1] != 3:
            raise ValueError(f"the Inception takes images [N, H, W, 3], got shape {x.shape}")
        x = (resize(x, SIDE, SIDE) - 128) / 128
        x = Conv(32, (3, 3), 2, name="Conv2d_1a_3x3")(x)
        x = Conv(32, (3, 3), name="Conv2d_2a_3x3")(x)
        x = _halved(_same(64, 3, 3, "Conv2d_2b_3x3")(x))
        x = Conv(80, name="Conv2d_3b_1x1")(x)
        x = _halved(Conv(192, (3, 3), name="Conv2d_4a_3x3")(x))
        for name, pooled in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
            x = BlockA(pooled, name=name)(x)
        x = BlockB(name="Mixed_6a")(x)
        for name, inner in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
            x = BlockC(inner, name=name)(x)
        x = BlockD(name="Mixed_7a")(x)
        x = BlockE(average_pool, name="Mixed_7b")(x)
        x = BlockE(largest_pool, name="Mixed_7c")(x)
        return x.mean((1, 2))


def inception_2015() -> Inception:
    """The network; `apply(variables, images [N, H, W, 3] in 0..255) -> [N, 2048]`, in float32.

    Raises ValueError, when applied, for other shapes.
    """
    return Inception()


def from_state_dict(state: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of `inception_2015` from arrays under the names of PyTorch ports of the 2015 graph.

    Args:
        state: "Conv2d_1a_3x3.conv.weight" [O, I, h, w], "Conv2d_1a_3x3.bn.weight", ".bn.bias",
            ".bn.running_mean", ".bn.running_var" [O], ...; the classifier (`fc.`), auxiliary heads
            (`AuxLogits.`) and `num_batches_tracked` are left out.

    Raises ValueError that names the entries which are missing, unknown, of another shape or not finite.
    """
    wanted = _layout()
    names = {path: _name(path) for path in wanted}
    unknown = [
        name
        for name in state
        if name not in names.values()
        and not name.startswith(_UNUSED)
        and not name.endswith(".num_batches_tracked")
    ]
    missing = [name for name in names.values() if name not in state]
    if unknown or missing:
        close = difflib.get_close_matches(unknown[0], missing, n=1) if unknown else []
        raise ValueError(
            f"not the weights of the 2015 Inception: {len(missing)} entries are missing ({_some(missing)}), "
            f"{len(unknown)} unknown ({_some(unknown)})"
            + (f"; is {unknown[0]!r} what is called {close[0]!r} here?" if close else "")
        )
    found, wrong = {}, []
    for path, name in names.items():
        value = np.asarray(state[name], np.float32)
        value = value.transpose(2, 3, 1, 0) if path[-1] == "kernel" and value.ndim == 4 else value
        if value.shape != wanted[path]:
            wrong.append(f"{name} {np.shape(state[name])}")
        elif not np.isfinite(value).all():
            wrong.append(f"{name} (not finite)")
        found[path] = jnp.asarray(value)
    if wrong:
        raise ValueError(f"{len(wrong)} entries have another shape or are not finite: {_some(wrong)}")
    return traverse_util.unflatten_dict(found)


def resize(x: Array, height: int, width: int) -> Array:
    """TensorFlow 1's bilinear resize of [N, H, W, C]: pixel i is taken at i H/height, without half pixels."""
    for axis, size in ((1, height), (2, width)):
        given = x.shape[axis]
        place = np.arange(size, dtype=np.float64) * given / size
        low = np.floor(place).astype(np.int32)
        high = np.minimum(low + 1, given - 1)
        share = jnp.asarray(place - low, x.dtype).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
        below, above = jnp.take(x, low, axis), jnp.take(x, high, axis)
        x = below + (above - below) * share
    return x


def average_pool(x: Array) -> Array:
    """The mean over the 3 x 3 pixels around each, of those that exist."""
    return nn.avg_pool(x, (3, 3), (1, 1), _AROUND, count_include_pad=False)


def largest_pool(x: Array) -> Array:
    """The largest of the 3 x 3 pixels around each."""
    return nn.max_pool(x, (3, 3), (1, 1), _AROUND)


def _halved(x: Array) -> Array:
    return nn.max_pool(x, (3, 3), (2, 2))


@functools.cache
def _layout() -> dict[tuple[str, ...], tuple[int, ...]]:
    """Path -> shape of every variable."""
    like: Any = jax.eval_shape(inception_2015().init, jax.random.key(0), jnp.zeros((1, SIDE, SIDE, 3)))
    leaves: dict[Any, Any] = traverse_util.flatten_dict(like)
    return {path: leaf.shape for path, leaf in leaves.items()}


def _name(path: tuple[str, ...]) -> str:
    collection, *modules, leaf = path
    return ".".join([*modules, _LEAVES[collection, leaf]])


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") if names else "none"
