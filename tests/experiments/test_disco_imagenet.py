"""The ImageNet configs of DisCo-Diff: the paper's sizes, what a run starts from, and what sampling costs."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.disco_diff import imagenet64, imagenet128
from configs.edm import imagenet64 as edm64
from diffusion_jax.build import build

CONFIGS = {64: imagenet64, 128: imagenet128}
both = pytest.mark.parametrize("side", CONFIGS)


@functools.cache
def shapes(module, variant=""):
    """Path -> shape of the parameters that a run has, for images of its data's size."""
    config = module.get_config(variant)
    side = 128 if "128" in config.data.file else 64
    batch = {"x": jnp.zeros((1, 1, side, side, 3))}
    if config.conditions:
        batch["label"] = jnp.zeros(1, int)
    objective = build("objective", config.objective)
    like = jax.eval_shape(objective.init, jax.random.key(0), batch)
    paths = jax.tree_util.tree_leaves_with_path(like.params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape for path, leaf in paths}


def count(found, start):
    return sum(int(np.prod(shape)) for path, shape in found.items() if path.startswith(start))


def seeing(found):
    """The blocks of the denoiser that look at latents."""
    paths = {path.removeprefix("network/") for path in found if path.startswith("network/")}
    return {path.split("/latents/")[0] for path in paths if "/latents/" in path}


@pytest.mark.parametrize(("side", "parent"), [(64, (edm64, "")), (128, (imagenet128, "plain"))])
def test_a_run_goes_on_from_one_without_latents(side, parent):
    """Nothing of the parent's is left out or of another shape; the encoder has the size of ViT-B."""
    found, before = shapes(CONFIGS[side]), shapes(*parent)
    assert {path: shape for path, shape in found.items() if path in before} == before
    assert count(found, "encoder") == pytest.approx(86e6, rel=0.01)
    assert count(found, "prior") == pytest.approx(12 * 12 * 512**2, rel=0.05)


@pytest.mark.parametrize(
    ("side", "sees"),
    [
        (64, {"dec_8x8_in0", *(f"dec_{at}x{at}_block{i}" for at in (8, 16, 32) for i in range(4))}),
        (
            128,
            {
                *(f"transformer/block{i}" for i in range(2, 36, 3)),
                *(f"dec_{at}x{at}_block{i}" for at in (32, 64) for i in range(2)),
            },
        ),
    ],
)
def test_groups_of_latents_are_seen_by_the_decoder_alone(side, sees):
    assert seeing(shapes(CONFIGS[side], "groups")) == sees


@both
@pytest.mark.parametrize(
    "variant", ["", "prior", "unconditional,fid_unconditional", "prior,groups,full", "fid"]
)
def test_every_part_of_a_config_is_built(side, variant):
    config = CONFIGS[side].get_config(variant)
    for kind in ("objective", "optimizer", "ema"):
        build(kind, config[kind])
    for kind in ("sampler", "grid"):
        build(kind, config.sampling[kind])
    evaluation = json.loads(config.evaluation.to_json())
    for spec in evaluation.values():
        inner = spec.get("evaluation", spec)
        assert inner.pop("extractor")["weights"] == "inception-2015.npz"
        inner["extractor"] = "pixels"  # the Inception needs its weights
        assert inner["labels"] == bool(config.conditions)
        build("evaluation", spec)
    assert ("fid" in variant) == bool(evaluation)


@both
def test_the_second_stage_trains_the_prior_alone(side):
    config = CONFIGS[side].get_config("debug,prior")
    objective, optimizer = build("objective", config.objective), build("optimizer", config.optimizer)
    key, x = jax.random.key(0), jnp.zeros((1, 1, side, side, 3))
    params = jax.eval_shape(objective.init, key, {"x": x, "label": jnp.zeros(1, int)}).params
    moments = [leaf for leaf in jax.tree.leaves(jax.eval_shape(optimizer.init, params)) if leaf.ndim]
    assert len(moments) == 2 * len(jax.tree.leaves(params["prior"]))


def test_evaluations_of_the_network_that_sampling_costs():
    """Restart's 623 are the paper's figure; a step of Heun's method down to 0 costs one, others two."""
    config = imagenet64.get_config("restart")
    process = build("process", config.objective.objective.process)
    times = build("grid", config.sampling.grid, process=process)
    falls = np.asarray(times[1:] < times[:-1])
    assert 2 * falls.sum() - 1 == 623


def test_the_shifted_levels_of_128_pixels():
    """Half the levels are below e^-1.2 at 64 pixels and below twice that at 128; the schedule of ddpm too."""
    medians = {}
    for side, variant in ((64, ""), (128, ""), (128, "ddpm")):
        inner = CONFIGS[side].get_config(variant).objective.objective
        process = build("process", inner.process)
        levels = build("levels", inner.levels, process=process)
        drawn = process.ratio(levels(jax.random.key(0), (20_000, 1)))
        medians[side, variant] = float(jnp.median(drawn))
    wanted = {(64, ""): np.exp(-1.2), (128, ""): 2 * np.exp(-1.2), (128, "ddpm"): 2 * np.exp(-1.2)}
    assert medians == pytest.approx(wanted, rel=0.03)
