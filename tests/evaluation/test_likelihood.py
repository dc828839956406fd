"""The ODE's likelihood against normal laws and mixtures, whose densities scipy knows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from diffusion_jax.data.pipeline import Arrays, Dataset, Info
from diffusion_jax.evaluation.held_out import ode_likelihood
from diffusion_jax.evaluation.likelihood import log_likelihood
from diffusion_jax.levels import expand
from diffusion_jax.objectives.exact import posterior_moments
from diffusion_jax.processes import edm, flow, vp_2015, vp_cosine
from diffusion_jax.types import Bound, Support

SUPPORT = Support(np.array([[[-1.0, 0.5]], [[0.8, 0.8]], [[0.1, -1.2]]]), 0.25)


def mixture(x: np.ndarray) -> np.ndarray:
    each = [stats.multivariate_normal(p[0], SUPPORT.std**2).pdf(x) for p in SUPPORT.points]
    return np.log(np.mean(each, axis=0))


@pytest.mark.parametrize("process", [vp_cosine(), flow()], ids=["cosine", "flow"])
@pytest.mark.parametrize("probes", [None, 400], ids=["exact", "hutchinson"])
def test_a_mixture_in_the_plane(process, probes, key):
    x = jax.random.normal(key, (6, 1, 2))

    def denoiser(x, t):
        return posterior_moments(SUPPORT, process, x, t)[0]

    found = jax.jit(lambda x: log_likelihood(key, process, denoiser, x, probes=probes))(x)
    # Hutchinson's estimate of a symmetric 2x2 Jacobian errs by its off-diagonal entry over sqrt(probes)
    tolerance = 2e-3 if probes is None else 0.2
    np.testing.assert_allclose(found[:, 0], mixture(np.asarray(x[:, 0])), rtol=2e-4, atol=tolerance)


def test_one_probe_is_unbiased(key):
    process, x = vp_cosine(), jnp.array([[[0.2, -0.4]]])

    def denoiser(x, t):
        return posterior_moments(SUPPORT, process, x, t)[0]

    one = jax.jit(jax.vmap(lambda k: log_likelihood(k, process, denoiser, x, probes=1, rtol=1e-4, atol=1e-4)))
    found = np.asarray(one(jax.random.split(key, 64))).ravel()
    np.testing.assert_allclose(found.mean(), mixture(np.asarray(x[0])), atol=4 * found.std() / 8 + 1e-3)


def test_refuses_what_it_cannot_do(key):
    x = jnp.zeros((1, 1, 100))
    with pytest.raises(ValueError, match="probes"):
        log_likelihood(key, vp_cosine(), lambda x, t: x, x)
    with pytest.raises(ValueError, match="at least 1"):
        log_likelihood(key, vp_cosine(), lambda x, t: x, x, probes=0)
    with pytest.raises(ValueError, match="start"):
        log_likelihood(key, vp_cosine(), lambda x, t: x, x, probes=1, start=0.0)
    with pytest.raises(ValueError, match="ddim or ancestral"):
        log_likelihood(key, vp_2015(), lambda x, t: x, x, probes=1)


def test_a_models_likelihood_needs_no_decoder_and_states_its_conditions(key):
    """N(0.3, 0.6^2) under EDM's process: at level sigma_min it is that law, widened by sigma_min."""
    process, start = edm(80.0), 0.01 / 80
    x = (0.3 + 0.6 * np.random.default_rng(0).standard_normal((8, 1, 3))).astype(np.float32)
    info = Info((1, 3), "continuous", 256, 128.0, 128.0, None, {"test": 8}, "", dequantised=True)
    data = Dataset(info, {"test": Arrays({"x": x})})

    def bind(conditions):
        def denoiser(x, t):
            return 0.3 + 0.36 / (0.36 + expand(process.sigma(t), x) ** 2) * (x - 0.3)

        return Bound(process=process, denoiser=denoiser)

    outcome = ode_likelihood(batch_size=8, start=start, probes=1)(bind, data, key)
    expected = stats.norm(0.3, np.hypot(0.6, 0.01)).logpdf(x).sum((1, 2)).mean()
    found = outcome.metrics
    # the Jacobian is a multiple of the identity, so one probe is exact
    np.testing.assert_allclose(found["mean"], expected, rtol=2e-3)
    np.testing.assert_allclose(found["bits_per_dim"], 7 - expected / (3 * np.log(2)), rtol=2e-3)
    assert (found["probes"], found["dequantised"]) == (1, True)
    np.testing.assert_allclose(found["sigma_min"], 0.01, rtol=1e-5)
    assert "sigma_min = 0.01 (t = 0.000125), 1 trace probes" in outcome.text
    assert "uniformly dequantised" in outcome.text
