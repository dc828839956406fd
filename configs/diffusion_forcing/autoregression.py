"""How near the least loss there is: a transformer on a vector autoregression, a level for each token.

    python -m experiments.train --config configs/diffusion_forcing/autoregression.py --workdir runs/var

The law is known, so is the optimal denoiser of every token at any levels of all (`linear_gaussian`). The
evaluation gives the trained loss over that of the optimal one, on the same sequences, levels and noise: at
most 1.03. A few minutes on two CPU cores.
"""

from ml_collections import ConfigDict

from configs.variants import chosen

_LEVELS = {"name": "per_token", "levels": {"name": "lognormal", "mean": -0.5, "std": 1.5}}
_WEIGHT = {"name": "edm", "sigma_data": 1.0}

VARIANTS = {
    "debug": {
        "data.train": 100,
        "data.test": 8,
        "objective.network.width": 16,
        "objective.network.depth": 1,
        "training.steps": 4,
        "training.batch_size": 8,
        "training.steps_per_call": 2,
        "training.log_every": 2,
        "training.checkpoint_every": 4,
        "evaluation.optimal.copies": 1,
        "evaluation.optimal.batch_size": 4,
        "sampling.count": 8,
        "sampling.grid.steps": 2,
    },
}


def get_config(arg: str = "") -> ConfigDict:
    config = {
        "seed": 0,
        "data": {"name": "autoregression", "context": 4, "horizon": 4, "train": 200_000, "test": 2000},
        "objective": {
            "name": "denoising",
            "network": {"name": "transformer", "width": 64, "depth": 2, "heads": 4},
            "process": {"name": "edm", "sigma_max": 20.0},
            "coefficients": {"name": "edm", "sigma_data": 1.0},
            "levels": _LEVELS,
            "weight": _WEIGHT,
            "per_dimension": True,
        },
        "optimizer": {
            "name": "adam",
            "learning_rate": 3e-3,
            "warmup": 100,
            "decay_steps": 4000,
            "clip": 1.0,
        },
        "ema": {"name": "warmup", "decay": 0.999},
        "init_from": None,
        "training": {
            "steps": 4000,
            "batch_size": 256,
            "steps_per_call": 50,
            "log_every": 500,
            "checkpoint_every": 4000,
            "keep": 1,
            "devices": None,
        },
        "evaluation": {
            "optimal": {
                "name": "optimal_loss",
                "levels": _LEVELS,
                "weight": _WEIGHT,
                "copies": 16,
                "batch_size": 250,
            }
        },
        "sampling": {
            "sampler": "dpmpp_2m",
            "grid": {"name": "karras_grid", "steps": 20},
            "count": 500,
        },
    }
    return chosen(ConfigDict(config), arg, VARIANTS)
