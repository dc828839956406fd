"""The Swiss roll of arXiv 1503.03585: T = 40 steps, beta_t = 1/(T - t + 1), beta_1 held at 1e-3.

    python -m experiments.train --config configs/nonequilibrium/swiss_roll.py --workdir runs/swiss_roll

Under two minutes on two CPU cores. A residual perceptron gives the mean and the variance of x0 given
x_t. Variants:

    log_snr         levels linear in log-SNR, beta_1 = 1e-4
    learned         trained betas, beta_1 = 1e-4, from that start
    many_steps      for grids of T = 1000: steps drawn by importance, twice the training
    paper_1e4       the paper's schedule at beta_1 = 1e-4, to compare with these
    fixed_variance  the forward kernel's variance (DDPM's beta) instead of a learned one
    rbf             the paper's network: 16 normalised radial basis functions, a read-out for each step
    exact           the exact denoiser of the law of the data: the limit; exact_log_snr for log_snr
    inpainting      the exact denoiser, T = 500; the paper's inpainting of the second coordinate
    tokens          the exact denoiser of the coordinates as two tokens; the known one at level 0

The numbers to expect: `python -m experiments.tables nonequilibrium`.
"""

from ml_collections import ConfigDict

from configs.variants import chosen

_SIGMA_1E4 = 0.0100005  # sqrt(beta_1/(1 - beta_1)) at beta_1 = 1e-4
_SIGMA_END = 31.607  # alpha_bar = 1e-3

_LOG_SNR = {"name": "log_snr_grid", "steps": 40, "sigma_min": _SIGMA_1E4, "sigma_max": _SIGMA_END}

_OBJECTIVE = {
    "name": "elbo",
    "process": {"name": "vp_2015", "beta_1": 1e-3, "steps": 40},
    "network": {"name": "mlp", "width": 128, "depth": 3, "outputs": 2},
    "grid": {"name": "linear_grid", "steps": 40},
    "decoder": "fixed_kernel",
    "coefficients": {"name": "edm", "sigma_data": 1.0},
    "variance": "spread",
}

_EXACT = {
    "objective": {
        "name": "exact",
        "support": {"name": "swiss_roll_curve", "points": 800},
        "process": {"name": "vp_2015", "beta_1": 1e-3, "steps": 40},
        "grid": {"name": "linear_grid", "steps": 40},
        "decoder": "fixed_kernel",
    },
    "training.steps": 0,
    "sampling.count": 1000,
}

VARIANTS = {
    "debug": {
        "data.train": 256,
        "data.test": 64,
        "objective.network.width": 16,
        "objective.network.depth": 1,
        "objective.process.steps": 6,
        "objective.grid.steps": 6,
        "training.steps": 8,
        "training.batch_size": 32,
        "training.steps_per_call": 4,
        "training.log_every": 4,
        "training.checkpoint_every": 4,
        "sampling.count": 64,
    },
    "small": {"objective.network.width": 64, "training.steps": 1000},
    "log_snr": {
        "objective.process": "vp_2015",
        "objective.grid": _LOG_SNR,
    },
    "learned": {"objective.process": {"name": "learned_beta", "steps": 40, "beta_1": 1e-4}},
    "many_steps": {
        "objective": {**_OBJECTIVE, "pairs": "importance"},
        "evaluation": {"bound": {"name": "held_out_bound", "batch_size": 5000}},
        "optimizer.decay_steps": 5000,
        "training.steps": 5000,
    },
    "paper_1e4": {"objective.process.beta_1": 1e-4},
    "fixed_variance": {"objective.variance": "large", "objective.network.outputs": 1},
    "rbf": {
        "objective.network": {"name": "rbf", "units": 16, "steps": 40, "outputs": 2},
        "objective.coefficients": {"name": "timed", "coefficients": "edm"},
    },
    "exact": _EXACT,
    "exact_log_snr": {
        **_EXACT,
        "objective": {**_EXACT["objective"], "process": "vp_2015", "grid": _LOG_SNR},
    },
    "inpainting": {
        **_EXACT,
        "objective": {
            **_EXACT["objective"],
            "process": "vp_2015",
            "grid": {"name": "linear_grid", "steps": 500},
        },
        "evaluation": {"product": {"name": "product_inpainting", "support": {"name": "swiss_roll_curve"}}},
    },
    "tokens": {
        **_EXACT,
        "objective": {
            "name": "exact",
            "support": {"name": "swiss_roll_coordinates", "points": 800},
            "process": {"name": "edm", "sigma_max": 20.0},
            "grid": {"name": "karras_grid", "steps": 40},
            "decoder": "fixed_kernel",
        },
        "evaluation": {
            "tokens": {
                "name": "token_inpainting",
                "support": {"name": "swiss_roll_coordinates"},
                "sampler": "heun",
                "grid": {"name": "karras_grid", "steps": 60},
            }
        },
        "sampling": None,  # the runs' own samples are of one token
    },
}


def get_config(arg: str = "") -> ConfigDict:
    config = {
        "seed": 0,
        "data": {"name": "swiss_roll", "train": 20_000, "test": 20_000},
        "objective": _OBJECTIVE,
        "optimizer": {"name": "adam", "learning_rate": 2e-3, "decay_steps": 2500, "clip": 1.0},
        "ema": {"name": "warmup", "decay": 0.999},
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
