"""The one-way layering, the price of an import and the size of files, read from the source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path
    for folder in ("diffusion_jax", "experiments", "configs", "tests")
    for path in (ROOT / folder).rglob("*.py")
)
PACKAGE = [path for path in SOURCES if path.is_relative_to(ROOT / "diffusion_jax")]

CORE = ("types", "levels", "laws", "processes", "preconditioning")
ALLOWED = {
    "types": (),
    "levels": ("types",),
    "laws": CORE[:2],
    "processes": CORE[:3],
    "preconditioning": CORE[:4],
    "objectives": CORE,
    "sampling": CORE,
    "evaluation": (*CORE, "objectives", "sampling", "networks.inception", "environments", "molecules"),
    "networks": ("types",),
    "training": ("types", "objectives.base"),
    "environments": ("types",),
    "molecules": ("types",),
    "data": ("types", "environments", "molecules"),
    "build": ("training.checkpoints",),
    "__init__": (*CORE, "objectives", "sampling", "networks", "evaluation", "environments"),
}
"""Layer -> the layers and modules, beside itself, that it may import."""

CONFIGURATION = {"ml_collections", "tensorflow_datasets", "grain", "absl", "array_record", "etils"}
CONFIGURED = {"build", "data"}
"""The layers of the package that may import what is in CONFIGURATION."""


def layer(path):
    return path.relative_to(ROOT / "diffusion_jax").with_suffix("").parts[0]


def imported(path):
    """Every module that the file imports, at any depth, as absolute dotted names."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *filter(None, [node.module])))
            yield from (f"{module}.{alias.name}" for alias in node.names)


def forbidden(path):
    here = layer(path)
    for name in imported(path):
        if name.split(".")[0] in CONFIGURATION and here not in CONFIGURED:
            yield name
        if name.startswith("diffusion_jax.") and name.split(".")[1] in ALLOWED:
            target = name.removeprefix("diffusion_jax.") + "."
            if not any(target.startswith(f"{one}.") for one in (here, *ALLOWED[here])):
                yield name
        if name.split(".")[0] in ("experiments", "configs", "tests"):
            yield name


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path):
    assert layer(path) in ALLOWED, (
        f"{path.name} is in no layer: say in tests/test_imports.py what it may import"
    )
    assert list(forbidden(path)) == []


def test_a_wrong_import_would_be_seen(tmp_path, monkeypatch):
    """The check itself, on a file that breaks every rule."""
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / "diffusion_jax" / "processes" / "bad.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        "import grain\nfrom ..sampling import loop\nfrom diffusion_jax import objectives, laws\n"
        "def late():\n    import experiments.train\n"
    )
    wrong = ["grain", "diffusion_jax.sampling.loop", "diffusion_jax.objectives", "experiments.train"]
    assert list(forbidden(path)) == wrong


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_small_and_named_for_what_they_hold(path):
    assert len(path.read_text().splitlines()) <= 400
    assert path.stem not in {"utils", "util", "helpers", "misc", "common"}


def test_importing_the_package_costs_jax_and_flax_only():
    heavy = (
        "ml_collections tensorflow tensorflow_datasets grain array_record absl optax orbax diffrax equinox "
        "matplotlib PIL sklearn scipy torch tensorboardX tqdm rdkit tblite"
    )
    code = (
        "import sys, jax, flax.linen; before = set(sys.modules)\n"
        "import diffusion_jax\n"
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    added = set(run.stdout.split())
    assert "diffusion_jax" in added
    assert added.isdisjoint(heavy.split())
