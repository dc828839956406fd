"""Dead leaves, 32x32 grey crops of occluding discs (Sohl-Dickstein et al., arXiv 1503.03585, section 3.2).

    python -m experiments.train --config configs/nonequilibrium/dead_leaves.py --workdir runs/dead_leaves

About ten minutes on two CPU cores. Data of mean 0 and variance 1 with uniform noise of one grey level;
the 2015 bound with the fixed last kernel at beta_1 = 1e-5. Variants: `paper`, the paper's multi-scale
convolution with temporal bumps.
The numbers to expect: `python -m experiments.tables nonequilibrium`.
"""

from ml_collections import ConfigDict

from configs.variants import chosen

VARIANTS = {
    "debug": {
        "data.size": 16,
        "data.train": 64,
        "data.test": 64,
        "objective.network": {"name": "convnet", "width": 8, "depth": 1, "groups": 4, "outputs": 2},
        "objective.grid.steps": 6,
        "training.steps": 4,
        "training.batch_size": 8,
        "training.steps_per_call": 1,
        "training.log_every": 2,
        "training.checkpoint_every": 2,
        "evaluation.bound.examples": 32,
        "evaluation.bound.pairs": 2,
        "evaluation.baselines.patch": 4,
        "sampling.count": 4,
    },
    "small": {"objective.network.width": 16, "training.steps": 300},
    "paper": {
        "training.steps": 400,
        "optimizer.decay_steps": 400,
        "objective.network": {
            "name": "multiscale",
            "scales": 3,
            "filters": 32,
            "layers": 3,
            "pixel_width": 32,
            "pixel_depth": 2,
            "bumps": 10,
            "outputs": 2,
        },
        "objective.coefficients": {
            "name": "timed",
            "coefficients": {"name": "edm", "sigma_data": 1.0},
        },
    },
}


def get_config(arg: str = "") -> ConfigDict:
    config = {
        "seed": 0,
        "data": {"name": "dead_leaves", "size": 32, "train": 8192, "test": 1024, "standardise": True},
        "objective": {
            "name": "elbo",
            "process": {"name": "vp_cosine"},
            "network": {"name": "convnet", "width": 32, "depth": 2, "multipliers": [1, 2, 2], "outputs": 2},
            "grid": {"name": "log_snr_grid", "steps": 200, "sigma_min": 0.00316229, "sigma_max": 100.0},
            "decoder": "fixed_kernel",
            "coefficients": {"name": "edm", "sigma_data": 1.0},
            "variance": "spread",
        },
        "optimizer": {"name": "adam", "learning_rate": 2e-3, "decay_steps": 1200, "clip": 1.0},
        "ema": {"name": "warmup", "decay": 0.999},
        "init_from": None,
        "training": {
            "steps": 1200,
            "batch_size": 32,
            "steps_per_call": 1,
            "log_every": 100,
            "checkpoint_every": 500,
            "keep": 2,
            "devices": None,
        },
        "evaluation": {
            "bound": {"name": "held_out_bound", "batch_size": 64, "examples": 512, "pairs": 40},
            "baselines": {"name": "gaussian_baselines", "patch": 8},
        },
        "sampling": {"sampler": "ancestral", "grid": None, "count": 36},
    }
    return chosen(ConfigDict(config), arg, VARIANTS)
