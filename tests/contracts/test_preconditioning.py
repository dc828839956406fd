"""What every choice of coefficients promises, by discovery."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import logit

from diffusion_jax.build import build
from diffusion_jax.preconditioning import precondition

SHAPE = (2, 3, 3)
INVERSES = {jax.nn.sigmoid: logit, jax.nn.softmax: jnp.log}
LEVELS = [np.array(0.6), np.array([0.3, 0.8]), np.array([[0.2, 0.5, 0.9], [0.7, 0.9, 0.4]])]


@pytest.fixture(params=["vp_linear", "edm", "flow"])
def process(request, x64):
    return build("process", request.param)


def coefficients_of(spec, process):
    try:
        return build("coefficients", spec)(process)
    except ValueError as error:
        pytest.skip(str(error))


def lifted(value, x):
    value = jnp.asarray(value)
    return value.reshape(value.shape + (1,) * (x.ndim - value.ndim))


@pytest.mark.parametrize("t", LEVELS, ids=lambda t: str(t.shape))
def test_an_exact_network_gives_the_exact_denoiser(coefficients_spec, process, key, t):
    """The network is told x and t only through what the coefficients hand it."""
    x = jax.random.normal(key, SHAPE)
    exact = jax.nn.softmax(jax.random.normal(jax.random.fold_in(key, 1), SHAPE))
    choice = build("coefficients", coefficients_spec)
    c = coefficients_of(coefficients_spec, process)(jnp.asarray(t))

    def network(seen, noise):
        assert noise.shape == (1,) * (2 - t.ndim) + t.shape if t.ndim != 1 else noise.shape == (2, 1)
        back = (seen - lifted(c.shift, x)) / lifted(c.input, x)
        wanted = exact if c.head is None else INVERSES[c.head](exact)
        return (wanted - lifted(c.skip, x) * back) / lifted(c.out, x)

    x0_hat = precondition(network, process, choice)(x, jnp.asarray(t))
    np.testing.assert_allclose(x0_hat, exact, rtol=1e-10)


def test_coefficients_and_their_gradients_are_finite_at_both_ends(coefficients_spec, process):
    at = coefficients_of(coefficients_spec, process)
    for level in (0.0, 1.0):
        values, slopes = jax.jvp(lambda t: jax.tree.leaves(at(t)[:5]), (jnp.asarray(level),), (jnp.ones(()),))
        for value in (*values, *slopes):
            assert np.isfinite(value).all(), level


def test_the_network_sees_unit_variance(coefficients_spec, process, key):
    """For data of the variance that the coefficients assume; heads for bits and categories see [-1, 1]."""
    if coefficients_spec["name"] == "ve":
        pytest.skip("the networks of Song et al. see x/alpha as it is")
    at = coefficients_of(coefficients_spec, process)
    spread = coefficients_spec.get("sigma_data", 0.5 if coefficients_spec["name"] == "edm" else 1.0)
    for level in (0.05, 0.5, 0.95):
        t = jnp.asarray(level)
        c = at(t)
        if c.head is not None:
            np.testing.assert_allclose(c.input * jnp.array([0.0, 1.0]) + c.shift, [-1.0, 1.0])
            continue
        x0 = jnp.array([-spread, spread, -spread, spread])
        law = process.marginal(x0[:, None], t)
        variance = (law.mean**2 + law.std**2).mean()
        np.testing.assert_allclose(jnp.asarray(c.input) ** 2 * variance, 1.0, rtol=1e-8)
