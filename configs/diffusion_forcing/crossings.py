"""Two ways that cross, put together of plans with a long and with a short memory.

    python -m experiments.train --config configs/diffusion_forcing/crossings.py --workdir runs/crossings

A transformer that sees all tokens is trained once; how much of its past a plan remembers is a choice of
levels. With all of it the ways are the X of the data, with the last token alone about half of them turn where
they cross, into a V. The variant `exact` has the exact denoiser of the law of the data, the limit.
"""

from ml_collections import ConfigDict

from configs.variants import chosen

VARIANTS = {
    "debug": {
        "data.train": 64,
        "data.test": 16,
        "data.tokens": 6,
        "objective.network.width": 16,
        "objective.network.depth": 1,
        "training.steps": 4,
        "training.batch_size": 8,
        "training.steps_per_call": 2,
        "training.log_every": 2,
        "training.checkpoint_every": 4,
        "evaluation.composition.grid.steps": 2,
        "evaluation.composition.memories": [1, 6],
        "evaluation.composition.count": 4,
    },
    "exact": {
        "objective": {
            "name": "exact",
            "support": {"name": "crossing_lines"},
            "process": {"name": "edm", "sigma_max": 20.0},
            "grid": {"name": "karras_grid", "steps": 12},
            "decoder": "fixed_kernel",
        },
        "conditions": [],
        "training.steps": 0,
    },
}


def get_config(arg: str = "") -> ConfigDict:
    config = {
        "seed": 0,
        "data": {"name": "crossings", "train": 20_000, "test": 2000, "tokens": 20},
        "conditions": ["condition"],
        "objective": {
            "name": "denoising",
            "network": {
                "name": "transformer",
                "width": 48,
                "depth": 2,
                "heads": 4,
                "condition": 1,
                "positions": 20,
            },
            "process": {"name": "edm", "sigma_max": 20.0},
            "coefficients": {"name": "edm", "sigma_data": 0.6},
            "weight": {"name": "edm", "sigma_data": 0.6},
            "levels": {
                "name": "horizon",
                "levels": {
                    "name": "with_missing",
                    "share": 0.5,
                    "levels": {
                        "name": "with_clean",
                        "share": 0.3,
                        "levels": {
                            "name": "per_token",
                            "levels": {"name": "lognormal", "mean": -1.2, "std": 1.2},
                        },
                    },
                },
            },
            "per_dimension": True,
        },
        "optimizer": {
            "name": "adam",
            "learning_rate": 2e-3,
            "warmup": 100,
            "decay_steps": 2000,
            "clip": 1.0,
        },
        "ema": {"name": "warmup", "decay": 0.999},
        "init_from": None,
        "training": {
            "steps": 2000,
            "batch_size": 128,
            "steps_per_call": 50,
            "log_every": 100,
            "checkpoint_every": 1000,
            "keep": 2,
            "devices": None,
        },
        "evaluation": {
            "composition": {
                "name": "composition",
                "sampler": "dpmpp_2m",
                "grid": {"name": "karras_grid", "steps": 12},
                "memories": [1, 2, 3, 4, 20],
                "count": 500,
            }
        },
        "sampling": None,
    }
    return chosen(ConfigDict(config), arg, VARIANTS)
