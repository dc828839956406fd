"""The published layout: every name and shape, there and back, and what is refused."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.networks.official import from_official, to_official
from diffusion_jax.networks.unet import adm, ddpmpp, ncsnpp

KEYS = Path(__file__).parents[1] / "golden" / "edm_keys.tsv"
PUBLISHED = {
    "cifar10-cond-vp": (ddpmpp(labels=10, augment=9), 32),
    "cifar10-cond-ve": (ncsnpp(labels=10, augment=9), 32),
    "imagenet64-cond-adm": (adm(labels=1000), 64),
}


def shapes(network, side):
    x = jnp.zeros((1, 1, side, side, 3))
    return jax.eval_shape(network.init, jax.random.key(0), x, jnp.zeros((1, 1)))


def listed(name):
    """Published name -> shape, of one network of the list."""
    section = next(part for part in KEYS.read_text().split("# ") if part.startswith(name + "\n"))
    rows = (line.split("\t") for line in section.splitlines()[1:])
    return {f"model.{key}": tuple(int(size) for size in shape.split("x")) for key, shape in rows}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_name_and_shape(name):
    empty = jax.tree.map(lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), shapes(*PUBLISHED[name]))
    assert {key: array.shape for key, array in to_official(empty).items()} == listed(name)


@pytest.fixture(params=[ddpmpp, ncsnpp, adm], ids=["ddpmpp", "ncsnpp", "adm"])
def variables(request):
    rng = np.random.default_rng(0)
    like = shapes(request.param(8, (1, 1), 1, (2,), labels=3, augment=9), 4)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), like)


def test_there_and_back(variables):
    official = to_official(variables)
    back = from_official(official, variables)
    assert jax.tree.structure(back) == jax.tree.structure(variables)
    jax.tree.map(np.testing.assert_array_equal, back, variables)
    kernel = variables["params"]["enc_2x2_down"]["conv1"]["kernel"]
    assert official["model.enc.2x2_down.conv1.weight"][5, 2, 0, 1] == kernel[0, 1, 2, 5]
    assert official["model.map_layer0.weight"][7, 1] == variables["params"]["map_layer0"]["kernel"][1, 7]


def test_filters_have_sum_one(variables):
    filters = {name: array for name, array in to_official(variables).items() if "resample_filter" in name}
    assert {"model.enc.2x2_down.conv0.resample_filter", "model.dec.4x4_up.skip.resample_filter"} <= set(
        filters
    )
    for array in filters.values():
        np.testing.assert_allclose(array.sum(), 1, rtol=1e-6)


def test_everything_that_does_not_fit_is_named(variables):
    official = to_official(variables)
    official["model.enc.8x8_conv.weight"] = np.zeros(3)
    del official["model.map_layer0.bias"]
    official["model.map_layer1.bias"] = np.zeros(31)
    filtered = "model.enc.2x2_down.conv0.resample_filter"
    official[filtered] = 2 * official[filtered]
    with pytest.raises(ValueError) as error:
        from_official(official, variables)
    assert [line.strip().split(":")[0] for line in str(error.value).splitlines()[1:]] == [
        "missing",
        "unexpected",
        "shape",
        "filter",
    ]
    for part in (
        "missing: model.map_layer0.bias",
        "unexpected: model.enc.8x8_conv.weight",
        "shape: model.map_layer1.bias should be (32,), is (31,)",
        f"filter: {filtered}",
    ):
        assert part in str(error.value)
