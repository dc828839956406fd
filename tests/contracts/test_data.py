"""What every data set promises, by discovery."""

import json

import numpy as np
import pytest

from diffusion_jax.build import build


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def dataset(data_spec, data_dir, monkeypatch):
    monkeypatch.setenv("DIFFUSION_JAX_DATA", str(data_dir))
    try:
        built = build("data", data_spec)
    except FileNotFoundError as error:
        pytest.skip(f"needs data: {error}")
    if not built.info.splits:
        pytest.skip("has no examples, only a shape")
    return built


def equal(a, b):
    assert set(a) == set(b)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


def test_batches_are_what_info_says(dataset):
    info = dataset.info
    batch = dataset.iterator("train", 5, seed=0).next(2)
    x = batch["x"]
    assert x.shape == (2, 5, *info.shape)
    assert x.dtype == np.float32
    assert np.isfinite(x).all()
    assert ("label" in batch) == (info.classes is not None)
    if info.classes is not None:
        assert batch["label"].shape == (2, 5)
        assert np.issubdtype(batch["label"].dtype, np.integer)
        assert ((batch["label"] >= 0) & (batch["label"] < info.classes)).all()
    if info.kind == "bits":
        assert set(np.unique(x)) <= {0.0, 1.0}
    if info.unit is not None and info.levels is not None:
        value = info.unit * x + info.centre
        assert ((value > -1e-3) & (value < info.levels + 1e-3)).all()


def test_an_epoch_is_one_clean_pass(dataset):
    for split, count in dataset.info.splits.items():
        size = count // 2 + 1  # the second of two batches is partial
        batches = list(dataset.epoch(split, size))
        assert [len(batch["x"]) for batch in batches] == [size, size]
        mask = np.concatenate([batch["mask"] for batch in batches])
        assert mask.shape == (2 * size, dataset.info.shape[0])
        assert (mask[:count] == 1).all()
        assert (mask[count:] == 0).all()
        assert (np.concatenate([batch["x"] for batch in batches])[count:] == 0).all()
        for batch, again in zip(batches, dataset.epoch(split, size)):
            equal(batch, again)


def test_training_resumes_exactly_from_a_json_state(dataset):
    iterator = dataset.iterator("train", 4, seed=3)
    iterator.next(3)
    state = json.loads(json.dumps(iterator.get_state()))
    wanted = iterator.next(2)
    other = dataset.iterator("train", 4, seed=3)
    other.set_state(state)
    equal(other.next(2), wanted)
    one, two = dataset.iterator("train", 4, seed=3), dataset.iterator("train", 4, seed=3)
    equal(one.next(2), {name: np.concatenate([a, b]) for (name, a), b in _both(two.next(1), two.next(1))})


def _both(first, second):
    return zip(first.items(), second.values())


def test_another_seed_gives_another_order(dataset):
    a, b = (dataset.iterator("train", 16, seed=seed).next(1)["x"] for seed in (0, 1))
    assert (a != b).any()


def test_processes_share_the_batch(dataset):
    whole = dataset.iterator("train", 6, seed=0).next(2)
    parts = [dataset.iterator("train", 6, 0, process_index=i, process_count=2).next(2) for i in range(2)]
    equal({name: np.concatenate([part[name] for part in parts], axis=1) for name in whole}, whole)


def test_a_wrong_split_names_those_that_exist(dataset):
    with pytest.raises(ValueError, match="train"):
        dataset.iterator("trian", 4, seed=0)
