"""ImageNet at 64x64 pixels by EDM (arXiv 2206.00364), class conditional, the ADM network.

    python -m experiments.train --config configs/edm/imagenet64.py --workdir runs/imagenet64 \
        --config.data.file=imagenet-64x64.zip

Thirteen days on 32 A100 (the authors'). The archive is what the authors' data set tool writes: centre crops,
1,281,167 PNGs of 64x64 pixels and dataset.json with the labels. 2,500 million images, batch 4096, learning
rate 1e-4 after 10 million images of warm-up, half-life 50 million images, dropout 0.10, no augmentation,
computed in bfloat16 (the authors: float16, losses scaled by 100); sampled by 256 stochastic Heun steps (511
evaluations) with S_churn = 40 between 0.05 and 50 and S_noise = 1.003. Variants: full (computes in float32),
fid (measures FID with weights of the 2015 Inception in inception-2015.npz).
The numbers to expect: `python -m experiments.tables edm`.
"""

from ml_collections import ConfigDict

from configs.variants import chosen

VARIANTS = {
    "debug": {
        "objective.network.channels": 8,
        "objective.network.multipliers": [1, 1],
        "objective.network.blocks": 1,
        "objective.network.attention": [32],
        "training.steps": 2,
        "training.batch_size": 4,
        "training.microbatches": 1,
        "training.log_every": 1,
        "training.checkpoint_every": 2,
        "sampling.count": 4,
        "sampling.grid.steps": 2,
    },
    "fid": {
        "evaluation": {
            "fid": {
                "name": "frechet",
                "extractor": {"name": "inception", "weights": "inception-2015.npz"},
                "sampler": {"name": "heun", "churn": 0.15625, "noise": 1.003, "low": 0.05, "high": 50.0},
                "grid": {"name": "karras_grid", "steps": 256},
                "count": 50_000,
                "labels": True,
                "held_out": None,
            },
        },
    },
    "full": {"objective.network.dtype": None},
}


def get_config(arg: str = "") -> ConfigDict:
    config = {
        "seed": 0,
        "conditions": ["label"],
        "data": {
            "name": "image_zip",
            "file": "imagenet-64x64.zip",
            "test_share": 0.0,
            "flip": True,
            "data_dir": None,
        },
        "objective": {
            "name": "denoising",
            "process": {"name": "edm", "sigma_max": 80.0},
            "network": {
                "name": "adm",
                "channels": 192,
                "multipliers": [1, 2, 3, 4],
                "blocks": 3,
                "attention": [32, 16, 8],
                "labels": 1000,
                "dropout": 0.1,
                "dtype": "bfloat16",
            },
            "coefficients": {"name": "edm", "sigma_data": 0.5},
            "levels": {"name": "per_sample", "levels": {"name": "lognormal", "mean": -1.2, "std": 1.2}},
            "weight": {"name": "edm", "sigma_data": 0.5},
        },
        "optimizer": {"name": "adam", "learning_rate": 1e-4, "warmup": 2_441, "sanitise": True},
        "ema": {"name": "half_life", "images": 50_000_000, "batch_size": 4096, "ramp": 0.05},
        "init_from": None,
        "training": {
            "steps": 610_352,
            "batch_size": 4096,
            "microbatches": 4,
            "steps_per_call": 1,
            "log_every": 100,
            "checkpoint_every": 6_104,
            "keep": 4,
            "devices": None,
        },
        "evaluation": {},
        "sampling": {
            "sampler": {"name": "heun", "churn": 0.15625, "noise": 1.003, "low": 0.05, "high": 50.0},
            "grid": {"name": "karras_grid", "steps": 256},
            "count": 64,
            "labels": True,
        },
    }
    return chosen(ConfigDict(config), arg, VARIANTS)
