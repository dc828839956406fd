"""Dead leaves, 32x32 grey crops of occluding discs, by EDM (arXiv 2206.00364).

    python -m experiments.train --config configs/edm/dead_leaves.py --workdir runs/edm_dead_leaves

About ten minutes on two CPU cores. Data of mean 0 and variance 1 with uniform noise of one grey level, so
that sigma_data is 1; the likelihood is that of the probability-flow ODE. Variants: `ve`, the NCSN++ network;
`large`, the sizes of CIFAR-10, for a GPU.
The numbers to expect: `python -m experiments.tables edm`.
"""

from ml_collections import ConfigDict

from configs.variants import chosen

VARIANTS = {
    "debug": {
        "data.size": 16,
        "data.train": 64,
        "data.test": 64,
        "objective.network.channels": 8,
        "objective.network.multipliers": [1, 1],
        "training.steps": 4,
        "training.batch_size": 8,
        "training.log_every": 2,
        "training.checkpoint_every": 2,
        "evaluation.likelihood.examples": 8,
        "evaluation.likelihood.batch_size": 8,
        "evaluation.likelihood.rtol": 1e-2,
        "evaluation.likelihood.atol": 1e-2,
        "sampling.count": 4,
        "sampling.grid.steps": 3,
    },
    "ve": {"objective.network.name": "ncsnpp"},
    "large": {
        "objective.network.channels": 128,
        "objective.network.multipliers": [2, 2, 2],
        "objective.network.blocks": 4,
        "objective.network.attention": [16],
        "training.steps": 20_000,
        "training.batch_size": 256,
    },
}


def get_config(arg: str = "") -> ConfigDict:
    config = {
        "seed": 0,
        "data": {"name": "dead_leaves", "size": 32, "train": 8192, "test": 1024, "standardise": True},
        "objective": {
            "name": "denoising",
            "process": {"name": "edm", "sigma_max": 80.0},
            "network": {
                "name": "ddpmpp",
                "channels": 16,
                "multipliers": [1, 2, 2],
                "blocks": 1,
                "attention": [8],
                "dropout": 0.0,
            },
            "coefficients": {"name": "edm", "sigma_data": 1.0},
            "levels": {"name": "per_sample", "levels": {"name": "lognormal", "mean": -1.2, "std": 1.6}},
            "weight": {"name": "edm", "sigma_data": 1.0},
        },
        "optimizer": {"name": "adam", "learning_rate": 2e-3, "warmup": 40, "clip": 1.0},
        "ema": {"name": "half_life", "images": 3_000, "batch_size": 32},
        "init_from": None,
        "training": {
            "steps": 600,
            "batch_size": 32,
            "steps_per_call": 1,
            "log_every": 100,
            "checkpoint_every": 300,
            "keep": 1,
            "devices": None,
        },
        "evaluation": {
            "likelihood": {
                "name": "ode_likelihood",
                "start": 2.5e-5,
                "probes": 1,
                "examples": 64,
                "batch_size": 64,
                "rtol": 1e-3,
                "atol": 1e-3,
            },
        },
        "sampling": {"sampler": "heun", "grid": {"name": "karras_grid", "steps": 18}, "count": 36},
    }
    return chosen(ConfigDict(config), arg, VARIANTS)
