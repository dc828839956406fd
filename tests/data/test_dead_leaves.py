import numpy as np
import pytest

from diffusion_jax.data.dead_leaves import dead_leaves, dead_leaves_image, touching_discs


def generator(seed=0):
    return np.random.default_rng(seed)


def ks_distance(one, other):
    """Two-sample Kolmogorov-Smirnov distance."""
    at = np.concatenate([one, other])
    shares = [np.searchsorted(np.sort(sample), at, side="right") / len(sample) for sample in (one, other)]
    return np.abs(shares[0] - shares[1]).max()


def test_touching_discs_have_the_law_of_discs_on_the_plane_that_touch():
    size, rmin, rmax, n = 10.0, 1.0, 12.0, 400_000
    rng = generator(1)
    u = rng.random(n)
    radius = (rmin**-2 + u * (rmax**-2 - rmin**-2)) ** -0.5
    centre = rng.uniform(-rmax, size + rmax, (n, 2))
    gap = np.maximum(np.maximum(-centre, centre - size), 0)
    touching = (gap**2).sum(axis=1) <= radius**2
    expected_radius, expected_centre = radius[touching], centre[touching]
    got_centre, got_radius = touching_discs(generator(2), 50_000, size, rmin, rmax)
    # with 50,000 and about 80,000 draws the distance is below 0.011 with probability 0.999
    statistics = {
        "radius": lambda c, r: r,
        "x": lambda c, r: c[:, 1],
        "y": lambda c, r: c[:, 0],
        "diagonal": lambda c, r: c.sum(axis=1),
        "from the corner": lambda c, r: np.hypot(*c.T),
        "relative gap": lambda c, r: np.hypot(*np.maximum(np.maximum(-c, c - size), 0).T) / r,
    }
    for name, of in statistics.items():
        assert ks_distance(of(expected_centre, expected_radius), of(got_centre, got_radius)) < 0.012, name


def same_leaf(distance, rmin, rmax):
    """P(two pixels show the same leaf): a disc that covers both comes before one that covers just one."""
    r = np.exp(np.linspace(np.log(rmin), np.log(rmax), 100_001))
    half = np.clip(distance / (2 * r), 0, 1)
    both = 2 * r**2 * (np.arccos(half) - half * np.sqrt(1 - half**2))
    density = r**-3 * r  # in log r
    both, one = (both * density).sum(), (np.pi * r**2 * density).sum()
    return both / (2 * one - both)


@pytest.mark.parametrize(("size", "images"), [(16, 1500), (40, 250)])
def test_pixels_are_uniform_and_correlated_by_shared_leaves(size, images):
    """40 pixels are more than one tile, so pairs across the seam count too."""
    rmin, rmax = 1.5, 20.0
    drawn = np.stack([dead_leaves_image(generator(i), size, rmin, rmax) for i in range(images)]).astype(float)
    # standard errors over images, which are independent
    mean, square = drawn.mean(axis=(1, 2)), ((drawn - 127.5) ** 2).mean(axis=(1, 2))
    variance = (256**2 - 1) / 12
    assert abs(mean.mean() - 127.5) < 4 * mean.std() / images**0.5
    assert abs(square.mean() - variance) < 4 * square.std() / images**0.5
    for distance in (1, 3, 8):
        pairs = [
            (drawn[:, :, distance:] - 127.5) * (drawn[:, :, :-distance] - 127.5),
            np.swapaxes((drawn[:, distance:] - 127.5) * (drawn[:, :-distance] - 127.5), 1, 2),
        ]
        each = np.concatenate(pairs, axis=2).mean(axis=(1, 2)) / variance
        expected = same_leaf(distance, rmin, rmax)
        assert abs(each.mean() - expected) < 4 * each.std() / images**0.5, distance


def test_generation_is_fixed_by_the_seed_and_not_by_the_number_of_images():
    few, more = dead_leaves(16, train=3, test=2), dead_leaves(16, train=5, test=2)
    (a,), (b,) = few.epoch("train", 3), more.epoch("train", 5)
    np.testing.assert_array_equal(a["x"], b["x"][:3])
    grey = np.rint(few.info.unit * a["x"] + few.info.centre).astype(int)
    assert grey.sum(axis=(1, 2, 3, 4)).tolist() == [28436, 35665, 29098]
    (c,), (d,) = few.epoch("test", 2), dead_leaves(16, train=3, test=2, seed=1).epoch("train", 3)
    assert not np.array_equal(a["x"][:2], c["x"])
    assert not np.array_equal(a["x"], d["x"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "size must be at least 1"),
        ({"train": 0}, "train must be at least 1"),
        ({"rmin": 3, "rmax": 2}, "radii need 0.5 <= rmin < rmax, got rmin=3, rmax=2"),
        ({"rmin": 0}, "radii need"),
        ({"seed": 2**64}, "seed must be at least 0 and below"),
    ],
)
def test_bad_numbers(arguments, message):
    with pytest.raises(ValueError, match=message):
        dead_leaves(**arguments)
