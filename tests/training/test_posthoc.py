import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffusion_jax.training import checkpoints, ema
from diffusion_jax.training.posthoc import Tracking, mixture, reconstruct
from diffusion_jax.training.state import create
from diffusion_jax.training.step import make_step
from diffusion_jax.types import Bound, Loss, Objective, Variables
from tests.training import toy

WIDTHS = (0.05, 0.10)


def mean_square(sigma_rel):
    """The mean of (t/T)^2 under the profile: (gamma + 1) / (gamma + 3)."""
    gamma = ema.gamma(sigma_rel)
    return (gamma + 1) / (gamma + 3)


@pytest.mark.parametrize(("count", "error"), [(8, 0.02), (32, 2e-4), (128, 5e-6)])
def test_a_known_trajectory_is_averaged_as_it_should_be(count, error):
    """Of parameters (t/T)^2, an average saved at time s is s^2 times a known number."""
    times = np.arange(1, count + 1)
    saved = (times[:, None] / count) ** 2 * [mean_square(one) for one in WIDTHS]
    for wanted in (0.04, 0.07, 0.15):
        found = mixture(times, WIDTHS, wanted)
        np.testing.assert_allclose(found.weights.sum(), 1, rtol=1e-12)
        np.testing.assert_allclose((found.weights * saved).sum(), mean_square(wanted), atol=error)


def test_residual_is_the_distance_of_the_profiles():
    """Against the same distance by numerical integration."""
    steps, wanted = (100, 220, 300), 0.08
    found = mixture(steps, WIDTHS, wanted, step=400)
    t = (np.arange(400000) + 0.5) / 1000

    def profile(end, sigma_rel):
        exponent = ema.gamma(sigma_rel)
        return np.where(t < end, (exponent + 1) / end * (np.minimum(t, end) / end) ** exponent, 0)

    target = profile(400, wanted)
    combined = sum(
        found.weights[i, j] * profile(end, one) for i, end in enumerate(steps) for j, one in enumerate(WIDTHS)
    )
    distance = np.linalg.norm(combined - target) / np.linalg.norm(target)
    np.testing.assert_allclose(found.residual, distance, rtol=1e-4)


def test_what_was_tracked_is_found_and_more_snapshots_come_nearer():
    exact = mixture(range(1, 9), WIDTHS, 0.1)
    expected = np.zeros((8, 2))
    expected[7, 1] = 1
    np.testing.assert_allclose(exact.weights, expected, atol=1e-9)
    assert exact.residual < 1e-6
    residuals = [mixture(range(1, count + 1), WIDTHS, 0.075).residual for count in (8, 16, 32)]
    np.testing.assert_allclose(np.divide(residuals[:-1], residuals[1:]), 3.7, atol=0.3)


def test_snapshots_that_nearly_coincide_do_no_harm():
    found = mixture((*range(100, 1001, 100), 1001), WIDTHS, 0.08)
    assert np.abs(found.weights).sum() < 1e3
    assert found.residual < 0.02


LONG = {
    "steps": 120,
    "steps_per_call": 10,
    "log_every": 30,
    "checkpoint_every": 60,
    "ema": ema.power(0.07),
    "posthoc": Tracking(10),
}


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """A run that tracks averages, and its last state. Directly, it averages with the width 0.07."""
    folder = tmp_path_factory.mktemp("tracked")
    state = toy.run(folder, **LONG)
    return folder, state


def largest(a, b):
    return max(np.abs(x - y).max() for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_a_run_is_averaged_as_if_it_had_been_from_the_start(tracked):
    folder, state = tracked
    assert checkpoints.saved_profiles(folder) == list(range(10, 121, 10))
    found, how = reconstruct(folder, 0.07)
    assert how.residual < 0.01
    spread = largest(state.profiles[0], state.profiles[1])
    assert spread > 1e-2
    assert largest(found, state.ema) < 1e-4
    kept, _ = reconstruct(folder, 0.05)
    assert largest(kept, state.profiles[0]) < 1e-6


def test_an_earlier_step(tracked, tmp_path):
    """What comes after it has no part in it."""
    folder, _ = tracked
    shorter = toy.run(tmp_path, **LONG | {"steps": 60})
    assert largest(reconstruct(folder, 0.07, step=60)[0], shorter.ema) < 1e-3


def test_resumed_and_killed_runs_save_the_same(tracked, tmp_path):
    """Killed past a snapshot that lies past the last checkpoint."""

    class Killed(Exception):
        pass

    def kill(step, metrics):
        if step == 90:
            raise Killed

    with pytest.raises(Killed):
        toy.run(tmp_path, **LONG, hooks=[kill])
    assert max(checkpoints.saved_profiles(tmp_path)) > 60
    assert max(int(one.name) for one in (tmp_path / "checkpoints").iterdir()) == 60
    state = toy.run(tmp_path, **LONG)
    folder, uninterrupted = tracked
    assert largest(state, uninterrupted) == 0
    assert checkpoints.saved_profiles(tmp_path) == checkpoints.saved_profiles(folder)
    for step in checkpoints.saved_profiles(folder):
        assert (
            largest(checkpoints.load_profiles(tmp_path, step)[1], checkpoints.load_profiles(folder, step)[1])
            == 0
        )


def test_profiles_of_a_trajectory_are_those_of_its_parameters():
    """Parameters move by 1 a step: the average of width 1/sqrt(12) is the plain mean of all steps."""
    objective = Objective(
        lambda *_: Variables({"w": jnp.float32(0)}),
        lambda held, key, batch: Loss(held.params["w"] + 0 * batch["x"], jnp.ones((1, 1)), {}),
        lambda *_: Bound(),
    )
    rule = optax.sgd(-1.0)
    state = create(objective.init(jax.random.key(0), {}), rule, averaged=False, profiles=2)
    step = make_step(objective, rule, profiles=(ema.power(12**-0.5), ema.constant(0.0)))
    state, _ = step(state, {"x": np.zeros((9, 1, 1), np.float32)}, jax.random.key(0))
    np.testing.assert_allclose([one["w"] for one in state.profiles], [5, 9], rtol=1e-5)
    assert state.ema is None


def test_bad_arguments(tmp_path, tracked):
    for every, widths, message in (
        (0, WIDTHS, "at least 1, got 0"),
        (5, (0.1,), "two or more different"),
        (5, (0.1, 0.1), "two or more different"),
        (5, (0.1, 0.5), r"must be in \(0, 0.2887\]"),
    ):
        with pytest.raises(ValueError, match=message):
            Tracking(every, widths)
    with pytest.raises(ValueError, match=r"must be in \(0, 0.2887\]"):
        mixture((1, 2), WIDTHS, 0.3)
    with pytest.raises(ValueError, match="no averages to combine"):
        mixture((), WIDTHS, 0.1)
    with pytest.raises(FileNotFoundError, match=r"has no averages \(see training.posthoc\); it has: none"):
        reconstruct(tmp_path, 0.1)
    with pytest.raises(FileNotFoundError, match=r"no averages of step 15 .* it has: \[10, 20"):
        reconstruct(tracked[0], 0.1, step=15)


def test_a_damaged_snapshot_is_named(tracked, tmp_path):
    toy.run(tmp_path, **LONG | {"steps": 10})
    for path in (tmp_path / "profiles" / "10").rglob("*"):
        if path.is_file() and path.name != "_CHECKPOINT_METADATA":
            path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"profiles/10 cannot be read"):
        reconstruct(tmp_path, 0.1)
