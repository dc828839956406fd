"""A ball between two walls, rolled out for 2,000 frames by a model trained on 36.

    python -m experiments.train --config configs/diffusion_forcing/rollout.py --workdir runs/rollout

Variants, with the same causal transformer and the same training:

    teacher_forced  the next frame after clean ones
    full_sequence   one level for all frames; sampled 18 at a time, the history noised to their level
"""

from ml_collections import ConfigDict

from configs.variants import chosen

_LAW = {"name": "lognormal", "mean": -1.2, "std": 1.5}

VARIANTS = {
    "debug": {
        "data.train": 2,
        "data.test": 2,
        "data.frames": 80,
        "objective.network.width": 16,
        "objective.network.depth": 1,
        "training.steps": 4,
        "training.batch_size": 8,
        "training.steps_per_call": 2,
        "training.log_every": 2,
        "training.checkpoint_every": 4,
        "evaluation.rollout.grid.steps": 2,
        "evaluation.rollout.length": 40,
        "evaluation.rollout.count": 2,
    },
    "teacher_forced": {
        "objective.levels": {"name": "next_token", "levels": _LAW},
        "evaluation.rollout.stabilise": 0.0,
    },
    "full_sequence": {
        "objective.levels": {"name": "per_sample", "levels": _LAW},
        "evaluation.rollout.stabilise": 0.0,
        "evaluation.rollout.even": True,
        "evaluation.rollout.schedule": {"name": "full_sequence", "steps": 12, "length": 18},
    },
}


def get_config(arg: str = "") -> ConfigDict:
    config = {
        "seed": 0,
        "data": {"name": "bouncing_ball", "train": 96, "test": 64, "frames": 2048},
        "objective": {
            "name": "denoising",
            "network": {
                "name": "transformer",
                "width": 64,
                "depth": 3,
                "heads": 4,
                "causal": True,
                "window": 12,
                "positions": 36,
            },
            "process": {"name": "edm", "sigma_max": 20.0},
            "coefficients": {"name": "edm", "sigma_data": 1.0},
            "weight": {"name": "edm", "sigma_data": 1.0},
            # some tokens are exactly clean, as the start of a roll-out is
            "levels": {
                "name": "with_clean",
                "share": 0.1,
                "levels": {"name": "per_token", "levels": _LAW},
            },
            "per_dimension": True,
        },
        "optimizer": {
            "name": "adam",
            "learning_rate": 2e-3,
            "warmup": 100,
            "decay_steps": 3000,
            "clip": 1.0,
        },
        "ema": {"name": "warmup", "decay": 0.999},
        "init_from": None,
        "training": {
            "steps": 3000,
            "batch_size": 64,
            "steps_per_call": 50,
            "log_every": 100,
            "checkpoint_every": 1000,
            "keep": 2,
            "devices": None,
        },
        "evaluation": {
            "rollout": {
                "name": "long_rollout",
                "sampler": "euler_ancestral",
                "grid": {"name": "karras_grid", "steps": 12},
                "schedule": None,
                "stabilise": 0.005,
                "even": False,
                "length": 2000,
                "count": 64,
            }
        },
        "sampling": None,
    }
    return chosen(ConfigDict(config), arg, VARIANTS)
