"""What every feature extractor promises, by discovery."""

import jax
import numpy as np
import pytest

from diffusion_jax.build import build


def test_an_extractor_gives_each_example_its_own_features(extractor_spec, key):
    try:
        extractor = build("extractor", extractor_spec)
    except FileNotFoundError as error:
        pytest.skip(f"needs weights: {error}")
    x = jax.random.uniform(key, (4, 1, 8, 8, 1), minval=-1, maxval=1)
    features = np.asarray(extractor.features(x))
    assert features.ndim == 2
    assert np.isfinite(features).all()
    np.testing.assert_allclose(extractor.features(x[1:3]), features[1:3], rtol=1e-5, atol=1e-5)
    assert np.abs(features[0] - features[1]).max() > 1e-3
    assert extractor.name == build("extractor", extractor_spec).name
