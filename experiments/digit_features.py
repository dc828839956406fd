"""Trains the classifier of digits whose features score samples of digits, and stores its parameters.

    python -m experiments.digit_features

Ten seconds on a CPU. Writes diffusion_jax/evaluation/digit_features.npz and the record
experiments/results/digit_features.json. Other parameters are another extractor, with a checksum of their own
in its name: distances of the two cannot be compared, so there is a reason to run this only where the network
or its training is to change.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import traverse_util

from diffusion_jax.data.digits import digits
from diffusion_jax.evaluation.digit_classifier import WEIGHTS, DigitClassifier
from diffusion_jax.evaluation.extractors import digit_features
from diffusion_jax.types import Array, Key
from experiments import machine, records

STEPS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 1500, 128, 3e-3, 1e-3


def train(x: np.ndarray, label: np.ndarray, seed: int, steps: int = STEPS) -> Any:
    """Parameters of `DigitClassifier`, trained on x [N, 8, 8, 1] and label [N].

    AdamW with a cosine decay; images are shifted by up to one pixel in either direction.
    """
    network = DigitClassifier()
    root = jax.random.key(seed)
    parameters = network.init(root, jnp.asarray(x[:1]))["params"]
    optimizer = optax.adamw(optax.cosine_decay_schedule(LEARNING_RATE, steps), weight_decay=WEIGHT_DECAY)

    def loss(parameters: Any, key: Key, x: Array, label: Array) -> Array:
        logits = network.apply({"params": parameters}, x, train=True, rngs={"dropout": key})
        return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()  # type: ignore[arg-type]

    @jax.jit
    def step(state: Any, i: Array, x: Array, label: Array) -> Any:
        parameters, moments = state
        rows_key, shift_key, drop_key = jax.random.split(jax.random.fold_in(root, i), 3)
        rows = jax.random.randint(rows_key, (BATCH,), 0, len(x))
        gradient = jax.grad(loss)(parameters, drop_key, _shifted(shift_key, x[rows]), label[rows])
        updates, moments = optimizer.update(gradient, moments, parameters)
        return optax.apply_updates(parameters, updates), moments

    state = parameters, optimizer.init(parameters)
    for i in range(steps):
        state = step(state, jnp.asarray(i), jnp.asarray(x), jnp.asarray(label))
    return state[0]


def accuracy(parameters: Any, x: np.ndarray, label: np.ndarray) -> float:
    """The share of x [N, 8, 8, 1] whose class the classifier finds."""
    logits = DigitClassifier().apply({"params": parameters}, jnp.asarray(x))
    return float((np.asarray(logits).argmax(1) == label).mean())


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, writes the parameters and the record, and prints how well it classifies."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.digit_features",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--out", type=Path, default=WEIGHTS, metavar="FILE", help="default: in the package")
    options = parser.parse_args(arguments)
    if options.seed < 0:
        sys.exit("error: the seed must not be negative")
    begin = time.perf_counter()
    (x, label), held_out = _split("train"), _split("test")
    parameters = train(x, label, options.seed)
    flat = traverse_util.flatten_dict(parameters, sep="/")
    stored: Any = {name: np.asarray(value) for name, value in flat.items()}
    np.savez_compressed(options.out, **stored)
    found = {"train": accuracy(parameters, x, label), "test": accuracy(parameters, *held_out)}
    print(f"classified rightly: {found['test']:.2%} of {len(held_out[1])} held-out digits")
    if options.out == WEIGHTS:
        record = {
            "extractor": digit_features().name,
            "seed": options.seed,
            "steps": STEPS,
            "hardware": machine.hardware(),
            "seconds": round(time.perf_counter() - begin, 1),
            "accuracy": found,
        }
        path = records.RESULTS / "digit_features.json"
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _split(name: str) -> tuple[np.ndarray, np.ndarray]:
    dataset = digits()
    batch = next(dataset.epoch(name, dataset.info.splits[name]))
    return batch["x"][:, 0], batch["label"]


def _shifted(key: Key, x: Array) -> Array:
    """Images [N, 8, 8, 1] moved by -1, 0 or 1 pixels along both axes, with black behind."""
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-1)
    corners = jax.random.randint(key, (len(x), 2), 0, 3)

    def cut(image: Array, corner: Array) -> Array:
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), x.shape[1:])

    return jax.vmap(cut)(padded, corners)


if __name__ == "__main__":
    main()
