"""The generator of context-guided diffusion's materials (arXiv 2407.11942): graphs of a molecule's rings.

    python -m experiments.train --config configs/context_guided/materials_generator.py \\
        --workdir runs/materials_generator

An equivariant network of 4 layers of 48 learns where the eleven rings of a cata-condensed polybenzenoid lie,
from the training split alone: as in the paper the largest cluster of ErG fingerprints (needs RDKit, a minute,
once). The evaluation reads what it generates back as molecules, without guidance. 21 ms a step on a CPU core,
a quarter of an hour. Variants:

    segments    trained on molecules without long linear segments instead (needs no RDKit)
    relaxed     molecules relaxed by MMFF94, with those that are not planar (needs RDKit, half an hour, once)
    compas      COMPAS-1x; needs its table (see `diffusion_jax.data.compas`)
    small       a tenth of the steps
    paper       the paper's network, 9 layers of 192, and 1000 steps of sampling, for a GPU
"""

from ml_collections import ConfigDict

from configs.variants import chosen

VARIANTS = {
    "debug": {
        "ema.batch_size": 16,
        "data.rings": 7,
        "data.held_out": 3,
        "objective.objective.network.width": 8,
        "objective.objective.network.depth": 1,
        "evaluation.valid.count": 8,
        "evaluation.valid.grid.steps": 4,
        "sampling.count": 4,
        "sampling.grid.steps": 4,
        "training.steps": 8,
        "training.batch_size": 16,
        "training.steps_per_call": 4,
        "training.log_every": 4,
        "training.checkpoint_every": 4,
    },
    "small": {"training.steps": 4000, "optimizer.decay_steps": 4000},
    "segments": {
        "data": {
            "name": "polybenzenoids",
            "rings": 11,
            "segments": [3, 4],
            "held_out": 1000,
            "relaxed": False,
        }
    },
    "relaxed": {"data.relaxed": True},
    "compas": {"data": {"name": "compas1x", "held_out": 1000}},
    "paper": {
        "objective.objective.network.width": 192,
        "objective.objective.network.depth": 9,
        "objective.objective.network.shared": False,
        "objective.objective.network.bases": 0,
        "training.steps": 80_000,
        "training.batch_size": 256,
        "ema.images": 128_000,
        "ema.batch_size": 256,
        "optimizer.decay_steps": 80_000,
        "optimizer.learning_rate": 1e-3,
        "evaluation.valid.count": 512,
        "evaluation.valid.grid.steps": 1000,
        "evaluation.valid.sampler": "ancestral",
        "sampling.grid.steps": 1000,
        "sampling.sampler": "ancestral",
    },
}


def get_config(arg: str = "") -> ConfigDict:
    config = {
        "seed": 0,
        "data": {"name": "polybenzenoid_clusters", "rings": 11, "held_out": 1000, "relaxed": False},
        "conditions": ["present"],
        "objective": {
            "name": "graphs",
            "objective": {
                "name": "denoising",
                "network": {"name": "egnn", "width": 48, "depth": 4, "shared": True, "bases": 16},
                "coefficients": {"name": "timed", "coefficients": "eps"},
                "levels": {"name": "per_sample", "levels": "low_discrepancy"},
                "weight": "eps",
            },
            "process": "vp_polynomial",
        },
        "optimizer": {
            "name": "adam",
            "learning_rate": 3e-3,
            "warmup": 200,
            "decay_steps": 40_000,
            "clip": 1.0,
        },
        "ema": {"name": "half_life", "images": 32_000, "batch_size": 64},
        "init_from": None,
        "training": {
            "steps": 40_000,
            "batch_size": 64,
            "steps_per_call": 50,
            "log_every": 200,
            "checkpoint_every": 2000,
            "keep": 2,
            "devices": None,
        },
        "evaluation": {
            "valid": {
                "name": "true_samples",
                "sampler": "dpmpp_2m_sde",
                "grid": {"name": "cosine_grid", "steps": 50},
                "count": 256,
            },
        },
        "sampling": {
            "sampler": "dpmpp_2m_sde",
            "grid": {"name": "cosine_grid", "steps": 50},
            "count": 64,
            "labels": False,
            "guidance": None,
        },
    }
    return chosen(ConfigDict(config), arg, VARIANTS)
