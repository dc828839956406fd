"""Handwritten digits with discrete latents: DisCo-Diff (arXiv 2407.03300) in small, oracle, prior and null.

    python -m experiments.train --config configs/disco_diff/digits.py --workdir runs/disco_digits

About five minutes on one CPU core. EDM's configuration E of `configs/edm/digits.py`, class conditional, whose
U-Net also sees five latents of ten codes by cross-attention; encoder, denoiser and the autoregressive prior
are trained from scratch and together. Variants:

    plain          no latents; 20 channels instead of 16, more parameters than the U-Net with latents has
    small          no latents, the very same U-Net
    unconditional  no classes; goes before the others: `unconditional,m2`
    plain_unconditional
                   neither latents nor classes
    m1, m2, m10    so many latents; k5, k50: so many codes
    groups         two groups of latents, of the decoder at 4x4 and, with attention there, at 8x8 pixels
    cold, hot      temperature 0.3 and 3; hard: straight-through
    kl_strong      continuous latents whose divergence from N(0, I) weighs 1, after `unconditional`;
    kl_weak        or 0.1: their prior is a diffusion model
    tuned          goes on from `small`, the trained denoiser without latents; `small,tuned` is the same
                   without latents
    after          only the prior learns, from the variables of the config itself
    rows           all evaluations of the table: samplers, guidance, curvature, exchange

The numbers to expect: `python -m experiments.tables disco_diff`.
"""

from typing import Any

from ml_collections import ConfigDict

from configs.variants import chosen

_SIGMA_DATA = 0.75
_EDM = {"name": "edm", "sigma_data": _SIGMA_DATA}
_HEUN = {"sampler": "heun", "grid": {"name": "karras_grid", "steps": 18}}
_CHURNED = {
    "sampler": {"name": "heun", "churn": 0.2, "low": 0.05, "high": 50.0, "noise": 1.003},
    "grid": {"name": "karras_grid", "steps": 18},
}
_RATIOS = [0.1, 0.5, 1.0, 2.0, 5.0, 20.0]


def _denoising(channels: int, latents: dict | None, labels: int = 10) -> dict:
    return {
        "name": "denoising",
        "process": {"name": "edm", "sigma_max": 80.0},
        "network": {
            "name": "ddpmpp",
            "channels": channels,
            "multipliers": [2, 2],
            "blocks": 1,
            "attention": [4],
            "labels": labels,
            "augment": 0,
            "dropout": 0.13,
            "latents": latents,
        },
        "coefficients": _EDM,
        "levels": {"name": "per_sample", "levels": {"name": "lognormal", "mean": -1.2, "std": 1.2}},
        "weight": _EDM,
    }


def _tokens(count: int, codes: int) -> dict:
    return {
        "name": "latent_tokens",
        "count": count,
        "codes": codes,
        "width": 32,
        "depth": 2,
        "heads": 4,
        "groups": [],
    }


def _codebook(count: int, codes: int) -> dict:
    sizes = {"objective.objective.network.latents": _tokens(count, codes)}
    for part in ("encoder", "prior"):
        sizes |= {f"objective.{part}.latents": count, f"objective.{part}.codes": codes}
    return sizes


def _frechet(labels: bool, **method: Any) -> dict:
    return {
        "name": "frechet",
        "extractor": "digit_features",
        "count": 720,
        "seeds": 2,
        "labels": labels,
        **(method or _HEUN),
    }


def _with(source: str, evaluation: dict, **given: Any) -> dict:
    return {"name": source, "evaluation": evaluation, **given}


def _sources(labels: bool) -> dict:
    """The three sources of latents, one beside the other."""
    plain = _frechet(labels)
    return {
        "oracle": _with("from_encoder", plain, labels=labels),
        "prior": plain,
        "null": _with("without_latents", plain),
        "use": {
            "name": "latent_use",
            "weight": _EDM,
            "ratios": _RATIOS,
            "batch_size": 120,
            "labels": labels,
        },
    }


def _rows(labels: bool) -> dict:
    plain, churned = _frechet(labels), _frechet(labels, **_CHURNED)
    curvature = {"name": "ode_curvature", "count": 100, "labels": labels, "low": 0.05, "high": 20.0, **_HEUN}
    return _sources(labels) | {
        "oracle_stochastic": _with("from_encoder", churned, labels=labels),
        "prior_stochastic": churned,
        "null_stochastic": _with("without_latents", churned),
        "prior_g1": _with("from_prior", plain, guidance=1.0),
        "prior_g2": _with("from_prior", plain, guidance=2.0),
        "prior_cold": _with("from_prior", plain, temperature=0.7),
        "curvature": curvature,
        "curvature_null": _with("without_latents", curvature),
        "swap": {"name": "latent_swap", "count": 200, "labels": labels, **_HEUN},
    }


def _without(labels: bool) -> dict:
    """Of a model that has no latents: the same but for the sources."""
    return {
        "prior": _frechet(labels),
        "prior_stochastic": _frechet(labels, **_CHURNED),
        "curvature": _rows(labels)["curvature"],
        "loss": {
            "name": "level_losses",
            "weight": _EDM,
            "ratios": _RATIOS,
            "batch_size": 120,
            "labels": labels,
        },
    }


def _continuous(kl_weight: float) -> dict:
    """Latents of ten features instead of ten codes, whose prior is a diffusion transformer; unconditional."""
    unit = {"name": "edm", "sigma_data": 1.0}
    prior = {
        "name": "denoising",
        "network": {"name": "transformer", "width": 48, "depth": 2, "heads": 4, "condition": 5},
        "process": {"name": "edm", "sigma_max": 80.0},
        "coefficients": unit,
        "levels": {"name": "per_sample", "levels": {"name": "lognormal", "mean": -0.5, "std": 1.2}},
        "weight": unit,
    }
    return {
        "objective": {
            "name": "continuous_latent",
            "objective": _denoising(16, _tokens(5, 10), labels=0),
            "encoder": {"name": "convolutional", "latents": 5, "codes": 20, "width": 16},
            "latent_prior": {"name": "diffused", "latents": 5, "features": 10, "objective": prior, **_HEUN},
            "kl_weight": kl_weight,
        },
        "evaluation": {name: one for name, one in _sources(False).items() if name != "use"},
    }


VARIANTS = {
    "debug": {
        "objective.objective.network.channels": 8,
        "objective.objective.network.multipliers": [1, 1],
        "objective.objective.network.latents.depth": 0,
        "objective.encoder.width": 8,
        "objective.prior.width": 16,
        "objective.prior.depth": 1,
        "training.steps": 4,
        "training.batch_size": 16,
        "training.log_every": 2,
        "training.checkpoint_every": 2,
        "evaluation.oracle.evaluation.count": 20,
        "evaluation.prior.count": 20,
        "evaluation.null.evaluation.count": 20,
        "sampling.count": 20,
        "sampling.grid.steps": 3,
    },
    "plain": {"objective": _denoising(20, None), "evaluation": _without(True)},
    "small": {"objective": _denoising(16, None), "evaluation": _without(True)},
    "plain_unconditional": {
        "conditions": [],
        "objective": _denoising(20, None, labels=0),
        "evaluation": _without(False),
        "sampling.labels": False,
    },
    "unconditional": {
        "conditions": [],
        "objective.objective.network.labels": 0,
        "objective.prior.labels": 0,
        "evaluation": _sources(False),
        "sampling.labels": False,
    },
    **{f"m{count}": _codebook(count, 10) for count in (1, 2, 10)},
    **{f"k{codes}": _codebook(5, codes) for codes in (5, 50)},
    "groups": _codebook(6, 10)
    | {
        "objective.objective.network.latents": _tokens(6, 10) | {"groups": [4, 8]},
        "objective.objective.network.attention": [4, 8],
    },
    "cold": {"objective.temperature": 0.3},
    "hot": {"objective.temperature": 3.0},
    "hard": {"objective.hard": True},
    "tuned": {"init_from": "runs/digits_small_s0"},
    "after": {"objective.stop": True, "init_from": "runs/digits_disco_s0"},
    "kl_strong": _continuous(1.0),
    "kl_weak": _continuous(0.1),
    "rows": {"evaluation": _rows(True)},
    "rows_unconditional": {"evaluation": _rows(False)},
}


def get_config(arg: str = "") -> ConfigDict:
    config = {
        "seed": 0,
        "conditions": ["label"],
        "data": {"name": "digits", "dequantise": False},
        "objective": {
            "name": "latent",
            "objective": _denoising(16, _tokens(5, 10)),
            "encoder": {"name": "convolutional", "latents": 5, "codes": 10, "width": 16},
            "prior": {
                "name": "autoregressive",
                "latents": 5,
                "codes": 10,
                "width": 48,
                "depth": 2,
                "heads": 4,
                "labels": 10,
                "dropout": 0.1,
            },
            "temperature": 1.0,
            "hard": False,
            "dropout": 0.1,
            "stop": False,
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
        "evaluation": _sources(True),
        "sampling": {**_HEUN, "count": 100, "labels": True},
    }
    return chosen(ConfigDict(config), arg, VARIANTS)
