"""The Swiss roll of Sohl-Dickstein et al. (arXiv 1503.03585), with a learned reverse variance.

    python -m experiments.train --config configs/nonequilibrium/swiss_roll.py --workdir runs/swiss_roll

Under two minutes on two CPU cores. The numbers to expect: `python -m experiments.tables nonequilibrium`.
"""

from ml_collections import ConfigDict

from configs.variants import chosen

VARIANTS = {
    "debug": {
        "data.train": 256,
        "data.test": 64,
        "objective.network.width": 16,
        "objective.network.depth": 1,
        "objective.grid.steps": 6,
        "training.steps": 8,
        "training.batch_size": 32,
        "training.steps_per_call": 4,
        "training.log_every": 4,
        "training.checkpoint_every": 4,
        "sampling.count": 64,
    },
    "small": {"objective.network.width": 64, "training.steps": 1000},
}


def get_config(arg: str = "") -> ConfigDict:
    config = {
        "seed": 0,
        "data": {"name": "swiss_roll", "train": 20_000, "test": 10_000},
        "objective": {
            "name": "elbo",
            "process": {"name": "vp_2015"},
            "network": {"name": "mlp", "width": 128, "depth": 3, "outputs": 2},
            "grid": {"name": "log_snr_grid", "steps": 40, "sigma_min": 0.01, "sigma_max": 31.6},
            "decoder": "fixed_kernel",
            "coefficients": "edm",
            "variance": "spread",
        },
        "optimizer": {"name": "adam", "learning_rate": 2e-3, "decay_steps": 2500, "clip": 1.0},
        "ema": 0.999,
        "init_from": None,
        "training": {
            "steps": 2500,
            "batch_size": 1024,
            "steps_per_call": 100,
            "log_every": 100,
            "checkpoint_every": 1000,
            "keep": 2,
            "devices": None,
        },
        "evaluation": {"bound": {"name": "held_out_bound"}},
        "sampling": {"sampler": "ancestral", "grid": None, "count": 2000},
    }
    return chosen(ConfigDict(config), arg, VARIANTS)
