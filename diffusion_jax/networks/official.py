"""The published layout of EDM's networks: names and shapes of their state dictionaries.

Parameters of `ddpmpp`, `ncsnpp` and `adm` are named for the published ones: `enc_8x8_block0/conv0/kernel` is
`model.enc.8x8_block0.conv0.weight`. Between the two, convolutions (kh, kw, I, O) become (O, I, kh, kw), dense
layers (I, O) become (O, I), and the scale of a norm is its weight. The published files also hold, as
`resample_filter`, the fixed filter of every layer that resamples; it is written, and compared when read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from diffusion_jax.networks.resample import box, smooth
from diffusion_jax.types import PyTree

PLACE = re.compile(r"(enc|dec)_(\d+x\d+_.+)")
RESAMPLED = re.compile(r"model\.(?:enc\.\d+x\d+_down|dec\.\d+x\d+_up)")


def names(variables: PyTree) -> dict[str, tuple[str, ...]]:
    """Published names -> paths in `variables`, of all its arrays (`params` and perhaps `constants`)."""
    found: dict[str, tuple[str, ...]] = {}
    for path, _ in jax.tree_util.tree_leaves_with_path(dict(variables)):
        keys = tuple(str(key.key) for key in path)
        module, *rest = keys[1:-1]
        leaf = {"kernel": "weight", "scale": "weight"}.get(keys[-1], keys[-1])
        found[".".join(["model", PLACE.sub(r"\1.\2", module), *rest, leaf])] = keys
    return found


def filters(variables: PyTree) -> dict[str, np.ndarray]:
    """The fixed filters that the published layout holds: name -> float32 `[1, 1, taps, taps]`."""
    modules = {name.rsplit(".", 1)[0] for name in names(variables)}
    residual = {module for module in modules if module.endswith("_aux_residual")}
    blocks = {str(found[0]) for module in modules if (found := RESAMPLED.match(module))}
    layers = residual | {f"{block}.{layer}" for block in blocks for layer in ("conv0", "skip")}
    kernel = (smooth if residual else box).kernel()[None, None]
    return {f"{layer}.resample_filter": kernel for layer in sorted(layers)}


def _at(variables: PyTree, path: tuple[str, ...]) -> Any:
    for key in path:
        variables = variables[key]
    return variables


def _outward(axes: int) -> tuple[int, ...]:
    return {4: (3, 2, 0, 1), 2: (1, 0)}.get(axes, tuple(range(axes)))


def _inward(axes: int) -> tuple[int, ...]:
    return {4: (2, 3, 1, 0), 2: (1, 0)}.get(axes, tuple(range(axes)))


def to_official(variables: PyTree) -> dict[str, np.ndarray]:
    """The arrays of a network under their published names, in the published layout, with the filters.

    variables: `{"params": ..., "constants": ...}` of `ddpmpp`, `ncsnpp` or `adm`.
    """
    found = {name: np.asarray(_at(variables, path)) for name, path in names(variables).items()}
    return {name: array.transpose(_outward(array.ndim)) for name, array in found.items()} | filters(variables)


def from_official(arrays: Mapping[str, np.ndarray], template: PyTree) -> dict[str, Any]:
    """Variables of a network from arrays in the published layout.

    Args:
      arrays: published name -> array.
      template: variables of the network, or their shapes from `jax.eval_shape(network.init, ...)`; gives the
        shapes and types of the result.

    Raises:
      ValueError: arrays that are missing, unexpected or of another shape, and filters of another network; all
        of them are named.
    """
    paths, fixed = names(template), filters(template)
    wrong = [f"missing: {name}" for name in sorted({*paths, *fixed} - {*arrays})]
    wrong += [f"unexpected: {name}" for name in sorted({*arrays} - {*paths, *fixed})]
    for name, path in paths.items():
        shape = tuple(_at(template, path).shape)
        wanted = tuple(shape[axis] for axis in _outward(len(shape)))
        if name in arrays and tuple(arrays[name].shape) != wanted:
            wrong.append(f"shape: {name} should be {wanted}, is {tuple(arrays[name].shape)}")
    for name, kernel in fixed.items():
        known = np.asarray(arrays.get(name, kernel))
        if known.shape != kernel.shape or not np.allclose(known, kernel, rtol=1e-3):
            wrong.append(f"filter: {name} should be {kernel.tolist()}, is {known.tolist()}")
    if wrong:
        raise ValueError("these are not the arrays of this network:\n  " + "\n  ".join(wrong))

    owner = {path: name for name, path in paths.items()}

    def read(path: tuple[Any, ...], leaf: Any) -> np.ndarray:
        array = np.asarray(arrays[owner[tuple(key.key for key in path)]], leaf.dtype)
        return array.transpose(_inward(array.ndim))

    return jax.tree_util.tree_map_with_path(read, dict(template))
