import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.objectives.augmentation import Transform, labels, non_leaking, transformed

PI = np.pi
HEIGHT, WIDTH = 41, 49
PLACE = (3, 6)

apply = jax.jit(transformed)


def transform(*cases):
    """One sample for each case, a dict of amounts; what is not given is 0."""
    return Transform(
        **{name: jnp.array([float(case.get(name, 0)) for case in cases]) for name in Transform._fields}
    )


def spots(*places):
    """Round spots of variance 4 at places (row, column) relative to the centre, [B, 1, H, W, 1]."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] - np.array([20, 24])[:, None, None]
    images = [np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 8) for row, column in places]
    return jnp.asarray(np.stack(images), jnp.float32)[:, None, :, :, None]


def moments(image):
    """(row, column) of the centre of mass relative to the image's centre, (variance of rows, of columns)."""
    mass = np.asarray(image[0, :, :, 0], np.float64)
    mass /= mass.sum()
    rows, columns = np.arange(HEIGHT) - 20, np.arange(WIDTH) - 24
    row, column = mass.sum(1) @ rows, mass.sum(0) @ columns
    return (row, column), (mass.sum(1) @ (rows - row) ** 2, mass.sum(0) @ (columns - column) ** 2)


# what is done, where the spot at PLACE goes, and the variances of its rows and columns
CASES = [
    ({}, (3, 6), (4, 4)),
    ({"xflip": 1}, (3, -6), (4, 4)),
    ({"yflip": 1}, (-3, 6), (4, 4)),
    ({"angle": PI / 2}, (-6, 3), (4, 4)),
    ({"angle": -PI / 2}, (6, -3), (4, 4)),
    ({"angle": PI, "xflip": 1, "yflip": 1}, (3, 6), (4, 4)),
    ({"right": 0.4}, (3, 6 + 0.05 * WIDTH), (4, 4)),
    ({"down": -0.4}, (3 - 0.05 * HEIGHT, 6), (4, 4)),
    ({"scale": 2.5}, (3 * 2**0.5, 6 * 2**0.5), (8, 8)),
    ({"scale": -2.5}, (3 / 2**0.5, 6 / 2**0.5), (2, 2)),
    ({"stretch": 2.5}, (3 / 2**0.5, 6 * 2**0.5), (2, 8)),
    ({"stretch": 2.5, "axis": PI / 2}, (3 * 2**0.5, 6 / 2**0.5), (8, 2)),
    ({"stretch": -2.5, "axis": -PI}, (3 * 2**0.5, 6 / 2**0.5), (8, 2)),
    ({"scale": 2.5, "down": 0.4}, (3 * 2**0.5 + 0.05 * HEIGHT, 6 * 2**0.5), (8, 8)),
    ({"angle": PI / 2, "stretch": 2.5}, (-6 / 2**0.5, 3 * 2**0.5), (2, 8)),
]


def test_where_a_spot_goes_and_how_wide_it_gets():
    """The filter is not symmetric, which moves things by up to 0.1 pixels; bilinear steps widen a little."""
    images = apply(spots(*[PLACE] * len(CASES)), transform(*[done for done, _, _ in CASES]))
    for image, (done, place, spread) in zip(images, CASES):
        found, width = moments(image)
        np.testing.assert_allclose(found, place, atol=0.11, err_msg=str(done))
        np.testing.assert_allclose(width, spread, atol=0.12, err_msg=str(done))


def test_stretching_along_a_diagonal():
    """What lies up and to the right, on the axis, moves out; what lies down and to the right moves in."""
    images = apply(spots((-4, 4), (4, 4)), transform(*[{"stretch": 2.5, "axis": PI / 4}] * 2))
    np.testing.assert_allclose(moments(images[0])[0], (-4 * 2**0.5, 4 * 2**0.5), atol=0.11)
    np.testing.assert_allclose(moments(images[1])[0], (4 / 2**0.5, 4 / 2**0.5), atol=0.11)


def test_there_and_back():
    """A smooth image comes back when it is turned, scaled or moved and then the reverse is done."""
    done = [{"angle": 0.7}, {"scale": 1.0}, {"right": 0.13}]
    undone = [{name: -value for name, value in case.items()} for case in done]
    x = spots(*[PLACE] * 3)
    there = apply(x, transform(*done))
    assert jnp.abs(there - x).max(axis=(1, 2, 3, 4)).min() > 0.1
    np.testing.assert_allclose(apply(there, transform(*undone)), x, atol=0.03)


def test_whole_pixels_flips_and_nothing_are_exact(key):
    x = jnp.repeat(jax.random.normal(key, (1, 2, 16, 24, 3)), 4, axis=0)
    cases = transform({"xflip": 1, "axis": 1.0}, {"yflip": 1}, {"right": 1, "down": -1}, {})
    mirrored, inverted, moved, same = apply(x, cases)
    np.testing.assert_array_equal(mirrored, x[0, :, :, ::-1])
    np.testing.assert_array_equal(inverted, x[0, :, ::-1])
    np.testing.assert_array_equal(same, x[0])
    np.testing.assert_allclose(moved[:, :-2, 3:], x[0, :, 2:, :-3], atol=1e-5)
    np.testing.assert_allclose(moved[:, :, :3], moved[:, :, 6:3:-1], atol=1e-5)  # reflected at the border


def test_the_image_goes_on_by_reflection_and_then_ends():
    near = {"scale": -1, "angle": 1, "right": 1, "stretch": -1}
    first, second = apply(jnp.ones((2, 1, 8, 8, 1)), transform(near, {"scale": -15}))[:, 0, :, :, 0]
    np.testing.assert_allclose(first, 1, atol=2e-3)
    np.testing.assert_allclose(second[::7], 0, atol=0.02)
    np.testing.assert_allclose(second[:, ::7], 0, atol=0.02)
    np.testing.assert_allclose(second[3:5, 3:5], 1, atol=0.2)


def test_labels():
    amounts = (1, 1, 0.3, PI / 2, 2, PI / 6, -1.5, 0.5)
    told, nothing = labels(transform(dict(zip(Transform._fields, amounts)), {"axis": 1.0}))
    np.testing.assert_allclose(told, [1, 1, 0.3, -1, 1, 3**0.5, 1, -1.5, 0.5], atol=1e-6)
    assert not nothing.any()


def test_how_often_and_how_much(key):
    """Shares and variances of the label over many samples, within four standard errors."""
    count, probability = 20000, 0.3
    tiny = jnp.zeros((count, 1, 2, 2, 1))
    label = np.asarray(jax.jit(non_leaking(probability))(key, tiny)[1], np.float64)
    share = np.mean(label != 0, axis=0)
    error = 4 * np.sqrt(0.25 / count)
    expected = [0.5, 0.15, 0.3, 0.3, 0.3, 0.3, 0.15, 0.3, 0.3]
    np.testing.assert_allclose(share, expected, atol=error)
    on = [column[column != 0] for column in label.T]
    normal = {2: on[2], 7: on[7], 8: on[8]}
    for amounts in normal.values():
        np.testing.assert_allclose(amounts.mean(), 0, atol=4 * len(amounts) ** -0.5)
        np.testing.assert_allclose(amounts.std(), 1, atol=4 * (2 * len(amounts)) ** -0.5)
    stretch = np.hypot(label[:, 5], label[:, 6])
    np.testing.assert_allclose(np.mean(stretch[stretch > 0] ** 2), 1, atol=0.08)
    np.testing.assert_allclose(on[3].mean(), -1, atol=0.04)  # the mean of cos over all angles, less one
    np.testing.assert_allclose(on[4].mean(), 0, atol=0.04)
    assert np.array_equal(label[:, 7] != 0, label[:, 8] != 0)
    together = np.mean((label[:, 2] != 0) & (label[:, 7] != 0))
    np.testing.assert_allclose(together, probability**2, atol=error)


def test_probability_0_changes_nothing(key):
    x = jax.random.normal(key, (8, 1, 4, 4, 1))
    same, label = jax.jit(non_leaking(0.0))(key, x)
    np.testing.assert_array_equal(same, x)
    assert not label.any()


def test_the_image_that_is_shown_is_the_one_its_label_tells(key):
    """With every transform on, the label says where the spot went, but for the sign of the stretch."""
    shown, label = jax.jit(non_leaking(1.0))(key, spots(*[(1, 2)] * 6))
    for image, told in zip(shown, np.asarray(label, np.float64)):
        start = complex(2 * (-1) ** told[0], -1 * (-1) ** told[1]) * 2 ** (0.2 * told[2])  # right, up
        start *= complex(told[3] + 1, told[4])
        stretch = complex(told[5], told[6])
        axis, distances = stretch / abs(stretch), []
        row, column = np.array(np.unravel_index(np.argmax(image[0, :, :, 0]), (HEIGHT, WIDTH))) - (20, 24)
        for factor in (2 ** (0.2 * abs(stretch)), 2 ** (-0.2 * abs(stretch))):
            along = start / axis
            place = complex(along.real * factor, along.imag / factor) * axis
            place += complex(WIDTH * told[7], -HEIGHT * told[8]) / 8
            distances.append(abs(complex(column, -row) - place))
        assert min(distances) < 0.9


def test_bad_arguments(key):
    for probability in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
            non_leaking(probability)
    for shape in ((3, 4, 4, 1), (3, 1, 1, 4, 1)):
        with pytest.raises(ValueError, match=r"\[B, T, H, W, C\]"):
            non_leaking()(key, jnp.zeros(shape))
