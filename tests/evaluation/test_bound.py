"""The bound on data: one clean pass, estimates by drawn pairs, units, and what is reported."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.evaluation.bound import (
    Report,
    bound_terms,
    collect,
    evaluate_bound,
    first_variance,
    normal_null,
)
from diffusion_jax.processes import binomial, edm, vp_2015
from diffusion_jax.sampling.decoders import discretised_gaussian, fixed_kernel
from diffusion_jax.sampling.grids import linear_grid
from diffusion_jax.types import Bound


def toy_bound(steps=6, decoder=fixed_kernel):
    process, times = vp_2015(0.01, steps), linear_grid(steps)

    def denoiser(x, t):
        return 0.7 * x

    return Bound(process, denoiser, None, decoder(process, times), None, times)


def data(key, count, tokens=1):
    return np.asarray(jax.random.normal(key, (count, tokens, 2)))


def index_score(key, x):
    """A part that says which example it is: the first entry."""
    return {"prior": x[None, :, :, 0], "pairs": np.zeros((1, *x.shape[:2]))}


# One clean pass


def test_a_partial_last_batch_counts_its_examples_only():
    x = np.arange(7.0)[:, None, None] * np.ones((1, 1, 2))
    padded = np.concatenate([x[4:], np.full((1, 1, 2), np.nan)])
    mask = np.array([[1.0], [1.0], [1.0], [0.0]])
    report = collect(index_score, [{"x": x[:4]}, {"x": padded, "mask": mask}], jax.random.key(0))
    assert report.count == 7
    np.testing.assert_allclose(report.mean, -3.0)
    np.testing.assert_allclose(report.se, np.arange(7.0).std(ddof=1) / math.sqrt(7))
    np.testing.assert_allclose(report.parts["prior"], 3.0)


def test_batches_give_the_pass_over_all_at_once(key):
    """With an integrand that does not depend on the noise: the ends of the bound, by closed forms."""
    bound, x = toy_bound(), data(key, 10)

    def score(key, x):
        terms = bound_terms(key, bound, x)
        return {"prior": terms.prior[None], "decoder": terms.decoder[None]}

    null = normal_null(0.0, 1.0)
    rest = {
        "x": np.concatenate([x[8:], np.zeros((2, 1, 2), np.float32)]),
        "mask": np.array([[1], [1], [0], [0]]),
    }
    parts = collect(jax.jit(score), [{"x": x[:4]}, {"x": x[4:8]}, rest], key, null=null)
    whole = collect(jax.jit(score), [{"x": x}], key, null=null)
    assert parts.count == whole.count == 10
    for field in ("mean", "se", "null"):
        np.testing.assert_allclose(getattr(parts, field), getattr(whole, field), rtol=1e-5)


def test_masked_tokens_of_an_example_count_nothing():
    x = np.arange(12.0).reshape(2, 3, 2)
    report = collect(index_score, [{"x": x, "mask": np.array([[1, 1, 0], [1, 0, 1]])}], jax.random.key(0))
    np.testing.assert_allclose(report.mean, -((0 + 2) + (6 + 10)) / 2)


def test_a_batch_has_its_own_noise():
    seen = []
    collect(
        lambda key, x: (seen.append(jax.random.uniform(key)), index_score(key, x))[1],
        [{"x": np.ones((2, 1, 2))}] * 3,
        jax.random.key(0),
    )
    assert len({float(u) for u in seen}) == 3


def test_copies_are_averaged_and_an_exhaustive_pass_errs_by_them_alone():
    """Three copies of two examples, of variances 1 and 4."""
    copies = np.array([[1.0, 10.0], [2.0, 14.0], [3.0, 12.0]])[:, :, None]
    batch = {"x": np.zeros((2, 1, 2))}
    sampled = collect(lambda key, x: {"pairs": copies}, [batch], jax.random.key(0))
    whole = collect(lambda key, x: {"pairs": copies}, [batch], jax.random.key(0), exhaustive=True)
    assert sampled.mean == whole.mean == -7.0
    np.testing.assert_allclose(sampled.se, np.std([2.0, 12.0], ddof=1) / math.sqrt(2))
    np.testing.assert_allclose(whole.se, math.sqrt(1 / 3 + 4 / 3) / 2)
    alone = collect(index_score, [batch], jax.random.key(0), exhaustive=True)
    assert math.isnan(alone.se), "one copy says nothing about its noise"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_bound_that_is_not_finite_names_its_example(value):
    x = np.zeros((3, 1, 2))
    bad = x.copy()
    bad[1, 0, 0] = value
    with pytest.raises(ValueError, match=rf"example 4 is not finite.*'prior': .*{value}"):
        collect(index_score, [{"x": x}, {"x": bad}], jax.random.key(0))


def test_an_empty_split_is_refused():
    with pytest.raises(ValueError, match="the split is empty"):
        collect(index_score, [], jax.random.key(0))


# The estimate


def test_drawn_pairs_agree_with_all_pairs(key):
    """In the mean, token by token, for few and for many pairs; stratified draws spread less."""
    bound, x = toy_bound(9), jnp.asarray(data(key, 4, tokens=2))

    @jax.jit
    def every(key):
        keys = jax.random.split(key, 2000)
        return [
            jax.vmap(lambda k, n=n: bound_terms(k, bound, x, n).pairs)(keys[: 2000 // (n or 1)])
            for n in (None, 1, 8)
        ]

    exact, *found = (np.asarray(values, np.float64) for values in every(key))
    for values in found:
        error = np.hypot(values.std(0) / math.sqrt(len(values)), exact.std(0) / math.sqrt(len(exact)))
        assert (error < 0.1 * exact.mean(0)).all()
        np.testing.assert_array_less(np.abs(values.mean(0) - exact.mean(0)), 5 * error)
    # one stratum a pair: only the noise is left, not the difference between pairs
    np.testing.assert_allclose(found[1].std(0), exact.std(0), rtol=0.3)
    assert (found[0].std(0) > 1.5 * exact.std(0)).all()


def test_a_learned_decoder_sees_the_denoiser_and_a_density_none(key):
    x = jnp.asarray(2 * np.round(8 * np.ones((3, 1, 2))) / 16 - 1)
    asked = []

    def denoiser(x, t):
        asked.append(t)
        return 0.7 * x

    def counted(decoder):
        asked.clear()
        bound = toy_bound(3, decoder)._replace(denoiser=denoiser)
        jax.eval_shape(lambda key: bound_terms(key, bound, x), key)
        return len(asked)

    assert counted(lambda process, times: discretised_gaussian(process, times, 17)) == 2
    assert counted(fixed_kernel) == 1


@pytest.mark.parametrize("part", ["process", "denoiser", "decoder", "times"])
def test_a_bound_without_a_part_is_refused(part, key):
    with pytest.raises(ValueError, match=rf"lacks \['{part}'\]"):
        bound_terms(key, toy_bound()._replace(**{part: None}), jnp.zeros((1, 1, 2)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pairs": 0}, "at least 1, got 0"),
        ({"continuous": True}, "needs `pairs`"),
    ],
)
def test_impossible_estimates_are_refused(arguments, message, key):
    with pytest.raises(ValueError, match=message):
        bound_terms(key, toy_bound(), jnp.zeros((1, 1, 2)), **arguments)


# Units and the report


def report(**changes):
    fields = {
        "count": 100,
        "mean": 2 * math.log(2),
        "se": 0.1 * math.log(2),
        "null": -4.094 * math.log(2),
        "dimensions": 2,
        "unit": 128.0,
        "parts": {"prior": 0.0, "pairs": -3 * math.log(2), "decoder": 1.0 * math.log(2)},
        "beta_1": 0.001,
    }
    return Report(**{**fields, **changes})


def test_bits_and_the_gain_over_the_null():
    np.testing.assert_allclose(report().bits, 2.0)
    np.testing.assert_allclose(report().bits_se, 0.1)
    np.testing.assert_allclose(report().gain, 6.094)
    assert report(null=None).gain is None


@pytest.mark.parametrize(
    ("unit", "dimensions", "mean", "bits_per_dim"),
    [
        (128.0, 1, 0.0, 7.0),  # dequantised 8-bit data in [-1, 1]: the offset is 7
        (8.5, 64, 0.0, math.log2(8.5)),  # 17 levels
        (255 * 0.2516, 3, 5.4 * math.log(2), 4.20),  # 2015's CIFAR-10: standardised by the deviation 0.2516
        (1.0, 2, -6 * math.log(2), 3.0),  # probabilities of grey values
    ],
)
def test_bits_a_dimension_of_grey_values(unit, dimensions, mean, bits_per_dim):
    found = report(unit=unit, dimensions=dimensions, mean=mean).bits_per_dim
    np.testing.assert_allclose(found, bits_per_dim, atol=4e-3)


def test_data_without_grey_levels_have_no_bits_a_dimension():
    assert report(unit=None).bits_per_dim is None
    assert "NLL" not in str(report(unit=None))
    assert report(unit=None).record()["bits_per_dim"] is None


def test_the_report_says_how_it_was_converted():
    text = str(report())
    for said in (
        "2.0000 +- 0.1000 bits",
        "100 examples",
        "K-L_null 6.0940",
        "L_null -4.0940",
        "beta_1   0.001",
    ):
        assert said in text
    assert "6.0000 +- 0.0500 bits/dim" in text
    assert "log2(128) - K/2" in text
    assert "pairs -3.0000" in text
    assert "beta_1" not in str(report(beta_1=None))


def test_the_record_holds_every_figure():
    record = report().record()
    np.testing.assert_allclose(
        [record["bits"], record["gain_bits"], record["bits_per_dim"], record["bits_per_dim_se"]],
        [2.0, 6.094, 6.0, 0.05],
    )
    assert record["beta_1"] == 0.001


def test_evaluation_reports_the_first_variance_and_the_null(key):
    result = evaluate_bound(toy_bound(), [{"x": data(key, 50)}], key, null=normal_null(0.0, 1.0))
    np.testing.assert_allclose(result.beta_1, 0.01, rtol=1e-4)
    assert result.count == 50
    assert result.dimensions == 2
    assert set(result.parts) == {"prior", "pairs", "decoder"}
    np.testing.assert_allclose(sum(result.parts.values()), -result.mean, rtol=1e-6)
    np.testing.assert_allclose(result.null / (2 * math.log(2)), -2.047, atol=0.4)
    assert result.gain < 6.64, "the ceiling of beta_1 = 0.01: 1/2 log2(1/beta_1) a dimension"


def test_the_first_variance_of_processes_that_do_not_preserve_it():
    bound = Bound(edm(sigma_max=10.0), None, None, None, None, jnp.array([1.0, 0.3, 0.0]))
    np.testing.assert_allclose(first_variance(bound), 9 / 10, rtol=1e-6)
    assert first_variance(bound._replace(process=binomial(0.2))) is None
