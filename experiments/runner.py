"""A run: train, evaluate, sample, draw the pictures, write the record. What the commands share.

config.json, provenance.json, metrics.jsonl, timing.jsonl, checkpoints/    written by the training loop
evaluation.json                                                            the record (see `records`)
samples.npz, samples.png, trajectory.png, loss.png                         what it draws
"""

from __future__ import annotations

import functools
import json
import sys
import textwrap
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffusion_jax.build import build
from diffusion_jax.data.context import with_context
from diffusion_jax.evaluation import samples as pictures
from diffusion_jax.evaluation.drawing import classes_in_turn
from diffusion_jax.evaluation.outcome import Evaluation
from diffusion_jax.objectives.latent_parts import null_like
from diffusion_jax.sampling.transforms.extrapolation import Guide, autoguidance, cfg, mixed
from diffusion_jax.sampling.transforms.under import under
from diffusion_jax.training import checkpoints, loop, runs, sharding
from diffusion_jax.training.ema import Decay
from diffusion_jax.training.metrics import Hook
from diffusion_jax.training.posthoc import Tracking
from diffusion_jax.training.state import State
from diffusion_jax.types import Array, Batch, Bound, Denoiser, Key, Objective, Variables
from experiments import machine, records
from experiments.configuration import Config
from experiments.drawing import Draws, draw

_REPORT_SECONDS = 15.0
_LATENTS = 2**32 - 1  # folded into the seed of the samples, for draws that are not theirs


class Plan(NamedTuple):
    """A config and everything that it describes, built."""

    config: Config
    dataset: Any
    objective: Objective
    optimizer: Any
    ema: Decay | None
    evaluations: dict[str, Evaluation]


class Trained(NamedTuple):
    """A plan with the variables that its training gave."""

    plan: Plan
    variables: Variables

    def given(self, conditions: Batch) -> Bound:
        """What the variables give under conditions, such as {"label": [B]}; {} for none."""
        return self.plan.objective.bind(self.variables, jax.random.key(0), conditions)


def plan(config: Config) -> Plan:
    """Build all that the config describes, so that what is wrong with it shows before anything is trained.

    Raises ValueError or TypeError, with what was wrong and what there is.
    """
    for kind in ("sampler", "grid"):
        build(kind, config["sampling"] and config["sampling"][kind])
    return Plan(
        config,
        build("data", config["data"]),
        build("objective", config["objective"]),
        build("optimizer", config["optimizer"]),
        build("ema", config["ema"]),
        {
            name: build("evaluation", spec)
            for name, spec in sorted(config["evaluation"].items())
            if spec is not None
        },
    )


def run(plan: Plan, workdir: str | Path) -> records.Record | None:
    """Train (or go on), evaluate, sample and draw; prints what it finds and returns the record.

    With training.steps = 0 there is nothing to train: an objective without parameters is evaluated as it is.
    In a run of several processes the first alone does what follows training; the others return None.
    """
    folder = Path(workdir).absolute()
    train(plan, folder)
    if jax.process_index() > 0:
        return None
    trained = load(folder, plan)
    record = evaluate(trained, folder)
    sample(trained, folder)
    return record


def train(plan: Plan, workdir: Path, hooks: Sequence[Hook] = ()) -> None:
    """Train until `training.steps` steps are done, going on from what is in `workdir`.

    hooks: called as `hook(step, metrics)` with every line of metrics.

    Raises what `training.loop.train` raises, and TypeError for a training option that does not exist.
    """
    config = plan.config
    options = {name: value for name, value in config["training"].items() if name != "devices"}
    if options["steps"] == 0:
        runs.claim(workdir, config)
        runs.record_start(workdir)
        return
    if _steps_done(workdir) == options["steps"]:
        runs.claim(workdir, config)
        return
    mesh = sharding.make_mesh(options["mesh"])
    sharding.check_batch(options["batch_size"], mesh, options["microbatches"])
    share = sharding.process_slice(mesh)
    if options["posthoc"] is not None:
        options["posthoc"] = Tracking(**options["posthoc"])
    if config["context"] is None:
        batches = plan.dataset.iterator("train", options["batch_size"], config["seed"], *share)
    else:
        batches = with_context(
            plan.dataset, options["batch_size"], config["seed"], *share, **config["context"]
        )
    loop.train(
        plan.objective,
        _Shown(batches, config["conditions"]),
        plan.optimizer,
        workdir=workdir,
        config=config,
        seed=config["seed"],
        ema=plan.ema,
        init_from=config["init_from"],
        hooks=(*hooks, *(() if sys.stderr.isatty() else (_Report(options["steps"]),))),
        **options,
    )


def stored_config(workdir: str | Path) -> Config:
    """The config of the run in `workdir`; raises FileNotFoundError where there is none."""
    stored = runs.read_config(workdir)
    if stored is None:
        raise FileNotFoundError(f"{Path(workdir)} is not the folder of a run: it has no config.json")
    return stored


def load(workdir: str | Path, planned: Plan | None = None) -> Trained:
    """The finished run in `workdir`.

    Args:
        planned: used instead of what the folder's config describes; only how it is evaluated and sampled may
            differ.

    Raises:
        FileNotFoundError: there is no run there.
        ValueError: the run is not finished, or belongs to another config.
    """
    folder = Path(workdir).absolute()
    stored = stored_config(folder)
    if planned is None:
        planned = plan(stored)
    else:
        runs.claim(folder, planned.config)
    steps = planned.config["training"]["steps"]
    if steps == 0:
        example = next(iter(planned.dataset.epoch("test", 1)))
        return Trained(planned, planned.objective.init(jax.random.key(planned.config["seed"]), example))
    done = _steps_done(folder)
    if done < steps:
        raise ValueError(
            f"the run in {folder} is not finished: {done} of {steps} steps are saved; "
            "the command that started it goes on with it"
        )
    return Trained(planned, checkpoints.load(folder)[1])


def store(
    workdir: str | Path, config: Config, variables: Variables, steps: int, record: Mapping[str, Any]
) -> None:
    """Make `workdir` the folder of a run that was finished elsewhere, after `steps` steps, without averages.

    record: JSON-able, kept with the checkpoint.

    Raises ValueError where the folder belongs to another run.
    """
    runs.claim(workdir, config)
    runs.record_start(workdir)
    state = State(jnp.int32(steps), variables.params, variables.state, (), None)
    with checkpoints.Checkpoints(workdir, 1, 1) as saved:
        saved.save(steps, state, record)


def evaluate(trained: Trained, workdir: Path) -> records.Record:
    """Every evaluation of the plan, printed and written as `workdir/evaluation.json`.

    Each has a key of its own, from the run's seed and the evaluation's name. Returns the record.
    """
    config, metrics = trained.plan.config, {}
    begin = time.perf_counter()
    for name, evaluation in trained.plan.evaluations.items():
        outcome = evaluation(trained.given, trained.plan.dataset, evaluation_key(config, name))
        print(f"{name}\n{textwrap.indent(outcome.text, '  ')}\n", flush=True)
        metrics |= {f"{name}/{metric}": value for metric, value in outcome.metrics.items()}
    seconds = {"training": _training_seconds(workdir), "evaluation": time.perf_counter() - begin}
    provenance = runs.provenance()
    record = records.record_of(config, provenance, machine.hardware(provenance), seconds, metrics)
    records.write(workdir / "evaluation.json", record)
    return record


def evaluation_key(config: Config, name: str) -> Key:
    """The key of the evaluation `name` of a run."""
    return jax.random.fold_in(jax.random.key(config["seed"]), zlib.crc32(name.encode()))


def sample(trained: Trained, workdir: Path) -> None:
    """Draw as the config says, if it does, and the pictures, into `workdir`."""
    config = trained.plan.config
    lines = _lines(workdir / "metrics.jsonl")
    if lines:
        pictures.loss_picture(workdir / "loss.png", lines)
    if config["sampling"] is None:
        return
    draws = drawn(trained, seed=config["seed"], **config["sampling"])
    save_samples(workdir / "samples", trained, draws)
    limits = grey_limits(trained.plan.dataset.info)
    pictures.trajectory_picture(workdir / "trajectory.png", draws.states, draws.times, limits=limits)


def drawn(
    trained: Trained,
    *,
    count: int,
    seed: int,
    sampler: Any,
    grid: Any = None,
    labels: bool = False,
    guidance: Mapping[str, Any] | None = None,
    latents: Mapping[str, Any] | None = None,
) -> Draws:
    """Samples of a trained model; see `drawing.draw`.

    With `labels`, sample i is of class i modulo their number. `guidance` is {"scale": w} and, if wanted, the
    interval {"low": ..., "high": ...} of sigma/alpha: classifier-free (the same model without the label is
    the weak one) or, with {"guide": workdir}, by that finished run (see `sampling.transforms.extrapolation`).
    `latents` says how those of a model that has them are drawn, {"temperature": ..., "top_p": ...}, and how
    far null latents are left behind, {"excess": g} and, if wanted, an interval; it adds to that of `guidance`
    (`mixed`).

    Raises ValueError for labels of a data set without classes, classifier-free guidance without labels, and
    latents of a model without them or without a prior.
    """
    classes = classes_in_turn(trained.plan.dataset.info, labels)
    guide, interval, law = None, dict(guidance or {}), dict(latents or {})
    away = {name: law.pop(name) for name in ("excess", "low", "high") if name in law}
    if guidance is not None:
        workdir = interval.pop("guide", None)
        if workdir is None and not labels:
            raise ValueError("classifier-free guidance is towards a label: set labels, or give a guide")
        guide = None if workdir is None else load(workdir)

    def bind(variables: tuple[Variables, Variables | None], index: Array) -> Bound:
        own, other = variables
        key = jax.random.fold_in(jax.random.key(seed), _LATENTS)
        known, given = classes(index), functools.partial(trained.plan.objective.bind, own, key)
        model = given({}).latents
        prior = None if model is None else model.sample
        if latents is not None and prior is None:
            raise ValueError("this run has no latents that could be drawn from a prior")
        z = {}
        if prior is not None:
            z["latents"] = prior(jax.vmap(jax.random.fold_in, (None, 0))(key, index), known, **law)
        bound = given({**known, **z})

        weak = None
        if guide is not None and other is not None:
            seen = guide.plan.objective.bind(other, key, {"seed": index, **known})
            weak = under(_denoiser(seen), seen.process, bound.process)
        elif guidance is not None:
            weak = _denoiser(given(z))
        if away:
            null = {"latents": null_like(z["latents"])}
            guides = [Guide(_denoiser(given({**known, **null})), **away)]
            if weak is not None:
                between = {name: value for name, value in interval.items() if name != "scale"}
                guides.append(Guide(weak, interval["scale"] - 1, **between))
            return bound._replace(denoiser=mixed(bound.process, _denoiser(bound), *guides))
        if weak is None:
            return bound
        extrapolated = cfg if guide is None else autoguidance
        return bound._replace(denoiser=extrapolated(bound.process, _denoiser(bound), weak, **interval))

    shape = tuple(trained.plan.dataset.info.shape)
    variables = (trained.variables, None if guide is None else guide.variables)
    return draw(bind, variables, shape, count=count, seed=seed, sampler=sampler, grid=grid)


def _denoiser(bound: Bound) -> Denoiser:
    assert bound.denoiser is not None
    return bound.denoiser


def save_samples(path: Path, trained: Trained, draws: Draws) -> None:
    """Write `path`.npz with the array `x`, and `path`.png."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path.with_name(f"{path.name}.npz"), x=draws.x)
    pictures.samples_picture(
        path.with_name(f"{path.name}.png"), draws.x, limits=grey_limits(trained.plan.dataset.info)
    )


def grey_limits(info: Any) -> tuple[float, float]:
    """The values of x shown as black and white: those of grey values; 0 and 1 for bits; else -3 and 3."""
    if info.levels is not None:
        return -info.centre / info.unit, (info.levels - 1 - info.centre) / info.unit
    return (-3.0, 3.0) if info.kind == "continuous" else (0.0, 1.0)


def shown(batch: Batch, conditions: Sequence[str]) -> Batch:
    """Of a batch and its context x, mask, target and the named conditions."""
    keys = {"x", "mask", "target", *conditions}
    found = {name: leaf for name, leaf in batch.items() if name in keys}
    return found | ({"context": shown(batch["context"], conditions)} if "context" in batch else {})


class _Shown:
    """A training iterator whose batches, and their context, hold what the model is trained with only."""

    def __init__(self, inner: loop.TrainingIterator, conditions: Sequence[str]) -> None:
        self._inner, self._conditions = inner, conditions
        self.get_state, self.set_state = inner.get_state, inner.set_state

    def next(self, n: int) -> Batch:
        return shown(self._inner.next(n), self._conditions)


class _Report:
    """A hook that prints a line now and then, where there is no terminal for a progress bar."""

    def __init__(self, steps: int) -> None:
        self._steps, self._last = steps, 0.0

    def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
        now = time.monotonic()
        if jax.process_index() == 0 and (now - self._last > _REPORT_SECONDS or step == self._steps):
            self._last = now
            print(f"step {step} of {self._steps}: loss {metrics['loss']:.4g}", flush=True)


def _steps_done(workdir: Path) -> int:
    saved = [int(one.name) for one in (workdir / "checkpoints").glob("*") if one.name.isdigit()]
    return max(saved, default=0)


def _training_seconds(workdir: Path) -> float:
    lines = _lines(workdir / "timing.jsonl")
    return lines[-1]["seconds"] if lines else 0.0


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
