"""The training loop: initialise or resume, call the step, report, save.

A run is its workdir. Starting it again with the same config goes on from the last checkpoint, and the result
is that of a run that was never interrupted, to the bit (on the same layout of devices): the key of a step
depends on the seed and the step's number alone, and the data iterator and the window of metrics are in the
checkpoint.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import jax
import optax
from jax.experimental import multihost_utils

from diffusion_jax.training import checkpoints, runs, sharding
from diffusion_jax.training.ema import Decay
from diffusion_jax.training.metrics import Hook, NonFiniteError, Recorder
from diffusion_jax.training.posthoc import Tracking
from diffusion_jax.training.state import State, create
from diffusion_jax.training.step import make_step
from diffusion_jax.types import Batch, Key, Objective, Variables

_log = logging.getLogger(__name__)


class TrainingIterator(Protocol):
    """What the loop needs of data: this process's part of every batch (see `sharding.process_slice`).

    `next(n)` gives n consecutive batches, stacked: leaves [n, B_local, ...]. The state is JSON-able, the same
    in every process, and restoring it repeats the batches exactly.
    """

    def next(self, n: int) -> Batch: ...

    def get_state(self) -> dict[str, Any]: ...

    def set_state(self, state: dict[str, Any]) -> None: ...


def train(
    objective: Objective,
    iterator: TrainingIterator,
    optimizer: optax.GradientTransformation,
    *,
    workdir: str | os.PathLike[str],
    config: Mapping[str, Any],
    seed: int,
    steps: int,
    batch_size: int,
    microbatches: int = 1,
    steps_per_call: int = 1,
    log_every: int = 100,
    checkpoint_every: int = 1000,
    keep: int = 2,
    ema: Decay | None = None,
    posthoc: Tracking | None = None,
    mesh: Mapping[str, int] | None = None,
    rules: sharding.Rules = (),
    init_from: str | os.PathLike[str] | None = None,
    tensorboard: bool = False,
    hooks: Sequence[Hook] = (),
) -> State:
    """Train until `steps` steps are done in all, resuming what is in `workdir`.

    Args:
        objective: what to train.
        iterator: the data; its position is set when a run is resumed.
        optimizer: any optax transformation (see `optimizer`).
        workdir: the run's folder, on a file system that all processes share.
        config: a JSON-able record of what is trained; the workdir is refused to another config.
        seed: of the initial parameters and of every step's noise.
        steps: how many steps the run has in all.
        batch_size: samples in a step, over all devices and micro-batches.
        microbatches: pieces of a batch that are computed one after the other, to save memory.
        steps_per_call: steps in one call of the compiled function. A last call of fewer compiles once more.
        log_every: steps between lines of metrics; they are means over these steps.
        checkpoint_every: steps between checkpoints, rounded up to the end of a call.
        keep: how many checkpoints to keep.
        ema: the decay of the moving average of the parameters (see `ema`), or None for no average.
        posthoc: further averages, saved as the run goes, from which others are put together when it is done.
        mesh, rules: the layout (see `sharding`); all devices hold all parameters by default.
        init_from: the workdir of another run, whose variables replace the initial ones where paths agree.
        tensorboard: also write event files; needs the extra `logging`.
        hooks: called as `hook(step, metrics)` with every line of metrics.

    Returns:
        The final state; `checkpoints.load(workdir)` reads it back.

    Raises:
        ValueError: the workdir belongs to another config, the devices do not divide the batch, or an argument
            is out of range.
        TypeError: `ema` is not a function.
        NonFiniteError: the loss or the updates of a step, which is named, were not finite.
            The last good checkpoint stays.
        SystemExit: with code 0, on SIGTERM, after a checkpoint has been saved.
    """
    if steps < 1 or steps_per_call < 1 or microbatches < 1:
        raise ValueError(
            "steps, steps_per_call and microbatches must be at least 1, "
            f"got {steps}, {steps_per_call} and {microbatches}"
        )
    if ema is not None and not callable(ema):
        raise TypeError(f"ema is a function step -> decay, such as training.ema.warmup(0.999), got {ema!r}")
    folder = Path(workdir).absolute()
    devices = sharding.make_mesh(mesh or {"data": -1})
    sharding.check_batch(batch_size, devices, microbatches)
    runs.claim(folder, config)
    if jax.process_index() == 0:
        runs.record_start(folder)
    init_key, root = jax.jit(
        lambda: tuple(jax.random.split(jax.random.key(seed))), out_shardings=sharding.replicated(devices)
    )()
    example = _peek(iterator, devices, batch_size)
    decays = posthoc.decays if posthoc else ()
    begin = partial(create, optimizer=optimizer, averaged=ema is not None, profiles=len(decays))
    abstract, layout = _shapes(objective, begin, init_key, example, devices, rules)
    step = make_step(
        objective, optimizer, microbatches=microbatches, decay=ema, profiles=decays, shardings=layout
    )
    kept = max(checkpoints.saved_profiles(folder), default=0)

    with checkpoints.Checkpoints(folder, checkpoint_every, keep) as saved, _interruption() as interrupted:
        restored = saved.restore(abstract)
        if restored is None:
            record: dict[str, Any] = {}
            state = _initial(objective, begin, init_key, example, layout, init_from)
        else:
            state, record = restored
            iterator.set_state(record["iterator"])
        done = first = int(state.step)
        with Recorder(
            folder,
            start=first,
            total=steps,
            every=log_every,
            window=record.get("window"),
            tensorboard=tensorboard,
            hooks=hooks,
        ) as recorder:
            try:
                while done < steps:
                    count = min(steps_per_call, steps - done)
                    batches = sharding.spread(iterator.next(count), devices)
                    with jax.transfer_guard("disallow"):
                        state, values = step(state, batches, root)
                    recorder.push(done, values)
                    done += count
                    stop = interrupted()
                    if posthoc and posthoc.due(done, kept, done == steps):
                        recorder.flush()
                        checkpoints.save_profiles(folder, done, state.profiles, posthoc.sigma_rel)
                        kept = done
                    if stop or done == steps or saved.due(done):
                        recorder.flush()
                        saved.save(done, state, {"iterator": iterator.get_state(), "window": recorder.window})
                    if stop:
                        break
                if first < done == steps:
                    recorder.finish(done)
            except NonFiniteError as error:
                kept = f"that of step {saved.latest}" if saved.latest else "none"
                raise NonFiniteError(f"{error}; the last good checkpoint in {folder}: {kept}") from None
    if done < steps:
        _log.warning("SIGTERM: step %d is saved in %s; the same command goes on", done, folder)
        raise SystemExit(0)
    return state


def _peek(iterator: TrainingIterator, mesh: jax.sharding.Mesh, batch_size: int) -> Batch:
    """The first batch, [B, ...], without advancing the iterator."""
    position = iterator.get_state()
    batches = iterator.next(1)
    iterator.set_state(position)
    _, count = sharding.process_slice(mesh)
    if batches["x"].shape[1] * count != batch_size:
        raise ValueError(
            f"the iterator gives {batches['x'].shape[1]} samples a batch in each of {count} processes, "
            f"which does not make the batch_size of {batch_size}"
        )
    return jax.tree.map(lambda x: x[0], sharding.spread(batches, mesh))


def _shapes(
    objective: Objective,
    begin: Callable[[Variables], State],
    key: Key,
    example: Batch,
    mesh: jax.sharding.Mesh,
    rules: sharding.Rules,
) -> tuple[State, State]:
    """(the state's shapes with shardings, its shardings), without computing anything."""
    shapes = jax.eval_shape(lambda key, batch: begin(objective.init(key, batch)), key, example)
    layout = sharding.state_shardings(shapes, mesh, rules)
    placed = jax.tree.map(
        lambda x, home: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=home), shapes, layout
    )
    return placed, layout


def _initial(
    objective: Objective,
    begin: Callable[[Variables], State],
    key: Key,
    example: Batch,
    layout: State,
    init_from: str | os.PathLike[str] | None,
) -> State:
    homes = Variables(layout.params, layout.state)
    variables = jax.jit(objective.init, out_shardings=homes)(key, example)
    if init_from is not None:
        merge = checkpoints.init_from(init_from, variables)
        variables = merge.variables
        _log.warning(
            "initialised from %s: %d arrays taken; new here: %s; not used: %s",
            init_from,
            len(merge.taken),
            ", ".join(merge.new) or "none",
            ", ".join(merge.missing) or "none",
        )
    return jax.jit(begin, out_shardings=layout)(variables)


@contextmanager
def _interruption() -> Iterator[Any]:
    """A function that tells, between calls, whether to save and leave.

    In a run of one process SIGTERM sets a flag. With several, the signal may reach any of them at any time;
    jax's coordination service lets all stop after the same call.
    """
    if jax.process_count() > 1:
        calls = iter(range(2**62))
        yield lambda: multihost_utils.reached_preemption_sync_point(next(calls))
        return
    received = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only that one may handle signals
        yield received.is_set
        return
    previous = signal.signal(signal.SIGTERM, lambda *_: received.set())
    try:
        yield received.is_set
    finally:
        signal.signal(signal.SIGTERM, previous)
