"""Latents in networks: the identity at the start, null, what is seen where, wrong codes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.networks.latents import latent_tokens
from diffusion_jax.networks.mlp import mlp
from diffusion_jax.networks.transformer import transformer
from diffusion_jax.networks.unet import ddpmpp
from diffusion_jax.networks.uvit import uvit

COUNT, CODES = 4, 3
TOKENS = latent_tokens(COUNT, CODES, width=8, depth=1, heads=2)
NETWORKS = {
    "mlp": (functools.partial(mlp, 8, 1), (2, 3, 2)),
    "transformer": (functools.partial(transformer, 8, 2, 2), (2, 3, 2)),
    "ddpmpp": (functools.partial(ddpmpp, 8, [1], 1, [4]), (2, 1, 4, 4, 1)),
    "uvit": (functools.partial(uvit, 8, [1, 1], 1, [4], 1), (2, 1, 4, 4, 1)),
}
every = pytest.mark.parametrize("name", NETWORKS)
NOISE = jnp.full((1, 1), 0.4)


@functools.cache
def case(name):
    """(network, x, variables drawn at random, jitted (variables, latents) -> out)."""
    make, shape = NETWORKS[name]
    network, x = make(latents=TOKENS), jax.random.normal(jax.random.key(0), shape)
    like = jax.eval_shape(network.init, jax.random.key(0), x, NOISE)
    rng = np.random.default_rng(1)
    variables = jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(leaf.dtype), like)
    call = jax.jit(lambda variables, latents: network.apply(variables, x, NOISE, {"latents": latents}))
    return network, x, variables, call


def merged(target, source):
    """target with the leaves of source wherever it has them."""
    if not isinstance(target, dict):
        return source
    return {name: merged(leaf, source[name]) if name in source else leaf for name, leaf in target.items()}


def pruned(target, like):
    """The leaves of target that `like` has too."""
    return {
        name: pruned(target[name], leaf) if isinstance(leaf, dict) else target[name]
        for name, leaf in like.items()
    }


def applied(network, variables, x, latents):
    return network.apply(variables, x, NOISE, {"latents": latents})


@every
def test_latents_change_nothing_in_a_network_trained_without(name):
    make, _ = NETWORKS[name]
    network, x, variables, call = case(name)
    plain = make()
    trained = pruned(variables, jax.eval_shape(plain.init, jax.random.key(0), x, NOISE))
    start = merged(jax.jit(network.init)(jax.random.key(2), x, NOISE), trained)
    wanted = jax.jit(plain.apply)(trained, x, NOISE)
    assert jnp.abs(wanted).max() > 1e-2
    for latents in (jnp.full((2, COUNT), -1), jnp.array([[0, 1, 2, 0], [2, 2, 1, -1]])):
        np.testing.assert_allclose(call(start, latents), wanted, rtol=1e-5, atol=1e-5)


@every
def test_codes_are_one_hot_weights_and_absent_ones_null(name):
    network, x, variables, call = case(name)
    codes = jnp.array([[0, 1, 2, 0], [2, -1, 1, 1]])
    out = call(variables, codes)
    weights = jax.nn.one_hot(jnp.where(codes < 0, CODES, codes), CODES + 1)
    np.testing.assert_allclose(call(variables, weights), out, rtol=1e-5, atol=1e-6)
    null = call(variables, jnp.full((2, COUNT), -1))
    np.testing.assert_allclose(jax.jit(network.apply)(variables, x, NOISE), null, rtol=1e-5, atol=1e-6)
    for place in range(COUNT):
        moved = call(variables, codes.at[0, place].set((codes[0, place] + 1) % CODES))
        assert jnp.abs(moved[0] - out[0]).max() > 1e-4
        np.testing.assert_allclose(moved[1], out[1], rtol=1e-5, atol=1e-6)


@every
def test_wrong_latents_are_refused_or_give_nan(name):
    network, x, variables, call = case(name)
    for latents, error, message in [
        (np.full((2, COUNT), CODES), ValueError, r"latents must lie in 0..2, or be -1 for null; got .* 3..3"),
        (np.zeros((2, COUNT + 1), int), ValueError, r"latents must be \[B, 4\]"),
        (np.zeros((2, COUNT, CODES)), ValueError, "4 latents of 3 codes and a null one"),
        (np.zeros((2, COUNT), bool), TypeError, "got bool"),
    ]:
        with pytest.raises(error, match=message):
            jax.eval_shape(functools.partial(applied, network, latents=latents), variables, x)
    wrong = call(variables, jnp.array([[0, 1, 2, CODES], [0, 0, 0, 0]]))
    assert jnp.isnan(wrong[0]).any()
    assert jnp.isfinite(wrong[1]).all()
    make, _ = NETWORKS[name]
    with pytest.raises(ValueError, match="the network takes none"):
        jax.eval_shape(make().init, jax.random.key(0), x, NOISE, {"latents": np.zeros((2, COUNT), int)})


def test_a_memory_with_latents_is_the_whole_sequence():
    network = transformer(8, 2, 2, causal=True, positions=3, latents=TOKENS)
    _, x, variables, _ = case("transformer")
    known = {"latents": jnp.array([[0, 1, 2, 0], [2, -1, 1, 1]])}
    memory, out = network.apply(variables, 2, method="start"), []
    extend = jax.jit(lambda x, memory: network.apply(variables, x, NOISE, known, memory, method="extend"))
    for token in range(3):
        piece, memory = extend(x[:, token : token + 1], memory)
        out.append(piece)
    wanted = jax.jit(network.apply)(variables, x, NOISE, known)
    np.testing.assert_allclose(jnp.concatenate(out, axis=1), wanted, rtol=1e-4, atol=1e-5)


def test_each_group_enters_at_its_own_height():
    """The first group at 2 pixels and the second at 4: which features of the decoder see which latents."""
    tokens = latent_tokens(COUNT, CODES, width=8, depth=1, heads=2, groups=[2, 4])
    network = ddpmpp(8, [1, 1], 1, [4, 2], latents=tokens)
    x = jax.random.normal(jax.random.key(0), (1, 1, 4, 4, 1))
    like = jax.eval_shape(network.init, jax.random.key(0), x, NOISE)
    rng = np.random.default_rng(1)
    variables = jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(leaf.dtype), like)

    @jax.jit
    def features(latents):
        return network.apply(variables, x, NOISE, {"latents": latents}, capture_intermediates=True)[1]

    def moved(place):
        seen = [
            features(jnp.zeros((1, COUNT), int).at[0, place].set(code))["intermediates"] for code in (0, 1)
        ]
        change = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), *seen)
        return {name: change[name]["__call__"][0] > 1e-5 for name in change if name[:3] in ("enc", "dec")}

    coarse, fine = moved(0), moved(COUNT - 1)
    assert not any(seen for name, seen in (coarse | fine).items() if name.startswith("enc"))
    assert coarse["dec_2x2_in0"]
    assert coarse["dec_4x4_block1"]
    assert {name for name, seen in fine.items() if seen and "block" in name} == {"dec_4x4_block1"}


def test_bad_arguments_are_refused():
    for arguments, message in [
        ((0, 3), "count must be at least 1"),
        ((2, 0), "codes must be at least 1"),
        ((2, 3, 9, 1, 2), "width must be a multiple of heads, got width=9, heads=2"),
        ((3, 3, 8, 1, 2, [4, 8]), "3 latents do not divide into 2 groups"),
    ]:
        with pytest.raises(ValueError, match=message):
            latent_tokens(*arguments)
    grouped = latent_tokens(2, 3, 8, 1, 2, [4, 8])
    for make in (mlp, transformer):
        with pytest.raises(ValueError, match="only U-Nets have"):
            make(latents=grouped)
    with pytest.raises(ValueError, match=r"groups of latents at \[8\], but .* attends at \[4\]"):
        jax.eval_shape(
            ddpmpp(8, [1], 1, [4], latents=grouped).init, jax.random.key(0), jnp.zeros((1, 1, 4, 4, 1)), NOISE
        )
