"""MNIST by the 2015 bound of arXiv 1503.03585 (table 1), with the published code's sizes.

    pip install -e '.[prepare]' && python -m experiments.prepare --data mnist
    python -m experiments.train --config configs/nonequilibrium/mnist.py --workdir runs/mnist

Hours on one GPU. T = 1000, a dense path alone, as in the paper, J = 10 temporal bumps, RMSprop;
beta_1 = 0.002, the first step of the published code. Data scaled to variance 1, with uniform noise of
one grey level.
The numbers to expect: `python -m experiments.tables nonequilibrium`.
"""

from ml_collections import ConfigDict

from configs.variants import chosen

VARIANTS = {
    "debug": {
        "objective.network": {
            "name": "multiscale",
            "layers": 0,
            "pixel_width": 4,
            "pixel_depth": 1,
            "dense_width": 8,
            "dense_depth": 1,
            "bumps": 3,
            "outputs": 2,
        },
        "objective.process": {"name": "vp_2015", "beta_1": 0.002, "steps": 6},
        "objective.grid.steps": 6,
        "training.steps": 4,
        "training.batch_size": 4,
        "training.steps_per_call": 1,
        "training.log_every": 2,
        "training.checkpoint_every": 2,
        "evaluation.bound.batch_size": 4,
        "evaluation.bound.examples": 8,
        "evaluation.bound.pairs": 2,
        "sampling.count": 4,
    },
}


def get_config(arg: str = "") -> ConfigDict:
    config = {
        "seed": 0,
        "data": {"name": "mnist", "standardise": True, "data_dir": None},
        "objective": {
            "name": "elbo",
            "process": {"name": "vp_2015", "beta_1": 0.002, "steps": 1000},
            "network": {
                "name": "multiscale",
                "layers": 0,
                "pixel_width": 20,
                "pixel_depth": 2,
                "dense_width": 500,
                "dense_depth": 4,
                "dense_features": 2,
                "bumps": 10,
                "outputs": 2,
            },
            "grid": {"name": "linear_grid", "steps": 1000},
            "decoder": "fixed_kernel",
            "coefficients": {"name": "timed", "coefficients": {"name": "edm", "sigma_data": 1.0}},
            "variance": "spread",
        },
        "optimizer": {"name": "rmsprop", "learning_rate": 1e-3, "decay_steps": 500_000, "clip": 1.0},
        "ema": None,
        "init_from": None,
        "training": {
            "steps": 412_500,
            "batch_size": 512,
            "steps_per_call": 100,
            "log_every": 500,
            "checkpoint_every": 10_000,
            "keep": 2,
            "devices": None,
        },
        "evaluation": {
            "bound": {"name": "held_out_bound", "batch_size": 500, "examples": None, "pairs": 100},
        },
        "sampling": {"sampler": "ancestral", "grid": None, "count": 49},
    }
    return chosen(ConfigDict(config), arg, VARIANTS)
