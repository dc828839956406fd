"""The machine that a command runs on: what is set before the first use of a device, and a line about it."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import jax

from diffusion_jax.training import runs, sharding

CACHE = "~/.cache/diffusion_jax/xla"
"""Compiled programs, kept for the next start; the environment's JAX_COMPILATION_CACHE_DIR replaces it."""

_BUSY = 0.3


def start(devices: int | None = None, cache: bool = True) -> None:
    """Set up jax; to be called before anything touches a device.

    Args:
        devices: into how many devices the CPU is divided; None leaves it one. A batch spread over one for
            each core uses them all in convolutions and element-wise work, which a single device does not.
        cache: whether compiled programs are kept for the next start.

    Where jax is in use already, its devices stay as they are, and a warning says so.
    """
    if cache and "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(Path(CACHE).expanduser()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    if devices is not None:
        try:
            jax.config.update("jax_num_cpu_devices", devices)
        except RuntimeError:
            if jax.default_backend() == "cpu" and jax.device_count() != devices:
                count = jax.device_count()
                logging.getLogger(__name__).warning(
                    "jax is in use already, with %d devices; %d were asked for", count, devices
                )
    sharding.initialise_distributed()


def busy() -> float:
    """The load average of the last minute, as a share of the cores; a warning says where it spoils a timing.

    Threads that wait for each other suffer most, by factors of a hundred: so does PyTorch's eager mode.
    """
    share = os.getloadavg()[0] / (os.cpu_count() or 1)
    if share > _BUSY:
        logging.getLogger(__name__).warning(
            "other programs keep %.0f%% of this machine busy: what is timed now says nothing", 100 * share
        )
    return share


def hardware(provenance: dict[str, Any] | None = None) -> str:
    """A line for people: `1 NVIDIA H200`, or `2 cores of Intel Xeon ...`."""
    seen = provenance or runs.provenance()
    devices, machine = seen["devices"], seen["machine"]
    if devices["platform"] == "cpu":
        return f"{machine['cores']} cores of {machine['cpu'] or 'an unknown CPU'}"
    return f"{devices['count']} {devices['kind']}"
