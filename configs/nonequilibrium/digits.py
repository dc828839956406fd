"""Real handwritten digits, 8x8 pixels of 17 grey levels, by the bound of DDPM (arXiv 2006.11239).

    python -m experiments.train --config configs/nonequilibrium/digits.py --workdir runs/digits

Under three minutes on two CPU cores. The numbers to expect: `python -m experiments.tables nonequilibrium`.
"""

from ml_collections import ConfigDict

from configs.variants import chosen

VARIANTS = {
    "debug": {
        "objective.network.width": 16,
        "objective.network.depth": 1,
        "objective.grid.steps": 6,
        "training.steps": 8,
        "training.batch_size": 32,
        "training.steps_per_call": 4,
        "training.log_every": 4,
        "training.checkpoint_every": 4,
        "sampling.count": 20,
    },
    "small": {"objective.network.width": 128, "training.steps": 1000},
}


def get_config(arg: str = "") -> ConfigDict:
    config = {
        "seed": 0,
        "data": {"name": "digits"},
        "objective": {
            "name": "elbo",
            "process": {"name": "vp_cosine"},
            "network": {"name": "mlp", "width": 512, "depth": 4},
            "grid": {"name": "linear_grid", "steps": 200},
            "decoder": {"name": "discretised_gaussian", "levels": 17},
            "coefficients": "v",
        },
        "optimizer": {"name": "adam", "learning_rate": 1e-3, "decay_steps": 4000, "clip": 1.0},
        "ema": 0.999,
        "init_from": None,
        "training": {
            "steps": 4000,
            "batch_size": 256,
            "steps_per_call": 100,
            "log_every": 100,
            "checkpoint_every": 1000,
            "keep": 2,
            "devices": None,
        },
        "evaluation": {"bound": {"name": "held_out_bound"}},
        "sampling": {"sampler": "ancestral", "grid": None, "count": 100},
    }
    return chosen(ConfigDict(config), arg, VARIANTS)
