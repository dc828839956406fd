"""Where arrays live: the mesh of devices, rules for the parameters, batches spread over `data`.

A mesh is a mapping from axis names to sizes, `{"data": -1}` or `{"data": 2, "model": 2}`, -1 being what is
left. Batches are spread over the axis `data`, which every mesh has. Parameters follow the first of the
`(regular expression, rule)` whose expression is found in their path (`"Dense_0/kernel"`); those that none
matches are replicated. A rule is

* `"replicate"`;
* the name of a mesh axis: the largest array axis that its size divides is split over it, an array without
  one is replicated. `[(".*", "data")]` is fully sharded data parallelism (arXiv:1910.02054, stage 3);
* a sequence such as `[None, "model"]`: the PartitionSpec itself;
* a function `(shape, mesh) -> PartitionSpec`.

The optimiser's moments, the moving average and copies in the objective's state live where the parameter of
the same path and shape lives.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from diffusion_jax.training.state import State
from diffusion_jax.types import Batch, PyTree

Rule = str | Sequence[str | None] | Callable[[tuple[int, ...], Mesh], PartitionSpec]
Rules = Sequence[tuple[str, Rule]]


def initialise_distributed(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Join the other processes of this run; to be called before anything touches a device.

    Args:
        coordinator: `host:port` of process 0, or `"auto"` where the cluster (Slurm, TPU pods, ...) tells;
            by default the environment variable JAX_COORDINATOR_ADDRESS. Without either this is a run of one
            process and nothing happens.
        num_processes, process_id: by default JAX_NUM_PROCESSES and JAX_PROCESS_ID.

    Raises:
        ValueError: a coordinator was given, but not how many processes there are or which this is.
    """
    coordinator = coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS")
    if coordinator is None:
        return
    if coordinator == "auto":
        jax.distributed.initialize()
        return
    numbers = {"JAX_NUM_PROCESSES": num_processes, "JAX_PROCESS_ID": process_id}
    for name, value in numbers.items():
        if value is None and name not in os.environ:
            raise ValueError(
                f"the coordinator is {coordinator}, but neither the argument {name[4:].lower()} "
                f"nor the environment variable {name} is given"
            )
    count, index = (int(os.environ[name]) if value is None else value for name, value in numbers.items())
    jax.distributed.initialize(coordinator, num_processes=count, process_id=index)


def make_mesh(axes: Mapping[str, int]) -> Mesh:
    """The mesh of devices that `axes` (name -> size, at most one of them -1) describes.

    In a run of one process a mesh may be smaller than the number of devices; it takes the first ones.

    Raises:
        ValueError: there is no axis `data`, or the devices do not fit the sizes.
    """
    sizes, devices = dict(axes), jax.devices()
    if "data" not in sizes:
        raise ValueError(f"a mesh needs an axis 'data', over which batches are spread; got {sizes}")
    free = [name for name, size in sizes.items() if size == -1]
    if len(free) > 1 or any(size < 1 and size != -1 for size in sizes.values()):
        raise ValueError(f"the sizes of a mesh are positive, one of them may be -1; got {sizes}")
    known = int(np.prod([size for size in sizes.values() if size != -1]))
    if free:
        sizes[free[0]] = max(len(devices) // known, 1)
    total = known * (sizes[free[0]] if free else 1)
    if total > len(devices) or (total < len(devices) and (free or jax.process_count() > 1)):
        raise ValueError(
            f"the mesh {dict(axes)} does not fit {len(devices)} devices: "
            f"{f'{len(devices)} is no multiple of {known}' if free else f'it needs {total}'}"
        )
    return jax.make_mesh(
        tuple(sizes.values()),
        tuple(sizes),
        axis_types=(AxisType.Auto,) * len(sizes),
        devices=devices[:total],
    )


def check_batch(batch_size: int, mesh: Mesh, microbatches: int = 1) -> None:
    """Raise ValueError unless every device gets the same number of samples of every micro-batch."""
    unit = mesh.shape["data"] * microbatches
    if batch_size < 1 or batch_size % unit:
        fits = [size for size in (batch_size // unit * unit, -(-batch_size // unit) * unit) if size > 0]
        raise ValueError(
            f"a batch of {batch_size} cannot be split evenly over {mesh.shape['data']} devices "
            f"and {microbatches} micro-batches; a batch of {' or '.join(map(str, fits)) or unit} can"
        )


def process_slice(mesh: Mesh) -> tuple[int, int]:
    """(index, count): which part of every batch this process must read, of how many parts.

    Raises ValueError where the rows of the mesh that belong to this process are not contiguous.
    """
    rows = np.moveaxis(mesh.devices, mesh.axis_names.index("data"), 0).reshape(mesh.shape["data"], -1)
    process = jax.process_index()
    mine = [i for i, row in enumerate(rows) if any(device.process_index == process for device in row)]
    index, count = mine[0] // len(mine), len(rows) // len(mine)
    if mine != list(range(index * len(mine), (index + 1) * len(mine))):
        raise ValueError(f"process {process} holds the rows {mine} of the mesh's data axis: not contiguous")
    return index, count


def spread(batches: Batch, mesh: Mesh) -> Batch:
    """Global arrays from this process's part of n stacked batches, leaves `[n, B_local, ...]`.

    Raises ValueError for a leaf whose batch the devices do not divide.
    """
    sharding = NamedSharding(mesh, PartitionSpec(None, "data"))
    _, count = process_slice(mesh)

    def place(path: Any, x: Any) -> jax.Array:
        x = np.asarray(x)
        if x.ndim < 2 or x.shape[1] * count % mesh.shape["data"]:
            raise ValueError(
                f"the batch's {jax.tree_util.keystr(path, simple=True, separator='/')} has the shape "
                f"{x.shape} in each of {count} processes; expected [n, B_local, ...] with "
                f"{count} B_local a multiple of {mesh.shape['data']} devices"
            )
        return jax.make_array_from_process_local_data(sharding, x)

    return jax.tree_util.tree_map_with_path(place, batches)


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def shardings(tree: PyTree, mesh: Mesh, rules: Rules) -> PyTree:
    """A sharding for each leaf of a tree of parameters (arrays or their shapes), by the rules.

    Raises:
        ValueError: a rule names an axis that the mesh has not, or splits an array that does not divide.
    """
    compiled = [(re.compile(pattern), rule) for pattern, rule in rules]

    def leaf(path: Any, x: Any) -> NamedSharding:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        rule = next((rule for pattern, rule in compiled if pattern.search(name)), "replicate")
        return NamedSharding(mesh, _partition(name, tuple(x.shape), mesh, rule))

    return jax.tree_util.tree_map_with_path(leaf, tree)


def state_shardings(state: State, mesh: Mesh, rules: Rules) -> State:
    """A sharding for each leaf of a training state (arrays or their shapes); see the head of the module."""
    homes = {
        jax.tree_util.keystr(path, simple=True, separator="/"): (x.shape, home)
        for (path, x), home in zip(
            jax.tree_util.tree_leaves_with_path(state.params),
            jax.tree.leaves(shardings(state.params, mesh, rules)),
        )
    }

    def leaf(path: Any, x: Any) -> NamedSharding:
        names = jax.tree_util.keystr(path, simple=True, separator="/").split("/")
        for start in range(len(names)):
            shape, home = homes.get("/".join(names[start:]), (None, None))
            if home is not None and shape == x.shape:
                return home
        return replicated(mesh)

    return jax.tree_util.tree_map_with_path(leaf, state)


def _partition(name: str, shape: tuple[int, ...], mesh: Mesh, rule: Rule) -> PartitionSpec:
    if callable(rule):
        return rule(shape, mesh)
    if rule == "replicate":
        return PartitionSpec()
    asked = [rule] if isinstance(rule, str) else [axis for axis in rule if axis is not None]
    unknown = [axis for axis in asked if axis not in mesh.shape]
    if unknown:
        raise ValueError(
            f"the rule {rule!r} for {name} names {unknown[0]!r}; a rule is 'replicate', an axis of the mesh "
            f"({', '.join(mesh.axis_names)}), a sequence of axes, or a function"
        )
    if isinstance(rule, str):
        fitting = [
            i for i, size in enumerate(shape) if size >= mesh.shape[rule] > 0 == size % mesh.shape[rule]
        ]
        if not fitting:
            return PartitionSpec()
        return PartitionSpec(*[None] * max(fitting, key=lambda i: shape[i]), rule)
    if len(rule) > len(shape) or any(a and shape[i] % mesh.shape[a] for i, a in enumerate(rule)):
        raise ValueError(
            f"the rule {rule!r} cannot split {name}, which has the shape {shape}, on {mesh.shape}"
        )
    return PartitionSpec(*rule)
