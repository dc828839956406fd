"""ImageNet at 64x64 pixels with discrete latents: DisCo-Diff (arXiv 2407.03300), class conditional.

    python -m experiments.train --config configs/disco_diff/imagenet64.py --workdir runs/disco-imagenet64 \
        --config.data.file=imagenet-64x64.zip --config.init_from=runs/imagenet64
    python -m experiments.train --config configs/disco_diff/imagenet64.py:prior,fid \
        --workdir runs/disco-imagenet64-prior --config.data.file=imagenet-64x64.zip

The first goes on from a run of `configs/edm/imagenet64.py` (or from its published weights, see
docs/checkpoints.md), whose network, law of levels, optimiser and averages it keeps: ten latents of 100 codes,
read from 8x8 patches by a vision transformer of 12 blocks of width 768, enter by cross-attention after each
attention of the U-Net. The prior, 12 blocks of width 512, learns beside them; the second run is the paper's
second stage, in which it learns alone. The paper does not say for how long; here the first is a fifth of
EDM's training, 500 million images. Sampled by 40 Heun steps (79 evaluations). Variants:

    prior          goes on with the prior alone, from runs/disco-imagenet64
    unconditional  from scratch, without classes
    groups         30 latents, ten each for the decoder at 8, 16 and 32 pixels
    restart        draws by Restart (arXiv 2306.14878), 623 evaluations
    fid            measures FID with weights of the 2015 Inception in inception-2015.npz: latents of training
                   images, of the prior (also guided from null latents, 20 steps of two evaluations each; also
                   by Restart), null ones; fid_unconditional for a network without classes
    full           computes in float32

The numbers to expect: `python -m experiments.tables disco_diff`.
"""

from ml_collections import ConfigDict

from configs.variants import chosen

_HEUN = {"sampler": "heun", "grid": {"name": "karras_grid", "steps": 40}}
_RESTART = {
    "sampler": {"name": "restart", "noise": 1.003},
    "grid": {
        "name": "restart_grid",
        "steps": 36,
        "intervals": [
            [10, 3, 19.35, 40.79],
            [10, 3, 1.09, 1.92],
            [7, 6, 0.59, 1.09],
            [7, 6, 0.30, 0.59],
            [7, 25, 0.06, 0.30],
        ],
    },
}


def _fid(labels: bool) -> dict:
    fid = {
        "name": "frechet",
        "extractor": {"name": "inception", "weights": "inception-2015.npz"},
        "count": 50_000,
        "labels": labels,
        "held_out": None,
    }
    plain = fid | _HEUN
    guided = plain | {"grid": {"name": "karras_grid", "steps": 20}}
    return {
        "oracle": {"name": "from_encoder", "evaluation": plain, "split": "train", "labels": labels},
        "prior": plain,
        "prior_g1": {"name": "from_prior", "evaluation": guided, "guidance": 1.0},
        "prior_restart": fid | _RESTART,
        "null": {"name": "without_latents", "evaluation": plain},
    }


VARIANTS = {
    "debug": {
        "objective.objective.network.channels": 8,
        "objective.objective.network.multipliers": [1, 1],
        "objective.objective.network.blocks": 1,
        "objective.objective.network.attention": [32],
        "objective.objective.network.latents.width": 8,
        "objective.objective.network.latents.depth": 1,
        "objective.objective.network.latents.heads": 2,
        "objective.encoder.width": 16,
        "objective.encoder.depth": 1,
        "objective.encoder.heads": 2,
        "objective.prior.width": 16,
        "objective.prior.depth": 1,
        "objective.prior.heads": 2,
        "init_from": None,
        "training.steps": 2,
        "training.batch_size": 4,
        "training.microbatches": 1,
        "training.log_every": 1,
        "training.checkpoint_every": 2,
        "sampling.count": 4,
        "sampling.grid.steps": 2,
    },
    "prior": {
        "objective.stop": True,
        "optimizer.freeze": ["^network", "^encoder"],
        "init_from": "runs/disco-imagenet64",
        "training.steps": 50_000,
        "training.checkpoint_every": 5_000,
    },
    "unconditional": {
        "conditions": [],
        "objective.objective.network.labels": 0,
        "objective.prior.labels": 0,
        "training.steps": 610_352,
        "sampling.labels": False,
    },
    "groups": {
        "objective.objective.network.latents.count": 30,
        "objective.objective.network.latents.groups": [8, 16, 32],
        "objective.encoder.latents": 30,
        "objective.prior.latents": 30,
    },
    "restart": {"sampling": _RESTART | {"count": 64, "labels": True}},
    "fid": {"evaluation": _fid(True)},
    "fid_unconditional": {"evaluation": _fid(False)},
    "full": {
        "objective.objective.network.dtype": None,
        "objective.objective.network.latents.dtype": None,
        "objective.encoder.dtype": None,
        "objective.prior.dtype": None,
    },
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
            "name": "latent",
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
                    "latents": {
                        "name": "latent_tokens",
                        "count": 10,
                        "codes": 100,
                        "width": 192,
                        "depth": 6,
                        "heads": 6,
                        "groups": [],
                        "dtype": "bfloat16",
                    },
                },
                "coefficients": {"name": "edm", "sigma_data": 0.5},
                "levels": {"name": "per_sample", "levels": {"name": "lognormal", "mean": -1.2, "std": 1.2}},
                "weight": {"name": "edm", "sigma_data": 0.5},
            },
            "encoder": {
                "name": "vit",
                "latents": 10,
                "codes": 100,
                "patch": 8,
                "width": 768,
                "depth": 12,
                "heads": 12,
                "dtype": "bfloat16",
            },
            "prior": {
                "name": "autoregressive",
                "latents": 10,
                "codes": 100,
                "width": 512,
                "depth": 12,
                "heads": 8,
                "labels": 1000,
                "dtype": "bfloat16",
            },
            "temperature": 1.0,
            "hard": False,
            "extraction": 0.01,
            "dropout": 0.1,
            "stop": False,
        },
        "optimizer": {
            "name": "adam",
            "learning_rate": 1e-4,
            "warmup": 2_441,
            "sanitise": True,
            "freeze": [],
        },
        "ema": {"name": "half_life", "images": 50_000_000, "batch_size": 4096, "ramp": 0.05},
        "init_from": None,
        "training": {
            "steps": 122_070,
            "batch_size": 4096,
            "microbatches": 4,
            "steps_per_call": 1,
            "log_every": 100,
            "checkpoint_every": 6_104,
            "keep": 4,
            "devices": None,
        },
        "evaluation": {},
        "sampling": _HEUN | {"count": 64, "labels": True},
    }
    return chosen(ConfigDict(config), arg, VARIANTS)
