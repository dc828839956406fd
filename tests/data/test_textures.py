import numpy as np
import pytest

from diffusion_jax.data.textures import BOUNDARY, photographs, textures


def patches(data, split):
    (batch,) = data.epoch(split, data.info.splits[split])
    return np.rint(data.info.unit * batch["x"] + data.info.centre).astype(np.uint8)[:, 0, :, :, 0]


def test_patches_come_from_their_own_part_of_the_photographs():
    data = textures(size=24, stride=60)
    train, test = patches(data, "train"), patches(data, "test")
    # (427 - 24) // 60 + 1 = 7 rows, (480 - 24) // 60 + 1 = 8 columns; 17 x 6 without overlap; two photographs
    assert (len(train), len(test)) == (2 * 7 * 8, 2 * 17 * 6)
    china, flower = photographs()
    np.testing.assert_array_equal(train[0], china[:24, :24])
    np.testing.assert_array_equal(train[7], china[:24, 420:444])
    np.testing.assert_array_equal(train[-1], flower[360:384, 420:444])
    np.testing.assert_array_equal(test[0], china[:24, BOUNDARY : BOUNDARY + 24])
    np.testing.assert_array_equal(test[5], china[:24, BOUNDARY + 120 : BOUNDARY + 144])
    np.testing.assert_array_equal(test[-1], flower[384:408, BOUNDARY + 120 : BOUNDARY + 144])


def test_the_class_of_a_patch_is_its_photograph():
    data = textures(size=24, stride=60)
    (batch,) = data.epoch("train", data.info.splits["train"])
    assert data.info.classes == 2
    np.testing.assert_array_equal(batch["label"], np.repeat([0, 1], 7 * 8))


def test_test_patches_do_not_overlap():
    data = textures(size=40, stride=200)
    test = patches(data, "test")
    rebuilt = test[: 10 * 4].reshape(10, 4, 40, 40).swapaxes(1, 2).reshape(400, 160)
    np.testing.assert_array_equal(rebuilt, photographs()[0][:400, BOUNDARY:])


def test_photographs_are_grey_by_luma():
    from sklearn.datasets import load_sample_image

    colour = load_sample_image("flower.jpg")[100, 200].astype(float)
    assert (
        abs(photographs()[1][100, 200] - (0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2])) <= 0.5
    )


def test_a_patch_has_to_fit():
    with pytest.raises(ValueError, match="size must be at least 1 and below 161, got 161"):
        textures(size=161)
