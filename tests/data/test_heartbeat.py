import numpy as np

from diffusion_jax.data.heartbeat import heartbeat, sequences


def test_the_five_sequences():
    as_text = {"".join(str(int(bit)) for bit in row) for row in sequences()}
    assert as_text == {"10000" * 4, "01000" * 4, "00100" * 4, "00010" * 4, "00001" * 4}


def test_an_epoch_is_each_sequence_once():
    data = heartbeat()
    assert data.info.kind == "bits"
    assert data.info.shape == (1, 20)
    for split in ("train", "test"):
        (batch,) = data.epoch(split, 5)
        np.testing.assert_array_equal(batch["x"][:, 0], sequences())


def test_training_batches_hold_each_sequence_equally_often():
    x = heartbeat().iterator("train", 100, seed=0).next(2)["x"]
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x.sum(axis=1), np.full((2, 1, 20), 20.0))
