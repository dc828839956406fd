"""The unit experiment of context-guided diffusion (arXiv 2407.11942): a Swiss roll with labels on one half.

    python -m experiments.train --config configs/context_guided/swiss_roll.py --workdir runs/roll
    python -m experiments.plane --workdir runs/roll --out runs/roll/plane.png

Under two minutes on a CPU core. A perceptron learns the angle of a noised point, mean and variance; its
context is the plane around. It then guides the exact denoiser of the whole roll towards larger angles, whose
labels it has not seen. Variants:

    none, l2, weight_decay   without context: plain likelihood, and with a prior or decay of the parameters
    coral, adversarial       the context as a second domain
    linear, constant         other ramps of the context's covariance
    pretrain, pretrained     a network that learns to reconstruct the plane, and one that goes on from it as
                             runs/roll_pretrain
    ensemble                 five models of `none` at once (`experiments.ensemble` makes one of runs)

The numbers to expect: `python -m experiments.tables context_guided`.
"""

from ml_collections import ConfigDict

from configs.variants import chosen

_TRAIN = 1000

_DATA = {"name": "labelled_roll", "train": _TRAIN, "test": 1000, "context": 20_000}

_CONTEXT = {"name": "context", "ramp": "sigmoid", "examples": _TRAIN, "scale": 1.0, "diagonal": 1e-3}

_OBJECTIVE = {
    "name": "guidance",
    "predictor": {"name": "perceptron", "width": 128, "depth": 3},
    "process": "vp_cosine",
    "coefficients": "x0",
    "levels": {"name": "per_sample", "levels": "low_discrepancy"},
    "head": {"name": "regression", "targets": 1},
    "regulariser": _CONTEXT,
}

_NONE = {**_OBJECTIVE, "regulariser": None}

VARIANTS = {
    "debug": {
        "data.train": 128,
        "data.test": 32,
        "data.context": 64,
        "objective.predictor.width": 16,
        "objective.predictor.depth": 1,
        "context.size": 16,
        "evaluation.calibration.levels": [0.0, 0.5],
        "evaluation.guided.count": 16,
        "evaluation.guided.scales": [0.0, 1.0],
        "evaluation.guided.support.points": 64,
        "evaluation.guided.grid.steps": 4,
        "training.steps": 8,
        "training.batch_size": 32,
        "training.steps_per_call": 4,
        "training.log_every": 4,
        "training.checkpoint_every": 4,
    },
    "small": {
        "objective.predictor.width": 64,
        "training.steps": 1000,
        "optimizer.decay_steps": 1000,
    },
    "none": {"objective.regulariser": None, "context": None},
    "l2": {"objective.regulariser": {"name": "l2", "examples": _TRAIN, "variance": 0.1}, "context": None},
    "weight_decay": {
        "objective.regulariser": None,
        "context": None,
        "optimizer": {
            "name": "adamw",
            "learning_rate": 1e-3,
            "weight_decay": 0.1,
            "decay_steps": 3000,
            "clip": 1.0,
        },
    },
    "coral": {"objective.regulariser": {"name": "coral", "weight": 1.0}},
    "adversarial": {"objective.regulariser": {"name": "domain_adversarial", "weight": 0.1}},
    "linear": {"objective.regulariser.ramp": "linear"},
    "constant": {"objective.regulariser.ramp": "constant"},
    "pretrain": {
        "data": {"name": "unlabelled", "data": _DATA, "split": "context"},
        "objective.head": "reconstruction",
        "objective.regulariser": None,
        "context": None,
        "evaluation": {},
    },
    "pretrained": {"objective.regulariser": None, "context": None, "init_from": "runs/roll_pretrain"},
    "ensemble": {"objective": {"name": "ensemble", "objective": _NONE, "members": 5}, "context": None},
}


def get_config(arg: str = "") -> ConfigDict:
    config = {
        "seed": 0,
        "data": _DATA,
        "context": {"split": "context", "size": 128},
        "objective": _OBJECTIVE,
        "optimizer": {"name": "adam", "learning_rate": 1e-3, "decay_steps": 3000, "clip": 1.0},
        "ema": None,
        "init_from": None,
        "training": {
            "steps": 3000,
            "batch_size": 128,
            "steps_per_call": 100,
            "log_every": 100,
            "checkpoint_every": 1000,
            "keep": 2,
            "devices": None,
        },
        "evaluation": {
            "calibration": {
                "name": "calibration",
                "splits": ["test", "shifted"],
                "levels": [0.0, 0.25, 0.5, 0.75],
            },
            "guided": {
                "name": "guided_support",
                "support": {"name": "swiss_roll_curve", "points": 800},
                "sampler": "heun",
                "grid": {"name": "karras_grid", "steps": 30},
                "scales": [0.0, 1.0, 2.0, 4.0, 8.0],
                "caution": 0.0,
                "count": 500,
            },
        },
        "sampling": None,
    }
    return chosen(ConfigDict(config), arg, VARIANTS)
