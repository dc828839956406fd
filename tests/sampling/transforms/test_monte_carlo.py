"""Monte Carlo Guidance on correlated normal tokens, where both evaluations are linear maps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.processes import binomial, vp_linear
from diffusion_jax.sampling.ddim import ddim
from diffusion_jax.sampling.grids import linear_grid
from diffusion_jax.sampling.loop import counted, sample
from diffusion_jax.sampling.transforms.gradients import energy
from diffusion_jax.sampling.transforms.monte_carlo import monte_carlo

PROCESS = vp_linear()
COVARIANCE = np.array([[1.0, 0.7, 0.5], [0.7, 1.0, 0.7], [0.5, 0.7, 1.0]])
"""Of three tokens of one number each, of mean 0."""
LEVELS = np.array([0.2, 0.5, 0.8])
GOAL = 1.5


def gain(t):
    """The matrix of the exact denoiser at levels t [T]: E[x0 | x_t] = gain x_t."""
    a, s = np.diag(PROCESS.alpha(t)), np.diag(PROCESS.sigma(t))
    return COVARIANCE @ a @ np.linalg.inv(a @ COVARIANCE @ a + s @ s)


def exact(levels):
    """The exact denoiser at these levels, which it takes to be the ones that it is asked for; x [B, T, 1]."""
    matrix = gain(levels)
    return lambda x, t: jnp.asarray(matrix, x.dtype)[None] @ x


@pytest.fixture
def chain(x64):
    return exact(LEVELS)


def to_goal(x0_hat):
    """Half the squared distance of the last token to the goal."""
    return 0.5 * (x0_hat[:, -1, 0] - GOAL) ** 2


def expected(x):
    """E[D] in closed form, how far a unit of the second estimate moves it, and the variance of that."""
    g, a, s = gain(LEVELS), np.diag(PROCESS.alpha(LEVELS)), np.asarray(PROCESS.sigma(LEVELS))
    through = g @ a @ g
    residual = x[:, :, 0] @ through[-1] - GOAL
    push = s**2 / np.diag(a) * np.outer(residual, through[-1])
    return x[:, :, 0] @ g.T - push, np.abs(s**2 / np.diag(a) * through[-1]), ((g[-1] * s) ** 2).sum()


@pytest.fixture
def x(key, x64):
    return jax.random.normal(key, (4, 3, 1), jnp.float64)


def test_without_noise_it_is_the_gradient_through_two_evaluations(chain, x, key):
    silent = monte_carlo(PROCESS, chain, to_goal, 2, key, draw=lambda key, x: jnp.zeros_like(x))
    np.testing.assert_allclose(jax.jit(silent)(x, LEVELS[None])[..., 0], expected(x)[0], rtol=1e-9)


def test_its_mean_is_the_closed_form_and_its_noise_falls_with_the_number_of_futures(chain, x, key):
    """The gradient of one future is off by through (gain noise)_last, of variance sum (gain sigma)^2."""
    x = jnp.broadcast_to(x[:1], (600, 3, 1))
    wanted, slope, variance = expected(x)
    for samples in (1, 16):
        guided = jax.jit(monte_carlo(PROCESS, chain, to_goal, samples, key))(x, LEVELS[None])[..., 0]
        spread = slope * np.sqrt(variance / samples)
        np.testing.assert_allclose(guided.mean(0), wanted[0], atol=float(4 * spread.max() / 600**0.5))
        np.testing.assert_allclose(guided.std(0), spread, rtol=0.15)


def test_the_mean_cost_knows_the_spread_of_the_futures(chain, x, key):
    """E[cost] is the cost of the mean future plus half its variance; a scale sees it, `energy`'s does not."""

    def moved(x, scale):
        return monte_carlo(PROCESS, chain, to_goal, 4000, key, scale)(x, LEVELS[None]) - chain(
            x, LEVELS[None]
        )

    weighed = jax.jit(lambda x: moved(x, lambda t, costs: costs) / moved(x, 1.0))(x)
    g, a = gain(LEVELS), np.diag(PROCESS.alpha(LEVELS))
    mean = x[:, :, 0] @ (g @ a @ g)[-1]
    costs = 0.5 * (mean - GOAL) ** 2 + 0.5 * expected(x)[2]
    np.testing.assert_allclose(weighed[:, 0, 0], costs, rtol=0.08)


def test_clean_tokens_stay_and_a_certain_future_is_energy(x, key):
    """Near level 0 nothing is left to redraw; a clean token comes back bit for bit."""
    levels = np.array([0.0, 1e-3, 1e-3])
    near = exact(levels)
    guided = jax.jit(monte_carlo(PROCESS, near, to_goal, 3, key))(x, levels[None])
    np.testing.assert_array_equal(guided[:, 0], x[:, 0])
    np.testing.assert_allclose(guided, energy(PROCESS, near, to_goal)(x, levels[None]), atol=1e-5)


def test_a_sample_is_its_key_and_no_other(chain, x, key):
    keys = jax.random.split(key, 4)
    both = jax.jit(lambda x, keys: monte_carlo(PROCESS, chain, to_goal, 2, keys)(x, LEVELS[None]))
    together = both(x, keys)
    np.testing.assert_allclose(both(x[2:3], keys[2:3])[0], together[2], rtol=1e-9)
    assert (np.abs(both(x, keys[::-1]) - together) > 1e-4).all(1).all()
    alike = jnp.broadcast_to(x[:1], x.shape)
    one = both(alike, keys)
    assert len(np.unique(one[:, 0])) == 4, "samples have noise of their own"


def test_two_evaluations_and_conditions_of_a_batch_fit(chain, x, key):
    label = jnp.arange(4.0)[:, None, None]
    denoiser, count = counted(lambda x, t: chain(x, t) + label)
    jax.jit(monte_carlo(PROCESS, denoiser, to_goal, 5, key))(x, LEVELS[None]).block_until_ready()
    assert count() == 2


def test_plans_come_nearer_to_the_goal(oracles, key):
    """Three tokens at one level are one token of three numbers to the exact denoiser."""
    exact = oracles.correlated(PROCESS, np.zeros(3), COVARIANCE)

    def cost(x0_hat):
        return 0.5 * (x0_hat[:, 0, -1] - GOAL) ** 2

    x, times = PROCESS.prior((300, 1, 3)).sample(key), linear_grid(20)
    guided = monte_carlo(PROCESS, exact, cost, 4, jax.random.key(1), 4.0)
    ends = [jax.jit(lambda x, d=d: sample(key, d, ddim(PROCESS), x, times))(x)[:, 0] for d in (exact, guided)]
    free, planned = (np.asarray(end) for end in ends)
    assert ((planned[:, 2] - GOAL) ** 2).mean() < 0.25 * ((free[:, 2] - GOAL) ** 2).mean()
    assert planned[:, 0].mean() > free[:, 0].mean() + 0.2, "the first token makes way for the last"


def test_bad_input_is_refused(key):
    x = jnp.ones((2, 3, 1))

    def chain(x, t):
        return x

    with pytest.raises(ValueError, match="samples must be positive, got 0"):
        monte_carlo(PROCESS, chain, to_goal, 0, key)
    with pytest.raises(TypeError, match="Gaussian"):
        monte_carlo(binomial(), chain, to_goal, 1, key)
    with pytest.raises(TypeError, match="needs a function as `cost`"):
        monte_carlo(PROCESS, chain, 1.0, 1, key)
    with pytest.raises(ValueError, match="negative"):
        monte_carlo(PROCESS, chain, to_goal, 1, key, -1.0)
    with pytest.raises(ValueError, match=r"monte_carlo: cost should have shape \(2,\)"):
        jax.eval_shape(monte_carlo(PROCESS, chain, jnp.square, 1, key), x, 0.5)
