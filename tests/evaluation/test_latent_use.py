"""What latents are used for: known codes, a model that knows a mode by its latent, latents from elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.data.pipeline import Arrays, Dataset, Info
from diffusion_jax.evaluation.latent_sources import from_encoder, from_prior, without_latents
from diffusion_jax.evaluation.latent_swap import latent_swap
from diffusion_jax.evaluation.latent_use import latent_use, usage
from diffusion_jax.evaluation.outcome import Outcome
from diffusion_jax.objectives.weights import x0
from diffusion_jax.processes import edm
from diffusion_jax.sampling.euler import euler
from diffusion_jax.sampling.grids import linear_grid
from diffusion_jax.types import Bound, Latents

LABELS = np.arange(80) % 2
SIGNS = np.where(LABELS, 1.0, -1.0).reshape(-1, 1, 1)
SOURCE = Arrays({"x": np.float32(SIGNS + np.zeros((80, 1, 2))), "label": LABELS})
DATA = Dataset(
    Info((1, 2), "continuous", None, None, None, 2, {"train": 80, "test": 80}, ""),
    {"train": SOURCE, "test": SOURCE},
)


def bind(conditions):
    """A model of data at +-1 that knows the sign by its latent, 1 for +; null gives 0, the prior always 1."""

    def denoiser(x, t):
        z = conditions.get("latents", jnp.ones((len(x), 1), int))
        if z.ndim == 2:
            z = jax.nn.one_hot(jnp.where(z < 0, 2, z), 3)
        return jnp.broadcast_to((z[:, :1, 1:2] - z[:, :1, :1]), x.shape)

    def logits(x, known):
        return 1e3 * jnp.stack([-x[:, :, 0], x[:, :, 0]], axis=-1)

    latents = Latents(
        logits,
        lambda key, x, known: logits(x, known).argmax(-1),
        lambda keys, known, temperature=1.0, top_p=1.0: jnp.ones((len(keys), 1), int),
        lambda codes, known: jnp.full(len(codes), -np.log(8)),
    )
    return Bound(edm(10.0), denoiser, latents=latents)


def continuous(conditions):
    """The same with a latent that is the sign itself, beside the null flag."""

    def flagged(sign):
        return jnp.concatenate([sign, jnp.zeros_like(sign)], axis=-1)

    def denoiser(x, t):
        z = conditions.get("latents", flagged(jnp.ones((len(x), 1, 1))))
        return jnp.broadcast_to(z[..., :1] * (1 - z[..., 1:]), x.shape)

    latents = Latents(
        None,
        lambda key, x, known: flagged(x[..., :1]),
        lambda keys, known, temperature=1.0, top_p=1.0: flagged(jnp.ones((len(keys), 1, 1))),
    )
    return Bound(edm(10.0), denoiser, latents=latents)


def test_codes_that_are_the_label_and_codes_that_are_not():
    labels = np.arange(8000) % 4
    other = np.random.default_rng(0).integers(0, 3, 8000)
    found = usage(np.stack([labels, other, np.zeros(8000, int)], axis=1), labels)
    assert found["codes"] == pytest.approx((4 + 3 + 1) / 3)
    assert found["codes_least"] == 1
    assert found["perplexity"] == pytest.approx((4 + 3 + 1) / 3, abs=1e-2)
    assert found["information_best"] == pytest.approx(2)
    alone = usage(other[:, None], labels)
    assert alone["information"] < 4 * alone["information_bias"] < 0.01


@pytest.mark.parametrize("bind", [bind, continuous])
def test_losses_with_true_and_other_latents(bind):
    """Two features, off by 1 without the latent and by 2 with the wrong one; codes where there are any."""
    metrics = latent_use(x0, ratios=[1.0], batch_size=20)(bind, DATA, jax.random.key(0)).metrics
    assert metrics["true@1"] == pytest.approx(0, abs=1e-6)
    assert metrics["shuffled@1"] == pytest.approx(8)
    assert metrics["null@1"] == pytest.approx(2)
    assert metrics["drawn@1"] == pytest.approx(4)
    assert metrics["samples"] == 80
    if bind is continuous:
        assert "codes" not in metrics
        return
    assert metrics["prior"] == pytest.approx(3)
    assert metrics["information"] == pytest.approx(1)
    assert metrics["entropy"] == pytest.approx(0, abs=1e-6)


def mean_of(bind, dataset, key):
    """An evaluation that tells the mean prediction for 40 samples."""
    conditions = {"seed": jnp.arange(40), "label": jnp.arange(40) % 2}
    out = bind(conditions).denoiser(jnp.zeros((40, 1, 2)), jnp.asarray(0.5))
    by_label = [float(out[label::2].mean()) for label in (0, 1)]
    return Outcome({"mean": float(out.mean()), "apart": by_label[1] - by_label[0]}, "mean")


@pytest.mark.parametrize("bind", [bind, continuous])
def test_latents_are_taken_from_where_an_evaluation_says(bind):
    def found(evaluation):
        return evaluation(bind, DATA, jax.random.key(0)).metrics

    assert found(mean_of)["mean"] == 1
    assert found(from_prior(mean_of))["mean"] == 1
    assert found(without_latents(mean_of)) == {"mean": 0, "apart": 0}
    assert abs(found(from_encoder(mean_of))["mean"]) < 0.6
    assert found(from_encoder(mean_of, labels=True)) == {"mean": 0, "apart": 2}
    assert found(from_prior(mean_of, guidance=0.5))["mean"] == 1.5
    assert found(from_prior(mean_of, guidance=0.5, low=6.0))["mean"] == 1


def test_an_exchange_of_latents_counts_where_the_denoiser_looks_at_them():
    """By Euler's method the sample is the last prediction: any exchange before the end is complete."""

    def two(conditions):
        model = bind(conditions)
        signs = lambda keys, known, temperature=1.0, top_p=1.0: jnp.arange(len(keys))[:, None] % 2  # noqa: E731
        return model._replace(latents=model.latents._replace(sample=signs))

    evaluation = latent_swap(euler, linear_grid(4), shares=[0.0, 0.25, 1.0], count=4)
    metrics = evaluation(two, DATA, jax.random.key(0)).metrics
    np.testing.assert_allclose([metrics[f"swap@{s}"] for s in ("0", "0.25", "1")], [0, 1, 1], atol=1e-5)


def test_models_without_latents_and_wrong_arguments_are_refused():
    def plain(conditions):
        return Bound(edm(), lambda x, t: x)

    for evaluation in (latent_use(x0, batch_size=20), from_prior(mean_of), without_latents(mean_of)):
        with pytest.raises(ValueError, match="has no latents"):
            evaluation(plain, DATA, jax.random.key(0))
    with pytest.raises(ValueError, match="80 samples, less than a batch of 81"):
        latent_use(x0, batch_size=81)(bind, DATA, jax.random.key(0))
    with pytest.raises(ValueError, match=r"shares in \[0, 1\]"):
        latent_swap(euler, linear_grid(4), shares=[1.5])
