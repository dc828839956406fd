"""What every grid of levels and every law of training levels promises, by discovery."""

import jax
import numpy as np

from diffusion_jax.build import build


def test_a_grid_falls_from_exactly_one_to_zero(grid_spec):
    """Where it has intervals to climb, it climbs once for each repeat."""
    intervals = grid_spec.get("intervals", [])
    for steps in (2, 7):
        times = build("grid", grid_spec | {"steps": steps})
        assert times.shape == (steps + 1 + sum(count * repeats for count, repeats, *_ in intervals),)
        assert times[0] == 1.0
        assert times[-1] == 0.0
        assert (np.diff(times) > 0).sum() == sum(repeats for _, repeats, *_ in intervals)
        assert (np.diff(times) != 0).all()


def test_a_grid_can_be_traced(grid_spec):
    eager = build("grid", grid_spec)
    np.testing.assert_allclose(jax.jit(lambda: build("grid", grid_spec))(), eager, rtol=1e-5, atol=1e-7)


def test_levels_are_levels_of_the_batch(levels_spec, key):
    law = build("levels", levels_spec)
    t = jax.jit(law, static_argnums=1)(key, (6, 4))
    assert t.ndim == 2
    assert all(n in (1, m) for n, m in zip(t.shape, (6, 4)))
    assert ((t >= 0) & (t <= 1)).all()
    np.testing.assert_allclose(law(key, (6, 4)), t, rtol=1e-5, atol=1e-6)
    assert (law(jax.random.fold_in(key, 1), (6, 4)) != t).any()
