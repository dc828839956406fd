"""The runs of DisCo-Diff's table: every variant can be initialised, equal ones have equal parts."""

import functools

import jax
import jax.numpy as jnp
import pytest

from diffusion_jax.build import build
from experiments import configuration
from experiments.tables.disco_diff import RUNS

SHAPES = {"eight_gaussians": (1, 2), "digits": (1, 8, 8, 1), "textures": (1, 16, 16, 1)}
CONFIGS = sorted({run.config for run in RUNS if not run.needs_data})


@functools.cache
def parameters(path):
    """Name of a part -> shapes of its parameters, and their number, without computing any."""
    config = configuration.load(path)
    objective = build("objective", config["objective"])
    batch = {"x": jnp.zeros((2, *SHAPES[config["data"]["name"]]))}
    if "label" in config["conditions"]:
        batch["label"] = jnp.zeros(2, int)
    return jax.eval_shape(objective.init, jax.random.key(0), batch).params


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.removeprefix("configs/disco_diff/"))
def test_every_run_of_the_table_can_be_initialised(path):
    exact = path.endswith(":exact")
    assert (size(parameters(path)) == 0) == exact
    latent = configuration.load(path)["objective"]["name"] in ("latent", "continuous_latent")
    assert ("encoder" in parameters(path)) == latent


def test_digits_without_latents_have_no_fewer_parameters_than_the_denoiser_with_them():
    of = {name: parameters(f"configs/disco_diff/digits.py:{name}") for name in ("plain", "small", "rows")}
    assert size(of["small"]) < size(of["rows"]["network"]) < size(of["plain"])


def test_the_tuned_run_has_all_of_the_run_that_it_goes_on_from():
    small, tuned = (
        jax.tree_util.tree_leaves_with_path(parameters(f"configs/disco_diff/digits.py:{name}"))
        for name in ("small", "tuned")
    )
    shapes = {jax.tree_util.keystr(path): leaf.shape for path, leaf in tuned}
    assert all(shapes[jax.tree_util.keystr(path)] == leaf.shape for path, leaf in small)
