"""Official weights as the folder of a finished run, and back.

RUN/config.json, RUN/checkpoints/1/    as every run has them: one step, after which training is done
RUN/source.json                        the file they came from, its digest, its description, its licence
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffusion_jax.build import build
from diffusion_jax.networks.official import from_official, to_official
from diffusion_jax.training import checkpoints, runs
from diffusion_jax.types import Variables
from experiments.configuration import DEFAULTS, Config
from experiments.official import files
from experiments.official.description import (
    NETWORKS,
    PRECONDITIONERS,
    Description,
    agreed,
    description_of,
    objective_spec,
    read_off,
)
from experiments.runner import store, stored_config

LICENCE = (
    "The official weights are under CC BY-NC-SA 4.0 (creativecommons.org/licenses/by-nc-sa/4.0): not for "
    "commercial use, and what is made of them, as this run, only under the same licence."
)


class Network(NamedTuple):
    """A network that was read from a file.

    arrays:      in the official layout, float32
    description: complete and in agreement with the arrays
    loss:        numbers of the loss it was trained with, as far as the file has them
    notes:       what was changed or left out
    """

    arrays: dict[str, np.ndarray]
    description: Description
    loss: dict[str, Any]
    notes: list[str]


def network(path: Path, preconditioner: str | None = None) -> Network:
    """The network in a file of a known format.

    Args:
        path: of the file (see `files`).
        preconditioner: one of `PRECONDITIONERS`, for a dump without a description beside it.

    Raises what `files.contents`, `files.weights` and `description.agreed` raise; ValueError where the
    preconditioner is not known, or known to be another.
    """
    found = files.contents(path)
    arrays, notes = files.weights(found)
    description = found.description
    if description is None:
        if preconditioner is None:
            raise ValueError(
                f"{path} does not say how its network was preconditioned, and arrays do not show it: give "
                f"--preconditioner, one of {', '.join(PRECONDITIONERS)}, or a description in {path.stem}.json"
            )
        description = {"class_name": PRECONDITIONERS[preconditioner], **read_off(arrays), "dropout": 0.0}
    elif preconditioner is not None and description.get("class_name") != PRECONDITIONERS[preconditioner]:
        raise ValueError(f"{path} is preconditioned by {description.get('class_name')}, not {preconditioner}")
    full = agreed(description, arrays)
    if full["use_fp16"]:
        notes.append("the official code computes this network in float16; here in float32, unless dtype says")
    return Network(arrays, full, found.loss, notes)


def config(found: Network, data: Any = None) -> Config:
    """The config of the run; `data` is a spec, by default one without any images.

    Raises ValueError where the data have another shape or other classes than the network knows.
    """
    size, channels, labels = (
        found.description[name] for name in ("img_resolution", "img_channels", "label_dim")
    )
    if data is None:
        data = {"name": "no_images", "size": size, "channels": channels, "classes": labels or None}
    info = build("data", data).info
    if tuple(info.shape) != (1, size, size, channels) or (labels and info.classes != labels):
        raise ValueError(
            f"the network is made for images {(1, size, size, channels)} of {labels} classes; these data "
            f"have the shape {tuple(info.shape)} and {info.classes or 0} classes"
        )
    grid = {"name": "karras_grid", "steps": 18 if size <= 32 else 40}
    return {
        **DEFAULTS,
        "seed": 0,
        "conditions": ["label"] if labels else [],
        "data": data,
        "objective": objective_spec(found.description, found.loss),
        "optimizer": {"name": "adam", "learning_rate": 1e-3},
        "training": {**DEFAULTS["training"], "steps": 1, "batch_size": 1},
        "evaluation": {},
        "sampling": {"sampler": "heun", "grid": grid, "count": 64, "labels": labels > 0},
    }


def write(path: Path, workdir: Path, found: Network, config: Config) -> None:
    """Make `workdir` the run.

    Args:
        path: the file that the network came from.
        workdir: must not hold a run.
        found: the network.
        config: from `config`.

    Raises:
        FileExistsError: there is a run in `workdir`.
        ValueError: the arrays are not those that the network has; all that differ are named.
    """
    if runs.read_config(workdir) is not None or (workdir / "checkpoints").exists():
        raise FileExistsError(f"there already is a run in {workdir}")
    objective = build("objective", config["objective"])
    template = jax.eval_shape(objective.init, jax.random.key(0), _example(found.description))
    own = {"params": template.params["network"], **template.state["network"]}
    variables = jax.tree.map(jnp.asarray, from_official(found.arrays, own))
    params = {"network": variables.pop("params")}
    source = {
        "file": path.name,
        "sha256": _digest(path),
        "description": {name: value for name, value in found.description.items() if value != float("inf")},
        "notes": found.notes,
        "licence": LICENCE,
    }
    store(workdir, config, Variables(params, {"network": variables}), 1, {"source": source["sha256"]})
    runs.write_text(workdir / "source.json", json.dumps(source, indent=2) + "\n")


def read(workdir: Path, ema: bool = True) -> tuple[dict[str, np.ndarray], Description]:
    """The arrays of a run's network in the official layout, and its description.

    ema: the averaged parameters, where the run has them.

    Raises what `runner.stored_config` and `checkpoints.load` raise, and ValueError for networks and
    preconditionings that are not among the official ones.
    """
    objective = stored_config(workdir)["objective"]
    name = objective.get("network", {}).get("name")
    known = [kind.name for kind in NETWORKS]
    if name not in known or "coefficients" not in objective:
        raise ValueError(
            f"the run has a network {name!r}; the official layout is that of: {', '.join(known)}"
        )
    _, variables = checkpoints.load(workdir, ema=ema)
    arrays = to_official({"params": variables.params["network"], **variables.state["network"]})
    return arrays, description_of(objective, arrays)


def _example(description: Description) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of a batch of one image, with a label where there are classes."""
    size, channels = description["img_resolution"], description["img_channels"]
    batch = {"x": jax.ShapeDtypeStruct((1, 1, size, size, channels), jnp.float32)}
    if description["label_dim"]:
        batch["label"] = jax.ShapeDtypeStruct((1,), jnp.int32)
    return batch


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
