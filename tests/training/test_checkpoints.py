import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffusion_jax.training import checkpoints
from diffusion_jax.training.checkpoints import Checkpoints
from diffusion_jax.training.state import create
from diffusion_jax.types import Variables

# Orbax abandons its other reads when one of them fails.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

HOME = jax.sharding.SingleDeviceSharding(jax.devices()[0])


def made(step, average=True, width=64, seed=0):
    """A state with every kind of array, worth `step` steps."""
    key = jax.random.key(seed)
    params = {"Dense": {"kernel": jax.random.normal(key, (width, width)), "bias": jnp.full(3, float(step))}}
    other = {"flag": jnp.array(True), "half": jnp.ones((2, 3), jnp.bfloat16), "empty": ()}
    state = create(Variables(params, other), optax.adam(1e-3), average)
    return state._replace(step=jnp.int32(step))


def like(state):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=HOME), state)


def folder_with(path, *steps, average=True):
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text('{"a": 1}')
    with Checkpoints(path, 1, 10) as saved:
        for step in steps:
            saved.save(step, made(step, average), {"position": step})
    return path


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return folder_with(tmp_path_factory.mktemp("two"), 1, 2)


def test_what_is_saved_comes_back(two):
    with Checkpoints(two, 1, 10) as saved:
        state, record = saved.restore(like(made(0)))
    assert_same(state, made(2))
    assert record == {"position": 2}


def test_an_empty_workdir_has_nothing(tmp_path):
    with Checkpoints(tmp_path, 1, 1) as saved:
        assert saved.latest is None
        assert saved.restore(like(made(0))) is None


def test_due_once_at_or_past_each_multiple_and_the_latest_are_kept(tmp_path):
    with Checkpoints(tmp_path, every=10, keep=2) as saved:
        due = []
        for step in (4, 8, 12, 16, 20, 24, 28, 32):
            if saved.due(step):
                due.append(step)
                saved.save(step, made(step), {})
    assert due == [12, 20, 32]
    assert sorted(int(one.name) for one in (tmp_path / "checkpoints").iterdir()) == [20, 32]


FILES = ("_CHECKPOINT_METADATA", "state/_METADATA", "state/manifest.ocdbt", "largest")


@pytest.mark.parametrize("damage", ["cut", "flip", "delete", "zero"])
@pytest.mark.parametrize("name", FILES)
def test_any_damage_falls_back_to_the_last_good_one(two, tmp_path, caplog, name, damage):
    shutil.copytree(two, tmp_path, dirs_exist_ok=True)
    newest = tmp_path / "checkpoints" / "2"
    largest = max(
        (path for path in newest.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size
    )
    path = largest if name == "largest" else newest / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    harm = {
        "cut": lambda: path.write_bytes(content[: len(content) // 2]),
        "flip": lambda: path.write_bytes(content),
        "delete": lambda: path.unlink(),
        "zero": lambda: path.write_bytes(bytes(len(content))),
    }
    harm[damage]()
    with Checkpoints(tmp_path, 1, 10) as saved:
        state, record = saved.restore(like(made(0)))
        intact = int(state.step) == 2
        assert saved.latest == int(state.step) == record["position"]
    assert_same(state, made(int(state.step)))  # never altered values, whatever was damaged
    if intact:  # a bit of the metadata that nothing depends on, such as a time stamp
        assert damage == "flip"
        assert path.name == "_CHECKPOINT_METADATA" or path.name == "_METADATA"
    else:
        assert "going on from step 1: step 2 (" in caplog.text
        assert (tmp_path / "corrupt" / "2").is_dir()


def test_half_written_and_half_deleted_checkpoints_are_passed_over(two, tmp_path, caplog):
    shutil.copytree(two, tmp_path, dirs_exist_ok=True)
    shutil.copytree(two / "checkpoints" / "2", tmp_path / "checkpoints" / "3.orbax-checkpoint-tmp")
    (tmp_path / "checkpoints" / "4").mkdir()
    assert checkpoints.load(tmp_path)[1].params["Dense"]["bias"][0] == 2
    assert "so step 2 is taken: step 4 (" in caplog.text
    with Checkpoints(tmp_path, 1, 10) as saved:
        assert saved.restore(like(made(0)))[0].step == 2
        saved.save(4, made(4), {})
    assert checkpoints.load(tmp_path)[1].params["Dense"]["bias"][0] == 4
    assert not (tmp_path / "checkpoints" / "3.orbax-checkpoint-tmp").exists()


def test_nothing_readable_is_an_error_and_nothing_is_moved(two, tmp_path):
    shutil.copytree(two, tmp_path, dirs_exist_ok=True)
    for path in (tmp_path / "checkpoints").rglob("manifest.ocdbt"):
        path.write_bytes(b"")
    for path in (tmp_path / "checkpoints").rglob("_METADATA"):
        path.unlink()
    with Checkpoints(tmp_path, 1, 10) as saved, pytest.raises(ValueError, match=r"none of.*step 2.*step 1"):
        saved.restore(like(made(0)))
    assert not (tmp_path / "corrupt").exists()
    with pytest.raises(ValueError, match=r"no checkpoint in .* can be read: step 2 .*step 1"):
        checkpoints.load(tmp_path)


def test_another_structure_is_no_corruption(two):
    with Checkpoints(two, 1, 10) as saved, pytest.raises(checkpoints.StructureError, match="ema/Dense/bias"):
        saved.restore(like(made(0, average=False)))
    assert not (two / "corrupt").exists()


def test_load_takes_what_is_asked_for(two, tmp_path):
    config, variables = checkpoints.load(two)
    assert config == {"a": 1}
    assert_same(variables, Variables(made(2).ema, made(2).state))
    assert checkpoints.load(two, step=1)[1].params["Dense"]["bias"][0] == 1
    raw = folder_with(tmp_path, 5, average=False)
    assert_same(checkpoints.load(raw)[1].params, made(5).params)


def test_load_says_what_is_missing(two, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint of step 7; it has: \[1, 2\]"):
        checkpoints.load(two, step=7)
    with pytest.raises(FileNotFoundError, match="is not the folder of a run: it has no config.json"):
        checkpoints.load(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="has no checkpoint; it has: none"):
        checkpoints.load(tmp_path)


def test_init_from_merges_by_path(two):
    here = Variables(
        {"Dense": {"kernel": jnp.zeros((64, 64))}, "Extra": {"kernel": jnp.ones(5)}},
        {"flag": jnp.array(False)},
    )
    merge = checkpoints.init_from(two, here)
    np.testing.assert_array_equal(merge.variables.params["Dense"]["kernel"], made(2).ema["Dense"]["kernel"])
    np.testing.assert_array_equal(merge.variables.params["Extra"]["kernel"], jnp.ones(5))
    assert merge.variables.state["flag"]
    assert merge.taken == ["params/Dense/kernel", "state/flag"]
    assert merge.new == ["params/Extra/kernel"]
    assert merge.missing == ["params/Dense/bias", "state/half"]


def test_init_from_refuses_other_shapes_and_other_models(two):
    with pytest.raises(ValueError, match=r"params/Dense/kernel: \(64, 64\) there, \(2, 2\) here"):
        checkpoints.init_from(two, Variables({"Dense": {"kernel": jnp.zeros((2, 2))}}))
    with pytest.raises(ValueError, match=r"nothing of this model.*needed are params/other"):
        checkpoints.init_from(two, Variables({"other": jnp.zeros(2)}))


def test_a_folder_belongs_to_its_config(tmp_path):
    config = {
        "objective": {"name": "elbo", "width": 3},
        "training": {"steps": 5, "batch_size": 2},
        "ema": 0.9,
    }
    checkpoints.runs.claim(tmp_path, config)
    checkpoints.runs.claim(tmp_path, config | {"sampling": {"count": 3}})
    grown = json.loads(json.dumps(config)) | {"training": {"steps": 50, "batch_size": 2, "keep": 1}}
    checkpoints.runs.claim(tmp_path, grown)
    assert checkpoints.runs.read_config(tmp_path) == grown
    other = grown | {"objective": {"name": "elbo"}, "training": {"batch_size": 4}}
    with pytest.raises(
        ValueError,
        match=r"config: objective.width: 3 there, 'absent' here; training.batch_size: 2 there, 4 here",
    ):
        checkpoints.runs.claim(tmp_path, other)
    assert checkpoints.runs.read_config(tmp_path) == grown


def test_bad_configs(tmp_path):
    with pytest.raises(TypeError, match="JSON"):
        checkpoints.runs.claim(tmp_path, {"dtype": jnp.float32})
    (tmp_path / "checkpoints" / "3").mkdir(parents=True)
    with pytest.raises(ValueError, match="checkpoints but no config.json"):
        checkpoints.runs.claim(tmp_path, {})
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        checkpoints.runs.claim(tmp_path, {})
