"""Known modes: exact transport, weights, samples that are wrong in a known way."""

import itertools

import numpy as np
import pytest

from diffusion_jax.evaluation.modes import distances, transport
from diffusion_jax.types import Support

CENTRES = np.array([[3.0, 0.0], [0.0, 3.0], [-3.0, 0.0], [0.0, -3.0]])
SUPPORT = Support(CENTRES[:, None], 0.2)


def test_transport_is_the_best_of_all_assignments():
    a, b = np.random.default_rng(0).standard_normal((2, 5, 2))
    best = min(((a - b[list(order)]) ** 2).sum(-1).mean() for order in itertools.permutations(range(5)))
    assert transport(a, b) == pytest.approx(best)
    assert transport(a, a[::-1] + [3.0, 4.0]) == pytest.approx(25.0)


def test_exact_samples_are_close_and_wrong_weights_show():
    rng = np.random.default_rng(1)

    def drawn(modes):
        return CENTRES[modes] + 0.2 * rng.standard_normal((len(modes), 2))

    right = distances(drawn(np.arange(400) % 4), SUPPORT, rng)
    assert right["modes"] == 4
    assert right["variation"] == 0
    assert 0 < right["within"] < 0.13
    assert right["wasserstein"] == pytest.approx(right["within"], rel=0.3)
    wrong = distances(drawn(np.arange(400) % 3), SUPPORT, rng)
    assert wrong["modes"] == 3
    assert wrong["variation"] == pytest.approx(0.25, abs=0.01)
    assert wrong["within"] < 0.13
    # a quarter of the mass moves from its neighbours to the mode that is missing, or further
    assert 1.5 < wrong["wasserstein"] < 4
    assert distances(np.zeros((10, 2)), SUPPORT, rng)["outside"] == 1
