import numpy as np
import pytest

from diffusion_jax.data.images import image_dataset
from diffusion_jax.data.pipeline import Arrays


def sources(levels=17, n=64):
    rng = np.random.default_rng(0)
    grey = (rng.beta(2, 5, (n, 1, 4, 6, 1)) * levels).astype(np.uint8)
    return {"train": Arrays({"x": grey}), "test": Arrays({"x": grey[:10]})}


def dataset(**options):
    return image_dataset(sources(), 17, "made up", "nowhere", **options)


def whole(data, split):
    return next(iter(data.epoch(split, data.info.splits[split])))["x"]


def test_plain_grey_values_fill_the_interval():
    data = image_dataset(
        {"train": Arrays({"x": np.arange(17, dtype=np.uint8).reshape(17, 1, 1, 1, 1)})}, 17, "", ""
    )
    np.testing.assert_array_equal(whole(data, "train").reshape(-1), np.linspace(-1, 1, 17))
    assert (data.info.unit, data.info.centre) == (8.0, 8.0)


def test_dequantised_bins_tile_the_interval():
    data = dataset(dequantise=True)
    v = sources()["test"].examples["x"]
    x = whole(data, "test")
    assert (x >= 2 * v / 17 - 1 - 1e-6).all()
    assert (x <= 2 * (v + 1) / 17 - 1 + 1e-6).all()
    assert data.info.unit == 8.5


@pytest.mark.parametrize("options", [{}, {"dequantise": True}, {"standardise": True}])
def test_unit_and_centre_give_the_grey_values_back(options):
    data = dataset(**options)
    grey = data.info.unit * whole(data, "test") + data.info.centre
    back = np.floor(grey + 1e-4) if options else np.rint(grey)
    np.testing.assert_array_equal(back, sources()["test"].examples["x"])


def test_standardised_training_images_have_mean_0_and_variance_1():
    data = dataset(standardise=True)
    x = data.iterator("train", 64, seed=0).next(200)["x"].astype(np.float64)
    # fresh noise of deviation 0.29 grey levels, averaged over 300,000 numbers
    assert abs(x.mean()) < 1e-3
    assert abs(x.var() - 1) < 2e-3


def test_there_is_nothing_to_standardise_in_one_grey():
    flat = Arrays({"x": np.full((3, 1, 2, 2, 1), 7, np.uint8)})
    with pytest.raises(ValueError, match="all pixels have grey value 7"):
        image_dataset({"train": flat}, 17, "", "", standardise=True)
