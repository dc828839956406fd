import pytest


@pytest.fixture(scope="session", autouse=True)
def data_dir(tmp_path_factory):
    """Data sets are kept in one temporary folder for all tests of this package."""
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFUSION_JAX_DATA", str(folder))
        yield folder
