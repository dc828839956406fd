"""Compares the speed of our networks with the same networks in PyTorch, eager, on the same machine.

    pip install '.[compare]'
    python -m experiments.compare --record experiments/results/benchmark/pytorch.json

The workloads are the benchmark's. The twin has our weights, and must give our outputs to 1e-5 (samples to
1e-4) before anything is timed. Then both run in turns, for absolute times drift and ratios of neighbours do
not. What is printed, as Markdown: the median seconds of a run of each, and the median of PyTorch's time over
ours with its quartiles; above 1 we are ahead. Compiling is not counted. Both use all cores, or the GPU where
both have it. Nothing else should run meanwhile; the record's `busy` is the share of the cores that was busy
before.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffusion_jax.networks.official import to_official
from diffusion_jax.training import runs
from experiments import machine, markdown, records, workloads
from experiments.workloads import Model, Size

COLUMNS = ("workload", "ours, s", "PyTorch, s", "ratio", "quartiles")
_OUTPUTS, _SAMPLES = 1e-5, 1e-4
_PAUSE = 0.2  # seconds; threads that wait for work busily would take it from the next


class Other(NamedTuple):
    """PyTorch, our module of twins, and where they run."""

    torch: Any
    twin: Any
    device: str

    def array(self, x: Any) -> Any:
        return self.torch.tensor(np.array(x), device=self.device)

    def wait(self) -> None:
        if self.device == "cuda":
            self.torch.cuda.synchronize()


class Twin(NamedTuple):
    """run: does a workload once, and waits for it; apart: relative difference of its denoiser and ours."""

    run: Callable[[], Any]
    apart: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Compares what the command line says and prints it."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workload", action="append", choices=TWINS, help="default: all of them")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each (default: 15)")
    parser.add_argument("--devices", type=int, help="into how many the CPU is divided; default: its cores")
    parser.add_argument("--tiny", action="store_true", help="networks that say nothing, to try the command")
    parser.add_argument("--record", metavar="FILE", help="also write the numbers here, as JSON")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error(f"--rounds must be at least 1, got {options.rounds}")
    busy = machine.busy()
    machine.start(options.devices or os.cpu_count(), cache=False)
    size = workloads.TINY if options.tiny else workloads.FULL
    try:
        other = _other()
        found = {name: compare(name, size, options.rounds, other) for name in options.workload or TWINS}
    except (ImportError, ValueError) as error:
        sys.exit(f"error: {error}")
    said = f"jax {jax.__version__}, torch {other.torch.__version__} on {other.device}"
    print(f"{machine.hardware()}, {said}\n\n{render(found)}")
    if options.record:
        provenance = runs.provenance()
        records.write(
            Path(options.record),
            {
                "commit": provenance["git"],
                "made": provenance["started"],
                "hardware": machine.hardware(provenance),
                "devices": jax.device_count(),
                "busy": busy,
                "versions": said,
                "workloads": found,
            },
        )


def compare(name: str, size: Size, rounds: int, other: Other) -> dict[str, float]:
    """Seconds of a run of each, their ratio, and how far the outputs are apart.

    Raises ValueError where the twin is none.
    """
    print(name, file=sys.stderr, flush=True)
    other.torch.manual_seed(0)
    twin = TWINS[name](size, other)
    ours = workloads.WORKLOADS[name](size).run
    times = np.array([[_seconds(ours), _seconds(twin.run)] for _ in range(rounds + 1)])[1:]
    ratios = times[:, 1] / times[:, 0]
    low, ratio, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    return {
        "ours, s": float(np.median(times[:, 0])),
        "PyTorch, s": float(np.median(times[:, 1])),
        "ratio": float(ratio),
        "ratio, lower quartile": float(low),
        "ratio, upper quartile": float(high),
        "rounds": rounds,
        "outputs apart": twin.apart,
    }


def render(found: Mapping[str, Mapping[str, float]]) -> str:
    """The comparison as Markdown."""
    lines = []
    for name, numbers in found.items():
        quartiles = f"{numbers['ratio, lower quartile']:.2f} - {numbers['ratio, upper quartile']:.2f}"
        times = (f"{numbers[one]:.4g}" for one in COLUMNS[1:3])
        lines.append([name, *times, f"{numbers['ratio']:.2f}", quartiles])
    return markdown.table(COLUMNS, lines)


def _other() -> Other:
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise ImportError(
            f"comparing needs PyTorch: pip install 'diffusion_jax[compare]' ({error})"
        ) from None
    twin = importlib.import_module("experiments.twin")
    on_gpu = jax.default_backend() == "gpu" and torch.cuda.is_available()
    return Other(torch, twin, "cuda" if on_gpu else "cpu")


def _unet(size: Size, other: Other) -> tuple[Model, Any, Any]:
    """Our U-Net, its twin with the same weights, and the twin's images."""
    model = workloads.unet(size)
    network = other.twin.UNet(size.side, **size.unet, dropout=workloads.DROPOUT)
    other.twin.load_unet(network, to_official({"params": model.variables.params["network"]}))
    return model, network.to(other.device), other.array(model.x[:, 0].transpose(0, 3, 1, 2))


def _mlp(size: Size, other: Other) -> tuple[Model, Any, Any]:
    """Our perceptron, its twin with the same weights, and the twin's points."""
    model = workloads.mlp(size)
    network = other.twin.Mlp(**size.mlp)
    other.twin.load_mlp(network, model.variables.params["network"])
    return model, network.to(other.device), other.array(model.x[:, 0])


def _unet_step(size: Size, other: Other) -> Twin:
    return _training(*_unet(size, other), 1, other)


def _mlp_steps(size: Size, other: Other) -> Twin:
    return _training(*_mlp(size, other), size.steps, other)


def _unet_denoiser(size: Size, other: Other) -> Twin:
    model, network, x = _unet(size, other)
    apart = _outputs_apart(model, network, x, other)
    sigma = other.torch.full((len(x),), workloads.LEVEL * workloads.SIGMA_MAX, device=other.device)
    return Twin(lambda: _without_gradients(other, lambda: other.twin.denoise(network, x, sigma)), apart)


def _unet_heun(size: Size, other: Other) -> Twin:
    model, network, x = _unet(size, other)
    apart = _outputs_apart(model, network, x, other)
    start, sigmas = workloads.SIGMA_MAX * x, workloads.sigmas(size.heun)

    def drawn() -> Any:
        return _without_gradients(other, lambda: other.twin.heun(network, start, sigmas))

    with _exact(other):
        ours = jax.jit(model.sampler(size.heun))
        wanted = ours(model.variables, jax.random.key(0), workloads.SIGMA_MAX * jnp.asarray(model.x))
        _check("samples", _apart(drawn(), wanted), _SAMPLES)
    return Twin(drawn, apart)


TWINS: dict[str, Callable[[Size, Other], Twin]] = {
    "unet_step": _unet_step,
    "unet_denoiser": _unet_denoiser,
    "unet_heun": _unet_heun,
    "mlp_steps": _mlp_steps,
}
"""Of the benchmark's workloads."""


def _training(model: Model, network: Any, x: Any, steps: int, other: Other) -> Twin:
    apart = _outputs_apart(model, network, x, other)
    network.train()
    optimizer = other.torch.optim.Adam(network.parameters(), lr=workloads.LEARNING_RATE)

    def run() -> None:
        for _ in range(steps):
            other.twin.train(network, optimizer, x)
        other.wait()

    return Twin(run, apart)


def _without_gradients(other: Other, function: Callable[[], Any]) -> Any:
    with other.torch.no_grad():
        result = function()
    other.wait()
    return result


def _outputs_apart(model: Model, network: Any, x: Any, other: Other) -> float:
    """Relative difference of the denoisers, from little noise to much; leaves the twin in `eval`."""
    network.eval()
    levels = np.geomspace(1e-3, 1.0, len(model.x), dtype=np.float32)
    sigma = other.array(workloads.SIGMA_MAX * levels)
    with _exact(other):
        theirs = _without_gradients(other, lambda: other.twin.denoise(network, x, sigma))
        ours = jax.jit(model.denoiser())(model.variables, jnp.asarray(model.x), jnp.asarray(levels))
        return _check("outputs", _apart(theirs, ours), _OUTPUTS)


@contextlib.contextmanager
def _exact(other: Other) -> Iterator[None]:
    """Full float32 products on both sides, where a GPU would round; afterwards both round."""
    backends = other.torch.backends
    with jax.default_matmul_precision("highest"):
        backends.cudnn.allow_tf32 = backends.cuda.matmul.allow_tf32 = False
        yield
    backends.cudnn.allow_tf32 = backends.cuda.matmul.allow_tf32 = True


def _apart(theirs: Any, ours: Any) -> float:
    """max |a - b| / max |b|, with the twin's axes in our order."""
    theirs, wanted = theirs.cpu().numpy(), np.asarray(ours)[:, 0]
    if theirs.ndim == 4:
        theirs = theirs.transpose(0, 2, 3, 1)
    return float(np.abs(theirs - wanted).max() / np.abs(wanted).max())


def _check(what: str, apart: float, limit: float) -> float:
    if not apart <= limit:
        raise ValueError(f"the twin's {what} are {apart:.2g} apart from ours, more than {limit:g}")
    return apart


def _seconds(run: Callable[[], Any]) -> float:
    time.sleep(_PAUSE)
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
