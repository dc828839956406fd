"""Eight Gaussians in the plane, one latent of eight codes: the toy of DisCo-Diff (arXiv 2407.03300).

    python -m experiments.train --config configs/disco_diff/toy.py --workdir runs/disco_toy

About two minutes on one CPU core. A perceptron sees z, soft; sizes, batches and steps are ours, the paper has
none. The score of a single Gaussian is built into the paper's own denoiser: `single_mode`. Variants:

    hard               one-hot latents with straight-through gradients
    single_mode        the paper's form, z telling the centre of the mode; also with `hard`
    plain              no latents, the perceptron
    plain_single_mode  no latents, the paper's form: the control that it has not got
    annealed           soft latents whose temperature falls to 0.05 over two thirds of the training
    exact              the exact denoiser: the limit without latents

The numbers to expect: `python -m experiments.tables disco_diff`.
"""

from ml_collections import ConfigDict

from configs.variants import chosen

_SIGMA_DATA = 2.1307  # sqrt(3^2/2 + 0.2^2)
_STD = 0.2  # of a mode
_TOKENS = {"name": "latent_tokens", "count": 1, "codes": 8, "width": 16, "depth": 0, "heads": 1}
_MLP = {"name": "mlp", "width": 128, "depth": 3}
_EDM = {"name": "edm", "sigma_data": _SIGMA_DATA}
_ONE = {"name": "edm", "sigma_data": _STD}
_HEUN = {"sampler": "heun", "grid": {"name": "karras_grid", "steps": 50}}


def _denoising(network: dict, coefficients: dict) -> dict:
    return {
        "name": "denoising",
        "network": network,
        "process": {"name": "edm", "sigma_max": 80.0},
        "coefficients": coefficients,
        "levels": {"name": "per_sample", "levels": {"name": "lognormal", "mean": 0.25, "std": 1.2}},
        "weight": _EDM,
    }


def _latent(**temperatures: float) -> dict:
    return {
        "name": "latent",
        "objective": _denoising(_MLP | {"latents": _TOKENS}, _EDM),
        "encoder": {"name": "perceptron", "latents": 1, "codes": 8, "width": 128, "depth": 2},
        "prior": {"name": "autoregressive", "latents": 1, "codes": 8, "width": 32, "depth": 1, "heads": 2},
        "hard": False,
        "temperature": 1.0,
        "dropout": 0.1,
        **temperatures,
    }


_MODES = {"name": "known_modes", "support": "eight_modes", "count": 2000, **_HEUN}
_CURVATURE = {"name": "ode_curvature", "count": 500, "low": 0.2, "high": 20.0, **_HEUN}
_RATIOS = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0]
_WITHOUT = {
    "modes": _MODES,
    "curvature": _CURVATURE,
    "loss": {"name": "level_losses", "weight": _EDM, "ratios": _RATIOS, "batch_size": 1000},
}

VARIANTS = {
    "debug": {
        "data.train": 64,
        "data.test": 16,
        "objective.objective.network.width": 16,
        "objective.objective.network.depth": 1,
        "objective.encoder.width": 16,
        "objective.prior.width": 16,
        "training.steps": 4,
        "training.batch_size": 16,
        "training.steps_per_call": 2,
        "training.log_every": 2,
        "training.checkpoint_every": 4,
        "evaluation": {
            "use": {"name": "latent_use", "weight": _EDM, "batch_size": 16},
            "modes": _MODES | {"count": 16, "grid": {"name": "karras_grid", "steps": 3}},
        },
        "sampling.count": 8,
        "sampling.grid.steps": 3,
    },
    "hard": {"objective.hard": True},
    "single_mode": {
        "objective.objective.network": {
            "name": "single_mode",
            "network": _MLP,
            "std": _STD,
            "latents": _TOKENS,
        },
        "objective.objective.coefficients": _ONE,
    },
    "plain": {"objective": _denoising(_MLP, _EDM), "evaluation": _WITHOUT},
    "plain_single_mode": {
        "objective": _denoising({"name": "single_mode", "network": _MLP, "std": _STD}, _ONE),
        "evaluation": _WITHOUT,
    },
    "annealed": {"objective": _latent(final_temperature=0.05, decay_steps=2000)},
    "exact": {
        "objective": {
            "name": "exact",
            "support": "eight_modes",
            "process": {"name": "edm", "sigma_max": 80.0},
            "grid": {"name": "karras_grid", "steps": 50},
            "decoder": "fixed_kernel",
        },
        "evaluation": _WITHOUT,
        "training.steps": 0,
    },
}


def get_config(arg: str = "") -> ConfigDict:
    config = {
        "seed": 0,
        "data": {"name": "eight_gaussians", "train": 8000, "test": 8000},
        "conditions": [],
        "objective": _latent(),
        "optimizer": {"name": "adam", "learning_rate": 1e-3, "warmup": 100},
        "ema": {"name": "warmup", "decay": 0.999},
        "init_from": None,
        "training": {
            "steps": 3000,
            "batch_size": 512,
            "steps_per_call": 50,
            "log_every": 500,
            "checkpoint_every": 1500,
            "keep": 1,
            "devices": None,
        },
        "evaluation": {
            "use": {"name": "latent_use", "weight": _EDM, "ratios": _RATIOS, "batch_size": 1000},
            "modes": _MODES,
            "modes_oracle": {"name": "from_encoder", "evaluation": _MODES},
            "modes_null": {"name": "without_latents", "evaluation": _MODES},
            "curvature": _CURVATURE,
            "curvature_null": {"name": "without_latents", "evaluation": _CURVATURE},
        },
        "sampling": {**_HEUN, "count": 1000},
    }
    return chosen(ConfigDict(config), arg, VARIANTS)
