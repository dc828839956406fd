import pytest

from diffusion_jax.build import build
from diffusion_jax.data.no_images import no_images


def test_the_shape_is_known_and_the_scale_is_that_of_8_bits():
    info = build("data", {"name": "no_images", "size": 32, "classes": 10}).info
    assert (info.shape, info.kind, info.levels, info.classes) == ((1, 32, 32, 3), "continuous", 256, 10)
    assert (-info.centre / info.unit, (255 - info.centre) / info.unit) == (-1.0, 1.0)


def test_there_is_nothing_to_look_at():
    with pytest.raises(ValueError, match="unknown split 'train'"):
        no_images(8).iterator("train", 4, seed=0)
    with pytest.raises(ValueError, match="unknown split 'test'"):
        no_images(8).epoch("test", 4)


@pytest.mark.parametrize("arguments", [{"size": 0}, {"size": 8, "channels": 0}, {"size": 8, "classes": 0}])
def test_numbers_below_one_are_refused(arguments):
    with pytest.raises(ValueError, match="must be at least 1, got 0"):
        no_images(**arguments)
