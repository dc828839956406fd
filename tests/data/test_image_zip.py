import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from diffusion_jax.build import build
from diffusion_jax.data.image_zip import image_zip

COUNT = 30


def name(i):
    return f"{i // 10:05d}/img{i:08d}.png"


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def colours(i, size=4):
    """A plain image that tells its number."""
    return np.broadcast_to(np.array([5 * i, 100, 0], np.uint8), (size, size, 3)).copy()


def files(count=COUNT, labels=True):
    """The content of an archive, image i being of class i % 3."""
    content = {name(i): png(colours(i)) for i in range(count)}
    pairs = [[name(i), i % 3] for i in reversed(range(count))] if labels else None
    return content | {"dataset.json": json.dumps({"labels": pairs}).encode()}


@pytest.fixture
def archive(tmp_path):
    """Writes a zip file with this content, without compression, as EDM's tool does."""

    def write(content, file="data.zip", compression=zipfile.ZIP_STORED):
        with zipfile.ZipFile(tmp_path / file, "w", compression) as archive:
            for each, data in content.items():
                archive.writestr(each, data)
        return tmp_path / file

    return write


@pytest.fixture
def unpacked(tmp_path):
    """Writes the same as a folder."""

    def write(content):
        for each, data in content.items():
            (tmp_path / "folder" / each).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "folder" / each).write_bytes(data)
        return tmp_path / "folder"

    return write


def examples(data):
    """Number of an image -> its label (or None), over all splits."""
    found = {}
    for split, count in data.info.splits.items():
        (batch,) = data.epoch(split, count)
        grey = np.rint(data.info.unit * batch["x"] + data.info.centre).astype(int)
        assert (grey == grey[:, :, :1, :1]).all()
        assert (grey[..., 1:] == [100, 0]).all()
        numbers = (grey[:, 0, 0, 0, 0] // 5).tolist()
        assert not set(numbers) & set(found)
        found |= dict(zip(numbers, batch.get("label", np.full(count, -1)).tolist()))
    return found


@pytest.mark.parametrize("form", ["stored", "deflated", "folder"])
def test_every_image_keeps_its_label(archive, unpacked, form):
    content = files()
    compression = zipfile.ZIP_DEFLATED if form == "deflated" else zipfile.ZIP_STORED
    path = unpacked(content) if form == "folder" else archive(content, compression=compression)
    data = build("data", {"name": "image_zip", "file": str(path)})
    assert data.info.shape == (1, 4, 4, 3)
    assert data.info.classes == 3
    assert set(data.info.splits) == {"train", "test"}
    assert examples(data) == {i: i % 3 for i in range(COUNT)}
    batch = data.iterator("train", 4, seed=0).next(2)
    assert batch["x"].shape == (2, 4, 1, 4, 4, 3)
    assert batch["label"].shape == (2, 4)


@pytest.mark.parametrize("missing", [False, True])
def test_without_labels(archive, missing):
    content = files(labels=False)
    if missing:
        del content["dataset.json"]
    data = image_zip(archive(content))
    assert data.info.classes is None
    assert "label" not in data.iterator("train", 2, seed=0).next(1)
    assert set(examples(data)) == set(range(COUNT))


def test_all_of_it_for_training(archive):
    path = archive(files())
    data = image_zip(path, test_share=0)
    assert data.info.splits == {"train": COUNT}
    with pytest.raises(ValueError, match="unknown split 'test'; there are: train"):
        data.epoch("test", 1)
    (batch,) = data.epoch("train", COUNT)
    np.testing.assert_array_equal(batch["label"], np.arange(COUNT) % 3)  # in the order of the names


def test_grey_and_dequantised(archive):
    step = np.repeat(np.array([[40, 200]], np.uint8), 2, axis=0)
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 255
    path = archive({"a.png": png(step), "b.png": png(red)})
    plain = image_zip(path, test_share=0)
    x = plain.sources["train"].gather(np.arange(2))["x"]
    assert x.shape == (2, 1, 2, 2, 3)
    np.testing.assert_array_equal(x[0, 0, 0], [[40] * 3, [200] * 3])
    grey = image_zip(path, grey=True, test_share=0, dequantise=True)
    assert grey.info.shape == (1, 2, 2, 1)
    x = grey.sources["train"].gather(np.arange(2))["x"]
    np.testing.assert_array_equal(x[0, 0, 0, :, 0], [40, 200])
    assert (x[1] == 76).all()  # 0.299 * 255
    (batch,) = grey.epoch("train", 2)
    v = 128 * (batch["x"] + 1)
    assert ((v - x >= 0) & (v - x < 1)).all()
    assert np.std(v - x) > 0


def test_images_are_decoded_once_and_again_when_they_change(archive, monkeypatch):
    path = archive(files())
    folder = image_zip(path).folder
    assert image_zip(archive(files(), "copy.zip")).folder == folder
    changed = image_zip(archive(files() | {name(0): png(colours(40))}))
    assert changed.folder != folder
    assert set(examples(changed)) == {*range(1, COUNT), 40}
    relabelled = files() | {
        "dataset.json": json.dumps({"labels": [[name(i), 0] for i in range(COUNT)]}).encode()
    }
    assert set(examples(image_zip(archive(relabelled))).values()) == {0}


def labelled(pairs):
    return {"dataset.json": json.dumps({"labels": pairs}).encode()}


PAIRS = [[name(i), 0] for i in range(4)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({name(2): png(colours(2)[:3])}, r"00000/img00000002\.png in .*data\.zip is not square: it has 4x3"),
        (
            {name(2): png(colours(2, 5))},
            r"img00000002\.png in .*data\.zip has 5x5 pixels, the first image 4x4",
        ),
        ({name(2): b"hello"}, r"img00000002\.png in .*data\.zip cannot be read as an image"),
        ({name(2): png(colours(2))[:45]}, r"img00000002\.png in .*data\.zip cannot be read as an image"),
        (labelled(PAIRS[:3]), r"dataset\.json in .*data\.zip has no label for 00000/img00000003\.png"),
        (labelled([*PAIRS, ["z.png", 1]]), r"has a label for z\.png, which is not there"),
        (labelled([[name(i), 0.5] for i in range(4)]), r"has the label 0\.5 for .*; classes are numbered"),
        (labelled([[name(i), -1] for i in range(4)]), r"has the label -1 for .*; classes are numbered"),
        (labelled([["a"]]), r"dataset\.json in .*data\.zip is not of the form"),
        ({"dataset.json": b"{}"}, r"dataset\.json in .*data\.zip is not of the form"),
        ({"dataset.json": b"{"}, r"dataset\.json in .*data\.zip is not of the form"),
    ],
)
def test_what_is_wrong_with_an_archive_is_named(archive, change, message):
    path = archive(files(4) | change)
    with pytest.raises(ValueError, match=message):
        image_zip(path, test_share=0)


def test_bad_archives_and_arguments(archive, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no archive of images .*nowhere"):
        image_zip(tmp_path / "nowhere.zip")
    (tmp_path / "text.zip").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.zip is not a zip file"):
        image_zip(tmp_path / "text.zip")
    with pytest.raises(ValueError, match="has 0 images, needed 2 at least"):
        image_zip(archive({"notes.txt": b""}))
    with pytest.raises(ValueError, match="has 1 images, needed 2 at least"):
        image_zip(archive(files(1)))
    with pytest.raises(ValueError, match=r"test_share must lie between 0 and 1, got 1\.5"):
        image_zip(archive(files(4)), test_share=1.5)
