"""Guidance models of context-guided diffusion's materials (arXiv 2407.11942): towards small gaps.

    python -m experiments.train --config configs/context_guided/materials_generator.py \\
        --workdir runs/materials_generator
    python -m experiments.train --config configs/context_guided/materials.py --workdir runs/materials

An equivariant network of 4 layers of 48 predicts three properties of a noised polybenzenoid of eleven rings:
the Hueckel gap, the energy of its pi electrons and its Kekule structures. Labels are those of the training
split, the largest cluster of ErG fingerprints (needs RDKit, a minute, once), of large gaps; the context
is everything else, without labels. It then guides the generator, a run of its own that must be there first,
towards small gaps, and every molecule that comes out is told its true one. On a CPU core 30 ms a step, 20
without context: one to two minutes, and one for the evaluation. Variants:

    none, l2, weight_decay   without context: plain likelihood, and with a prior or decay of the parameters
    reduced                  the context has no molecules of eleven rings: up to ten
    coral, adversarial       the context as a second domain
    linear, constant         other ramps of the context's covariance
    pretrain, pretrained     a network that learns to reconstruct the context, and one that goes on from it as
                             runs/materials_pretrain
    ensemble                 the five seeds of `none` as one: `python -m experiments.ensemble --workdir
                             runs/materials_none_s0 ... --out runs/materials_ensemble` makes a run of this
                             config of them; to train it trains five at once
    pessimistic              guided by the gap and one deviation more; the evaluation `optimistic` is by the
                             gap and one deviation less, as in the paper
    segments, relaxed, compas
                             other data, as of the generator, which is then runs/segments_generator, ...;
                             COMPAS-1x needs its table
    paper                    the paper's network, 12 layers of 196, guiding its generator at 1000 levels,
                             for a GPU; sampler and guidance are ours (docs/context_guided.md)

The numbers to expect: `python -m experiments.tables context_guided`.
"""

from typing import Any

from ml_collections import ConfigDict

from configs.variants import assign, chosen

_EXAMPLES = 12_168  # molecules of the training split
_OTHER_EXAMPLES = {
    # (data, relaxed) -> as many of theirs
    ("polybenzenoid_clusters", True): 17_481,
    ("polybenzenoids", False): 11_758,
    ("polybenzenoids", True): 16_739,
}
_TARGETS = 3
_STEPS = 3000
_RATE = 3e-3

_DATA = {
    "name": "polybenzenoid_clusters",
    "rings": 11,
    "context": None,
    "held_out": 1000,
    "relaxed": False,
}

_CONTEXT = {
    "name": "context",
    "ramp": "sigmoid",
    "examples": _EXAMPLES,
    "scale": 0.1,
    "diagonal": 0.01,
    "variance": 1.0,
}

_OBJECTIVE = {
    "name": "guidance",
    "predictor": {"name": "invariant", "width": 48, "depth": 4, "bases": 16},
    "process": "vp_polynomial",
    "coefficients": {"name": "timed", "coefficients": "eps"},
    "levels": {"name": "per_sample", "levels": "low_discrepancy"},
    "head": {"name": "regression", "targets": _TARGETS},
    "regulariser": _CONTEXT,
}

_NONE: dict[str, Any] = {**_OBJECTIVE, "regulariser": None}
_GUIDED = {
    "name": "guided_samples",
    "generator": {"run": "runs/materials_generator"},
    "sampler": "dpmpp_2m_sde",
    "grid": {"name": "cosine_grid", "steps": 50},
    "weights": [-2.0, 0.0, 0.0],
    "scales": [0.0, 1.0, 2.0, 3.0, 4.0],
    "caution": 0.0,
    "limit": 10.0,
    "count": 128,
}


def _everywhere(**fields: Any) -> dict[str, Any]:
    """Fields of all evaluations that guide samples."""
    return {
        f"evaluation.{name}.{field}": value
        for name in ("guided", "optimistic")
        for field, value in fields.items()
    }


def _generator(run: str) -> dict[str, Any]:
    return _everywhere(generator={"run": run})


VARIANTS = {
    "debug": {
        "data.rings": 7,
        "data.held_out": 3,
        "objective.predictor.width": 8,
        "objective.predictor.depth": 1,
        "context.size": 8,
        "evaluation.calibration.levels": [0.0, 0.5],
        **_everywhere(count=8, scales=[0.0, 1.0], grid={"name": "cosine_grid", "steps": 4}),
        "training.steps": 8,
        "training.batch_size": 16,
        "training.steps_per_call": 4,
        "training.log_every": 4,
        "training.checkpoint_every": 4,
    },
    "small": {"training.steps": 1000, "optimizer.decay_steps": 1000},
    "none": {"objective.regulariser": None, "context": None},
    "l2": {"objective.regulariser": {"name": "l2", "examples": _EXAMPLES, "variance": 0.1}, "context": None},
    "weight_decay": {
        "objective.regulariser": None,
        "context": None,
        "optimizer": {
            "name": "adamw",
            "learning_rate": _RATE,
            "weight_decay": 0.1,
            "decay_steps": _STEPS,
            "clip": 1.0,
        },
    },
    "reduced": {"data.context": list(range(2, 11))},
    "coral": {"objective.regulariser": {"name": "coral", "weight": 1.0}},
    "adversarial": {"objective.regulariser": {"name": "domain_adversarial", "weight": 0.1}},
    "linear": {"objective.regulariser.ramp": "linear"},
    "constant": {"objective.regulariser.ramp": "constant"},
    "pretrain": {
        "data": {"name": "unlabelled", "data": _DATA, "split": "context"},
        "objective.head": {"name": "reconstruction", "floor": 0.01},
        "objective.regulariser": None,
        "context": None,
        "evaluation": {},
    },
    "pretrained": {"objective.regulariser": None, "context": None, "init_from": "runs/materials_pretrain"},
    "ensemble": {"objective": {"name": "ensemble", "objective": _NONE, "members": 5}, "context": None},
    "pessimistic": {"evaluation.guided.caution": 1.0},
    "segments": {
        "data": {
            "name": "polybenzenoids",
            "rings": 11,
            "segments": [3, 4],
            "context": None,
            "held_out": 1000,
            "relaxed": False,
        },
        # its test molecules lie five deviations away, where only a wide prior is not too sure
        "objective.regulariser.scale": 1e-4,
        "objective.regulariser.diagonal": 0.1,
        "objective.regulariser.variance": 4.0,
        **_generator("runs/segments_generator"),
    },
    "relaxed": {"data.relaxed": True, **_generator("runs/relaxed_generator")},
    "compas": {
        "data": {"name": "compas1x", "context": None, "held_out": 1000},
        "objective.head.targets": 5,
        # 3 GAP + aIP - aEA, each in its deviations, is to be small
        **_everywhere(weights=[0.0, -3.0, 0.0, -1.0, 1.0], generator={"run": "runs/compas_generator"}),
    },
    "paper": {
        "objective.predictor.width": 196,
        "objective.predictor.depth": 12,
        "context.size": 256,
        "training.steps": 16_000,
        "training.batch_size": 256,
        "optimizer.learning_rate": 6e-4,
        "objective.predictor.bases": 0,
        "optimizer.decay_steps": 16_000,
        **_everywhere(
            count=512,
            sampler="ancestral",
            grid={"name": "cosine_grid", "steps": 1000},
            scales=[0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0],
        ),
    },
}


def get_config(arg: str = "") -> ConfigDict:
    config = {
        "seed": 0,
        "data": _DATA,
        "conditions": ["present"],
        "context": {"split": "context", "size": 32},
        "objective": _OBJECTIVE,
        "optimizer": {"name": "adam", "learning_rate": _RATE, "decay_steps": _STEPS, "clip": 1.0},
        "ema": None,
        "init_from": None,
        "training": {
            "steps": _STEPS,
            "batch_size": 64,
            "steps_per_call": 50,
            "log_every": 100,
            "checkpoint_every": 1000,
            "keep": 2,
            "devices": None,
        },
        "evaluation": {
            "calibration": {
                "name": "calibration",
                "splits": ["held_out", "validation", "test"],
                "levels": [0.0, 0.25, 0.5, 0.75],
            },
            "guided": _GUIDED,
            "optimistic": {**_GUIDED, "caution": -1.0, "scales": [4.0]},
        },
        "sampling": None,
    }
    found = chosen(ConfigDict(config), arg, VARIANTS)
    plain = found.to_dict()
    if "examples" in (plain["objective"].get("regulariser") or {}):
        data = plain["data"]["name"], plain["data"].get("relaxed", False)
        assign(found, "objective.regulariser.examples", _OTHER_EXAMPLES.get(data, _EXAMPLES))
    return found
