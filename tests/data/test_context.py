import json

import numpy as np
import pytest

from diffusion_jax.data.context import unlabelled, with_context
from diffusion_jax.data.labelled_roll import labelled_roll


@pytest.fixture(scope="module")
def data():
    return labelled_roll(train=12, test=7, context=20)


def make(data, split="context", seed=3, **share):
    return with_context(data, 4, seed, **share, split=split, size=6)


def equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        if name == "context":
            equal(one[name], other[name])
        else:
            np.testing.assert_array_equal(one[name], other[name])


def test_batches_are_those_of_training_with_unlabelled_ones_beside(data):
    batch, plain = make(data).next(5), data.iterator("train", 4, 3).next(5)
    context = batch.pop("context")
    equal(batch, plain)
    assert set(context) == {"x"}
    assert context["x"].shape == (5, 6, 1, 2)
    stored = data.sources["context"].gather(np.arange(20))["x"][:, 0, 0]
    assert np.isin(context["x"][..., 0, 0], stored).all()


def test_a_context_of_the_training_split_has_an_order_of_its_own_and_no_labels(data):
    batch = make(data, "train").next(3)
    assert set(batch["context"]) == {"x"}
    assert not np.array_equal(batch["context"]["x"].reshape(-1, 2)[:12], batch["x"].reshape(-1, 2))


def test_it_resumes_exactly_from_a_json_state(data):
    iterator = make(data)
    iterator.next(3)
    state = json.loads(json.dumps(iterator.get_state()))
    wanted = iterator.next(2)
    other = make(data)
    other.set_state(state)
    equal(other.next(2), wanted)
    with pytest.raises(ValueError, match="without a context"):
        other.set_state(data.iterator("train", 4, 3).get_state())
    with pytest.raises(ValueError, match="another iterator"):
        make(data, "shifted").set_state(state)


def test_processes_share_the_context_too(data):
    whole = make(data).next(2)
    parts = [make(data, process_index=i, process_count=2).next(2) for i in range(2)]
    for pick in (lambda batch: batch["x"], lambda batch: batch["context"]["x"]):
        np.testing.assert_array_equal(np.concatenate([pick(part) for part in parts], 1), pick(whole))


def test_another_seed_gives_another_context(data):
    one, other = (make(data, seed=seed).next(1)["context"]["x"] for seed in (0, 1))
    assert (one != other).any()


def test_a_split_without_labels_is_a_data_set(data):
    plain = unlabelled(data, "shifted")
    assert plain.info.splits == {"train": 7, "test": 7}
    batch = plain.iterator("train", 7, 0).next(1)
    assert set(batch) == {"x"}
    np.testing.assert_array_equal(
        np.sort(batch["x"][0, :, 0, 0]), np.sort(data.sources["shifted"].gather(np.arange(7))["x"][:, 0, 0])
    )


def test_a_split_that_does_not_exist_is_named(data):
    with pytest.raises(ValueError, match="there are: train, test, shifted, context"):
        make(data, "contxt")
    with pytest.raises(ValueError, match="there are: train, test, shifted, context"):
        unlabelled(data, "contxt")
