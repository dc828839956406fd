"""Forecasting by Diffusion Forcing (arXiv 2407.01392, section 4.4): what is known are tokens at level 0.

    python -m experiments.train --config configs/diffusion_forcing/forecasting.py --workdir runs/known
    python -m experiments.train --config configs/diffusion_forcing/forecasting.py:co2 --workdir runs/co2

Without a variant, a synthetic vector autoregression, whose best possible forecast is known. With statsmodels
(`pip install '.[forecasting]'`): `macrodata`, `sunspots`, `co2`. Each trains in a few minutes on one core,
and is scored beside classical baselines on the same windows. The sets of the paper's table 2, `exchange`,
`solar`, `electricity`, `traffic`, `taxi` and `wikipedia`, need data, folders of GluonTS under
datasets/gluonts, and a GPU: context, lags, batch, learning rate, weight decay and clipping are the paper's,
the network is a transformer of ours; none has been run.
The numbers to expect: `python -m experiments.tables diffusion_forcing`.
"""

from ml_collections import ConfigDict

from configs.variants import chosen

_LEVELS = {"name": "lognormal", "mean": -0.5, "std": 1.5}

_FORECAST = {
    "name": "forecast",
    "sampler": "dpmpp_2m",
    "grid": {"name": "karras_grid", "steps": 12},
    "schedule": None,
    "paths": 100,
}

_PERSISTENCE = {"name": "baseline_forecast", "baseline": "persistence"}


_EVALUATIONS = {
    "forecast": _FORECAST,
    "var": {"name": "baseline_forecast", "baseline": "vector_autoregression"},
    "persistence": _PERSISTENCE,
}


def _with_smoothing(season: int | None = None) -> dict:
    """All evaluations; season: of the exponential smoothing, which takes too long on a long series."""
    smoothing = {"name": "exponential_smoothing", "season": season}
    return {**_EVALUATIONS, "smoothing": {"name": "baseline_forecast", "baseline": smoothing}}


def _gluonts(name: str, features: int, lags: int, horizon: int) -> dict:
    """A set of the paper's table 2; lags: how many there are, of every feature, beside two periods."""
    return {
        "data": {
            "name": "gluonts_folder",
            "folder": f"datasets/gluonts/{name}",
            "horizon": horizon,
            "features": features,
        },
        "conditions": ["condition"],
        "objective.levels.context": horizon,
        "objective.network.condition": 4 + lags * features,
        "objective.network.width": 256,
        "objective.network.depth": 4,
        "objective.network.dropout": 0.1,
        "optimizer": {"name": "adamw", "learning_rate": 3e-4, "weight_decay": 1e-3, "clip": 10.0},
        "training.steps": 20_000,
        "training.batch_size": 32,
        "evaluation": {"forecast": _FORECAST, "persistence": _PERSISTENCE},
    }


def _small(context: int) -> dict:
    """Of the bundled series, a few hundred windows that overlap: a noisy past is what keeps them apart."""
    return {
        "objective.levels": {"name": "uniform_future", "context": context, "levels": _LEVELS},
        "objective.network.dropout": 0.2,
        "training.batch_size": 64,
        "training.steps": 400,
        "optimizer.decay_steps": 400,
        "optimizer.weight_decay": 0.1,
    }


VARIANTS = {
    "debug": {
        "data": {"name": "autoregression", "train": 200, "test": 4, "context": 3, "horizon": 2},
        "objective.levels.context": 3,
        "objective.network.width": 16,
        "objective.network.depth": 1,
        "training.steps": 4,
        "training.batch_size": 8,
        "training.steps_per_call": 2,
        "training.log_every": 2,
        "training.checkpoint_every": 4,
        "evaluation.forecast.grid.steps": 2,
        "evaluation.forecast.paths": 4,
    },
    "macrodata": {
        "data": {"name": "macrodata"},
        "conditions": ["condition"],
        "objective.network.condition": 2,
        **_small(context=8),
        "evaluation": _with_smoothing(),
    },
    "sunspots": {
        "data": {"name": "sunspots"},
        **_small(context=22),
        "evaluation": _with_smoothing(season=11),
    },
    "co2": {
        "data": {"name": "co2"},
        "conditions": ["condition"],
        "objective.network.condition": 5,
        **_small(context=26),
        "evaluation": _with_smoothing(),
    },
    "exchange": _gluonts("exchange_rate_nips", 8, 2, 30),
    "solar": _gluonts("solar_nips", 137, 3, 24),
    "electricity": _gluonts("electricity_nips", 370, 3, 24),
    "traffic": _gluonts("traffic_nips", 963, 3, 24),
    "taxi": _gluonts("taxi_30min", 1214, 5, 24),
    "wikipedia": _gluonts("wiki-rolling_nips", 2000, 3, 30),
}


def get_config(arg: str = "") -> ConfigDict:
    config = {
        "seed": 0,
        "data": {"name": "autoregression", "context": 4, "horizon": 6, "test": 200},
        "conditions": [],
        "objective": {
            "name": "denoising",
            "network": {
                "name": "transformer",
                "width": 32,
                "depth": 2,
                "heads": 4,
                "condition": 0,
                "dropout": 0.0,
            },
            "process": {"name": "edm", "sigma_max": 20.0},
            "coefficients": {"name": "edm", "sigma_data": 1.0},
            "weight": {"name": "edm", "sigma_data": 1.0},
            # the past of a forecast is clean, and what is to come is drawn together
            "levels": {
                "name": "shared_future",
                "context": 4,
                "levels": _LEVELS,
            },
        },
        "optimizer": {
            "name": "adamw",
            "learning_rate": 3e-3,
            "weight_decay": 0.01,
            "warmup": 50,
            "decay_steps": 2000,
            "clip": 1.0,
        },
        "ema": {"name": "warmup", "decay": 0.999},
        "training": {
            "steps": 2000,
            "batch_size": 128,
            "steps_per_call": 50,
            "log_every": 50,
            "checkpoint_every": 1000,
            "devices": None,
        },
        "evaluation": _EVALUATIONS,
        "sampling": None,
    }
    return chosen(ConfigDict(config), arg, VARIANTS)
