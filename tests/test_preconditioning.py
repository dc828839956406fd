"""From networks to denoisers: what each choice asks of the network, and what it hands to it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax import preconditioning
from diffusion_jax.levels import canonical, expand
from diffusion_jax.preconditioning import evaluate, noise_label, precondition
from diffusion_jax.processes import edm, flow, learned_beta, vp_2015, vp_cosine, vp_linear

T = np.array([[0.2, 0.7, 0.9], [0.4, 0.5, 0.999]])


@pytest.fixture
def drawn(key):
    """x0, eps [2, 3, 4]."""
    x0_key, eps_key = jax.random.split(key)
    return jax.random.normal(x0_key, (2, 3, 4)), jax.random.normal(eps_key, (2, 3, 4))


TARGETS = {
    "x0": lambda x0, eps, alpha, sigma: x0,
    "eps": lambda x0, eps, alpha, sigma: eps,
    "v": lambda x0, eps, alpha, sigma: alpha * eps - sigma * x0,
}


@pytest.mark.parametrize("process", [vp_linear(), edm(), flow()], ids=["vp", "ve", "flow"])
@pytest.mark.parametrize("name", TARGETS)
def test_a_network_that_hits_its_target_gives_the_clean_data(x64, drawn, process, name):
    if name == "eps" and process == flow():
        pytest.skip("refused: alpha(1) = 0")
    x0, eps = drawn
    alpha, sigma = expand(process.alpha(T), x0), expand(process.sigma(T), x0)
    target = TARGETS[name](x0, eps, alpha, sigma)
    denoiser = precondition(lambda x, noise: target, process, getattr(preconditioning, name))
    np.testing.assert_allclose(denoiser(alpha * x0 + sigma * eps, T), x0, atol=1e-9)


def test_edm_targets_have_unit_variance_and_clean_data_are_left_alone(x64, key):
    """Karras et al., appendix B.6: for data of variance sigma_data^2, the target of F has variance 1.

    A network that says nothing (F = 0) is then the best linear denoiser, exactly clean at t = 0.
    """
    process, sigma_data = edm(), 0.5
    t = np.array([1e-3, 0.02, 0.5])
    c = preconditioning.edm(process, sigma_data)(t)
    of_data, of_noise = (1 - c.skip) / c.out, c.skip * process.sigma(t) / c.out
    np.testing.assert_allclose((of_data * sigma_data) ** 2 + of_noise**2, 1.0, rtol=1e-9)
    x = jax.random.normal(key, (2, 1, 3))
    silent = precondition(lambda x, noise: jnp.zeros_like(x), process, preconditioning.edm)
    np.testing.assert_array_equal(silent(x, jnp.array(0.0)), x)
    variance = process.sigma(jnp.array(0.02)) ** 2
    np.testing.assert_allclose(silent(x, jnp.array(0.02)), x * 0.25 / (0.25 + variance), rtol=1e-9)


@pytest.mark.parametrize(
    ("sigma", "expected"),
    [
        (0.002, (0.999984000, 0.00199998400, 1.99998400, -1.55365202)),
        (0.1, (0.961538462, 0.0980580676, 1.96116135, -0.575646273)),
        (0.5, (0.5, 0.353553391, 1.41421356, -0.173286795)),
        (1.0, (0.2, 0.447213595, 0.894427191, 0.0)),
        (80.0, (3.9060974e-05, 0.499990235, 0.0124997559, 1.09550666)),
    ],
)
def test_coefficients_of_edm(x64, sigma, expected):
    process = edm()
    c = preconditioning.edm(process)(process.time(jnp.asarray(sigma)))
    np.testing.assert_allclose(c[:4], expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("process", [edm(200.0), vp_linear()], ids=["edm", "vp"])
def test_labels_of_the_networks_before_edm(x64, process):
    """Their label depends on sigma/alpha alone, whatever process they are used in (EDM, table 1)."""
    sigmas = np.array([0.0010004976, 0.0104859928, 152.166])
    t = process.time(jnp.asarray(sigmas))
    np.testing.assert_allclose(preconditioning.vp(process)(t).noise, [0.00999, 0.999, 999.0], rtol=1e-5)
    np.testing.assert_allclose(preconditioning.ve(process)(t).noise, np.log(sigmas / 2), rtol=1e-6)
    steps = process.time(jnp.array([0.00642541, 0.0064, 80.2037, 80.0]))
    np.testing.assert_array_equal(preconditioning.iddpm(process)(steps).noise, [0, 0, 991, 991])


def test_networks_of_song_see_noise_with_their_own_sign(x64, drawn):
    x0, noise = drawn
    process, t = edm(), jnp.asarray(0.3)
    x_t = x0 + process.sigma(t) * noise
    for name, out in (("vp", noise), ("iddpm", noise), ("ve", -noise)):
        denoiser = precondition(lambda x, label, out=out: out, process, getattr(preconditioning, name))
        np.testing.assert_allclose(denoiser(x_t, t), x0, atol=1e-12)


def test_a_level_outside_the_unit_interval_is_refused(drawn):
    denoiser = precondition(lambda x, noise: x, edm(), preconditioning.edm)
    with pytest.raises(ValueError, match=r"\[0, 1\].*process.time"):
        denoiser(drawn[0], 5.0)


@pytest.mark.parametrize("t", [0.5, np.array([0.2, 0.5]), jnp.array(0.5)], ids=["float", "numpy", "jax"])
def test_a_level_that_is_known_may_be_closed_over_in_a_trace(drawn, t):
    denoiser = precondition(lambda x, noise: x, edm(), preconditioning.edm)
    np.testing.assert_allclose(jax.jit(lambda x: denoiser(x, t))(drawn[0]), denoiser(drawn[0], t), rtol=1e-5)
    outside = 10 * t
    with pytest.raises(ValueError, match="process.time"):
        jax.jit(lambda x: denoiser(x, outside))(drawn[0])


def test_eps_is_refused_where_nothing_of_the_data_is_left():
    for process in (vp_cosine(), vp_2015(), vp_2015(1e-3, 40), flow()):
        with pytest.raises(ValueError, match=r"alpha\(1\) > 0.*'v', 'x0' or 'edm'"):
            preconditioning.eps(process)
    preconditioning.eps(vp_cosine(steps=100))


def test_eps_of_a_learned_process_can_be_traced():
    def x0_hat(process):
        denoiser = precondition(lambda x, noise: x, process, preconditioning.eps)
        return denoiser(jnp.ones((1, 1, 2)), jnp.array(0.5)).sum()

    gradient = jax.jit(jax.grad(x0_hat))(learned_beta(4))
    assert np.isfinite(gradient.raw).all()


def test_the_noise_label_is_the_log_ratio_clamped():
    process = edm(sigma_max=1e6)
    label = noise_label(process, jnp.array([0.0, 1e-11, 1e-6, 1e-3, 0.1, 1.0]))
    low, high = np.log(1e-4) / 4, np.log(1e4) / 4
    np.testing.assert_allclose(label, [low, low, 0.0, np.log(1e3) / 4, high, high], rtol=1e-5, atol=1e-6)
    assert noise_label(vp_cosine(), jnp.array(1.0)) == np.float32(high)


@pytest.mark.parametrize("t", [0.5, np.array([0.2, 0.5]), T], ids=["one", "sample", "token"])
def test_the_network_is_told_the_level_of_each_token(t):
    seen = {}

    def network(x, noise):
        seen["noise"] = noise
        return x

    x = jnp.ones((2, 3, 4))
    precondition(network, None, lambda p: preconditioning.timed(p, preconditioning.bits))(x, t)
    np.testing.assert_array_equal(seen["noise"], canonical(t, x))
    precondition(network, None, preconditioning.bits)(x, t)
    np.testing.assert_allclose(seen["noise"], 4 * canonical(t, x))


def test_heads_give_probabilities():
    x = jax.nn.one_hot(jnp.array([[0, 2]]), 3)
    logits = jnp.log(jnp.array([[[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]]]))
    shown = {}

    def network(x, noise):
        shown["x"] = x
        return logits

    x0_hat = precondition(network, None, preconditioning.categories)(x, 0.3)
    np.testing.assert_allclose(x0_hat, jnp.exp(logits), rtol=1e-6)
    np.testing.assert_array_equal(shown["x"], [[[1, -1, -1], [-1, -1, 1]]])
    odds = precondition(network, None, preconditioning.bits)(x, 0.3)
    np.testing.assert_allclose(odds, jnp.exp(logits) / (1 + jnp.exp(logits)), rtol=1e-6)


def test_a_doubled_output_is_mean_and_variance_part(drawn):
    x, other = drawn
    at = preconditioning.v(vp_linear())
    mean, rest = evaluate(lambda x, noise: jnp.concatenate([x, other], -1), at, x, T)
    alone, none = evaluate(lambda x, noise: x, at, x, T)
    np.testing.assert_array_equal(mean, alone)
    np.testing.assert_array_equal(rest, other)
    assert none is None


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 5), (2, 1, 4), (4, 3, 4)])
def test_another_output_shape_is_refused(shape):
    denoiser = precondition(lambda x, noise: jnp.zeros(shape), vp_linear(), preconditioning.x0)
    with pytest.raises(ValueError, match=r"keep the shape \(2, 3, 4\) or double its last axis; it gave"):
        denoiser(jnp.zeros((2, 3, 4)), 0.5)


def test_an_impossible_deviation_is_refused():
    with pytest.raises(ValueError, match="sigma_data must be positive, got 0"):
        preconditioning.edm(edm(), 0)
