"""What every sampler promises, by discovery; then what each of them promises alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.build import available, build, example
from diffusion_jax.processes import edm, flow, ve, vp_2015, vp_cosine, vp_linear, vp_sigmoid
from diffusion_jax.processes.binomial import binomial
from diffusion_jax.processes.categorical import categorical
from diffusion_jax.processes.learned import vdm
from diffusion_jax.sampling.ancestral import ancestral
from diffusion_jax.sampling.ddim import ddim
from diffusion_jax.sampling.euler import euler
from diffusion_jax.sampling.grids import karras_grid, linear_grid, log_snr_grid
from diffusion_jax.sampling.heun import heun
from diffusion_jax.sampling.loop import advance, sample
from diffusion_jax.types import Sampler

MEANS = np.array([[1.0, 0.0], [-0.5, 0.5]])
WEIGHTS = np.array([0.7, 0.3])
STD = 0.2

GAUSSIAN = {
    "edm": edm,
    "vp_linear": vp_linear,
    "flow": flow,
}


SHARED_STEPS = {"adaptive": 3e-4}
"""Samplers that choose steps for the whole batch, and how much of the others a sample may know."""


@pytest.fixture(params=available("sampler"))
def made(request):
    """(sampler, process) of a discovered sampler, as its module's example has them."""
    spec = example("sampler", request.param)
    process = build("process", spec["process"])
    return build("sampler", {"name": request.param, **spec, "process": process}), process


def test_joined(made):
    assert isinstance(made[0], Sampler)


def test_moments_of_a_mixture(made, key, oracles):
    """Mean and covariance of the samples are the data's, to four standard errors and a step error of 0.01."""
    sampler, process = made
    count = 8000
    x = process.prior((count, 1, 2)).sample(jax.random.fold_in(key, 1))
    denoiser = oracles.mixture(process, MEANS, WEIGHTS, STD)
    end = np.asarray(sample(key, denoiser, sampler, x, log_snr_grid(process, 100)))[:, 0]
    mean = WEIGHTS @ MEANS
    spread = (MEANS - mean).T @ ((MEANS - mean) * WEIGHTS[:, None]) + STD**2 * np.eye(2)
    error = 4 * np.sqrt(np.diag(spread) / count)
    np.testing.assert_array_less(abs(end.mean(0) - mean), error + 0.01)
    np.testing.assert_allclose(np.cov(end.T), spread, atol=0.03)


def test_grids_of_every_shape_give_the_same(made, key, oracles, x64):
    sampler, process = made
    x = process.prior((3, 2, 2)).sample(key)
    denoiser = oracles.mixture(process, MEANS, WEIGHTS, STD)
    times = log_snr_grid(process, 6)
    flat = sample(key, denoiser, sampler, x, times)
    for shape in [(3, 1), (3, 2)]:
        grid = jnp.broadcast_to(times[:, None, None], (7, *shape))
        np.testing.assert_allclose(sample(key, denoiser, sampler, x, grid), flat, rtol=1e-12, atol=1e-14)


def test_held_tokens_are_untouched_bit_for_bit(made, key, oracles):
    """A context token at 0 and one that waits at 0.5, beside one that falls and one that starts late.

    The denoiser breaks at level 0, as a division by sigma would.
    """
    sampler, process = made
    exact = oracles.mixture(process, MEANS, WEIGHTS, STD)

    def fragile(x, t):
        level = jnp.broadcast_to(t, x.shape[:2])[..., None]
        return jnp.where(level == 0, jnp.nan, exact(x, t))

    x = jax.random.normal(key, (3, 4, 2))
    falls = linear_grid(5)
    late = jnp.array([1.0, 1.0, 1.0, 0.7, 0.2, 0.0])
    times = jnp.stack([jnp.zeros(6), jnp.full(6, 0.5), falls, late], axis=-1)[:, None, :]
    end = sample(key, fragile, sampler, x, times)
    np.testing.assert_array_equal(end[:, :2], x[:, :2])
    assert np.isfinite(end).all()
    assert (end[:, 2:] != x[:, 2:]).all()


def test_a_sample_with_its_own_key_does_not_know_its_batch(made, request, key, oracles, x64):
    sampler, process = made
    known = SHARED_STEPS.get(request.node.callspec.params["made"], 1e-12)
    keys = jax.random.split(key, 4)
    x = process.prior((4, 2, 2)).sample(keys)
    denoiser = oracles.mixture(process, MEANS, WEIGHTS, STD)
    together = sample(keys, denoiser, sampler, x, linear_grid(5))
    alone = sample(keys[2:3], denoiser, sampler, x[2:3], linear_grid(5))
    np.testing.assert_allclose(together[2:3], alone, rtol=known, atol=known / 100)


def test_gradients_through_the_chain_are_finite(made, key, oracles):
    """Beside a context token, and down to level 0."""
    sampler, process = made
    times = jnp.stack([jnp.zeros(4), linear_grid(3)], axis=-1)[:, None, :]

    def end(x, mean):
        return sample(key, oracles.gaussian(process, mean, 0.5), sampler, x, times).sum()

    for gradient in jax.grad(end, argnums=(0, 1))(jnp.ones((2, 2, 1)), 0.3):
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("process", GAUSSIAN.values(), ids=GAUSSIAN)
@pytest.mark.parametrize(("sampler", "order"), [(euler, 1), (ddim, 1), (heun, 2)])
def test_order_of_convergence(process, sampler, order, x64, oracles):
    """Twice the steps, the error falls by 2^order; on log-SNR grids over [-2, 2]."""
    process = process()
    x = jnp.linspace(-2.0, 3.0, 7).reshape(7, 1, 1)
    denoiser = oracles.gaussian(process, 0.4, 0.6)
    errors = []
    for n in (64, 128):
        times = process.time(jnp.exp(jnp.linspace(1.0, -1.0, n + 1)))
        end = sample(jax.random.key(0), denoiser, sampler(process), x, times)
        errors.append(abs(end - oracles.flow(process, x, times[0], times[-1], 0.4, 0.6)).max())
    slope = np.log2(errors[0] / errors[1])
    assert abs(slope - order) < 0.1


@pytest.mark.parametrize("process", [flow, vp_2015], ids=lambda f: f.__name__)
def test_ddim_with_eta_1_is_ancestral(process, x64, oracles):
    """Both steps are affine in their noise: they agree in law when they agree at noise 0 and 1."""
    process = process()
    denoiser = oracles.gaussian(process, 0.4, 0.6)
    x = jnp.linspace(-2.0, 3.0, 6).reshape(3, 2, 1)
    t, s = jnp.array([[1.0, 0.9]]), jnp.array([[0.6, 0.0]])
    for noise in (0.0, 1.0):

        def draw(key, x, noise=noise):
            return jnp.full_like(x, noise)

        one, other = (
            advance(sampler)(jax.random.key(0), denoiser, sampler.init(x, t), t, s).x
            for sampler in (ddim(process, eta=1.0, draw=draw), ancestral(process, draw=draw))
        )
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-13)


def test_euler_on_an_exploding_process(key, oracles):
    """Brownian motion's own level is no friend of Euler's: it takes hundreds of steps."""
    process = ve(20.0)
    x = process.prior((4000, 1, 1)).sample(key)
    end = sample(key, oracles.gaussian(process, 0.3, 0.5), euler(process), x, karras_grid(process, 300))
    assert abs(end.mean() - 0.3) < 0.04
    assert abs(end.std() - 0.5) < 0.03


@pytest.mark.parametrize(("place", "rule"), [(1.0, 5 / 8), (2 / 3, 7 / 12), (0.5, 9 / 16)])
def test_places_of_the_second_evaluation(place, rule, x64):
    """dx/dt = t^2 from 1 to 1/2: the trapezium, Ralston's (exact here) and the midpoint rule; and dx/dt = x,
    where all are 1 + h + h^2/2.
    """
    x, t, s = jnp.ones((1, 2, 1)), jnp.array([[1.0]]), jnp.array([[0.5]])

    def denoiser(x, t):
        rates = jnp.concatenate([(t**2)[..., None], x[:, 1:]], axis=1)
        return x - t[..., None] * rates

    sampler = heun(edm(1.0), place=place)
    end = sampler.step(jax.random.key(0), denoiser, sampler.init(x, t), t, s).x
    np.testing.assert_allclose(end.ravel(), [1 - rule / 2, 1 - 1 / 2 + 1 / 8], rtol=1e-12)


def test_churn_keeps_the_law(key, oracles):
    """Noise added and taken away again leaves the samples' law as it is, within its window and outside."""
    process = vp_linear()
    count = 8000
    x = process.prior((count, 1, 1)).sample(key)
    denoiser = oracles.gaussian(process, 0.3, 0.5)
    sampler = heun(process, churn=0.3, low=0.05, high=5.0)
    end = sample(key, denoiser, sampler, x, log_snr_grid(process, 40))
    plain = sample(key, denoiser, heun(process), x, log_snr_grid(process, 40))
    assert abs(end - plain).mean() > 0.1
    assert abs(end.mean() - 0.3) < 4 * 0.5 / np.sqrt(count) + 0.01
    assert abs(end.std() - 0.5) < 4 * 0.5 / np.sqrt(2 * count) + 0.01


def test_churn_raises_only_what_falls_inside_its_window(x64):
    """A step to 0 ends at x0_hat, here the level that the denoiser was shown."""
    process = edm(10.0)
    t = jnp.array([[0.9, 0.5, 0.05, 0.5]])
    s = jnp.array([[0.0, 0.0, 0.0, 0.5]])
    sampler = heun(process, churn=0.2, low=1.0, high=8.0)
    state = sampler.init(jnp.full((1, 4, 1), 7.0), t)
    state = advance(sampler)(jax.random.key(0), lambda x, t: t[..., None], state, t, s)
    np.testing.assert_allclose(state.x.ravel(), [0.9, 0.6, 0.05, 7.0])


def test_ancestral_with_the_forward_variance_is_exact_for_unit_normal_data(key, oracles):
    process = vp_2015()
    x = process.prior((20000, 1, 1)).sample(jax.random.fold_in(key, 1))

    def forward(x, t, s):
        return jnp.broadcast_to((process.sigma(t) ** 2 * process.share(t, s)[1])[..., None], x.shape)

    denoiser = oracles.gaussian(process, 0.0, 1.0)
    end = sample(key, denoiser, ancestral(process, forward), x, linear_grid(10))
    assert abs(end.std() - 1) < 4 / np.sqrt(2 * 20000)
    shrunk = sample(key, denoiser, ancestral(process), x, linear_grid(10))
    assert shrunk.std() < 0.97


def frequencies(samples, patterns):
    """The share of each pattern among samples [B, ...]."""
    flat = np.asarray(samples).reshape(len(samples), -1)
    return np.array([(flat == np.asarray(p).ravel()).all(1).mean() for p in patterns])


def test_ancestral_on_one_bit_is_exact_for_few_steps(key, oracles):
    process = binomial(0.3)
    values = jnp.array([1.0, 1.0, 0.0, 1.0, 1.0]).reshape(5, 1, 1)
    x = process.prior((20000, 1, 1)).sample(jax.random.fold_in(key, 1))
    end = sample(key, oracles.atoms(process, values), ancestral(process), x, linear_grid(3))
    assert abs(end.mean() - 0.8) < 4 * np.sqrt(0.16 / 20000)


@pytest.mark.parametrize("absorbing", [False, True])
def test_ancestral_on_one_category_is_exact_for_few_steps(key, oracles, absorbing):
    process = categorical(4, absorbing)
    values = jax.nn.one_hot(jnp.array([0, 0, 0, 1, 2, 2, 2, 2, 2, 1]), 4).reshape(10, 1, 1, 4)
    x = process.prior((20000, 1, 1, 4)).sample(jax.random.fold_in(key, 1))
    end = sample(key, oracles.atoms(process, values), ancestral(process), x, linear_grid(3))
    shares = np.asarray(end).mean(0).ravel()
    expected = np.array([0.3, 0.2, 0.5, 0.0])
    np.testing.assert_array_less(abs(shares - expected), 4 * np.sqrt(0.25 / 20000))
    assert shares[3] == 0


def test_ancestral_on_sequences_of_bits(key, oracles):
    """Bits are independent within a step, so dependence between them is right in the limit of many."""
    process = binomial(0.2)
    patterns = jnp.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    x = process.prior((6000, 1, 3)).sample(jax.random.fold_in(key, 1))
    denoiser = oracles.atoms(process, patterns[:, None])
    end = sample(key, denoiser, ancestral(process), x, linear_grid(200))
    shares = frequencies(end, patterns)
    assert shares.sum() > 0.98
    np.testing.assert_array_less(abs(shares / shares.sum() - 1 / 3), 4 * np.sqrt(2 / 9 / 6000) + 0.005)


def test_a_learned_process_samples_inside_jit(key, oracles):
    """Its alpha and sigma are traced there, so nothing about it may be asked of Python."""
    process = vdm(hidden=8)
    x = process.prior((2000, 1, 1)).sample(key)

    @jax.jit
    def run(process, x):
        denoiser = oracles.gaussian(process, 0.3, 0.5)
        return sample(key, denoiser, heun(process), x, log_snr_grid(process, 20))

    end = run(process, x)
    assert abs(end.mean() - 0.3) < 0.06
    assert abs(end.std() - 0.5) < 0.04


@pytest.mark.parametrize("sampler", [euler, heun, ddim])
def test_bits_have_no_flow(sampler):
    with pytest.raises(TypeError, match="needs a Gaussian process"):
        sampler(binomial())


@pytest.mark.parametrize("process", [vp_2015(), vp_2015(1e-3, 10), vp_sigmoid()])
@pytest.mark.parametrize("sampler", [heun])
def test_infinite_slopes_are_refused(sampler, process):
    with pytest.raises(ValueError, match=r"finite alpha'\(1\).*use ddim or ancestral"):
        sampler(process)


@pytest.mark.parametrize(
    "process",
    [vp_linear(), vp_cosine(), vp_cosine(steps=1000), ve(), flow(), vdm()],
    ids=lambda process: type(process).__name__,
)
def test_finite_slopes_are_not(process):
    assert isinstance(euler(process), Sampler)


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="churn must not be negative"):
        heun(edm(), churn=-0.1)
    with pytest.raises(ValueError, match=r"place must lie in \(0, 1\]"):
        heun(edm(), place=0.0)
    with pytest.raises(ValueError, match=r"eta must lie in \[0, 1\]"):
        ddim(edm(), eta=1.5)
