"""The kernel distance: a value by hand, no bias, and an error that is honest."""

import numpy as np
import pytest

from diffusion_jax.evaluation.kernel_distance import kernel_distance


def test_two_points_a_block_by_hand():
    """In one dimension k(1, 1) = 8, k(2, 2) = 125, and k(0, b) = 1 for every b."""
    ones, zeros, mixed = np.ones((4, 1)), np.zeros((4, 1)), np.array([[0.0], [2.0]] * 2)
    assert kernel_distance(ones, zeros, blocks=2) == (8 + 1 - 2, 0.0)
    # a two is never compared with itself: 125 counts only where both twos fell into one block
    assert kernel_distance(mixed, zeros, blocks=2)[0] in (1 + 1 - 2, (125 + 1) / 2 + 1 - 2)


def test_it_is_zero_on_average_for_equal_laws_and_its_error_is_the_spread():
    found = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        found.append(kernel_distance(rng.standard_normal((80, 4)), rng.standard_normal((120, 4)), blocks=8))
    means, errors = np.array(found).T
    assert abs(means.mean()) < 4 * means.std() / np.sqrt(60)
    np.testing.assert_allclose(np.sqrt((errors**2).mean()), means.std(), rtol=0.35)
    assert (means < 0).any()


def test_a_shift_has_the_discrepancy_of_its_polynomial():
    """With k = (a b + 1)^3 and moments m_i, n_i of the laws: sum of binomial(3, i) (m_i - n_i)^2."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((20_000, 1)), 0.5 + rng.standard_normal((20_000, 1))
    moments = np.array([[0, 1, 0], [0.5, 1.25, 1.625]])
    expected = (np.array([3, 3, 1]) * (moments[0] - moments[1]) ** 2).sum()
    mean, error = kernel_distance(x, y, blocks=40)
    np.testing.assert_allclose(mean, expected, atol=4 * error)
    assert error < 0.2 * expected


def test_blocks_that_cannot_be_cut():
    x = np.zeros((10, 2))
    with pytest.raises(ValueError, match="blocks must be at least 2"):
        kernel_distance(x, x, blocks=1)
    with pytest.raises(ValueError, match="got 6 for 10 and 10 examples"):
        kernel_distance(x, x, blocks=6)
    with pytest.raises(ValueError, match=r"got shapes \(10, 2\) and \(10, 3\)"):
        kernel_distance(x, np.zeros((10, 3)))
