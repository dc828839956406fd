"""Runs of debug variants, made once: their folders are read by many tests and written by none."""

import jax
import pytest

from experiments import configuration, runner


@pytest.fixture(scope="session", autouse=True)
def caches(tmp_path_factory):
    """Data sets and compiled programs are kept for these tests, away from the user's own."""
    programs = str(tmp_path_factory.mktemp("programs"))
    before = jax.config.jax_persistent_cache_min_compile_time_secs
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFUSION_JAX_DATA", str(tmp_path_factory.mktemp("data")))
        patch.setenv("JAX_COMPILATION_CACHE_DIR", programs)
        jax.config.update("jax_compilation_cache_dir", programs)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
        yield
        jax.config.update("jax_compilation_cache_dir", None)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", before)


@pytest.fixture(scope="session")
def debug():
    """The plan of a debug variant, by the config's name."""

    def plan(name, **overrides):
        return runner.plan(configuration.load(f"configs/nonequilibrium/{name}.py:debug", overrides))

    return plan


@pytest.fixture(scope="session")
def swiss_roll_run(tmp_path_factory, debug):
    """(folder, record) of a finished run on points."""
    folder = tmp_path_factory.mktemp("swiss_roll")
    return folder, runner.run(debug("swiss_roll"), folder)


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory, debug):
    """(folder, record) of a finished run on labelled images."""
    folder = tmp_path_factory.mktemp("digits")
    return folder, runner.run(debug("digits"), folder)
