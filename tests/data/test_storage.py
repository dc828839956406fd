import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from diffusion_jax.data import storage
from diffusion_jax.data.pipeline import Arrays, Dataset, Info

SPEC = {"x": ((1, 3), np.float32), "label": ((), np.int64)}


def examples(n=50, offset=0):
    for i in range(n):
        yield {"x": np.full((1, 3), i + offset, np.float32), "label": i}


def splits():
    return {"train": examples(), "test": examples(20, offset=100)}


def stored(root, give=splits, **arguments):
    return storage.stored("counted", "1.0.0", {"n": 50, **arguments}, SPEC, give, root)


def test_what_is_written_is_read_in_order(tmp_path):
    sources, folder = stored(tmp_path)
    assert Path(folder) == tmp_path / "counted" / "n=50" / "1.0.0"
    assert {split: len(source) for split, source in sources.items()} == {"train": 50, "test": 20}
    read = sources["test"].gather(np.arange(20))
    np.testing.assert_array_equal(read["x"][:, 0, 2], np.arange(100, 120))
    np.testing.assert_array_equal(read["label"], np.arange(20))
    assert read["label"].dtype == np.int32
    assert isinstance(sources["train"], Arrays)


def test_a_set_is_written_once(tmp_path):
    stored(tmp_path)

    def again():
        raise AssertionError("written twice")

    stored(tmp_path, again)
    with pytest.raises(AssertionError, match="written twice"):
        stored(tmp_path, again, other=1)


def test_records_on_disk_give_what_memory_gives(tmp_path):
    in_memory, folder = stored(tmp_path)
    on_disk = storage.read(Path(folder), "", memory_limit=0)
    assert isinstance(on_disk["train"], storage.Records)
    info = Info((1, 3), "continuous", None, None, None, None, {"train": 50, "test": 20}, "")
    one, other = Dataset(info, in_memory), Dataset(info, on_disk)
    fast, slow = one.iterator("train", 8, seed=0), other.iterator("train", 8, seed=0)
    for n in (3, 9):
        expected, got = fast.next(n), slow.next(n)
        assert expected.keys() == got.keys()
        for key in expected:
            np.testing.assert_array_equal(expected[key], got[key])
    labels = np.concatenate([batch["label"] for batch in other.epoch("test", 6)])
    np.testing.assert_array_equal(labels, [*range(20), 0, 0, 0, 0])


def test_the_default_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("DIFFUSION_JAX_DATA", str(tmp_path))
    assert storage.data_root() == tmp_path
    assert storage.data_root(tmp_path / "own") == tmp_path / "own"
    monkeypatch.delenv("DIFFUSION_JAX_DATA")
    assert storage.data_root() == Path.home() / ".cache" / "diffusion_jax"


def truncate(folder):
    file = folder / "counted-train.array_record-00000-of-00001"
    os.truncate(file, file.stat().st_size // 2)


def flip_bytes(folder):
    file = folder / "counted-train.array_record-00000-of-00001"
    file.write_bytes(bytes(255 - byte for byte in file.read_bytes()))


def remove_records(folder):
    (folder / "counted-train.array_record-00000-of-00001").unlink()


def remove_info(folder):
    (folder / "dataset_info.json").unlink()


def remove_features(folder):
    (folder / "features.json").unlink()


def break_info(folder):
    (folder / "dataset_info.json").write_text('{"name": "coun')


def empty(folder):
    for file in folder.iterdir():
        file.unlink()


def other_format(folder):
    info = folder / "dataset_info.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"fileFormat": "tfrecord"}))


@pytest.mark.parametrize(
    "damage",
    [truncate, flip_bytes, remove_records, remove_info, remove_features, break_info, empty, other_format],
)
def test_a_damaged_folder_is_named_and_the_remedy_works(tmp_path, damage):
    folder = Path(stored(tmp_path)[1])
    damage(folder)
    with pytest.raises(ValueError, match="is not a whole data set") as raised:
        stored(tmp_path)
    assert str(folder) in str(raised.value)
    assert "delete that folder, and it is written again" in str(raised.value)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    assert len(stored(tmp_path)[0]["train"]) == 50


def test_a_failed_preparation_leaves_no_set(tmp_path):
    def failing():
        def broken():
            yield from examples(30)
            raise ValueError("the source broke at 30")

        return {"train": broken(), "test": examples()}

    with pytest.raises(ValueError, match="the source broke at 30"):
        stored(tmp_path, failing)
    assert len(stored(tmp_path)[0]["train"]) == 50


def test_a_killed_preparation_leaves_no_set(tmp_path):
    code = f"""
        import os
        import numpy as np
        from diffusion_jax.data import storage

        def killed():
            for i in range(30):
                yield {{"x": np.zeros((1, 3), np.float32), "label": 0}}
            os._exit(9)

        spec = {{"x": ((1, 3), np.float32), "label": ((), np.int64)}}
        root = {str(tmp_path)!r}
        storage.stored("counted", "1.0.0", {{"n": 50}}, spec, lambda: {{"train": killed()}}, root)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert done.returncode == 9
    assert list(tmp_path.rglob("*incomplete*"))
    assert len(stored(tmp_path)[0]["train"]) == 50


def test_two_writers_at_once_agree(tmp_path):
    def slowly():
        def overtaken():
            yield from examples(25)
            stored(tmp_path)
            yield from (example for i, example in enumerate(examples()) if i >= 25)

        return {"train": overtaken(), "test": examples(20, offset=100)}

    sources, _ = stored(tmp_path, slowly)
    np.testing.assert_array_equal(sources["train"].gather(np.arange(50))["label"], np.arange(50))


def test_neither_tensorflow_nor_anything_slow_is_imported(tmp_path):
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text("raise RuntimeError('tensorflow was imported')")
    code = """
        import importlib, pkgutil, sys
        sys.path.insert(0, sys.argv[1])
        import diffusion_jax.data
        for module in pkgutil.iter_modules(diffusion_jax.data.__path__, "diffusion_jax.data."):
            importlib.import_module(module.name)
        slow = {"tensorflow_datasets", "grain", "sklearn", "PIL", "matplotlib"} & set(sys.modules)
        assert not slow, slow
        from diffusion_jax.data.digits import digits
        dataset = digits(data_dir=sys.argv[1])
        assert dataset.info.splits == {"train": 1437, "test": 360}, dataset.info
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(tmp_path)], check=True)
