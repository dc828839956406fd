import numpy as np
from sklearn.datasets import load_digits

from diffusion_jax.data.digits import digits


def whole(data, split):
    (batch,) = data.epoch(split, data.info.splits[split])
    return batch


def test_the_split_is_stratified_and_parts_the_digits():
    data = digits()
    assert data.info.splits == {"train": 1437, "test": 360}
    assert (data.info.levels, data.info.classes, data.info.shape) == (17, 10, (1, 8, 8, 1))
    train, test = whole(data, "train"), whole(data, "test")
    np.testing.assert_array_equal(np.bincount(test["label"]), np.full(10, 36))
    ours = [
        np.append(8 * x.reshape(-1) + 8, label).astype(int).tolist()
        for batch in (train, test)
        for x, label in zip(batch["x"], batch["label"])
    ]
    pixels, labels = load_digits(return_X_y=True)
    assert sorted(ours) == sorted(np.column_stack([pixels, labels]).astype(int).tolist())


def test_dequantised_digits_are_the_digits_with_noise():
    plain, noisy = whole(digits(), "test"), whole(digits(dequantise=True), "test")
    np.testing.assert_array_equal(plain["label"], noisy["label"])
    noise = 8.5 * (noisy["x"] + 1) - 8 * (plain["x"] + 1)
    assert noise.min() > -1e-5
    assert noise.max() < 1 + 1e-5
    assert abs(noise.mean() - 0.5) < 0.01
    np.testing.assert_array_equal(noisy["x"], whole(digits(dequantise=True), "test")["x"])


def test_training_noise_is_fresh_in_every_epoch():
    def two_epochs(data):
        return data.iterator("train", 1437, seed=0).next(2)["x"].reshape(2, 1437, 64)

    plain = two_epochs(digits())
    noise = 8.5 * (two_epochs(digits(dequantise=True)) + 1) - 8 * (plain + 1)
    first, second = (u[np.lexsort(v.T)] for u, v in zip(noise, plain))
    # 92,000 pairs: the correlation of independent numbers is 0 with a standard error of 0.0033
    assert abs(np.corrcoef(first.reshape(-1), second.reshape(-1))[0, 1]) < 0.015
