"""AFHQv2 at 64x64 pixels by EDM (arXiv 2206.00364), with the hyper-parameters of its table 2.

    python -m experiments.train --config configs/edm/afhqv2_64.py --workdir runs/afhqv2_64 \
        --config.data.file=afhqv2-64x64.zip

Four days on eight V100 (the authors'). The archive is what the authors' data set tool writes from the 512x512
images: PNGs of 64x64 pixels and dataset.json. 200 million images, batch 256, learning rate 2e-4 after 10
million images of warm-up, half-life 0.5 million images, dropout 0.25, augmentation 0.15; sampled by 40 Heun
steps (79 evaluations). Variants: ve (the NCSN++ network), half (computes in bfloat16),
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
        "training.log_every": 1,
        "training.checkpoint_every": 2,
        "sampling.count": 4,
        "sampling.grid.steps": 2,
    },
    "ve": {"objective.network.name": "ncsnpp"},
    "fid": {
        "evaluation": {
            "fid": {
                "name": "frechet",
                "extractor": {"name": "inception", "weights": "inception-2015.npz"},
                "sampler": "heun",
                "grid": {"name": "karras_grid", "steps": 40},
                "count": 50_000,
                "held_out": None,
            },
        },
    },
    "half": {"objective.network.dtype": "bfloat16"},
}


def get_config(arg: str = "") -> ConfigDict:
    config = {
        "seed": 0,
        "data": {"name": "image_zip", "file": "afhqv2-64x64.zip", "test_share": 0.0, "data_dir": None},
        "objective": {
            "name": "denoising",
            "process": {"name": "edm", "sigma_max": 80.0},
            "network": {
                "name": "ddpmpp",
                "channels": 128,
                "multipliers": [1, 2, 2, 2],
                "blocks": 4,
                "attention": [16],
                "augment": 9,
                "dropout": 0.25,
                "dtype": None,
            },
            "coefficients": {"name": "edm", "sigma_data": 0.5},
            "levels": {"name": "per_sample", "levels": {"name": "lognormal", "mean": -1.2, "std": 1.2}},
            "weight": {"name": "edm", "sigma_data": 0.5},
            "augmentation": {"name": "non_leaking", "probability": 0.15},
        },
        "optimizer": {"name": "adam", "learning_rate": 2e-4, "warmup": 39_062, "sanitise": True},
        "ema": {"name": "half_life", "images": 500_000, "batch_size": 256, "ramp": 0.05},
        "init_from": None,
        "training": {
            "steps": 781_250,
            "batch_size": 256,
            "steps_per_call": 1,
            "log_every": 100,
            "checkpoint_every": 9_766,
            "keep": 4,
            "devices": None,
        },
        "evaluation": {},
        "sampling": {"sampler": "heun", "grid": {"name": "karras_grid", "steps": 40}, "count": 64},
    }
    return chosen(ConfigDict(config), arg, VARIANTS)
