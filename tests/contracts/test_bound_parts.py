"""What every decoder, variance, term, law of steps, support, latent prior and evaluation promises."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.build import build, example
from diffusion_jax.data.autoregression import autoregression
from diffusion_jax.data.bouncing_ball import bouncing_ball
from diffusion_jax.data.crossings import crossings
from diffusion_jax.data.labelled_roll import labelled_roll
from diffusion_jax.data.maze2d import maze2d
from diffusion_jax.data.pipeline import Arrays, Dataset, Info
from diffusion_jax.data.series import forecasts
from diffusion_jax.evaluation.outcome import Outcome
from diffusion_jax.objectives.terms import Step
from diffusion_jax.processes import binomial, categorical, vdm, vp_cosine, vp_linear
from diffusion_jax.sampling.grids import linear_grid
from diffusion_jax.types import Support

TIMES = linear_grid(20)


@pytest.mark.parametrize("process", [vp_linear(), binomial(0.2), categorical(3)], ids=["vp", "bits", "three"])
def test_a_decoders_expectation_is_the_mean_of_its_log_probability(decoder_spec, process, key):
    given = {name: value for name, value in decoder_spec.items() if name not in ("process", "times")}
    decoder = build("decoder", given)
    try:
        decoder = decoder(process, TIMES)
    except TypeError as error:  # a decoder of grey values beside a process of bits
        pytest.skip(str(error))
    x0 = jnp.array([0.0, 1.0, 0.0]).reshape(1, 1, 3)
    x0 = jnp.repeat(x0, 4000, axis=0)
    x_1 = process.marginal(x0, TIMES[-2]).sample(key)
    each = decoder.log_prob(x0, x_1, x0)
    assert each.shape == (4000, 1)
    assert np.isfinite(each).all()
    drawn = decoder.sample(key, x_1, x0)
    assert drawn.shape == x0.shape
    # the last step is short: what is decoded lies by what was encoded
    assert np.abs(drawn - x0).mean() < 0.4
    if decoder.expected is not None:
        error = 4 * float(each.std()) / 4000**0.5 + 1e-6
        np.testing.assert_allclose(decoder.expected(x0)[0, 0], each.mean(), atol=error)
    if decoder.discrete:
        assert (np.asarray(each) <= 1e-6).all(), "a log-probability, not a density"


def test_a_variance_broadcasts_lies_above_the_posteriors_and_ends_with_the_step(variance_spec, key):
    process = vp_cosine()
    variance, small = build("variance", variance_spec)(process), build("variance", "small")(process)
    x, raw = jax.random.normal(key, (2, 3, 4)), jnp.zeros((2, 3, 4))
    for t, s in ((jnp.array(0.6), jnp.array(0.5)), (jnp.array([[0.9], [0.5]]), jnp.array([[0.1], [0.4]]))):
        value = jnp.broadcast_to(variance(x, t, s, raw), x.shape)
        assert (value >= jnp.broadcast_to(small(x, t, s), x.shape) * (1 - 1e-5)).all()
    np.testing.assert_array_equal(jnp.broadcast_to(variance(x, 0.5, 0.5, raw), x.shape), 0.0)


def test_a_term_is_finite_and_grows_with_the_error(term_spec):
    term = build("term", term_spec)
    values = [
        term(
            Step(
                part=jnp.full((2, 1), size),
                detached=lambda size=size: jnp.full((2, 1), size),
                error=lambda size=size: jnp.full((2, 1), size),
                weight=jnp.full((2, 1), 10.0),
                rest=jnp.zeros((2, 1)),
            )
        )
        for size in (0.5, 1.0)
    ]
    assert values[0].shape == (2, 1)
    assert (values[1] > values[0]).all()


def test_a_law_of_steps_weighs_what_it_draws(pairs_spec):
    """The mean of 1/p over draws from p is the number of steps, before and after it has learned."""
    pairs, n = build("pairs", pairs_spec), 7
    state, u = pairs.init(n), (jnp.arange(7000).reshape(-1, 1) + 0.5) / 7000
    for _ in range(3):
        index, weight = pairs.draw(state, u, n)
        assert sorted(np.unique(index)) == list(range(n))
        np.testing.assert_allclose(weight.mean(), n, rtol=0.02)
        state = pairs.update(state, index[::100], 1.0 + index[::100].astype(float))


def test_a_support_is_points_of_tokens(support_spec):
    support = build("support", support_spec)
    assert isinstance(support, Support)
    assert np.ndim(support.points) >= 3
    assert support.std >= 0
    assert np.isfinite(support.points).all()


def test_a_latent_prior_draws_what_it_learns(latent_prior_spec, key):
    """By shapes alone: a value for each sample, and latents like those of training."""
    prior = build("latent_prior", latent_prior_spec)
    z = jnp.zeros((5, latent_prior_spec["latents"], latent_prior_spec["features"]))
    variables = jax.eval_shape(lambda: prior.init(key, z, {}))
    value, state = jax.eval_shape(lambda own: prior.loss(own, key, z, {}), variables)
    assert value.shape == (5,)
    assert state == variables.state
    drawn = jax.eval_shape(lambda own: prior.sample(own, jax.random.split(key, 5), {}), variables)
    assert (drawn.shape, drawn.dtype) == (z.shape, z.dtype)


def small_dataset():
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    x = rng.standard_normal((40, 1, 4, 4, 1)) * 0.1 + np.where(labels, 0.5, -0.5).reshape(-1, 1, 1, 1, 1)
    source = Arrays({"x": x.astype(np.float32), "label": labels})
    info = Info((1, 4, 4, 1), "continuous", 256, 128.0, 127.5, 2, {"train": 40, "test": 40}, "")
    return Dataset(info, {"train": source, "test": source})


def small_series():
    x = np.random.default_rng(0).standard_normal((60, 2))
    given = {"train": 50, "starts": [47, 49], "context": 3, "horizon": 2, "lags": (), "periods": ()}
    return forecasts(x, **given, description="")


def small_points():
    source = Arrays({"x": np.random.default_rng(0).standard_normal((40, 1, 2)).astype(np.float32)})
    info = Info((1, 2), "continuous", None, None, None, None, {"train": 40, "test": 40}, "")
    return Dataset(info, {"train": source, "test": source})


ACTIONS = {"tokens": 3, "stack": 10, "stride": 1, "fields": ("position", "velocity", "action")}


def small_roll():
    return labelled_roll(train=16, test=8, context=8)


DATA = {
    "calibration": small_roll,
    "guided_samples": small_roll,
    "guided_support": small_roll,
    "true_samples": small_roll,
    "known_modes": small_points,
    "optimal_loss": lambda: autoregression(context=1, horizon=1, train=2, test=8),
    "forecast": small_series,
    "baseline_forecast": small_series,
    "composition": lambda: crossings(train=64, test=32, tokens=6),
    "long_rollout": lambda: bouncing_ball(train=4, test=2, frames=12, tokens=5, pixels=4),
    "maze_planning": lambda: maze2d(steps=400, streams=4, tokens=4, stack=1, stride=20),
    "diffused_actions": lambda: maze2d(steps=400, streams=4, **ACTIONS),
    "maze_statistics": lambda: maze2d(steps=400, streams=4, tokens=4, stack=1, stride=20),
}
"""Evaluation -> the data that it is for, where these are not images."""


def model_for(evaluation, process):
    """An objective whose bound has all that the evaluation asks for."""
    if "latent" in evaluation or evaluation.startswith("from_"):
        return build("objective", example("objective", "latent"))
    if evaluation == "calibration" or evaluation.startswith("guided_"):
        head = {"name": "regression", "targets": 1}
        return build("objective", example("objective", "guidance") | {"head": head, "regulariser": None})
    return build(
        "objective",
        {
            "name": "elbo",
            "network": {"name": "mlp", "width": 8, "depth": 1},
            "process": process,
            "grid": linear_grid(4),
            "decoder": "fixed_kernel",
            "coefficients": "x0",
        },
    )


def test_an_evaluation_gives_flat_numbers_and_a_text(evaluation_spec):
    points = "inpainting" in evaluation_spec["name"]
    process = vdm(-6.0, 5.0, 4) if "estimator" in evaluation_spec["name"] else vp_cosine()
    evaluation = build("evaluation", evaluation_spec)
    model = model_for(evaluation_spec["name"], process)
    data = DATA.get(evaluation_spec["name"], small_dataset)()
    one = data.info.shape if not points else (2, 1) if "token" in evaluation_spec["name"] else (1, 2)
    batch = {"x": jnp.zeros((2, *one)), "target": jnp.array([[0.0], [1.0]])}
    variables = model.init(jax.random.key(0), batch)
    bind = functools.partial(model.bind, variables, jax.random.key(0))

    def without_labels(conditions):
        return bind({name: value for name, value in conditions.items() if name != "label"})

    outcome = evaluation(without_labels, data, jax.random.key(0))
    assert isinstance(outcome, Outcome)
    assert outcome.text
    for name, value in outcome.metrics.items():
        assert value is None or isinstance(value, int | float), name
    json.dumps(outcome.metrics)
