import json

import numpy as np
import pytest

from diffusion_jax.data.images import Grey
from diffusion_jax.data.pipeline import Arrays, Dataset, Info, as_float

N = 10


class Slow(Arrays):
    """Arrays that claim to be slow, so that they are read by grain."""

    slow = True


def numbered(n=N, encode=as_float, source=Arrays, shape=(1, 2)):
    """Example i is filled with i, and so is its label."""
    number = np.arange(n)
    x = np.broadcast_to(number.reshape(-1, *(1 for _ in shape)), (n, *shape)).astype(np.uint8)
    sources = {"train": source({"x": x, "label": number.astype(np.int32)}), "test": source({"x": x[:7]})}
    info = Info(shape, "continuous", None, None, None, None, {"train": n, "test": 7}, "numbers")
    return Dataset(info, sources, encode)


def noisy(source=Arrays):
    return numbered(encode=Grey(1.0, 0.0, True, True), source=source, shape=(1, 3, 5, 1))


def equal(one, other):
    assert one.keys() == other.keys()
    for key in one:
        np.testing.assert_array_equal(one[key], other[key])


def test_every_epoch_visits_every_example_once_and_in_an_order_of_its_own():
    labels = numbered().iterator("train", 4, seed=3).next(50)["label"].reshape(-1, N)
    np.testing.assert_array_equal(np.sort(labels, axis=1), np.tile(np.arange(N), (20, 1)))
    assert len(np.unique(labels, axis=0)) == 20


def test_all_orders_are_equally_likely():
    labels = numbered(3).iterator("train", 3, seed=0).next(6000)["label"]
    counts = np.unique(labels, axis=0, return_counts=True)[1]
    assert len(counts) == 6
    # chi-squared with 5 degrees of freedom; 20.5 has probability 0.001
    assert np.sum((counts - 1000) ** 2 / 1000) < 20.5


def test_leaves_of_n_batches():
    batch = numbered().iterator("train", 4, seed=0).next(3)
    assert batch["x"].shape == (3, 4, 1, 2)
    assert batch["x"].dtype == np.float32
    assert batch["label"].shape == (3, 4)
    np.testing.assert_array_equal(batch["x"][..., 0, 1], batch["label"])


def test_a_batch_may_be_larger_than_the_split():
    labels = numbered().iterator("train", 25, seed=0).next(2)["label"].reshape(-1)
    np.testing.assert_array_equal(np.bincount(labels), np.full(N, 5))


@pytest.mark.parametrize("source", [Arrays, Slow])
def test_batches_do_not_depend_on_how_many_are_taken_at_a_time(source):
    together = noisy(source).iterator("train", 4, seed=1).next(7)
    iterator = noisy(source).iterator("train", 4, seed=1)
    parts = [iterator.next(n) for n in (1, 4, 2)]
    equal(together, {key: np.concatenate([part[key] for part in parts]) for key in together})


def test_reading_ahead_gives_the_batches_of_memory():
    equal(
        noisy(Slow).iterator("train", 4, seed=1).next(40),
        noisy().iterator("train", 4, seed=1).next(40),
    )
    for ahead, direct in zip(noisy(Slow).epoch("test", 3), noisy().epoch("test", 3), strict=True):
        equal(ahead, direct)


@pytest.mark.parametrize("source", [Arrays, Slow])
def test_resuming_is_exact(source):
    first = noisy(source).iterator("train", 4, seed=5)
    first.next(9)
    state = json.loads(json.dumps(first.get_state()))
    after = first.next(6)
    again = noisy(source).iterator("train", 4, seed=5)
    again.next(2)
    again.set_state(state)
    equal(after, again.next(6))
    assert again.get_state() == first.get_state()


@pytest.mark.parametrize("source", [Arrays, Slow])
@pytest.mark.parametrize("count", [2, 3, 6])
def test_processes_together_see_what_one_sees(source, count):
    alone = noisy(source).iterator("train", 6, seed=2)
    alone.next(2)
    shared = []
    for index in range(count):
        iterator = noisy(source).iterator("train", 6, seed=2, process_index=index, process_count=count)
        iterator.set_state(alone.get_state())
        shared.append(iterator.next(5))
    equal(alone.next(5), {key: np.concatenate([one[key] for one in shared], axis=1) for key in shared[0]})


def test_noise_is_uniform_and_never_repeats():
    batch = noisy().iterator("train", 50, seed=0).next(40)
    noise = (batch["x"] - batch["label"][..., None, None, None, None]).reshape(-1)
    # 30,000 numbers: standard errors 0.0017 and 0.0004
    assert abs(noise.mean() - 0.5) < 0.007
    assert abs(noise.var() - 1 / 12) < 0.002
    rows = np.mod(batch["x"].reshape(2000, 15), 1)
    assert np.abs(np.corrcoef(rows.T) - np.eye(15)).max() < 0.11
    assert len(np.unique(np.round(rows, 4), axis=0)) == 2000


def test_half_of_the_training_images_are_mirrored():
    x = np.broadcast_to(np.arange(4, dtype=np.uint8)[:, None], (500, 1, 2, 4, 1))
    info = Info(x.shape[1:], "continuous", None, None, None, None, {"train": 500}, "ramps")
    ramps = Dataset(info, {"train": Arrays({"x": x})}, Grey(1.0, 0.0, False, True))
    trained = ramps.iterator("train", 500, seed=0).next(1)["x"][0]
    upright = (trained == x).all(axis=(1, 2, 3, 4))
    mirrored = (trained == x[..., ::-1, :]).all(axis=(1, 2, 3, 4))
    assert (upright ^ mirrored).all()
    assert 200 < upright.sum() < 300
    (passed,) = ramps.epoch("train", 500)
    np.testing.assert_array_equal(passed["x"], x)


def test_seeds_differ():
    one, other = (noisy().iterator("train", 8, seed=seed).next(1) for seed in (0, 1))
    assert not np.array_equal(one["label"], other["label"])
    assert not np.intersect1d(one["x"] % 1, other["x"] % 1).size


def test_a_pass_is_in_order_and_pads_the_last_batch():
    batches = list(numbered().epoch("train", 4))
    np.testing.assert_array_equal([b["label"] for b in batches], [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 0]])
    np.testing.assert_array_equal(batches[-1]["mask"], [[1], [1], [0], [0]])
    np.testing.assert_array_equal(batches[-1]["x"][2:], 0)
    assert all(b["mask"].shape == (4, 1) and b["x"].shape == (4, 1, 2) for b in batches)
    assert sum((b["x"][..., 0] * b["mask"]).sum() for b in batches) == 45


def test_a_pass_with_a_batch_larger_than_the_split():
    (batch,) = numbered().epoch("train", 16)
    assert batch["x"].shape == (16, 1, 2)
    assert batch["mask"].sum() == N


def test_the_mask_of_the_data_is_kept_and_padded():
    """Sequences of 1 + i mod 2 tokens, of two."""

    def encode(examples, draw, training):
        ends = 1 + examples["x"][:, 0, 0] % 2
        return as_float(examples, draw, training) | {
            "mask": (np.arange(2) < ends[:, None]).astype(np.float32)
        }

    (batch,) = numbered(3, encode=encode, shape=(2, 1)).epoch("train", 4)
    np.testing.assert_array_equal(batch["mask"], [[1, 0], [1, 1], [1, 0], [0, 0]])


def test_the_noise_of_a_pass_belongs_to_the_example():
    def passed(batch_size, seed):
        batches = noisy().epoch("train", batch_size, seed)
        return np.concatenate([batch["x"][batch["mask"][:, 0] == 1] for batch in batches])

    np.testing.assert_array_equal(passed(3, 0), passed(10, 0))
    assert not np.intersect1d(passed(3, 0) % 1, passed(3, 1) % 1).size


def test_bad_numbers_are_named():
    data = numbered()
    with pytest.raises(ValueError, match=r"unknown split 'valid'; there are: train, test"):
        data.iterator("valid", 4, seed=0)
    with pytest.raises(ValueError, match=r"unknown split 'valid'; there are: train, test"):
        data.epoch("valid", 4)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        data.epoch("test", 0)
    with pytest.raises(TypeError, match=r"batch_size must be an integer, got 4\.0"):
        data.iterator("train", 4.0, seed=0)
    with pytest.raises(ValueError, match="batch_size 10 cannot be shared by 4 processes equally"):
        data.iterator("train", 10, seed=0, process_count=4)
    with pytest.raises(ValueError, match="process_index must be at least 0 and below 2, got 2"):
        data.iterator("train", 10, seed=0, process_index=2, process_count=2)
    with pytest.raises(ValueError, match="seed must be at least 0"):
        data.iterator("train", 10, seed=-1)
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        data.iterator("train", 10, seed=0).next(0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 8}, "batch_size: 8, here 4"),
        ({"seed": 1}, "seed: 1, here 0"),
        ({"split": "test"}, "split: 'test', here 'train'"),
        ({"examples": 11}, "examples: 11, here 10"),
        ({"step": -1}, "step must be at least 0"),
        ({"epoch": 1}, "a state has the keys"),
    ],
)
def test_the_state_of_another_iterator_is_refused(change, message):
    iterator = numbered().iterator("train", 4, seed=0)
    with pytest.raises(ValueError, match=message):
        iterator.set_state(iterator.get_state() | change)


def test_flips_do_not_depend_on_the_noise():
    x = np.broadcast_to(np.array([[0, 10]], np.uint8)[..., None], (4000, 1, 1, 2, 1))
    info = Info(x.shape[1:], "continuous", None, None, None, None, {"train": 4000}, "steps")
    steps = Dataset(info, {"train": Arrays({"x": x})}, Grey(1.0, 0.0, True, True))
    trained = steps.iterator("train", 4000, seed=0).next(1)["x"][0, :, 0, 0, :, 0]
    mirrored = trained[:, 0] >= 10
    for noise in (trained % 10).T:
        # the correlation of independent numbers has a standard error of 0.016
        assert abs(np.corrcoef(mirrored, noise)[0, 1]) < 0.06
