"""What the benchmark measures, beside configs: the networks at work, on random numbers.

    unet_step       a training step of EDM's DDPM++ in small: 1.75 M parameters, 16 images of 32x32x3, Adam
    unet_denoiser   one evaluation of its denoiser
    unet_heun       18 steps of Heun's method, 35 evaluations, as one compiled program
    latents_step, latents_denoiser
                    the same step and evaluation where the network sees ten latents of 100 codes, given: what
                    tokens and cross-attention cost
    prior_draws     ten latents for each image from an autoregressive prior, whose size is to the network's as
                    in DisCo-Diff (arXiv 2407.03300): what they cost beside unet_heun (the paper's, beside 114
                    evaluations: 0.6 %)
    guidance_step   a training step of a guidance model by likelihood alone: an equivariant network, 4 layers
                    of 48, on 64 molecules of 11 rings
    context_step    the same with the context regulariser of 64 molecules more: a pass through the network and
                    through its fixed copy, and a Cholesky factorisation
    mlp_steps       500 training steps of a perceptron on 256 points of the plane, scanned on the device
    rollout_cached  256 tokens, one after the other in 2 steps each, by a causal transformer that keeps its
                    keys and values; 2 sequences at once
    rollout_window  the same where it is shown the whole sequence again at every step

Images and molecules are spread over all devices; perceptron, transformer and prior use one. Parameters are
random, the last layers' too, so that outputs say something.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from diffusion_jax.build import build
from diffusion_jax.sampling.loop import sample
from diffusion_jax.sampling.memories import window
from diffusion_jax.sampling.rollout import rollout
from diffusion_jax.sampling.schedules import full_sequence, levels_of
from diffusion_jax.training import sharding
from diffusion_jax.training import state as states
from diffusion_jax.training.step import make_step
from diffusion_jax.types import Array, Key, Memory, Objective, PyTree, Variables

SIGMA_MAX = 80.0
PROCESS = {"name": "edm", "sigma_max": SIGMA_MAX}
LEVEL = 0.01  # at which the denoiser is evaluated
LEARNING_RATE = 1e-3
DROPOUT = 0.13
_SEQUENCES, _FEATURES = 2, 8  # of a roll-out


class Size(NamedTuple):
    """How large the workloads are.

    unet, mlp:     arguments of the networks
    side, batch:   of the images
    heun:          steps of the sampler
    points, steps: a batch of the perceptron, and its training steps in one run
    transformer:   arguments of the network
    tokens, falls: of a roll-out, and the steps of the sampler for each
    latents:       arguments of the latents' tokens
    prior:         arguments of the prior, beside the codebook
    invariant:     arguments of the guidance model's network
    molecules, rings: of its batch and of its context, and of each of them
    """

    unet: Mapping[str, Any]
    side: int
    batch: int
    heun: int
    mlp: Mapping[str, Any]
    points: int
    steps: int
    transformer: Mapping[str, Any]
    tokens: int
    falls: int
    latents: Mapping[str, Any]
    prior: Mapping[str, Any]
    invariant: Mapping[str, Any]
    molecules: int
    rings: int


FULL = Size(
    unet={"channels": 32, "multipliers": [1, 2, 2], "blocks": 2, "attention": [16]},
    side=32,
    batch=16,
    heun=18,
    mlp={"width": 128, "depth": 3},
    points=256,
    steps=500,
    transformer={"width": 64, "depth": 3, "heads": 4},
    tokens=256,
    falls=2,
    latents={"count": 10, "codes": 100, "width": 32, "depth": 6, "heads": 4},
    prior={"width": 64, "depth": 3, "heads": 4},
    invariant={"width": 48, "depth": 4, "bases": 16},
    molecules=64,
    rings=11,
)
TINY = Size(
    unet={"channels": 8, "multipliers": [1, 2], "blocks": 1, "attention": [4]},
    side=8,
    batch=2,
    heun=2,
    mlp={"width": 16, "depth": 2},
    points=8,
    steps=3,
    transformer={"width": 8, "depth": 1, "heads": 2},
    tokens=3,
    falls=2,
    latents={"count": 2, "codes": 3, "width": 8, "depth": 1, "heads": 2},
    prior={"width": 8, "depth": 1, "heads": 2},
    invariant={"width": 8, "depth": 1, "bases": 4},
    molecules=4,
    rings=3,
)


class Model(NamedTuple):
    """objective: around a network; variables: random; x: [B, ...], as data; known: the rest of the batch."""

    objective: Objective
    variables: Variables
    x: np.ndarray
    known: Mapping[str, Any]

    def denoiser(self) -> Callable[[Variables, Array, Array], Array]:
        """(variables, x_t, t) -> x0_hat."""
        return lambda variables, x, t: self.bound(variables).denoiser(x, t)

    def sampler(self, steps: int) -> Callable[[Variables, Key, Array], Array]:
        """(variables, key, x_1) -> x_0 by Heun's method."""
        heun, grid = build("sampler", "heun", process=_process()), _grid(steps)
        return lambda variables, key, x: sample(key, self.bound(variables).denoiser, heun, x, grid)

    def bound(self, variables: Variables) -> Any:
        """What the objective gives for these variables."""
        return self.objective.bind(variables, jax.random.key(0), dict(self.known))


class Work(NamedTuple):
    """Something compiled.

    run:             does it once, and waits for the result
    steps, samples:  training steps (or evaluations of the network), and images, points or tokens, in one run
    compile_seconds: what tracing and compiling took
    buffers:         bytes of the program's inputs, outputs and temporary arrays, on one device
    """

    run: Callable[[], None]
    steps: int
    samples: int
    compile_seconds: float
    buffers: int


def sigmas(steps: int) -> list[float]:
    """The noise levels of the sampler, from SIGMA_MAX to 0."""
    return np.asarray(_process().sigma(_grid(steps)), np.float64).tolist()


def unet(size: Size) -> Model:
    """The U-Net and its images."""
    shape = (size.batch, 1, size.side, size.side, 3)
    return _model({"name": "ddpmpp", **size.unet, "dropout": DROPOUT}, shape)


def with_latents(size: Size) -> Model:
    """The U-Net that sees latents, its images and theirs."""
    count, codes = size.latents["count"], size.latents["codes"]
    tokens = {"name": "latent_tokens", **size.latents}
    known = {"latents": np.random.default_rng(2).integers(codes, size=(size.batch, count), dtype=np.int32)}
    shape = (size.batch, 1, size.side, size.side, 3)
    return _model({"name": "ddpmpp", **size.unet, "dropout": DROPOUT, "latents": tokens}, shape, known)


def mlp(size: Size) -> Model:
    """The perceptron and its points."""
    return _model({"name": "mlp", **size.mlp}, (size.points, 1, 2))


def guidance(size: Size, context: bool) -> Model:
    """A guidance model of three targets and its molecules, with or without the context regulariser."""
    shape, rng = (size.molecules, size.rings, 3), np.random.default_rng(3)
    known: dict[str, Any] = {"target": rng.standard_normal((size.molecules, 3), np.float32)}
    regulariser = {"name": "context", "ramp": "sigmoid", "examples": 10_000}
    if context:
        known["context"] = {"x": rng.standard_normal(shape, np.float32)}
    spec = {
        "name": "guidance",
        "predictor": {"name": "invariant", **size.invariant},
        "process": "vp_polynomial",
        "coefficients": {"name": "timed", "coefficients": "eps"},
        "levels": {"name": "per_sample", "levels": "low_discrepancy"},
        "head": {"name": "regression", "targets": 3},
        "regulariser": regulariser if context else None,
    }
    return _initialised(build("objective", spec), shape, known)


def unet_step(size: Size) -> Work:
    return _training(unet(size), _mesh(), 1)


def mlp_steps(size: Size) -> Work:
    return _training(mlp(size), sharding.make_mesh({"data": 1}), size.steps)


def latents_step(size: Size) -> Work:
    return _training(with_latents(size), _mesh(), 1)


def guidance_step(size: Size) -> Work:
    return _training(guidance(size, False), _mesh(), 1)


def context_step(size: Size) -> Work:
    return _training(guidance(size, True), _mesh(), 1)


def unet_denoiser(size: Size) -> Work:
    return _evaluation(unet(size))


def latents_denoiser(size: Size) -> Work:
    return _evaluation(with_latents(size))


def _evaluation(model: Model) -> Work:
    mesh, count = _mesh(), len(model.x)
    variables, x = _placed(model, mesh)
    t = jax.device_put(jnp.full((count,), LEVEL), NamedSharding(mesh, PartitionSpec("data")))
    return _work(jax.jit(model.denoiser()), (variables, x, t), 1, count)


def unet_heun(size: Size) -> Work:
    model, mesh = unet(size), _mesh()
    variables, x = _placed(model, mesh)
    key = jax.device_put(jax.random.key(0), sharding.replicated(mesh))
    inputs = variables, key, SIGMA_MAX * x
    return _work(jax.jit(model.sampler(size.heun)), inputs, 2 * size.heun - 1, size.batch)


def prior_draws(size: Size) -> Work:
    count, codes = size.latents["count"], size.latents["codes"]
    prior = build("prior", {"name": "autoregressive", "latents": count, "codes": codes, **size.prior})
    key = jax.random.key(0)
    shapes = jax.eval_shape(prior.init, key, jnp.zeros((size.batch, count), jnp.int32))
    inputs = jax.tree.map(jnp.asarray, _random(shapes)), jax.random.split(key, size.batch)
    return _work(jax.jit(prior.sample), inputs, count, size.batch)


def rollout_cached(size: Size) -> Work:
    return _rollout(size, lambda bound: bound.memory)


def rollout_window(size: Size) -> Work:
    shape = (size.tokens, _FEATURES)
    return _rollout(size, lambda bound: window(lambda given: bound.denoiser, bound.process, shape))


WORKLOADS: dict[str, Callable[[Size], Work]] = {
    "unet_step": unet_step,
    "unet_denoiser": unet_denoiser,
    "unet_heun": unet_heun,
    "latents_step": latents_step,
    "latents_denoiser": latents_denoiser,
    "prior_draws": prior_draws,
    "guidance_step": guidance_step,
    "context_step": context_step,
    "mlp_steps": mlp_steps,
    "rollout_cached": rollout_cached,
    "rollout_window": rollout_window,
}


def _rollout(size: Size, memory: Callable[[Any], Memory]) -> Work:
    network = {"name": "transformer", **size.transformer, "causal": True, "positions": size.tokens}
    model = _model(network, (_SEQUENCES, size.tokens, _FEATURES))
    times = levels_of(_grid(size.falls), full_sequence(size.falls, 1))

    def run(variables: Variables, key: Key) -> Array:
        bound, start = model.bound(variables), jnp.zeros((_SEQUENCES, 0, _FEATURES))
        sampler = build("sampler", "ddim", process=bound.process)
        return rollout(key, memory(bound), sampler, start, times, size.tokens, process=bound.process)

    inputs = jax.tree.map(jnp.asarray, model.variables), jax.random.key(0)
    return _work(jax.jit(run), inputs, size.tokens * size.falls, _SEQUENCES * size.tokens)


def _process() -> Any:
    return build("process", PROCESS)


def _grid(steps: int) -> Array:
    return build("grid", {"name": "karras_grid", "steps": steps}, process=_process())


def _model(
    network: dict[str, Any], shape: tuple[int, ...], known: Mapping[str, np.ndarray] | None = None
) -> Model:
    objective = build(
        "objective",
        {
            "name": "denoising",
            "process": PROCESS,
            "network": network,
            "coefficients": "edm",
            "levels": {"name": "per_sample", "levels": "lognormal"},
            "weight": "edm",
        },
    )
    return _initialised(objective, shape, known or {})


def _initialised(objective: Objective, shape: tuple[int, ...], known: Mapping[str, Any]) -> Model:
    x = np.random.default_rng(0).standard_normal(shape, np.float32)
    # Running or compiling the network's own initialisation would take longer than all the rest.
    shapes = jax.eval_shape(objective.init, jax.random.key(0), {"x": x, **known})
    return Model(objective, _random(shapes), x, known)


def _random(shapes: PyTree) -> PyTree:
    """Arrays of these shapes: kernels that keep variances, scales about 1, biases about 0."""
    rng = np.random.default_rng(1)

    def leaf(path: Any, shape: Any) -> np.ndarray:
        name = path[-1].key
        values = rng.standard_normal(shape.shape, np.float32)
        if name == "kernel":
            return values / np.sqrt(np.prod(shape.shape[:-1]), dtype=np.float32)
        return np.float32(name == "scale") + np.float32(0.1) * values

    return jax.tree_util.tree_map_with_path(leaf, shapes)


def _mesh() -> Mesh:
    return sharding.make_mesh({"data": -1})


def _placed(model: Model, mesh: Mesh) -> tuple[Variables, Array]:
    variables = jax.device_put(model.variables, sharding.replicated(mesh))
    return variables, jax.device_put(model.x, NamedSharding(mesh, PartitionSpec("data")))


def _training(model: Model, mesh: Mesh, steps: int) -> Work:
    optimizer = build("optimizer", {"name": "adam", "learning_rate": LEARNING_RATE})
    state = states.create(jax.tree.map(jnp.asarray, model.variables), optimizer, averaged=False)
    layout = sharding.state_shardings(state, mesh, ())
    state = jax.device_put(state, layout)
    batch = {"x": model.x, **model.known}
    batches = sharding.spread(
        jax.tree.map(lambda leaf: np.broadcast_to(leaf, (steps, *leaf.shape)), batch), mesh
    )
    root = jax.device_put(jax.random.key(0), sharding.replicated(mesh))
    step, seconds, buffers = _compiled(
        make_step(model.objective, optimizer, shardings=layout), (state, batches, root)
    )

    def run() -> None:
        nonlocal state
        state, metrics = step(state, batches, root)
        jax.block_until_ready(metrics)

    return Work(run, steps, steps * len(model.x), seconds, buffers)


def _work(function: Any, inputs: tuple[Any, ...], steps: int, samples: int) -> Work:
    program, seconds, buffers = _compiled(function, inputs)
    return Work(lambda: jax.block_until_ready(program(*inputs)), steps, samples, seconds, buffers)


def _compiled(function: Any, inputs: tuple[Any, ...]) -> tuple[Any, float, int]:
    begin = time.perf_counter()
    program = function.lower(*inputs).compile()
    seconds = time.perf_counter() - begin
    memory = program.memory_analysis()
    buffers = memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes
    return program, seconds, buffers - memory.alias_size_in_bytes
