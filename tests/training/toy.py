"""A small denoiser and its data, for the tests of training; as a script, a run in a process of its own."""

import argparse
import json
import time
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from diffusion_jax.training.ema import warmup
from diffusion_jax.training.loop import train
from diffusion_jax.types import Bound, Loss, Objective, Variables


class Network(nn.Module):
    width: int = 16
    dtype: str | None = None

    @nn.compact
    def __call__(self, x, noise):
        noise = jnp.broadcast_to(noise[..., None], (*x.shape[:-1], 1))
        x = jnp.concatenate([x, noise], axis=-1)
        return nn.Dense(2, dtype=self.dtype)(nn.tanh(nn.Dense(self.width, dtype=self.dtype)(x)))


def objective(width=16, dtype=None, noisy=True):
    """Denoising of points of the plane; without noise it is a regression that ignores its key."""
    network = Network(width, dtype)

    def init(key, batch):
        params = network.init(key, batch["x"], jnp.zeros(batch["x"].shape[:2]))["params"]
        return Variables(params, {"calls": jnp.zeros((), jnp.int32)})

    def loss(variables, key, batch):
        x = batch["x"]
        t_key, noise_key = jax.random.split(key)
        t = jax.random.uniform(t_key, x.shape[:2]) if noisy else jnp.full(x.shape[:2], 0.5)
        x_t = x + t[..., None] * jax.random.normal(noise_key, x.shape) if noisy else x[..., ::-1]
        x0_hat = network.apply({"params": variables.params}, x_t, t)
        value = jnp.sum((x0_hat.astype(jnp.float32) - x) ** 2, axis=-1)
        state = {"calls": variables.state["calls"] + 1}
        return Loss(value, jnp.ones_like(value), {"level": t}, state)

    return Objective(init, loss, lambda variables, key, batch: Bound())


class Points:
    """An endless stream of points; this process's rows of every batch."""

    def __init__(self, batch_size=16, seed=0, index=0, count=1, delay=0.0, poison=None):
        self.rows = slice(index * batch_size // count, (index + 1) * batch_size // count)
        self.batch_size, self.seed, self.delay, self.poison = batch_size, seed, delay, poison
        self.position = 0

    def next(self, n):
        time.sleep(self.delay)
        batches = []
        for i in range(self.position, self.position + n):
            x = np.random.default_rng([self.seed, i]).normal(size=(self.batch_size, 1, 2)).astype(np.float32)
            if i == self.poison:
                x[:] = np.nan
            batches.append({"x": x[self.rows], "mask": np.ones((len(x[self.rows]), 1), np.float32)})
        self.position += n
        return jax.tree.map(lambda *xs: np.stack(xs), *batches)

    def get_state(self):
        return {"position": self.position}

    def set_state(self, state):
        self.position = state["position"]


DEFAULTS = {
    "config": {"objective": "toy", "training": {"steps": 1}},
    "seed": 0,
    "steps": 12,
    "batch_size": 16,
    "steps_per_call": 2,
    "log_every": 3,
    "checkpoint_every": 4,
    "ema": warmup(0.9),
}


def run(workdir, iterator=None, width=16, **changes):
    """A training run with small settings."""
    arguments = DEFAULTS | changes
    iterator = iterator or Points(arguments["batch_size"])
    return train(objective(width), iterator, optax.adam(1e-2), workdir=workdir, **arguments)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that a call's batches take")
    parser.add_argument("--changes", type=json.loads, default={}, help="arguments of train, as JSON")
    arguments = parser.parse_args()
    run(arguments.workdir, Points(delay=arguments.delay), **arguments.changes)


if __name__ == "__main__":
    main()
