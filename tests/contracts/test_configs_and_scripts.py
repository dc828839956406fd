"""Every config builds and trains in its `debug` variant; every script says how it is used."""

import ast
import functools
import importlib
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.build import build
from diffusion_jax.data.context import with_context
from diffusion_jax.data.registered import SETS
from diffusion_jax.training import state as states
from diffusion_jax.training.step import make_step
from experiments.runner import shown
from tests.data.test_registered import pixels, png, prepare_fake

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*/*.py"))
SCRIPTS = sorted(
    path
    for path in (ROOT / "experiments").rglob("*.py")
    if any(
        isinstance(node, ast.If) and "__main__" in ast.dump(node.test)
        for node in ast.parse(path.read_text()).body
    )
)


SHAPES = {"cifar10": (32, 32, 3), "mnist": (28, 28, 1)}


def dotted(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    """(side) -> a few made-up images of that side as EDM's tool packs them."""

    @functools.cache
    def packed(side):
        path = tmp_path_factory.mktemp("archive") / "images.zip"
        names = [f"00000/img{i:08d}.png" for i in range(12)]
        with zipfile.ZipFile(path, "w") as content:
            for i, name in enumerate(names):
                content.writestr(name, png(pixels(i, (side, side, 3))).getvalue())
            content.writestr("dataset.json", json.dumps({"labels": [[name, 7] for name in names]}))
        return path

    return packed


@pytest.mark.parametrize("path", CONFIGS, ids=dotted)
def test_a_config_has_a_debug_variant_of_two_steps(path, data_dir, archive, monkeypatch):
    """Data that must be fetched first are made up, in their true format."""
    monkeypatch.setenv("DIFFUSION_JAX_DATA", str(data_dir))
    module = importlib.import_module(dotted(path))
    assert f"--config configs/{path.parent.name}/{path.name}" in module.__doc__
    config = module.get_config("debug")
    if config.data.name == "image_zip":
        config.data.file = str(archive(int(re.search(r"(\d+)x\1", config.data.file).group(1))))
    elif config.data.name in SETS:
        prepare_fake(config.data.name, SHAPES[config.data.name], data_dir)
    data = build("data", config.data)
    objective, optimizer = build("objective", config.objective), build("optimizer", config.optimizer)
    size = config.training.batch_size
    if config.get("context") is None:
        iterator = data.iterator("train", size, config.seed)
    else:
        iterator = with_context(data, size, config.seed, **config.context)
    batches = shown(iterator.next(2), config.get("conditions", []))
    key = jax.random.key(config.seed)
    state = states.create(
        objective.init(key, jax.tree.map(lambda x: jnp.asarray(x[0]), batches)), optimizer, False
    )
    state, metrics = make_step(objective, optimizer)(state, batches, key)
    assert int(state.step) == 2
    assert np.isfinite(metrics["loss"]).all()


@pytest.mark.parametrize("path", CONFIGS, ids=dotted)
def test_a_config_refuses_an_unknown_variant(path):
    with pytest.raises(ValueError, match="debug"):
        importlib.import_module(dotted(path)).get_config("no_such_variant")


@pytest.mark.parametrize("path", SCRIPTS, ids=dotted)
def test_a_script_answers_help(path):
    run = subprocess.run(
        [sys.executable, "-m", dotted(path), "--help"], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert run.returncode == 0, run.stderr
    said = run.stdout + run.stderr
    assert "Traceback" not in said
    assert f"python -m {dotted(path).removesuffix('.__main__')}" in said
