"""Planning in D4RL's mazes by Diffusion Forcing (arXiv 2407.01392), section 4.3.

    python -m experiments.train --config configs/diffusion_forcing/maze2d.py:medium --workdir runs/medium

A token is a position, 20 steps of 0.01 s after the one before it; every token has a level of its own. The
first is the present, at level 0 when a plan is made; the others are denoised together or as a pyramid, under
an energy that draws them to the goal. Five to fifteen minutes of training on one CPU core; then episodes in
the simulator, with the same starts for every row of the table. Mazes are variants, and so are:

    medium, large   the other mazes, with longer plans
    full_sequence   one level for all tokens of a sample but the first, known in half of them, as in Diffuser
    actions_u, actions_medium, actions_large
                    a token is ten steps of positions, velocities and actions, the paper's; the diffused
                    actions are executed as they are
    mujoco_u, mujoco_medium, mujoco_large
                    the same runs as without, executed in MuJoCo (`pip install '.[mazes]'`)

Guidance was chosen with the training of seed 0 on other starts than those reported
(`--config.evaluation.single.seed=1`), and for Monte Carlo Guidance and the energy alone separately: the
former's gradient is weaker and bears larger weights.

The numbers to expect: `python -m experiments.tables diffusion_forcing`.
"""

from ml_collections import ConfigDict

from configs.variants import chosen

_STEPS = {"u": 2000, "medium": 3000, "large": 3000}

_PLANS = {
    "name": "maze_planning",
    "sampler": "ddim",
    "grid": {"name": "linear_grid", "steps": 20},
    "lag": 0.0,
    "replan": 50,
    "far": 4.0,
    "near": 10.0,
    "within": 1.0,
    "stay": 60,
    "samples": 0,
    "episodes": 100,
}
_LONG = {"grid": {"name": "linear_grid", "steps": 40}, "lag": 2.0}
_ENERGY = {"u": {"far": 4.0}, "medium": {"far": 2.0}, "large": {"far": 0.4, **_LONG}}
_MONTE_CARLO = {
    "u": {"samples": 2, "far": 12.0, "near": 20.0},
    "medium": {"samples": 2, "far": 10.0, "near": 15.0},
    "large": {"samples": 2, "far": 2.0, "near": 20.0, **_LONG},
}


def _evaluation(maze: str) -> dict[str, object]:
    plans, average = {**_PLANS, **_ENERGY[maze]}, {**_PLANS, **_MONTE_CARLO[maze]}
    return {
        "single": plans,
        "single_hold": {**plans, "hold": True},
        "multi": {**plans, "multi": True},
        "multi_hold": {**plans, "multi": True, "hold": True},
        "mcg": average,
        "mcg_multi": {**average, "multi": True},
    }


def _mujoco(maze: str) -> dict[str, object]:
    return {"evaluation": {"mujoco": {**_PLANS, **_ENERGY[maze], "mujoco": True}}}


def _maze(name: str, tokens: int) -> dict[str, object]:
    steps = _STEPS[name]
    return {
        "data.maze": name,
        "data.tokens": tokens,
        "evaluation": _evaluation(name),
        "training.steps": steps,
        "optimizer.decay_steps": steps,
    }


def _actions(name: str, tokens: int) -> dict[str, object]:
    fields = ["position", "velocity", "action"]
    own = {"name": "diffused_actions", "replan": 10}
    plans = {**_PLANS, **_ENERGY[name], **own, "grid": {"name": "linear_grid", "steps": 20}, "lag": 0.0}
    return {
        **_maze(name, tokens),
        "data.stack": 10,
        "data.stride": 1,
        "data.fields": fields,
        "evaluation": {"single": plans, "multi": {**plans, "multi": True}},
    }


VARIANTS = {
    "debug": {
        "data.steps": 2000,
        "data.streams": 4,
        "data.tokens": 4,
        "objective.network.width": 16,
        "objective.network.depth": 1,
        "objective.network.heads": 2,
        "training.steps": 4,
        "training.batch_size": 8,
        "training.steps_per_call": 2,
        "training.log_every": 2,
        "training.checkpoint_every": 4,
        "optimizer.decay_steps": 4,
        "optimizer.warmup": 1,
        "evaluation": {
            "single": {**_PLANS, "grid": {"name": "linear_grid", "steps": 2}, "lag": 1.0, "episodes": 2},
        },
    },
    "medium": _maze("medium", 20),
    "large": _maze("large", 30),
    "full_sequence": {
        "objective.levels": {
            "name": "with_first",
            "levels": {"name": "per_sample", "levels": "uniform"},
            "share": 0.5,
            "high": 0.0,
        },
        **{f"evaluation.{name}.lag": 0.0 for name in ("single", "single_hold", "multi", "multi_hold")},
        "evaluation.mcg": None,
        "evaluation.mcg_multi": None,
    },
    "mujoco_u": _mujoco("u"),
    "mujoco_medium": {**_maze("medium", 20), **_mujoco("medium")},
    "mujoco_large": {**_maze("large", 30), **_mujoco("large")},
    "actions_u": _actions("u", 24),
    "actions_medium": _actions("medium", 40),
    "actions_large": _actions("large", 60),
}


def get_config(arg: str = "") -> ConfigDict:
    config = {
        "seed": 0,
        "conditions": [],
        "data": {
            "name": "maze2d",
            "maze": "u",
            "steps": 1_000_000,
            "streams": 100,
            "tokens": 12,
            "stack": 1,
            "stride": 20,
            "fields": ["position"],
        },
        "objective": {
            "name": "denoising",
            "process": "vp_cosine",
            "network": {"name": "transformer", "width": 128, "depth": 3, "heads": 4, "positions": 64},
            "coefficients": {"name": "edm", "sigma_data": 0.6},
            "levels": {
                "name": "with_first",
                "levels": {"name": "per_token", "levels": "uniform"},
                "share": 0.5,
                "high": 0.0,
            },
            "weight": {"name": "min_snr", "gamma": 5.0},
        },
        "optimizer": {
            "name": "adam",
            "learning_rate": 1e-3,
            "b2": 0.99,
            "warmup": 100,
            "decay_steps": _STEPS["u"],
            "final": 0.02,
            "clip": 1.0,
        },
        "ema": {"name": "warmup", "decay": 0.995},
        "init_from": None,
        "training": {
            "steps": _STEPS["u"],
            "batch_size": 128,
            "steps_per_call": 50,
            "log_every": 250,
            "checkpoint_every": 1000,
            "keep": 1,
            "devices": None,
        },
        "evaluation": _evaluation("u"),
        "sampling": None,
    }
    return chosen(ConfigDict(config), arg, VARIANTS)
