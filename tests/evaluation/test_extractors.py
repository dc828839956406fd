"""The classifier of digits and its features, and what an extractor refuses."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.data.digits import digits
from diffusion_jax.evaluation.digit_classifier import DigitClassifier, stored_parameters
from diffusion_jax.evaluation.extractors import digit_features, inception
from experiments import digit_features as command
from experiments import records


def held_out():
    batch = next(digits().epoch("test", 360))
    return batch["x"], batch["label"]


def test_the_stored_classifier_reads_held_out_digits_and_its_record_says_how_well():
    x, label = held_out()
    flat = stored_parameters()
    parameters = {}
    for name, value in flat.items():
        module, leaf = name.split("/")
        parameters.setdefault(module, {})[leaf] = value
    record = json.loads((records.RESULTS / "digit_features.json").read_text())
    found = command.accuracy(parameters, x[:, 0], label)
    assert found > 0.975
    assert found == pytest.approx(record["accuracy"]["test"], abs=1 / 300)
    assert record["extractor"] == digit_features().name
    # the features are what the classes are read from
    features = np.asarray(digit_features().features(jnp.asarray(x)))
    read = features @ parameters["classes"]["kernel"] + parameters["classes"]["bias"]
    logits = DigitClassifier().apply({"params": parameters}, x[:, 0])
    np.testing.assert_allclose(read, logits, rtol=1e-4, atol=1e-4)


def test_training_it_again_takes_few_steps_to_be_better_than_chance():
    x, label = held_out()
    parameters = command.train(x[:, 0], label, seed=0, steps=40)
    assert command.accuracy(parameters, x[:, 0], label) > 0.5


def test_images_and_files_that_an_extractor_cannot_take(tmp_path):
    with pytest.raises(ValueError, match=r"takes images \[N, 1, 8, 8, 1\], got shape \(2, 1, 4, 4, 1\)"):
        digit_features().features(jnp.zeros((2, 1, 4, 4, 1)))
    with pytest.raises(FileNotFoundError, match="no weights of the 2015 Inception"):
        inception(tmp_path / "nowhere.npz")
    np.savez(tmp_path / "other.npz", weight=np.zeros(3))
    with pytest.raises(ValueError, match="not the weights of the 2015 Inception: 470 entries are missing"):
        inception(tmp_path / "other.npz")
