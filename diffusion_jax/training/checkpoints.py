"""Checkpoints of the state and of the data iterator, and what else reads them.

    workdir/checkpoints/<step>/     one checkpoint, complete or absent: it is written under another name
    workdir/corrupt/<step>/         checkpoints that could not be read, moved here for inspection
    workdir/profiles/<step>/        averages of the parameters, of which all are kept (see `posthoc`)

A checkpoint holds the `State`, a digest of each of its arrays, and a JSON record (the position of the data
iterator and the like) that process 0 writes for all. The digest of an array with the bits x_i (unsigned
integers) is sum_i x_i m_i mod 2^32, with odd m_i that depend on the position. A change of one element always
alters it, and being a sum of integers it is the same on every layout of devices. The file format itself
notices truncation, but not a flipped bit in uncompressed data.
"""

from __future__ import annotations

import logging
import os
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from orbax.checkpoint import v1 as ocp

from diffusion_jax.training import runs
from diffusion_jax.training.state import State
from diffusion_jax.types import Array, Params, PyTree, Variables

_log = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one run, for the training loop. Use it in a `with` statement.

    Args:
        workdir: the run's folder.
        every: steps between checkpoints; one is due at the first save at or past each multiple.
        keep: how many of the latest to keep, at least one.
    """

    def __init__(self, workdir: str | os.PathLike[str], every: int, keep: int) -> None:
        if every < 1 or keep < 1:
            raise ValueError(f"checkpoint_every and keep must be at least 1, got {every} and {keep}")
        self._workdir = Path(workdir).absolute()
        self._checkpointer = ocp.training.Checkpointer(
            str(self._workdir / "checkpoints"),
            save_decision_policy=_AtMultiples(every),
            preservation_policy=cast(Any, ocp.training.preservation_policies.LatestN(keep)),
            cleanup_tmp_directories=True,
        )

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_: object) -> None:
        self._checkpointer.close()

    @property
    def latest(self) -> int | None:
        """The step of the latest checkpoint, or None."""
        return self._checkpointer.latest.step if self._checkpointer.latest else None

    def due(self, step: int) -> bool:
        """Whether a checkpoint is to be saved at this step."""
        return step != self.latest and self._checkpointer.should_save(step)

    def save(self, step: int, state: State, record: Mapping[str, Any]) -> None:
        """Save in the background; waits for the save before this one. Does nothing if the step is saved.

        Args:
            step: the number of steps done.
            state: the training state. It may be donated as soon as this returns.
            record: JSON-able; process 0's is kept.
        """
        if step == self.latest:
            return
        metadata = {"record": dict(record), "digests": _digests(state)}
        self._checkpointer.save_checkpointables_async(
            step, {"state": state}, force=True, custom_metadata=metadata
        )

    def restore(self, like: State) -> tuple[State, dict[str, Any]] | None:
        """The latest readable checkpoint and its record, or None where there is none.

        Args:
            like: a state of `jax.ShapeDtypeStruct` with shardings.

        Checkpoints newer than the one returned, which could not be read, are moved to `workdir/corrupt`, and
        a warning names each and the reason.

        Raises:
            ValueError: there are checkpoints but none can be read.
            StructureError: the latest readable one holds other arrays than `like`.
        """
        failures: dict[int, str] = {}
        for step in reversed([one.step for one in self._checkpointer.checkpoints]):
            found, reason = None, "another process cannot read it"
            try:
                found = _read(self._workdir / "checkpoints" / str(step), _exactly(like))
            except StructureError:
                raise
            except Exception as error:
                reason = _reason(error)
            if _all_processes(found is not None):
                self._set_aside(failures, step)
                return found
            failures[step] = reason
        if failures:
            raise ValueError(
                f"none of the checkpoints in {self._workdir / 'checkpoints'} can be read: "
                f"{_listed(failures)}; remove them to begin anew"
            )
        return None

    def _set_aside(self, failures: dict[int, str], good: int) -> None:
        if not failures:
            return
        _log.warning(
            "corrupt checkpoints in %s, going on from step %d: %s", self._workdir, good, _listed(failures)
        )
        if jax.process_index() == 0:
            for step in failures:
                aside = self._workdir / "corrupt" / str(step)
                shutil.rmtree(aside, ignore_errors=True)
                aside.parent.mkdir(exist_ok=True)
                (self._workdir / "checkpoints" / str(step)).rename(aside)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("corrupt checkpoints are set aside")
        self._checkpointer.reload()


def save_profiles(
    workdir: str | os.PathLike[str], step: int, profiles: Sequence[Params], sigma_rel: Sequence[float]
) -> None:
    """Keep the averages of relative widths `sigma_rel` after a step; waits until they are written."""
    tree = dict(zip(map(str, range(len(profiles))), profiles, strict=True))
    metadata = {"record": {"sigma_rel": list(sigma_rel)}, "digests": _digests(tree)}
    path = Path(workdir).absolute() / "profiles" / str(step)
    ocp.save_checkpointables(str(path), {"state": tree}, overwrite=True, custom_metadata=metadata)


def saved_profiles(workdir: str | os.PathLike[str]) -> list[int]:
    """The steps after which averages were kept, rising."""
    return _steps(Path(workdir).absolute() / "profiles")


def load_profiles(workdir: str | os.PathLike[str], step: int) -> tuple[list[float], list[Params]]:
    """The relative widths and the averages kept after a step, on this process's default device.

    Raises ValueError, with the reason, where they cannot be read.
    """
    path = Path(workdir).absolute() / "profiles" / str(step)

    def wanted(stored: PyTree) -> PyTree:
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), stored)

    try:
        tree, record = _read(path, wanted)
    except Exception as error:
        raise ValueError(f"the averages in {path} cannot be read: {_reason(error)}") from error
    return record["sigma_rel"], [tree[str(i)] for i in range(len(tree))]


class Merge(NamedTuple):
    """What `init_from` did.

    variables: the merged variables
    taken:     paths whose values come from the other run
    new:       paths that the other run has not; they keep their initial values
    missing:   paths of the other run that this one has not
    """

    variables: Variables
    taken: list[str]
    new: list[str]
    missing: list[str]


def load(
    workdir: str | os.PathLike[str], *, step: int | None = None, ema: bool = True
) -> tuple[dict[str, Any], Variables]:
    """The config and the trained variables of a run, on this process's default device.

    Args:
        workdir: the run's folder.
        step: by default the latest that can be read (a warning names those that cannot).
        ema: the averaged parameters, if the run kept them; otherwise the raw ones.

    Returns:
        The config as a plain dict and `Variables`, whose containers come back as dicts and lists.

    Raises:
        FileNotFoundError: the folder holds no run, no checkpoint, or not the one asked for.
        ValueError: no checkpoint can be read.
    """
    folder = Path(workdir).absolute()
    config = runs.read_config(folder)
    if config is None:
        raise FileNotFoundError(f"{folder} is not the folder of a run: it has no config.json")
    steps = _steps(folder / "checkpoints")
    if not steps or (step is not None and step not in steps):
        wanted = "no checkpoint" if step is None else f"no checkpoint of step {step}"
        raise FileNotFoundError(f"{folder} has {wanted}; it has: {steps or 'none'}")
    failures: dict[int, str] = {}
    for candidate in reversed(steps) if step is None else [step]:
        try:
            state, _ = _read(folder / "checkpoints" / str(candidate), _needed(ema))
        except Exception as error:
            failures[candidate] = _reason(error)
            continue
        if failures:
            _log.warning("corrupt in %s, so step %d is taken: %s", folder, candidate, _listed(failures))
        average = state["ema"] if ema else None
        return config, Variables(state["params"] if average is None else average, state["state"])
    raise ValueError(f"no checkpoint in {folder / 'checkpoints'} can be read: {_listed(failures)}")


def init_from(workdir: str | os.PathLike[str], variables: Variables, *, ema: bool = True) -> Merge:
    """Fill variables with those of another run, by path.

    Args:
        workdir: the other run's folder.
        variables: freshly initialised; arrays keep their dtype and sharding.
        ema: take the other run's averaged parameters, if it kept them.

    Raises:
        FileNotFoundError, ValueError: as `load`.
        ValueError: an array of the other run has another shape here, or the runs have no path in common; the
            message names the paths.
    """
    _, other = load(workdir, ema=ema)
    source, target = _by_path(other), _by_path(variables)
    taken = [path for path in target if path in source]
    differing = [
        f"{path}: {source[path].shape} there, {target[path].shape} here"
        for path in taken
        if source[path].shape != target[path].shape
    ]
    if differing:
        raise ValueError(f"{workdir} cannot be taken over, shapes differ: {'; '.join(differing)}")
    if not taken:
        raise ValueError(
            f"{workdir} has nothing of this model: it has {', '.join(source)}; needed are {', '.join(target)}"
        )

    def fill(path: str, x: Array) -> Array:
        return jax.device_put(np.asarray(source[path]).astype(x.dtype), x.sharding) if path in source else x

    merged = jax.tree.unflatten(jax.tree.structure(variables), [fill(path, x) for path, x in target.items()])
    new, missing = [path for path in target if path not in source], [p for p in source if p not in target]
    return Merge(merged, taken, new, missing)


class _AtMultiples(NamedTuple):
    """orbax's save policy: the first chance at or past each multiple of `every`."""

    every: int

    def should_save(self, step: Any, previous_steps: Sequence[Any], *, context: Any) -> bool:
        del context
        last = previous_steps[-1].step if previous_steps else 0
        return step.step // self.every > last // self.every


def _read(path: Path, wanted: Any) -> tuple[Any, dict[str, Any]]:
    """The state and the record of one checkpoint; raises whatever goes wrong.

    `wanted` maps the stored tree of shapes to the tree of shapes and placeholders to be read.
    """
    metadata = ocp.metadata(str(path))
    custom = cast(dict[str, Any], metadata.custom_metadata or {})
    if not {"digests", "record"} <= set(custom):
        raise ValueError("its record cannot be read")
    if metadata.metadata is None:
        raise ValueError("the list of its arrays cannot be read")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sharding info not provided")
        state = ocp.load_checkpointables(str(path), {"state": wanted(metadata.metadata)})["state"]
    altered = [name for name, one in _digests(state).items() if custom["digests"].get(name) != one]
    if altered:
        raise ValueError(f"the contents of {', '.join(altered)} have changed since they were saved")
    return state, custom["record"]


def _exactly(like: State) -> Any:
    """For `_read`: all of the state, which must be stored with the structure of `like`."""

    def wanted(stored: Any) -> State:
        there = {path: (x.shape, np.dtype(x.dtype).name) for path, x in _by_path(stored).items()}
        here = {path: (x.shape, np.dtype(x.dtype).name) for path, x in _by_path(like).items()}
        if there != here:
            differing = sorted(p for p in there | here if there.get(p) != here.get(p))
            shown = [f"{p}: {there.get(p, 'absent')} there, {here.get(p, 'absent')} here" for p in differing]
            more = f"; and {len(shown) - 6} more" if len(shown) > 6 else ""
            raise StructureError(f"the checkpoint holds another state: {'; '.join(shown[:6])}{more}")
        return like

    return wanted


def _needed(ema: bool) -> Any:
    """For `_read`: what `load` returns."""

    def wanted(stored: dict[str, Any]) -> dict[str, Any]:
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        parts = {"state", "ema" if ema and stored["ema"] is not None else "params"}

        def leaf(part: str, x: Any) -> Any:
            return (
                jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device) if part in parts else ocp.PLACEHOLDER
            )

        return {part: jax.tree.map(lambda x, part=part: leaf(part, x), tree) for part, tree in stored.items()}

    return wanted


class StructureError(ValueError):
    """A checkpoint is sound, but of a state with other arrays than expected."""


def _digests(tree: PyTree) -> dict[str, int]:
    arrays = {path: x for path, x in _by_path(tree).items() if isinstance(x, jax.Array)}
    return {path: int(digest) for path, digest in jax.device_get(_digest(arrays)).items()}


@jax.jit
def _digest(arrays: dict[str, Array]) -> dict[str, Array]:
    def one(x: Array) -> Array:
        width = min(8 * x.dtype.itemsize, 32)  # 64-bit numbers become two along a new last axis
        bits = x if x.dtype == bool else jax.lax.bitcast_convert_type(x, f"uint{width}")
        bits = bits.astype(jnp.uint32)
        place = jnp.ones(bits.shape, jnp.uint32)
        for axis in range(bits.ndim):
            stride = jnp.uint32(2 * 0x9E3779B1 * (2 * axis + 1) % 2**32)
            place += stride * jax.lax.broadcasted_iota(jnp.uint32, bits.shape, axis)
        return jnp.sum(bits * place, dtype=jnp.uint32)

    return {path: one(x) for path, x in arrays.items()}


def _by_path(tree: PyTree) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): x for path, x in leaves}


def _steps(folder: Path) -> list[int]:
    return sorted(int(one.name) for one in folder.glob("*") if one.name.isdigit())


def _all_processes(flag: bool) -> bool:
    if jax.process_count() == 1:
        return flag
    return bool(np.all(multihost_utils.process_allgather(np.asarray(flag))))


def _reason(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200] if lines else 'no message'}"


def _listed(failures: Mapping[int, str]) -> str:
    return "; ".join(f"step {step} ({reason})" for step, reason in failures.items())
