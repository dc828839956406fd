"""Evaluations on data sets small enough to know the answer."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from diffusion_jax.data import digits
from diffusion_jax.data.pipeline import Arrays, Dataset, Info
from diffusion_jax.evaluation.agreement import class_agreement
from diffusion_jax.evaluation.estimator import estimator_variance, straightened
from diffusion_jax.evaluation.held_out import gaussian_baselines, held_out_bound, ode_likelihood
from diffusion_jax.evaluation.inpainting import conditional, product_inpainting, token_inpainting
from diffusion_jax.levels import expand
from diffusion_jax.objectives.exact import exact, posterior_moments
from diffusion_jax.processes import binomial, vdm, vp_2015, vp_cosine
from diffusion_jax.sampling.decoders import discretised_gaussian, fixed_kernel
from diffusion_jax.sampling.grids import karras_grid, linear_grid
from diffusion_jax.sampling.heun import heun
from diffusion_jax.types import Bound, Support


def dataset(x, kind="continuous", unit=None):
    source = Arrays({"x": np.asarray(x, np.float32)})
    info = Info(tuple(x.shape[1:]), kind, None, unit, None, None, {"train": len(x), "test": len(x)}, "")
    return Dataset(info, {"train": source, "test": source})


def normal_bound(process, times, deviation=1.0):
    """The exact bound of N(0, deviation^2) data, with its exact conditional variance."""

    def denoiser(x, t):
        alpha, sigma = process.alpha(expand(t, x)), process.sigma(expand(t, x))
        return alpha * deviation**2 / (alpha**2 * deviation**2 + sigma**2) * x

    return Bound(process, denoiser, None, fixed_kernel(process, times), None, times)


def test_the_bound_of_bits_and_its_gain():
    """One sequence only: the exact reverse is deterministic, and K is what the decoder costs."""
    x = np.tile(np.array([[[1.0, 0, 0, 1]]]), (3, 1, 1))
    objective = exact(Support(x[:1], 0.0), binomial(0.5), linear_grid(50), fixed_kernel)
    found = held_out_bound(copies=2, exhaustive=True)(
        lambda conditions: objective.bind({}, None, conditions), dataset(x, "bits"), jax.random.key(0)
    ).metrics
    # each bit of the last kernel is kept with probability 1 - beta/2, beta = 1/50, on both sides
    kept = 1 - 1 / 100
    decoder = 4 * (kept * math.log2(kept) + (1 - kept) * math.log2(1 - kept))
    np.testing.assert_allclose(found["bits"], decoder, atol=1e-4)
    np.testing.assert_allclose(found["gain_bits"], decoder + 4, atol=1e-4)
    assert found["count"] == 3
    assert found["bits_se"] < 1e-4


def test_units_turn_a_density_into_bits_of_grey_values():
    """Uniform data over 8 grey levels of width 1/unit have 3 bits; the ODE of a normal law has its own."""
    process, unit = vp_cosine(), 8.0
    x = np.random.default_rng(0).standard_normal((64, 1, 2))
    found = ode_likelihood(start=1e-5)(
        lambda conditions: normal_bound(process, linear_grid(8)), dataset(x, unit=unit), jax.random.key(0)
    ).metrics
    expected = math.log2(unit) - stats.norm.logpdf(x).mean() / math.log(2)
    np.testing.assert_allclose(found["bits_per_dim"], expected, atol=1e-3)


def test_a_bound_may_be_evaluated_on_another_grid():
    process = vp_cosine()
    bound = normal_bound(process, linear_grid(8))
    x = dataset(np.random.default_rng(0).standard_normal((2000, 1, 2)))
    run = functools.partial(held_out_bound, batch_size=500)
    kernel = {"decoder": fixed_kernel}
    coarse, fine = (
        run(grid=linear_grid(steps, first=0.02), **kernel)(lambda c: bound, x, jax.random.key(0)).metrics
        for steps in (4, 64)
    )
    limit = run(grid=linear_grid(4, first=0.02), **kernel, continuous=True, pairs=200)(
        lambda c: bound, x, jax.random.key(0)
    ).metrics
    assert coarse["pairs_nats"] > fine["pairs_nats"] > 0.99 * limit["pairs_nats"]
    # all of them share t_1 and hence the decoder's part
    np.testing.assert_allclose(coarse["decoder_nats"], limit["decoder_nats"], rtol=1e-5)
    with pytest.raises(ValueError, match="give its decoder too"):
        run(grid=linear_grid(4))(lambda c: bound, x, jax.random.key(0))


def test_probabilities_of_grey_values_have_unit_one():
    process, times = vp_cosine(), linear_grid(4)
    bound = normal_bound(process, times)._replace(decoder=discretised_gaussian(process, times, 17))
    x = dataset(np.zeros((4, 1, 2)), unit=8.0)
    found = held_out_bound()(lambda c: bound, x, jax.random.key(0)).metrics
    np.testing.assert_allclose(found["bits_per_dim"], -found["bits"] / 2, rtol=1e-6)
    assert found["gain_bits"] is None


def test_gaussian_baselines_are_scipys_normal_laws():
    """Fitted and evaluated on the same correlated pixels."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((4, 4))
    patches = rng.standard_normal((500, 4)) @ mixing + 0.3
    images = patches.reshape(500, 1, 2, 2, 1)
    found = gaussian_baselines(patch=2)(None, dataset(images), None).metrics
    law = stats.multivariate_normal(patches.mean(0), np.cov(patches.T))
    np.testing.assert_allclose(found["full"], law.logpdf(patches).mean() / math.log(2), rtol=1e-5)
    alone = stats.norm(patches.mean(), patches.std()).logpdf(patches).sum(1).mean() / math.log(2)
    np.testing.assert_allclose(found["independent"], alone, rtol=1e-5)
    with pytest.raises(ValueError, match="that it divides"):
        gaussian_baselines(patch=3)(None, dataset(images), None)


def test_real_digits_agree_with_their_classes_and_noise_does_not():
    data = digits.digits()
    batch = next(iter(data.epoch("train", 2000)))
    prototypes = jnp.asarray(
        np.stack([batch["x"][(batch["label"] == c) & (batch["mask"][:, 0] > 0)].mean(0) for c in range(10)])
    )

    def bind(conditions):
        bound = normal_bound(vp_cosine(), linear_grid(3))
        return bound._replace(denoiser=lambda x, t: prototypes[conditions["label"]])

    def blind(conditions):
        return normal_bound(vp_cosine(), linear_grid(3))

    draw = functools.partial(class_agreement, heun, count=50, grid=linear_grid(4))
    good = draw()(bind, data, jax.random.key(0)).metrics
    assert good["agreement"] == 1.0
    assert good["real"] > 0.95
    assert draw()(blind, data, jax.random.key(0)).metrics["agreement"] < 0.35


def test_a_straight_schedule_leaves_the_estimate_and_its_trained_shape_is_compared_with_it():
    process = vdm(-6.0, 5.0, 4)
    times = linear_grid(4, first=1e-4)
    bound = normal_bound(process, times, 0.7)
    straight = straightened(bound).process
    t = jnp.linspace(0.1, 0.9, 5)
    np.testing.assert_allclose(jnp.diff(straight.gamma(t), 2), 0.0, atol=1e-4)
    np.testing.assert_allclose(straight.gamma(jnp.array([1.0])), process.gamma(jnp.array([1.0])))
    x = dataset(0.7 * np.random.default_rng(0).standard_normal((512, 1, 4)))
    found = estimator_variance(draws=16)(lambda c: bound, x, jax.random.key(0)).metrics
    error = math.hypot(found["learned_mean_se"], found["linear_mean_se"])
    np.testing.assert_allclose(found["learned_mean"], found["linear_mean"], atol=4 * error)
    with pytest.raises(TypeError, match="vdm"):
        estimator_variance()(lambda c: normal_bound(vp_cosine(), times), x, jax.random.key(0))


TWO = Support(np.array([[[-1.0, -1.0]], [[1.0, 1.0]], [[1.0, -0.5]]]), 0.05)


def test_the_conditional_law_is_the_slice_of_the_mixture():
    points = np.asarray(TWO.points).reshape(3, 2)
    y, centres = conditional(points, TWO.std, 1.0, 4000, np.random.default_rng(0))
    assert sorted(centres) == [-0.5, 1.0]
    np.testing.assert_allclose((y > 0).mean(), 0.5, atol=0.04)
    np.testing.assert_allclose(y[y > 0].std(), 0.05, rtol=0.1)


def test_a_clean_token_conditions_exactly_and_a_product_of_kernels_does_not():
    process = vp_cosine()
    tokens = Support(np.asarray(TWO.points).reshape(3, 2, 1), TWO.std)

    def joint(conditions):
        return Bound(process=process, denoiser=lambda x, t: posterior_moments(tokens, process, x, t)[0])

    grid = functools.partial(karras_grid, steps=30, sigma_min=0.01)
    exactly = token_inpainting(tokens, heun, grid, known=(1.0,), count=1000)(joint, None, jax.random.key(0))
    assert exactly.metrics["x=1/ks_p"] > 0.01
    assert exactly.metrics["x=1/off_support"] < 0.01

    chain = exact(TWO, vp_2015(), linear_grid(50), fixed_kernel)
    product = product_inpainting(TWO, known=(1.0, -1.0), count=1000)(
        lambda conditions: chain.bind({}, None, conditions), None, jax.random.key(0)
    ).metrics
    # known from the start, x = 1 looks like more signal than it is at high noise: y goes astray
    assert product["x=1/wasserstein"] > 2 * exactly.metrics["x=1/wasserstein"]
    with pytest.raises(ValueError, match="points of the plane"):
        product_inpainting(Support(np.zeros((3, 1, 3)), 0.1))
