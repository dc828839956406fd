"""Settings that hold for every test."""

import jax
import matplotlib
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
matplotlib.use("Agg")


@pytest.fixture(scope="module", autouse=True)
def programs_of_a_module():
    """Compiled programs are dropped with their module: thousands of tests would keep gigabytes of them."""
    yield
    jax.clear_caches()


@pytest.fixture
def x64():
    """Double precision within one test, for identities that float32 would blur."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def key():
    return jax.random.key(0)
