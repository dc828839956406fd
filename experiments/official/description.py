"""What an official network is, in its own words and in ours.

A `Description` is the class of the preconditioner and the arguments that both it and the network within take,
by their official names, as JSON beside a dump has them:

    {"class_name": "EDMPrecond", "img_resolution": 32, "img_channels": 3, "label_dim": 10,
     "model_type": "SongUNet", "channel_mult": [2, 2, 2], ...}

Most of it can be read off the names and shapes of the arrays (`read_off`). That is done for every file, and
what the file says of itself must agree. Only the preconditioner leaves no trace in the arrays.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

Description = dict[str, Any]
Spec = dict[str, Any]


class Kind(NamedTuple):
    """One of the three networks: its name here, and the arguments of its class that it stands for."""

    name: str
    fixed: Mapping[str, Any]


_SONG = {"model_type": "SongUNet", "channel_mult_emb": 4, "decoder_type": "standard", "label_dropout": 0}
NETWORKS = (
    Kind(
        "ddpmpp",
        _SONG
        | {
            "embedding_type": "positional",
            "channel_mult_noise": 1,
            "encoder_type": "standard",
            "resample_filter": [1, 1],
        },
    ),
    Kind(
        "ncsnpp",
        _SONG
        | {
            "embedding_type": "fourier",
            "channel_mult_noise": 2,
            "encoder_type": "residual",
            "resample_filter": [1, 3, 3, 1],
        },
    ),
    Kind("adm", {"model_type": "DhariwalUNet", "channel_mult_emb": 4, "label_dropout": 0}),
)

_UNET_DEFAULTS = {
    "SongUNet": {
        "model_channels": 128,
        "channel_mult": [1, 2, 2, 2],
        "channel_mult_emb": 4,
        "num_blocks": 4,
        "attn_resolutions": [16],
        "dropout": 0.1,
        "label_dropout": 0,
        "augment_dim": 0,
        "embedding_type": "positional",
        "channel_mult_noise": 1,
        "encoder_type": "standard",
        "decoder_type": "standard",
        "resample_filter": [1, 1],
    },
    "DhariwalUNet": {
        "model_channels": 192,
        "channel_mult": [1, 2, 3, 4],
        "channel_mult_emb": 4,
        "num_blocks": 3,
        "attn_resolutions": [32, 16, 8],
        "dropout": 0.1,
        "label_dropout": 0,
        "augment_dim": 0,
    },
}
_PRECONDITIONER_DEFAULTS = {
    "EDMPrecond": {
        "sigma_min": 0,
        "sigma_max": math.inf,
        "sigma_data": 0.5,
        "model_type": "DhariwalUNet",
    },
    "VPPrecond": {
        "beta_d": 19.9,
        "beta_min": 0.1,
        "M": 1000,
        "epsilon_t": 1e-5,
        "model_type": "SongUNet",
    },
    "VEPrecond": {"sigma_min": 0.02, "sigma_max": 100, "model_type": "SongUNet"},
    "iDDPMPrecond": {"C_1": 0.001, "C_2": 0.008, "M": 1000, "model_type": "DhariwalUNet"},
}
_SHARED_DEFAULTS = {"label_dim": 0, "use_fp16": False}

PRECONDITIONERS = {
    "edm": "EDMPrecond",
    "vp": "VPPrecond",
    "ve": "VEPrecond",
    "iddpm": "iDDPMPrecond",
}
"""Our coefficients -> the official class."""

_FIXED = {"VEPrecond": {"sigma_min": 0.02, "sigma_max": 100}, "iDDPMPrecond": {"C_1": 0.001, "C_2": 0.008}}


def complete(description: Mapping[str, Any]) -> Description:
    """The description with the official defaults filled in.

    Raises ValueError for classes and arguments that are not those of the four preconditioners and the two
    network classes, and for the resolution or the channels of the image missing.
    """
    name = description.get("class_name")
    if name not in _PRECONDITIONER_DEFAULTS:
        raise ValueError(
            f"unknown preconditioner class_name={name!r}; there are: {', '.join(_PRECONDITIONER_DEFAULTS)}"
        )
    given = _PRECONDITIONER_DEFAULTS[name] | _SHARED_DEFAULTS | {"class_name": name} | dict(description)
    if given["model_type"] not in _UNET_DEFAULTS:
        raise ValueError(
            f"unknown network model_type={given['model_type']!r}; there are: {', '.join(_UNET_DEFAULTS)}"
        )
    full = _UNET_DEFAULTS[given["model_type"]] | given
    known = {
        *_UNET_DEFAULTS[given["model_type"]],
        *_PRECONDITIONER_DEFAULTS[name],
        *_SHARED_DEFAULTS,
        *("class_name", "img_resolution", "img_channels"),
    }
    wrong = sorted(known ^ set(full))
    if wrong:
        raise ValueError(
            f"missing or unknown arguments of {name} with a {full['model_type']}: {', '.join(wrong)}"
        )
    fixed = {key: full[key] for key, value in _FIXED.get(name, {}).items() if full[key] != value}
    if fixed:
        raise ValueError(f"{name} is known with {_FIXED[name]} only; this one has {fixed}")
    return {key: list(value) if isinstance(value, tuple) else value for key, value in full.items()}


def read_off(arrays: Mapping[str, np.ndarray]) -> Description:
    """What names and shapes of the arrays say: all arguments but those of the preconditioner, and dropout.

    Raises ValueError for arrays that are not those of one of the networks.
    """
    first = sorted(
        (
            int(found[1])
            for name in arrays
            if (found := re.fullmatch(r"model\.enc\.(\d+)x\1_conv\.weight", name))
        ),
        reverse=True,
    )
    if len(first) != 1 or arrays[f"model.enc.{first[0]}x{first[0]}_conv.weight"].ndim != 4:
        raise ValueError(
            "these are not the arrays of an official network: exactly one model.enc.{R}x{R}_conv.weight is "
            f"expected; there are: {', '.join(sorted(arrays)[:5]) or 'none'}"
        )
    side = first[0]
    channels, colours = arrays[f"model.enc.{side}x{side}_conv.weight"].shape[:2]
    sides = [side]
    while sides[-1] > 1 and f"model.enc.{sides[-1] // 2}x{sides[-1] // 2}_down.conv0.weight" in arrays:
        sides.append(sides[-1] // 2)
    widths = [arrays.get(f"model.enc.{s}x{s}_block0.conv0.weight") for s in sides]
    if any(width is None or width.shape[0] % channels for width in widths):
        raise ValueError(f"the blocks at {sides} have no widths that are multiples of {channels} channels")
    blocks = 0
    while f"model.enc.{side}x{side}_block{blocks}.conv0.weight" in arrays:
        blocks += 1
    kind = _kind_of(arrays)
    return {
        **kind.fixed,
        "img_resolution": side,
        "img_channels": colours,
        "label_dim": _width(arrays, "map_label"),
        "augment_dim": _width(arrays, "map_augment"),
        "model_channels": channels,
        "channel_mult": [width.shape[0] // channels for width in widths if width is not None],
        "num_blocks": blocks,
        "attn_resolutions": [s for s in sides if f"model.enc.{s}x{s}_block0.qkv.weight" in arrays],
    }


def agreed(description: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Description:
    """The complete description, once it agrees with what the arrays say.

    Raises what `complete` and `read_off` raise, and ValueError naming the arguments that differ.
    """
    full, seen = complete(description), read_off(arrays)
    # A resolution without blocks of its own may be listed among those with attention.
    side = full["img_resolution"]
    sides = [side >> level for level in range(len(full["channel_mult"]))] if isinstance(side, int) else []
    full["attn_resolutions"] = [s for s in sides if s in full["attn_resolutions"]]
    differing = [
        f"{name}: {full.get(name)!r} in the description, {value!r} by the arrays"
        for name, value in seen.items()
        if full.get(name) != value
    ]
    if differing:
        raise ValueError(f"the description does not fit the arrays: {'; '.join(differing)}")
    return full


def network_spec(description: Description) -> Spec:
    """The spec of our network; `description` is complete."""
    kind = next(
        kind for kind in NETWORKS if all(description.get(name) == value for name, value in kind.fixed.items())
    )
    return {
        "name": kind.name,
        "channels": description["model_channels"],
        "multipliers": description["channel_mult"],
        "blocks": description["num_blocks"],
        "attention": description["attn_resolutions"],
        "labels": description["label_dim"],
        "augment": description["augment_dim"],
        "outputs": 2 if description["class_name"] == "iDDPMPrecond" else 1,
        "dropout": description["dropout"],
    }


def objective_spec(description: Description, loss: Mapping[str, Any]) -> Spec:
    """The spec of our objective: process, coefficients, and the loss that the class is trained with.

    loss: P_mean and P_std of EDM's, where the file has them.
    """
    name = description["class_name"]
    data = {"sigma_data": description.get("sigma_data")}
    levels: Any = {"name": "uniform"}
    weight: Any = "eps"
    if name == "EDMPrecond":
        process, coefficients = {"name": "edm", "sigma_max": 80.0}, {"name": "edm", **data}
        levels = {"name": "lognormal", "mean": loss.get("P_mean", -1.2), "std": loss.get("P_std", 1.2)}
        weight = {"name": "edm", **data}
    elif name == "VPPrecond":
        betas = {
            "beta_min": description["beta_min"],
            "beta_max": description["beta_min"] + description["beta_d"],
        }
        process = {"name": "vp_linear", **betas}
        coefficients = {"name": "vp", **betas, "steps": description["M"]}
        levels = {"name": "vp_uniform", "low": description["epsilon_t"], **betas}
    elif name == "VEPrecond":
        process, coefficients = {"name": "ve", "sigma_max": 100.0}, "ve"
        levels = {"name": "log_uniform", "sigma_min": 0.02, "sigma_max": 100.0}
    else:
        process = {"name": "vp_cosine", "s": description["C_2"], "steps": description["M"]}
        coefficients = {"name": "iddpm", "steps": description["M"]}
    return {
        "name": "denoising",
        "network": network_spec(description),
        "process": process,
        "coefficients": coefficients,
        "levels": {"name": "per_sample", "levels": levels},
        "weight": weight,
    }


def description_of(objective: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Description:
    """The description of one of our networks, from the spec of its objective and its arrays.

    Raises ValueError where the preconditioning or the network has no official counterpart.
    """
    coefficients = objective["coefficients"]
    spec: Spec = {"name": coefficients} if isinstance(coefficients, str) else dict(coefficients)
    name = spec.pop("name")
    if name not in PRECONDITIONERS:
        raise ValueError(
            f"coefficients {name!r} have no official counterpart; these have: {', '.join(PRECONDITIONERS)}"
        )
    own: dict[str, Any] = {}
    if name == "edm":
        own = {"sigma_data": spec.get("sigma_data", 0.5)}
    elif name == "vp":
        low, high = spec.get("beta_min", 0.1), spec.get("beta_max", 20.0)
        own = {"beta_min": low, "beta_d": high - low, "M": spec.get("steps", 1000)}
    elif name == "iddpm":
        own = {"M": spec.get("steps", 1000)}
    dropout = {"dropout": objective["network"].get("dropout", 0.0)}
    return complete({"class_name": PRECONDITIONERS[name], **own, **read_off(arrays), **dropout})


def _kind_of(arrays: Mapping[str, np.ndarray]) -> Kind:
    fourier = "model.map_noise.freqs" in arrays
    residual = any(name.endswith("_aux_residual.weight") for name in arrays)
    if fourier != residual:
        raise ValueError("random frequencies come with a residual encoder or not at all (ncsnpp)")
    if "model.out_conv.weight" in arrays:
        return NETWORKS[2]
    return NETWORKS[1] if fourier else NETWORKS[0]


def _width(arrays: Mapping[str, np.ndarray], layer: str) -> int:
    weight = arrays.get(f"model.{layer}.weight")
    return 0 if weight is None else weight.shape[-1]
