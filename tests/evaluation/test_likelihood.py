"""The ODE's likelihood against normal laws and mixtures, whose densities scipy knows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from diffusion_jax.evaluation.likelihood import log_likelihood
from diffusion_jax.objectives.exact import posterior_moments
from diffusion_jax.processes import flow, vp_2015, vp_cosine
from diffusion_jax.types import Support

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
