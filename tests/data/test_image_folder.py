import os

import numpy as np
import pytest
from PIL import Image

from diffusion_jax.data.image_folder import image_folder


@pytest.fixture
def pictures(tmp_path):
    """40 plain colours in files of several formats and shapes, some in a subfolder."""
    (tmp_path / "more").mkdir()
    for i in range(40):
        name = f"more/{i}.bmp" if i % 2 else f"{i}.png"
        Image.new("RGB", (30 + i, 50 - i), (5 * i, 100, 0)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image")
    return tmp_path


def reds(data, split):
    (batch,) = data.epoch(split, data.info.splits[split])
    grey = np.rint(data.info.unit * batch["x"] + data.info.centre)
    assert (grey == grey[:, :, :1, :1]).all()
    np.testing.assert_array_equal(grey[:, 0, 0, 0, 1:], np.tile([100, 0], (len(grey), 1)))
    return set((grey[:, 0, 0, 0, 0] / 5).astype(int).tolist())


def test_every_image_is_in_one_split(pictures):
    data = image_folder(pictures, size=8)
    assert data.info.shape == (1, 8, 8, 3)
    train, test = reds(data, "train"), reds(data, "test")
    assert train | test == set(range(40))
    assert not train & test
    assert 1 <= len(test) <= 12


def test_images_stay_in_their_split_when_others_are_added(pictures):
    test = reds(image_folder(pictures, size=8), "test")
    for i in range(40, 50):
        Image.new("RGB", (20, 20), (5 * i, 100, 0)).save(pictures / f"{i}.png")
    data = image_folder(pictures, size=8)
    assert sum(data.info.splits.values()) == 50
    assert test <= reds(data, "test")


def test_a_changed_image_is_read_again(pictures):
    image_folder(pictures, size=8)
    Image.new("RGB", (20, 20), (250, 100, 0)).save(pictures / "0.png")
    data = image_folder(pictures, size=8)
    assert reds(data, "train") | reds(data, "test") == {*range(1, 40), 50}


def test_images_are_upright_cropped_at_the_centre_and_grey(tmp_path):
    wide = np.zeros((16, 48), np.uint8)
    wide[:, 16:32] = np.repeat(np.repeat([[0, 80], [160, 240]], 8, axis=0), 8, axis=1)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    turned = Image.fromarray(np.rot90(wide))
    exif = turned.getexif()
    exif[0x0112] = 6  # the camera was held so that the image must be turned clockwise
    turned.save(tmp_path / "turned.png", exif=exif)
    data = image_folder(tmp_path, size=4, grey=True)
    assert data.info.splits == {"train": 1, "test": 1}
    for split in ("train", "test"):
        (batch,) = data.epoch(split, 1)
        grey = 127.5 * (batch["x"][0, 0, :, :, 0] + 1)
        # the corners are far enough from the edges for Lanczos to leave them within its ringing
        np.testing.assert_allclose(grey[::3, ::3], [[0, 80], [160, 240]], atol=12)


def test_bad_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder of images .*nowhere"):
        image_folder(tmp_path / "nowhere", size=8)
    with pytest.raises(ValueError, match="has 0 images"):
        image_folder(tmp_path, size=8)
    Image.new("L", (9, 9)).save(tmp_path / "one.png")
    with pytest.raises(ValueError, match="has 1 images, a training and a test split need 2"):
        image_folder(tmp_path, size=8)
    Image.new("L", (9, 9)).save(tmp_path / "two.png")
    with pytest.raises(ValueError, match="test_share must lie between 0 and 1"):
        image_folder(tmp_path, size=8, test_share=1.0)


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_a_corrupt_image_is_named_and_leaves_nothing_behind(pictures, damage):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    file = pictures / "broken.png"
    noise.save(file)
    content = {"cut": file.read_bytes()[:3000], "text": b"hello", "empty": b""}[damage]
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.png cannot be read as an image"):
        image_folder(pictures, size=8)
    os.remove(file)
    assert sum(image_folder(pictures, size=8).info.splits.values()) == 40
