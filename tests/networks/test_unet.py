"""EDM's U-Nets against recorded outputs of the published ones, their sizes, and a level for each frame."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax import preconditioning
from diffusion_jax.networks.official import from_official
from diffusion_jax.networks.unet import adm, ddpmpp, ncsnpp
from diffusion_jax.preconditioning import precondition
from diffusion_jax.processes import edm

GOLDEN = Path(__file__).parents[1] / "golden"
TINY = {"ddpmpp": (ddpmpp, 16), "ncsnpp": (ncsnpp, 16), "adm": (adm, 32)}
every = pytest.mark.parametrize("name", TINY)


def tiny(name, **arguments):
    factory, channels = TINY[name]
    defaults = {"multipliers": (1, 2), "blocks": 1, "attention": (8,), "labels": 4, "augment": 9}
    return factory(channels, **{**defaults, **arguments})


@functools.cache
def recorded(name):
    """(arrays, x, noise, variables, jitted call) of a recorded network; images with one frame."""
    with np.load(GOLDEN / f"{name}_tiny.npz") as file:
        arrays = dict(file)
    x = jnp.asarray(arrays["in/x"].transpose(0, 2, 3, 1)[:, None])
    noise = jnp.asarray(arrays["in/c_noise"])[:, None]
    network = tiny(name)
    state = {key.removeprefix("state/"): array for key, array in arrays.items() if key.startswith("state/")}
    variables = from_official(state, jax.eval_shape(network.init, jax.random.key(0), x, noise))
    call = jax.jit(functools.partial(network.apply, variables))
    return arrays, x, noise, variables, call


@every
def test_recorded_outputs(name):
    arrays, x, noise, _, call = recorded(name)
    conditions = {"label": arrays["in/class_labels"].argmax(1), "augment": arrays["in/augment_labels"]}
    for key, known in (("raw", conditions), ("raw_zero_labels", {"label": np.array([-1, -1])})):
        wanted = arrays[f"out/{key}"]
        out = np.asarray(call(x, noise, known))[:, 0].transpose(0, 3, 1, 2)
        np.testing.assert_allclose(out, wanted, atol=1e-5 * np.abs(wanted).max())


@every
@pytest.mark.parametrize("coefficients", ["edm", "vp", "ve"])
def test_recorded_denoisers(name, coefficients):
    """D(5 x; sigma) under each preconditioning, in EDM's process."""
    arrays, x, _, _, call = recorded(name)
    conditions = {"label": arrays["in/class_labels"].argmax(1), "augment": arrays["in/augment_labels"]}
    process = edm(80.0)
    choice = getattr(preconditioning, coefficients)
    denoiser = precondition(lambda x, noise: call(x, noise, conditions), process, choice)
    out = denoiser(5 * x, process.time(jnp.asarray(arrays["in/sigma"])))
    wanted = arrays[f"out/denoised_{coefficients}"]
    out = np.asarray(out)[:, 0].transpose(0, 3, 1, 2)
    np.testing.assert_allclose(out, wanted, atol=1e-4 * np.abs(wanted).max())


@every
def test_each_frame_has_its_own_level(name):
    arrays, x, _, _, call = recorded(name)
    frames = jnp.concatenate([x, x[::-1], 0.5 * x], axis=1)
    noise = jnp.array([[-1.0, -0.4, 0.9], [0.3, 1.1, -0.8]])
    label = {"label": arrays["in/class_labels"].argmax(1), "augment": arrays["in/augment_labels"]}
    out = call(frames, noise, label)
    for frame in range(3):
        alone = call(frames[:, frame, None], noise[:, frame, None], label)
        np.testing.assert_allclose(out[:, frame, None], alone, atol=1e-5)
    assert jnp.abs(call(frames, noise[::-1], label) - out).max() > 1e-2


SIZES = [
    (ddpmpp, {"augment": 9}, 32, 55_733_891),
    (ddpmpp, {"augment": 9, "labels": 10}, 32, 55_735_299),
    (ncsnpp, {"augment": 9}, 32, 56_397_827),
    (ncsnpp, {"augment": 9, "labels": 10}, 32, 56_400_643),
    (ddpmpp, {"augment": 9, "multipliers": (1, 2, 2, 2)}, 64, 61_805_571),
    (ncsnpp, {"augment": 9, "multipliers": (1, 2, 2, 2)}, 64, 62_761_091),
    (adm, {"labels": 1000}, 64, 295_899_267),
]


@pytest.mark.parametrize(("factory", "arguments", "side", "count"), SIZES)
def test_parameters_of_the_published_networks(factory, arguments, side, count):
    x = jnp.zeros((1, 1, side, side, 3))
    like = jax.eval_shape(factory(**arguments).init, jax.random.key(0), x, jnp.zeros((1, 1)))
    assert sum(leaf.size for leaf in jax.tree.leaves(like["params"])) == count


@every
def test_grey_images_that_are_not_square(name, filled, key):
    network = tiny(name, multipliers=(1, 1, 1), attention=(2,), labels=0, augment=0, outputs=2)
    x, noise = jax.random.normal(key, (1, 2, 8, 12, 1)), jnp.full((1, 1), 0.5)
    variables = filled(network, x, noise, scale=0.1)
    assert "dec_2x2_in0" in variables["params"]
    out = jax.jit(network.apply)(variables, x, noise)
    assert out.shape == (1, 2, 8, 12, 2)
    assert jnp.isfinite(out).all()


@every
def test_bfloat16_is_near_and_keeps_float32_parameters(name):
    _, x, noise, variables, call = recorded(name)
    network = tiny(name, dtype="bfloat16")
    like = jax.eval_shape(network.init, jax.random.key(0), x, noise)
    assert {leaf.dtype for leaf in jax.tree.leaves(like)} == {jnp.dtype("float32")}
    out, exact = jax.jit(network.apply)(variables, x, noise), call(x, noise)
    assert out.dtype == jnp.float32
    error = float(jnp.abs(out - exact).max() / jnp.abs(exact).max())
    assert 1e-4 < error < 5e-2


def limit(kernel):
    """The largest weight, in units of the limit of the usual uniform law for its inputs and outputs."""
    window = np.prod(kernel.shape[:-2])
    return float(jnp.abs(kernel).max() / np.sqrt(6 / (window * sum(kernel.shape[-2:]))))


def test_untrained_ddpmpp(key):
    network = ddpmpp(16, (1,), 1, (4,), labels=4)
    params = jax.jit(network.init)(key, jnp.zeros((1, 1, 4, 4, 3)), jnp.zeros((1, 1)))["params"]
    block = params["enc_4x4_block0"]
    wanted = {"conv0": 1, "affine": 1, "conv1": 1e-5, "qkv": np.sqrt(0.2), "proj": 1e-5}
    for layer, gain in wanted.items():
        assert limit(block[layer]["kernel"]) == pytest.approx(gain, rel=0.05), layer
        np.testing.assert_array_equal(block[layer]["bias"], 0)
    assert limit(params["dec_4x4_aux_conv"]["kernel"]) == pytest.approx(1e-5, rel=0.05)
    assert limit(params["map_layer0"]["kernel"]) == pytest.approx(1, rel=0.05)
    assert limit(params["map_label"]["kernel"]) == pytest.approx(1, rel=0.2)


def test_untrained_adm(key):
    network = adm(16, (1,), 1, (4,), labels=1000, augment=9)
    params = jax.jit(network.init)(key, jnp.zeros((1, 1, 4, 4, 3)), jnp.zeros((1, 1)))["params"]
    block = params["enc_4x4_block0"]
    for layer, inputs in {"conv0": 144, "qkv": 16, "affine": 64}.items():
        for leaf in block[layer].values():
            assert float(jnp.abs(leaf).max()) * inputs**0.5 == pytest.approx(0.85, abs=0.1501), layer
    for layer in (block["conv1"], block["proj"], params["out_conv"], params["map_augment"]):
        jax.tree.map(lambda leaf: np.testing.assert_array_equal(leaf, 0), layer)
    assert float(params["map_label"]["kernel"].std()) == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": 0}, "channels must be at least 1, got 0"),
        ({"channels": 6}, "multiple of 4, got 6"),
        ({"multipliers": ()}, "multipliers must be at least 1"),
        ({"augment": -1}, "augment must be at least 0"),
    ],
)
def test_impossible_arguments_are_refused_when_built(arguments, message):
    with pytest.raises(ValueError, match=message):
        ddpmpp(**arguments)


def shape_of(network, size, conditions=None):
    x = jnp.zeros((2, 1, *size, 3))
    jax.eval_shape(lambda key: network.init(key, x, jnp.zeros((1, 1)), conditions), jax.random.key(0))


def test_impossible_images_and_conditions_are_refused():
    network = ddpmpp(8, (1, 1, 1), 1, (4,), labels=3, augment=9)
    with pytest.raises(ValueError, match=r"multiples of 4 \(4, 8, 12, ...\); got 28 x 30"):
        shape_of(network, (28, 30))
    with pytest.raises(ValueError, match=r"attention at \[4\], .* height \[12, 6, 3\]"):
        shape_of(network, (12, 12))
    with pytest.raises(ValueError, match=r"0\.\.2, or be -1"):
        shape_of(network, (8, 8), {"label": np.array([0, 3])})
    with pytest.raises(ValueError, match=r"\[B, 9\] = \(2, 9\), got \(2, 8\)"):
        shape_of(network, (8, 8), {"augment": jnp.zeros((2, 8))})
    with pytest.raises(TypeError, match="augment must be floating"):
        shape_of(network, (8, 8), {"augment": jnp.zeros((2, 9), int)})
    blind = ddpmpp(8, (1, 1, 1), 1, (4,))
    with pytest.raises(ValueError, match="no classes"):
        shape_of(blind, (8, 8), {"label": np.array([0, 1])})
    with pytest.raises(ValueError, match="augment=<numbers"):
        shape_of(blind, (8, 8), {"augment": jnp.zeros((2, 9))})
