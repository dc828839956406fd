"""CIFAR-10 by EDM (arXiv 2206.00364), class conditional, with the hyper-parameters of its table 2.

    pip install -e '.[prepare]' && python -m experiments.prepare --data cifar10
    python -m experiments.train --config configs/edm/cifar10.py --workdir runs/cifar10

Two days on eight V100 (the authors'). The config is F with the DDPM++ network: 200 million images, batch
512, learning rate 1e-3 after 10 million images of warm-up, half-life 0.5 million images, dropout 0.13,
augmentation 0.12, float32; sampled by 18 Heun steps (35 evaluations). Variants:

    a to e   the ladder of table 2 up to F; a_ve to f_ve with the variance-exploding choices and the NCSN++
             network
    unconditional   goes with all of them
    fid      measures FID by 50,000 samples, with weights of the 2015 Inception in inception-2015.npz
    half     computes in bfloat16

a is the baseline of Song et al. (arXiv 2011.13456): batch 128, learning rate 2e-4 after 0.64 million images,
half-life 0.9 million, dropout 0.10, clipped gradients, mirrored images, multipliers 1, 2, 2, 2; b adjusts
them; c moves capacity to 2, 2, 2; d is EDM's preconditioning, e its law of levels and weights, f its
augmentation. `fid_unconditional` measures the unconditional network; see docs/evaluation.md.
The numbers to expect: `python -m experiments.tables edm`.
"""

from ml_collections import ConfigDict

from configs.variants import chosen

_E = {"objective.augmentation": None, "objective.network.augment": 0, "data.flip": True}
_D = _E | {
    "objective.levels": {"name": "per_sample", "levels": "vp_uniform"},
    "objective.weight": "eps",
}
_C = _D | {"objective.coefficients": "vp"}
_B = _C | {"objective.network.multipliers": [1, 2, 2, 2]}
_A = _B | {
    "objective.network.dropout": 0.1,
    "optimizer.learning_rate": 2e-4,
    "optimizer.warmup": 5_000,
    "optimizer.clip": 1.0,
    "ema": {"name": "half_life", "images": 900_000, "batch_size": 128, "ramp": None},
    "training.batch_size": 128,
    "training.steps": 1_562_500,
}
_NCSNPP = {"objective.network.name": "ncsnpp"}
_VE_LEVELS = {"objective.levels": {"name": "per_sample", "levels": "log_uniform"}}
_VE = _NCSNPP | _VE_LEVELS | {"objective.coefficients": "ve"}

_FID = {
    "name": "frechet",
    "extractor": {"name": "inception", "weights": "inception-2015.npz"},
    "sampler": "heun",
    "grid": {"name": "karras_grid", "steps": 18},
    "count": 50_000,
    "held_out": None,
}

VARIANTS = {
    "debug": {
        "objective.network.channels": 8,
        "objective.network.multipliers": [1, 1],
        "objective.network.blocks": 1,
        "training.steps": 2,
        "training.batch_size": 4,
        "training.log_every": 1,
        "training.checkpoint_every": 2,
        "sampling.count": 4,
        "sampling.grid.steps": 2,
    },
    "a": _A,
    "b": _B,
    "c": _C,
    "d": _D,
    "e": _E,
    "a_ve": _A | _VE,
    "b_ve": _B | _VE,
    "c_ve": _C | _VE,
    "d_ve": _D | _NCSNPP | _VE_LEVELS,
    "e_ve": _E | _NCSNPP,
    "f_ve": _NCSNPP,
    "unconditional": {"conditions": [], "objective.network.labels": 0, "sampling.labels": False},
    "fid": {"evaluation": {"fid": _FID | {"labels": True}}},
    "fid_unconditional": {"evaluation": {"fid": _FID}},
    "half": {"objective.network.dtype": "bfloat16"},
}


def get_config(arg: str = "") -> ConfigDict:
    config = {
        "seed": 0,
        "conditions": ["label"],
        "data": {"name": "cifar10", "flip": False, "data_dir": None},
        "objective": {
            "name": "denoising",
            "process": {"name": "edm", "sigma_max": 80.0},
            "network": {
                "name": "ddpmpp",
                "channels": 128,
                "multipliers": [2, 2, 2],
                "blocks": 4,
                "attention": [16],
                "labels": 10,
                "augment": 9,
                "dropout": 0.13,
                "dtype": None,
            },
            "coefficients": {"name": "edm", "sigma_data": 0.5},
            "levels": {"name": "per_sample", "levels": {"name": "lognormal", "mean": -1.2, "std": 1.2}},
            "weight": {"name": "edm", "sigma_data": 0.5},
            "augmentation": {"name": "non_leaking", "probability": 0.12},
        },
        "optimizer": {
            "name": "adam",
            "learning_rate": 1e-3,
            "warmup": 19_531,
            "clip": None,
            "sanitise": True,
        },
        "ema": {"name": "half_life", "images": 500_000, "batch_size": 512, "ramp": 0.05},
        "init_from": None,
        "training": {
            "steps": 390_625,
            "batch_size": 512,
            "steps_per_call": 1,
            "log_every": 100,
            "checkpoint_every": 4_883,
            "keep": 4,
            "devices": None,
        },
        "evaluation": {},
        "sampling": {
            "sampler": "heun",
            "grid": {"name": "karras_grid", "steps": 18},
            "count": 100,
            "labels": True,
        },
    }
    return chosen(ConfigDict(config), arg, VARIANTS)
