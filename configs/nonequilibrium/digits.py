"""Real handwritten digits, 8x8 pixels of 17 grey levels, by the bound of DDPM (arXiv 2006.11239).

    python -m experiments.train --config configs/nonequilibrium/digits.py --workdir runs/digits

Under three minutes on two CPU cores. Half of the training samples hide their label, so that one network
gives the bound without labels and draws digits of a class. Variants:

    ladder   the same network's bound at T = 10 .. 1000 and in the limit (for the table)
    vdm      VDM (arXiv 2107.00630): softmax decoder, continuous loss, learned log-SNR whose shape
             minimises the variance of the estimate
    ode      dequantised data, for the likelihood of the probability-flow ODE

The numbers to expect: `python -m experiments.tables nonequilibrium`.
"""

from ml_collections import ConfigDict

from configs.variants import chosen

_SIGMA_MIN = 0.02  # a sixth of a grey level


def _ladder(steps: int) -> dict:
    return {
        "name": "held_out_bound",
        "grid": {"name": "log_snr_grid", "steps": steps, "sigma_min": _SIGMA_MIN, "sigma_max": 50.0},
        "decoder": {"name": "discretised_gaussian", "levels": 17},
    }


_AGREEMENT = {"name": "class_agreement", "sampler": "ancestral", "count": 500}

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
    "ladder": {
        "evaluation": {
            "bound": {"name": "held_out_bound", "copies": 2},
            "agreement": _AGREEMENT,
            **{f"T={steps}": _ladder(steps) for steps in (10, 30, 100, 300, 1000)},
            "limit": {"name": "held_out_bound", "continuous": True, "pairs": 500},
        },
    },
    "vdm": {
        "objective.process": {"name": "vdm", "gamma_min": -8.0, "gamma_max": 6.0},
        "objective.grid": {"name": "linear_grid", "steps": 200, "first": 1e-5},
        "objective.decoder": {"name": "softmax", "levels": 17},
        "objective.continuous": True,
        "objective.minimise_variance": True,
        "evaluation": {
            "limit": {"name": "held_out_bound", "continuous": True, "pairs": 500},
            "bound": {"name": "held_out_bound"},
            "estimator": {"name": "estimator_variance"},
            "agreement": _AGREEMENT,
        },
    },
    "ode": {
        "data.dequantise": True,
        "objective.decoder": "fixed_kernel",
        "evaluation": {
            "likelihood": {"name": "ode_likelihood", "start": 2e-3, "probes": 4, "batch_size": 360},
            "agreement": {
                "name": "class_agreement",
                "sampler": "heun",
                "grid": {"name": "karras_grid", "steps": 40, "sigma_min": 0.01, "sigma_max": 50.0},
            },
        },
        "sampling.sampler": "heun",
        "sampling.grid": {"name": "karras_grid", "steps": 40, "sigma_min": 0.01, "sigma_max": 50.0},
    },
}


def get_config(arg: str = "") -> ConfigDict:
    config = {
        "seed": 0,
        "conditions": ["label"],
        "data": {"name": "digits", "dequantise": False},
        "objective": {
            "name": "elbo",
            "process": {"name": "vp_cosine"},
            "network": {"name": "mlp", "width": 512, "depth": 4, "labels": 10, "dropout": 0.2},
            "grid": {"name": "log_snr_grid", "steps": 200, "sigma_min": _SIGMA_MIN, "sigma_max": 50.0},
            "decoder": {"name": "discretised_gaussian", "levels": 17},
            "coefficients": {"name": "edm", "sigma_data": 0.75},
            "continuous": False,
            "minimise_variance": False,
            "unlabelled": 0.5,
        },
        "optimizer": {"name": "adam", "learning_rate": 1e-3, "decay_steps": 3000, "clip": 1.0},
        "ema": {"name": "warmup", "decay": 0.999},
        "init_from": None,
        "training": {
            "steps": 3000,
            "batch_size": 256,
            "steps_per_call": 50,
            "log_every": 100,
            "checkpoint_every": 1000,
            "keep": 2,
            "devices": None,
        },
        "evaluation": {
            "bound": {"name": "held_out_bound", "copies": 2},
            "agreement": _AGREEMENT,
        },
        "sampling": {"sampler": "ancestral", "grid": None, "count": 100, "labels": True},
    }
    return chosen(ConfigDict(config), arg, VARIANTS)
