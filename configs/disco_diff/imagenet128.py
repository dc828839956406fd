"""ImageNet at 128x128 pixels with discrete latents: DisCo-Diff (arXiv 2407.03300), class conditional.

    python -m experiments.train --config configs/disco_diff/imagenet128.py:plain --workdir runs/imagenet128 \
        --config.data.file=imagenet-128x128.zip
    python -m experiments.train --config configs/disco_diff/imagenet128.py --workdir runs/disco-imagenet128 \
        --config.data.file=imagenet-128x128.zip --config.init_from=runs/imagenet128
    python -m experiments.train --config configs/disco_diff/imagenet128.py:prior,fid \
        --workdir runs/disco-imagenet128-prior --config.data.file=imagenet-128x128.zip

The denoiser is a U-ViT of 1.9 thousand million parameters in the manner of VDM++ (arXiv 2303.00848), whose
training the first run stands for: EDM's law of levels and its weighting made monotonic, both shifted by
log 2 from 64 pixels to 128. The second adds ten latents of 100 codes, which a vision transformer reads from
16x16 patches, and their prior; in the third the prior learns alone, the paper's second stage. The sizes are
the paper's; it gives no lengths, batches or rates, nor how many convolutional blocks there are. Sampled by 29
Heun steps (57 evaluations). Variants:

    plain          no latents
    prior          goes on with the prior alone, from runs/disco-imagenet128
    unconditional  from scratch, without classes
    groups         30 latents, ten each for the transformer and the decoder at 32 and 64 pixels
    ddpm           draws by 512 ancestral steps of the shifted cosine schedule (trains at the same levels)
    fid            measures FID with weights of the 2015 Inception in inception-2015.npz: latents of training
                   images, of the prior (also guided from null latents), null ones; fid_unconditional for
                   a network without classes
    full           computes in float32

The numbers to expect: `python -m experiments.tables disco_diff`.
"""

import math

from ml_collections import ConfigDict

from configs.variants import chosen

_SHIFT = 128 / 64  # of sigma, by the side of the images
_MEAN = -1.2 + math.log(_SHIFT)
_TOKENS = {
    "name": "latent_tokens",
    "count": 10,
    "codes": 100,
    "width": 192,
    "depth": 6,
    "heads": 6,
    "groups": [],
    "dtype": "bfloat16",
}
_HEUN = {"sampler": "heun", "grid": {"name": "karras_grid", "steps": 29}}


def _denoising(latents: dict | None) -> dict:
    return {
        "name": "denoising",
        "process": {"name": "edm", "sigma_max": 80.0 * _SHIFT},
        "network": {
            "name": "uvit",
            "channels": 128,
            "multipliers": [1, 2, 4, 16],
            "blocks": 2,
            "attention": [64, 32, 16],
            "depth": 36,
            "labels": 1000,
            "dropout": 0.1,
            "dtype": "bfloat16",
            "latents": latents,
        },
        "coefficients": {"name": "edm", "sigma_data": 0.5},
        "levels": {"name": "per_sample", "levels": {"name": "lognormal", "mean": _MEAN, "std": 1.2}},
        "weight": {"name": "edm_monotonic", "sigma_data": 0.5 * _SHIFT, "mean": _MEAN, "std": 1.2},
    }


def _fid(labels: bool) -> dict:
    plain = _HEUN | {
        "name": "frechet",
        "extractor": {"name": "inception", "weights": "inception-2015.npz"},
        "count": 50_000,
        "labels": labels,
        "held_out": None,
    }
    return {
        "oracle": {"name": "from_encoder", "evaluation": plain, "split": "train", "labels": labels},
        "prior": plain,
        "prior_g1": {"name": "from_prior", "evaluation": plain, "guidance": 1.0},
        "null": {"name": "without_latents", "evaluation": plain},
    }


VARIANTS = {
    "debug": {
        "objective.objective.network.channels": 8,
        "objective.objective.network.multipliers": [1, 1, 1],
        "objective.objective.network.blocks": 1,
        "objective.objective.network.attention": [],
        "objective.objective.network.depth": 1,
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
    "plain": {"objective": _denoising(None), "training.steps": 976_563},
    "prior": {
        "objective.stop": True,
        "optimizer.freeze": ["^network", "^encoder"],
        "init_from": "runs/disco-imagenet128",
        "training.steps": 50_000,
        "training.checkpoint_every": 5_000,
    },
    "unconditional": {
        "conditions": [],
        "objective.objective.network.labels": 0,
        "objective.prior.labels": 0,
        "training.steps": 976_563,
        "sampling.labels": False,
    },
    "groups": {
        "objective.objective.network.latents.count": 30,
        "objective.objective.network.latents.groups": [16, 32, 64],
        "objective.encoder.latents": 30,
        "objective.prior.latents": 30,
    },
    "ddpm": {
        "objective.objective.process": {"name": "shifted", "process": "vp_cosine", "factor": _SHIFT},
        "sampling.sampler": "ancestral",
        "sampling.grid": {"name": "linear_grid", "steps": 512},
    },
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
            "file": "imagenet-128x128.zip",
            "test_share": 0.0,
            "flip": True,
            "data_dir": None,
        },
        "objective": {
            "name": "latent",
            "objective": _denoising(_TOKENS),
            "encoder": {
                "name": "vit",
                "latents": 10,
                "codes": 100,
                "patch": 16,
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
            "warmup": 9_766,
            "sanitise": True,
            "freeze": [],
        },
        "ema": {"name": "half_life", "images": 50_000_000, "batch_size": 1024, "ramp": 0.05},
        "init_from": None,
        "training": {
            "steps": 195_313,
            "batch_size": 1024,
            "microbatches": 4,
            "steps_per_call": 1,
            "log_every": 100,
            "checkpoint_every": 9_766,
            "keep": 4,
            "devices": None,
        },
        "evaluation": {},
        "sampling": _HEUN | {"count": 64, "labels": True},
    }
    return chosen(ConfigDict(config), arg, VARIANTS)
