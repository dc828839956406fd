"""Known entries: where the chain takes them, and what the network sees of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.processes import binomial, categorical, edm, vp_cosine
from diffusion_jax.sampling.ancestral import ancestral
from diffusion_jax.sampling.ddim import ddim
from diffusion_jax.sampling.grids import linear_grid
from diffusion_jax.sampling.loop import sample, sample_path
from diffusion_jax.sampling.transforms.inpainting import evened, inpaint, renoised

MASK = jnp.array([[[True, False]]])


def same(x, t):
    return x


def test_known_entries_are_noised_known_data_at_every_level(oracles, key):
    process, times, b = vp_cosine(), linear_grid(100), 4000
    guided = inpaint(oracles.gaussian(process, 0.0, 1.0), jnp.array([[[0.8, jnp.nan]]]), MASK)
    x = process.prior((b, 1, 2)).sample(key)
    run = jax.jit(lambda x: sample_path(key, guided, ancestral(process), x, times, lambda state: state.x))
    end, path = run(x)
    np.testing.assert_allclose(end[..., 0], 0.8, atol=1e-6)
    for i in (25, 50, 75):
        alpha, sigma = process.alpha(times[i]), process.sigma(times[i])
        known = np.asarray(path[i, :, 0, 0])
        assert abs(known.mean() - alpha * 0.8) < 4 * sigma / np.sqrt(b)
        assert abs(known.std() / sigma - 1) < 4 / np.sqrt(2 * b)
    # independent entries: what is not known follows its own law
    assert abs(end[..., 1].mean()) < 4 / np.sqrt(b)
    assert abs(end[..., 1].std() - 1) < 0.1


def test_a_deterministic_sampler_ends_on_the_known_values(oracles, key):
    process = edm(10.0)
    guided = inpaint(oracles.gaussian(process, 0.0, 1.0), jnp.array([[[0.8, 0.0]]]), MASK)
    end = sample(key, guided, ddim(process), process.prior((5, 1, 2)).sample(key), linear_grid(10))
    np.testing.assert_allclose(end[..., 0], 0.8, atol=1e-5)


@pytest.mark.parametrize("process", [binomial(0.3), categorical(3, absorbing=True)])
def test_bits_and_categories(process, key):
    known = jnp.array([[[1.0, 0.0, 0.0]]] if hasattr(process, "k") else [[[1.0, 0.0, 1.0]]])
    mask = jnp.array([[True, False]])
    known = jnp.broadcast_to(known, (1, 2, 3))
    x = process.prior((200, 2, 3)).sample(key)
    guess = lambda x, t: jnp.full_like(x, 1 / 3)  # noqa: E731
    seen = renoised(process, guess, known, mask, jax.random.key(1))
    both = inpaint(seen, known, mask)
    end = jax.jit(lambda x: sample(key, both, ancestral(process), x, linear_grid(8)))(x)
    np.testing.assert_array_equal(end[:, 0], jnp.broadcast_to(known[:, 0], (200, 3)))
    assert abs(end[:, 1].mean() - 1 / 3) < 0.1


def test_the_network_sees_a_fresh_draw_of_the_marginal(key):
    process, x = vp_cosine(), jnp.full((2000, 3, 2), 7.0)
    seen = renoised(process, same, jnp.full((1, 3, 2), 0.5), MASK, key)
    t = jnp.array([[0.0, 0.4, 0.7]])
    shown = np.asarray(jax.jit(seen)(x, t))
    np.testing.assert_array_equal(shown[:, 0], 7.0)
    np.testing.assert_array_equal(shown[..., 1], 7.0)
    for token, level in ((1, 0.4), (2, 0.7)):
        alpha, sigma = process.alpha(jnp.array(level)), process.sigma(jnp.array(level))
        assert abs(shown[:, token, 0].mean() - alpha * 0.5) < 4 * sigma / np.sqrt(2000)
        assert abs(shown[:, token, 0].std() / sigma - 1) < 4 / np.sqrt(4000)


def test_the_draw_is_a_function_of_key_place_and_level(key):
    process, x = edm(), jnp.zeros((4, 3, 2))
    known, mask = jnp.zeros((4, 3, 2)), jnp.ones((4, 3))
    run = jax.jit(lambda key, t: renoised(process, same, known, mask, key)(x, t))
    shown, half = run(key, jnp.array(0.5)), jnp.full((4, 3), 0.5)
    np.testing.assert_array_equal(run(key, half), shown)
    # no two alike: over samples, tokens, levels
    other = run(key, half / 2)
    assert len(np.unique(np.concatenate([shown / 0.5, other / 0.25]).round(4))) == 48
    keys = jax.random.split(key, 4)
    rows = run(keys, half)
    swapped = run(keys[::-1], half)
    np.testing.assert_array_equal(swapped[::-1], rows)


def test_bad_input_is_refused(key):
    known = jnp.zeros((2, 1, 4, 4, 3))
    with pytest.raises(ValueError, match=r"prefix.*mask \(2, 1, 4, 5\)"):
        inpaint(same, known, jnp.ones((2, 1, 4, 5)))
    with pytest.raises(ValueError, match="prefix"):
        renoised(edm(), same, jnp.zeros(3), jnp.ones(3), key)
    with pytest.raises(TypeError, match="needs a function"):
        inpaint(None, known, jnp.ones((2, 1)))
    for guided in (
        inpaint(same, known, jnp.ones((2, 1))),
        renoised(edm(), same, known, jnp.ones((2, 1)), key),
    ):
        with pytest.raises(ValueError, match="does not fit x"):
            guided(jnp.zeros((3, 1, 4, 4, 3)), jnp.array(0.5))


def test_a_denoiser_of_one_level_sees_the_history_noised_to_the_level_of_the_others(key):
    process, x = vp_cosine(), jnp.full((2000, 3, 1), 0.7)
    t = jnp.array([[0.0, 0.2, 0.5]])

    def level(x, t):
        assert t.shape == (2000, 1)
        return jnp.broadcast_to(t[..., None], x.shape)

    np.testing.assert_array_equal(evened(process, level, key)(x, t), 0.5)
    shown = np.asarray(jax.jit(evened(process, same, key))(x, t))[..., 0]
    np.testing.assert_array_equal(shown[:, 2], x[:, 2, 0])
    for token, start in ((0, 0.0), (1, 0.2)):
        # from level s to 0.5: scaled by alpha(0.5)/alpha(s), the variance made up for
        kept = process.alpha(jnp.array(0.5)) / process.alpha(jnp.array(start))
        std = float(
            jnp.sqrt(process.sigma(jnp.array(0.5)) ** 2 - (kept * process.sigma(jnp.array(start))) ** 2)
        )
        assert abs(shown[:, token].mean() - kept * 0.7) < 4 * std / np.sqrt(2000)
        assert abs(shown[:, token].std() / std - 1) < 4 / np.sqrt(4000)
    with pytest.raises(TypeError, match="Gaussian"):
        evened(binomial(), same, key)
