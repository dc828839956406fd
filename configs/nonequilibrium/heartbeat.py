"""The binary heartbeat of Sohl-Dickstein et al. (arXiv 1503.03585): 20 bits, a one every 5 bins, T = 2000.

    python -m experiments.train --config configs/nonequilibrium/heartbeat.py --workdir runs/heartbeat

A few minutes on two CPU cores. The head gives P(x0 = 1), which goes through the exact posterior.
Variants: `paper`, the paper's own network (three sigmoid layers of 50 units, a read-out for each step)
with the same head; `exact`, the best that any factorised reverse can do; `steps100`, T = 100.
The numbers to expect: `python -m experiments.tables nonequilibrium`.
"""

from ml_collections import ConfigDict

from configs.variants import chosen

VARIANTS = {
    "debug": {
        "objective.network": {"name": "mlp", "width": 16, "depth": 1},
        "objective.grid.steps": 6,
        "training.steps": 8,
        "training.batch_size": 32,
        "training.steps_per_call": 4,
        "training.log_every": 4,
        "training.checkpoint_every": 4,
        "evaluation.bound.copies": 2,
        "sampling.count": 20,
    },
    "small": {"objective.network.width": 64, "training.steps": 500},
    "paper": {
        "objective.network": {"name": "step_mlp", "width": 50, "depth": 3, "steps": 2000},
        "objective.coefficients": {"name": "timed", "coefficients": "bits"},
        "optimizer.learning_rate": 1e-2,
    },
    "exact": {
        "objective": {
            "name": "exact",
            "support": "heartbeat_sequences",
            "process": {"name": "binomial", "p": 0.2},
            "grid": {"name": "linear_grid", "steps": 2000},
            "decoder": "fixed_kernel",
        },
        "training.steps": 0,
    },
    "steps100": {"objective.grid.steps": 100},
}


def get_config(arg: str = "") -> ConfigDict:
    config = {
        "seed": 0,
        "data": {"name": "heartbeat"},
        "objective": {
            "name": "elbo",
            "process": {"name": "binomial", "p": 0.2},
            "network": {"name": "mlp", "width": 128, "depth": 3},
            "grid": {"name": "linear_grid", "steps": 2000},
            "decoder": "fixed_kernel",
            "coefficients": "bits",
        },
        "optimizer": {"name": "adam", "learning_rate": 2e-3, "decay_steps": 2500, "clip": 1.0},
        "ema": {"name": "warmup", "decay": 0.999},
        "init_from": None,
        "training": {
            "steps": 2500,
            "batch_size": 2000,
            "steps_per_call": 50,
            "log_every": 100,
            "checkpoint_every": 1000,
            "keep": 2,
            "devices": None,
        },
        "evaluation": {
            "bound": {
                "name": "held_out_bound",
                "batch_size": 5,
                "copies": 400,
                "exhaustive": True,
            }
        },
        "sampling": {"sampler": "ancestral", "grid": None, "count": 100},
    }
    return chosen(ConfigDict(config), arg, VARIANTS)
