"""Small fake data in the true format of tfds's own builders."""

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from diffusion_jax.data import registered
from diffusion_jax.data.storage import Records

COUNTS = {"train": 30, "test": 8, "validation": 8}


def pixels(i, shape):
    return np.random.default_rng(i).integers(0, 256, shape, np.uint8)


def png(image):
    file = io.BytesIO()
    Image.fromarray(image.squeeze()).save(file, "PNG")
    return io.BytesIO(file.getvalue())


def prepare_fake(name, shape, data_dir):
    """Writes what the true builder would, from made-up images, by the builder's own feature specification."""
    true = tfds.builder(registered.SETS[name].tfds, data_dir=data_dir, file_format="array_record")
    features = true.info.features
    splits = ("train", registered.SETS[name].test)

    def examples(split):
        for i in range(COUNTS[split]):
            example = {"image": png(pixels(i + (split != "train") * 1000, shape))}
            if "label" in features:
                example["label"] = i % 10
            if "id" in features:
                example["id"] = f"{split}_{i:05d}"
            yield i, example

    class Fake(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = true.version
        BUILDER_CONFIGS = [true.builder_config] if true.builder_config else []

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

        def _split_generators(self, dl_manager):
            return {split: examples(split) for split in splits}

        def _generate_examples(self):
            raise NotImplementedError

    Fake.name = true.name
    config = true.builder_config.name if true.builder_config else None
    fake = Fake(data_dir=data_dir, config=config, file_format="array_record")
    fake.download_and_prepare()
    assert fake.data_dir == true.data_dir
    return fake


SETS = [
    ("cifar10", (32, 32, 3)),
    ("mnist", (28, 28, 1)),
    ("imagenet32", (32, 32, 3)),
    ("imagenet64", (64, 64, 3)),
]


@pytest.mark.parametrize(("name", "shape"), SETS)
def test_true_format_is_read(name, shape, tmp_path):
    prepare_fake(name, shape, tmp_path)
    data = getattr(registered, name)(data_dir=tmp_path)
    assert data.info.shape == (1, *shape)
    assert data.info.levels == 256
    assert data.info.splits == {"train": 30, "test": 8}
    (test,) = data.epoch("test", 8)
    expected = np.stack([pixels(1000 + i, shape) for i in range(8)])[:, None]
    np.testing.assert_array_equal(np.rint(127.5 * (test["x"] + 1)), expected)
    labelled = name in ("cifar10", "mnist")
    assert data.info.classes == (10 if labelled else None)
    assert ("label" in test) == labelled
    if labelled:
        np.testing.assert_array_equal(test["label"], np.arange(8))


def test_a_set_too_large_for_memory_is_read_by_grain(tmp_path, monkeypatch):
    prepare_fake("imagenet32", (32, 32, 3), tmp_path)
    kept = registered.imagenet32(dequantise=True, flip=True, data_dir=tmp_path)
    read = registered.read
    monkeypatch.setattr(registered, "read", lambda *arguments: read(*arguments, memory_limit=1))
    data = registered.imagenet32(dequantise=True, flip=True, data_dir=tmp_path)
    assert isinstance(data.sources["train"], Records)
    iterator, expected = (one.iterator("train", 8, seed=0) for one in (data, kept))
    np.testing.assert_array_equal(iterator.next(6)["x"], expected.next(6)["x"])
    state = iterator.get_state()
    after = iterator.next(2)["x"]
    iterator.set_state(state)
    np.testing.assert_array_equal(iterator.next(2)["x"], after)


def test_standardised(tmp_path):
    prepare_fake("cifar10", (32, 32, 3), tmp_path)
    x = registered.cifar10(standardise=True, data_dir=tmp_path).iterator("train", 30, seed=0).next(4)["x"]
    assert abs(x.mean()) < 1e-3
    assert abs(x.std() - 1) < 1e-3


@pytest.mark.parametrize("name", list(registered.SETS))
def test_the_command_is_named_where_a_set_is_not_prepared(name, tmp_path):
    with pytest.raises(FileNotFoundError) as raised:
        getattr(registered, name)(data_dir=tmp_path)
    assert f"run python -m experiments.prepare --data {name} --data_dir {tmp_path}" in str(raised.value)


def test_a_damaged_folder_is_named_with_the_command(tmp_path):
    fake = prepare_fake("mnist", (28, 28, 1), tmp_path)
    (fake.data_path / "mnist-test.array_record-00000-of-00001").write_bytes(b"")
    with pytest.raises(ValueError, match="is not a whole data set") as raised:
        registered.mnist(data_dir=tmp_path)
    assert (
        f"delete that folder and run python -m experiments.prepare --data mnist --data_dir {tmp_path}"
        in str(raised.value)
    )
