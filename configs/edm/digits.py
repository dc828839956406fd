"""Real handwritten digits by EDM (arXiv 2206.00364): the ladder of its table 2, from A to F, in small.

    python -m experiments.train --config configs/edm/digits.py --workdir runs/edm_digits

About three minutes on one CPU core. The config is E, class conditional, with the DDPM++ network; what the
letters mean here, all trained on 102,400 images and sampled by 18 steps of deterministic Heun from 80 to
0.002 (the process is EDM's throughout, and ratios above 80 count as 80):

    a   the baseline: the preconditioning, law of levels and weights of Song et al. (arXiv 2011.13456); batch
        64, learning rate 4e-4, gradients clipped, dropout 0.10, half-life 9,000 images; 16, 32, 32 channels
        at 8x8, 4x4, 2x2 pixels
    b   batch 128, learning rate 2e-3 after a slower warm-up, no clipping, dropout 0.13, half-life 5,000
    c   capacity moved to the higher resolutions: 32 channels at 8x8 and 4x4
    d   EDM's preconditioning
    e   EDM's law of levels and weights (the config itself)
    f   non-leaking augmentation; only a quarter of what the network sees is then as it will be sampled, which
        so short a training does not make up for

a_ve to f_ve have the NCSN++ network and, until d or e take their place, the variance-exploding
preconditioning and law of levels. `unconditional` and `long`, four times the images, go with all of them.
Others:

    samplers   E and the Frechet distance of each sampler against the number of evaluations
    ablation   E and the four pairs of schedule and scaling under each discretisation
    guidance   E trained with hidden labels, for classifier-free guidance
    half       E computed in bfloat16

The numbers to expect: `python -m experiments.tables edm`.
"""

from ml_collections import ConfigDict

from configs.variants import chosen

_SIGMA_DATA = 0.75

_F = {
    "objective.augmentation": {"name": "non_leaking", "probability": 0.12},
    "objective.network.augment": 9,
}
_D = {
    "objective.levels": {"name": "per_sample", "levels": "vp_uniform"},
    "objective.weight": "eps",
}
_C = _D | {"objective.coefficients": "vp"}
_B = _C | {"objective.network.multipliers": [1, 2, 2]}
_A = _B | {
    "objective.network.dropout": 0.1,
    "optimizer.learning_rate": 4e-4,
    "optimizer.warmup": 5,
    "optimizer.clip": 1.0,
    "ema": {"name": "half_life", "images": 9_000, "batch_size": 64},
    "training.batch_size": 64,
    "training.steps": 1600,
}
_NCSNPP = {"objective.network.name": "ncsnpp"}
_VE_LEVELS = {"objective.levels": {"name": "per_sample", "levels": "log_uniform"}}
_VE = _NCSNPP | _VE_LEVELS | {"objective.coefficients": "ve"}

_HEUN = {"sampler": "heun", "grid": {"name": "karras_grid", "steps": 18}}


def _curve(methods: dict) -> dict:
    return {
        "name": "frechet_curve",
        "extractor": "digit_features",
        "count": 1080,
        "seeds": 2,
        "labels": True,
        "methods": methods,
    }


def _steps(grid: str, *steps: int) -> list:
    return [{"name": grid, "steps": count} for count in steps]


_ONE, _TWO = (9, 17, 35), (5, 9, 18)  # steps of 9, 17 and 35 evaluations
_SAMPLERS = {
    "euler": {"sampler": "euler", "grid": _steps("karras_grid", *_ONE)},
    "heun": {"sampler": "heun", "grid": _steps("karras_grid", *_TWO)},
    "heun with churn": {
        "sampler": {"name": "heun", "churn": 0.2, "low": 0.05, "high": 50.0, "noise": 1.003},
        "grid": _steps("karras_grid", *_TWO),
    },
    "restart": {
        "sampler": "restart",
        "grid": [
            {"name": "restart_grid", "steps": main, "intervals": [[count, 1, 0.3, 2.0]]}
            for main, count in ((4, 2), (7, 3), (15, 4))
        ],
    },
    "euler_ancestral": {"sampler": "euler_ancestral", "grid": _steps("log_snr_grid", *_ONE)},
    "ddim": {"sampler": "ddim", "grid": _steps("log_snr_grid", *_ONE)},
    "dpmpp_2m": {"sampler": "dpmpp_2m", "grid": _steps("log_snr_grid", *_ONE)},
    "dpmpp_2m_sde": {"sampler": "dpmpp_2m_sde", "grid": _steps("log_snr_grid", *_ONE)},
    "dpmpp_3m": {"sampler": "dpmpp_3m", "grid": _steps("log_snr_grid", *_ONE)},
    "lms": {"sampler": "lms", "grid": _steps("log_snr_grid", *_ONE)},
    "unipc": {"sampler": "unipc", "grid": _steps("log_snr_grid", *_ONE)},
    "adaptive": {
        "sampler": {"name": "adaptive", "rtol": 1e-2, "atol": 1e-2},
        "grid": _steps("linear_grid", 1),
    },
}
_SCHEDULES = {
    "vp schedule, vp scaling": "vp_linear",
    "ve schedule": "ve",
    "linear schedule": "edm",
    "linear schedule, vp scaling": {"name": "variance_preserving", "process": "edm"},
}
_ABLATION = {
    f"{schedule}, {grid}, {sampler}": {
        "process": process,
        "sampler": sampler,
        "grid": _steps(grid, 18 if sampler == "heun" else 35),
    }
    for schedule, process in _SCHEDULES.items()
    for sampler, grids in (
        ("euler", ("karras_grid",)),
        ("heun", ("vp_grid", "ve_grid", "iddpm_grid", "karras_grid")),
    )
    for grid in grids
}

VARIANTS = {
    "debug": {
        "objective.network.channels": 8,
        "objective.network.multipliers": [1, 1],
        "training.steps": 4,
        "training.batch_size": 16,
        "training.log_every": 2,
        "training.checkpoint_every": 2,
        "evaluation.frechet.count": 20,
        "evaluation.frechet.seeds": 2,
        "sampling.count": 20,
        "sampling.grid.steps": 3,
    },
    "a": _A,
    "b": _B,
    "c": _C,
    "d": _D,
    "f": _F,
    "a_ve": _A | _VE,
    "b_ve": _B | _VE,
    "c_ve": _C | _VE,
    "d_ve": _D | _NCSNPP | _VE_LEVELS,
    "e_ve": _NCSNPP,
    "f_ve": _F | _NCSNPP,
    "unconditional": {
        "conditions": [],
        "objective.network.labels": 0,
        "evaluation.frechet.labels": False,
        "sampling.labels": False,
    },
    "long": {"training.steps": 3200},
    "samplers": {"evaluation": {"curve": _curve(_SAMPLERS)}},
    "ablation": {"evaluation": {"ablation": _curve(_ABLATION)}},
    "guidance": {"objective.unlabelled": 0.1},
    "half": {"objective.network.dtype": "bfloat16"},
}


def get_config(arg: str = "") -> ConfigDict:
    config = {
        "seed": 0,
        "conditions": ["label"],
        "data": {"name": "digits", "dequantise": False},
        "objective": {
            "name": "denoising",
            "process": {"name": "edm", "sigma_max": 80.0},
            "network": {
                "name": "ddpmpp",
                "channels": 16,
                "multipliers": [2, 2],
                "blocks": 1,
                "attention": [4],
                "labels": 10,
                "augment": 0,
                "dropout": 0.13,
                "dtype": None,
            },
            "coefficients": {"name": "edm", "sigma_data": _SIGMA_DATA},
            "levels": {"name": "per_sample", "levels": {"name": "lognormal", "mean": -1.2, "std": 1.2}},
            "weight": {"name": "edm", "sigma_data": _SIGMA_DATA},
            "augmentation": None,
            "unlabelled": 0.0,
        },
        "optimizer": {"name": "adam", "learning_rate": 2e-3, "warmup": 40, "clip": None},
        "ema": {"name": "half_life", "images": 5_000, "batch_size": 128},
        "init_from": None,
        "training": {
            "steps": 800,
            "batch_size": 128,
            "steps_per_call": 1,
            "log_every": 100,
            "checkpoint_every": 400,
            "keep": 1,
            "devices": None,
        },
        "evaluation": {
            "frechet": {
                "name": "frechet",
                "extractor": "digit_features",
                "count": 1080,
                "seeds": 3,
                "labels": True,
                **_HEUN,
            },
        },
        "sampling": {**_HEUN, "count": 100, "labels": True},
    }
    return chosen(ConfigDict(config), arg, VARIANTS)
