"""Photograph texture, 16x16 grey patches, with discrete latents: DisCo-Diff (arXiv 2407.03300).

    python -m experiments.train --config configs/disco_diff/textures.py --workdir runs/disco_textures

About eight minutes on two CPU cores. EDM's network of `configs/edm/textures.py`, conditional on the
photograph, also sees ten latents of ten codes, which a small vision transformer reads from 4x4 patches.
Samples are compared as images: Frechet and kernel distance of the pixels, precision and recall. The oracle
has the codes of training patches: the test patches are of another part of the photographs. Variants:

    plain          no latents, the very same U-Net
    unconditional  does not know the photograph; goes before the others
    plain_unconditional
                   neither latents nor classes
    large          sizes for a GPU

The numbers to expect: `python -m experiments.tables disco_diff`.
"""

from ml_collections import ConfigDict

from configs.variants import chosen

_EDM = {"name": "edm", "sigma_data": 1.0}
_HEUN = {"sampler": "heun", "grid": {"name": "karras_grid", "steps": 18}}
_RATIOS = [0.1, 0.5, 1.0, 2.0, 5.0, 20.0]
_TOKENS = {"name": "latent_tokens", "count": 10, "codes": 10, "width": 32, "depth": 2, "heads": 4}


def _denoising(latents: dict | None, labels: int = 2) -> dict:
    return {
        "name": "denoising",
        "process": {"name": "edm", "sigma_max": 80.0},
        "network": {
            "name": "ddpmpp",
            "channels": 16,
            "multipliers": [2, 2],
            "blocks": 1,
            "attention": [8],
            "labels": labels,
            "dropout": 0.0,
            "latents": latents,
        },
        "coefficients": _EDM,
        "levels": {"name": "per_sample", "levels": {"name": "lognormal", "mean": -1.2, "std": 1.6}},
        "weight": _EDM,
    }


def _frechet(labels: bool) -> dict:
    return {"name": "frechet", "extractor": "pixels", "count": 520, "seeds": 2, "labels": labels, **_HEUN}


def _sources(labels: bool) -> dict:
    plain = _frechet(labels)
    return {
        "oracle": {"name": "from_encoder", "evaluation": plain, "labels": labels, "split": "train"},
        "prior": plain,
        "prior_g1": {"name": "from_prior", "evaluation": plain, "guidance": 1.0},
        "null": {"name": "without_latents", "evaluation": plain},
        "use": {
            "name": "latent_use",
            "weight": _EDM,
            "ratios": _RATIOS,
            "batch_size": 130,
            "labels": labels,
        },
    }


def _without(labels: bool) -> dict:
    loss = {"name": "level_losses", "weight": _EDM, "ratios": _RATIOS, "batch_size": 130, "labels": labels}
    return {"prior": _frechet(labels), "loss": loss}


VARIANTS = {
    "debug": {
        "data.stride": 64,
        "objective.objective.network.channels": 8,
        "objective.objective.network.multipliers": [1, 1],
        "objective.objective.network.latents.depth": 0,
        "objective.encoder.width": 16,
        "objective.encoder.depth": 1,
        "objective.prior.width": 16,
        "objective.prior.depth": 1,
        "training.steps": 4,
        "training.batch_size": 8,
        "training.log_every": 2,
        "training.checkpoint_every": 2,
        "evaluation": {"prior": _frechet(True) | {"count": 20, "grid": {"name": "karras_grid", "steps": 2}}},
        "sampling.count": 4,
        "sampling.grid.steps": 3,
    },
    "plain": {"objective": _denoising(None), "evaluation": _without(True)},
    "unconditional": {
        "conditions": [],
        "objective.objective.network.labels": 0,
        "objective.prior.labels": 0,
        "evaluation": _sources(False),
        "sampling.labels": False,
    },
    "plain_unconditional": {
        "conditions": [],
        "objective": _denoising(None, labels=0),
        "evaluation": _without(False),
        "sampling.labels": False,
    },
    "large": {
        "objective.objective.network.channels": 128,
        "objective.objective.network.multipliers": [2, 2, 2],
        "objective.objective.network.blocks": 4,
        "objective.objective.network.attention": [16],
        "objective.encoder.width": 192,
        "objective.encoder.depth": 6,
        "objective.prior.width": 256,
        "objective.prior.depth": 6,
        "training.steps": 20_000,
        "training.batch_size": 256,
    },
}


def get_config(arg: str = "") -> ConfigDict:
    config = {
        "seed": 0,
        "conditions": ["label"],
        "data": {"name": "textures", "size": 16, "stride": 8, "standardise": True},
        "objective": {
            "name": "latent",
            "objective": _denoising(_TOKENS),
            "encoder": {
                "name": "vit",
                "latents": 10,
                "codes": 10,
                "patch": 4,
                "width": 48,
                "depth": 2,
                "heads": 4,
            },
            "prior": {
                "name": "autoregressive",
                "latents": 10,
                "codes": 10,
                "width": 48,
                "depth": 2,
                "heads": 4,
                "labels": 2,
            },
            "temperature": 1.0,
            "dropout": 0.1,
        },
        "optimizer": {"name": "adam", "learning_rate": 2e-3, "warmup": 40, "clip": 1.0},
        "ema": {"name": "half_life", "images": 5_000, "batch_size": 64},
        "init_from": None,
        "training": {
            "steps": 600,
            "batch_size": 64,
            "steps_per_call": 1,
            "log_every": 100,
            "checkpoint_every": 300,
            "keep": 1,
            "devices": None,
        },
        "evaluation": _sources(True),
        "sampling": {**_HEUN, "count": 36, "labels": True},
    }
    return chosen(ConfigDict(config), arg, VARIANTS)
