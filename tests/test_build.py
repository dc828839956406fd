"""`build` on a package made for the test, so that what it finds is known."""

import functools
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from diffusion_jax import build as building
from diffusion_jax.build import available, build, example
from diffusion_jax.training import loop
from diffusion_jax.training.state import variables

MODULES = {
    "wheels/__init__.py": "",
    "wheels/round.py": """
        EXAMPLES = {"spoked": {"spokes": 4}, "solid": {}}

        def spoked(spokes, rim="steel"):
            return ("spoked", spokes, rim)

        def solid(*, weight=1.0):
            return ("solid", weight)

        def helper():
            return None
    """,
    "wheels/late.py": """
        EXAMPLES: dict = {"driven": {}, "timed": {"gear": 2}}

        def driven(process, ratio=1):
            return ("driven", process, ratio)

        def timed(process, times, gear):
            return ("timed", process, times, gear)
    """,
    "wheels/heavy.py": """
        import a_dependency_that_is_not_installed

        EXAMPLES = {"heavy": {}}
    """,
    "wheels/tyres.py": """
        EXAMPLES = {"rubber": {}}

        def rubber(pressure=2):
            return ("rubber", pressure)
    """,
    "carts/__init__.py": "",
    "carts/cart.py": """
        import flax.linen as nn

        EXAMPLES = {"cart": {}, "wagon": {"load": 3}, "sledge": {"length": 2}}

        def cart(wheel, options=None, extra=None):
            return (wheel, options, extra)

        def wagon(wheel="solid", load=0):
            return (wheel, load)

        class sledge(nn.Module):
            length: int
    """,
}


@pytest.fixture
def shop(tmp_path, monkeypatch):
    for name, text in MODULES.items():
        path = tmp_path / "shop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    (tmp_path / "shop" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(building.KINDS, "wheel", "shop.wheels")
    monkeypatch.setitem(building.KINDS, "tyre", "shop.wheels.tyres")
    monkeypatch.setitem(building.KINDS, "cart", "shop.carts")
    building._components.cache_clear()
    yield tmp_path / "shop"
    building._components.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] == "shop"]:
        del sys.modules[name]


def test_names_are_found_without_importing(shop):
    assert available("wheel") == ["driven", "heavy", "solid", "spoked", "timed"]
    assert "shop.wheels.round" not in sys.modules


def test_a_kind_may_be_one_module_which_then_is_its_own(shop):
    assert available("tyre") == ["rubber"]
    assert "rubber" not in available("wheel")
    assert build("tyre", {"name": "rubber", "pressure": 3}) == ("rubber", 3)


@pytest.mark.parametrize("kind", [dict, ml_collections.ConfigDict, ml_collections.FrozenConfigDict])
def test_specs_of_every_mapping_type(shop, kind):
    spec = kind({"name": "cart", "wheel": {"name": "spoked", "spokes": 6}, "options": {"a": {"b": (1, 2)}}})
    wheel, options, extra = build("cart", spec)
    assert wheel == ("spoked", 6, "steel")
    assert extra is None
    assert type(options) is dict
    assert options["a"]["b"] == (1, 2)


def test_specs_inside_other_mappings_are_built(shop):
    ways = {
        "slow": {"wheel": ["solid", {"name": "spoked", "spokes": 3}], "gear": 1},
        "fast": {"wheel": "driven"},
    }
    _, options, _ = build("cart", {"name": "cart", "wheel": "solid", "options": {"ways": ways}}, process="p")
    assert options["ways"]["slow"] == {"wheel": [("solid", 1.0), ("spoked", 3, "steel")], "gear": 1}
    assert options["ways"]["fast"] == {"wheel": ("driven", "p", 1)}
    with pytest.raises(ValueError, match="unknown wheel 'square'"):
        build("cart", {"name": "cart", "wheel": "solid", "options": {"wheel": "square"}})


def test_names_sequences_and_built_objects(shop):
    assert build("wheel", "solid") == ("solid", 1.0)
    assert build("cart", {"name": "cart", "wheel": "solid"})[0] == ("solid", 1.0)
    assert build("cart", {"name": "cart", "wheel": ("solid", 3)})[0] == (("solid", 1.0), 3)
    built = object()
    assert build("wheel", built) is built
    assert build("wheel", None) is None
    assert build("cart", {"name": "cart", "wheel": built})[0] is built
    assert build("cart", {"name": "wagon"}) == ("solid", 0)


def test_a_named_tuple_is_an_object_not_a_sequence_of_specs(shop):
    from diffusion_jax.types import Sampler

    built = Sampler("solid", "solid")  # type: ignore[arg-type]
    assert build("wheel", built) is built


def test_the_spec_is_left_as_it_was(shop):
    spec = {"name": "cart", "wheel": {"name": "spoked", "spokes": 6}}
    build("cart", spec)
    assert spec == {"name": "cart", "wheel": {"name": "spoked", "spokes": 6}}


def test_late_arguments(shop):
    waiting = build("wheel", {"name": "driven", "ratio": 3})
    assert isinstance(waiting, functools.partial)
    assert waiting("p") == ("driven", "p", 3)
    bare = build("wheel", "driven")
    assert bare.func.__name__ == "driven"
    assert bare("p") == ("driven", "p", 1)
    assert build("wheel", "driven", process="p", times="unused") == ("driven", "p", 1)
    half = build("wheel", {"name": "timed", "gear": 1}, process="p")
    assert isinstance(half, functools.partial)
    assert half(times=(1, 0)) == ("timed", "p", (1, 0), 1)
    inner = build("cart", {"name": "cart", "wheel": "driven"}, process="p")
    assert inner[0] == ("driven", "p", 1)


def test_a_late_argument_in_the_spec_wins(shop):
    assert build("wheel", {"name": "driven", "process": None}, process="p") == ("driven", None, 1)


def test_a_component_around_one_that_waits_for_the_process_waits_too():
    waiting = build("levels", {"name": "per_token", "levels": {"name": "lognormal", "mean": 50.0}})
    assert isinstance(waiting, functools.partial)
    t = waiting(process=build("process", "edm"))(jax.random.key(0), (2, 3))
    np.testing.assert_array_equal(t, np.ones((2, 3)))


def test_unknown_component_lists_those_that_exist(shop):
    with pytest.raises(ValueError, match=r"unknown wheel 'spokd' \(did you mean 'spoked'\?\).*solid, spoked"):
        build("wheel", "spokd")
    with pytest.raises(ValueError, match="unknown wheel 'helper'"):
        build("wheel", "helper")
    with pytest.raises(ValueError, match="unknown wheel 'oval'"):
        build("cart", {"name": "cart", "wheel": {"name": "oval"}})


def test_unknown_kind_lists_those_that_exist():
    with pytest.raises(ValueError, match=r"unknown kind 'proces' \(did you mean 'process'\?\).*sampler"):
        build("proces", "vp_cosine")


def test_a_spec_without_a_name(shop):
    with pytest.raises(ValueError, match=r"a spec of a wheel needs a 'name'.*\['spokes'\].*solid"):
        build("wheel", {"spokes": 3})


def test_misspelt_and_missing_arguments_print_the_signature(shop):
    with pytest.raises(
        TypeError, match=r"wheel 'spoked'.*'spoks' \(did you mean 'spokes'\?\).*spoked\(spokes, rim='steel'\)"
    ):
        build("wheel", {"name": "spoked", "spokes": 2, "spoks": 3})
    with pytest.raises(TypeError, match=r"missing a required argument: 'spokes'.*spoked\(spokes"):
        build("wheel", "spoked")
    with pytest.raises(TypeError, match=r"missing a required argument: 'gear'"):
        build("wheel", "timed")
    with pytest.raises(TypeError, match=r"cart 'sledge'.*sledge\(length: int\)"):
        build("cart", {"name": "sledge", "lenght": 2})


def test_errors_of_the_factory_itself_pass_through(shop):
    (shop / "wheels" / "strict.py").write_text(
        'EXAMPLES = {"strict": {}}\n\ndef strict(size=1):\n    raise TypeError("size must be even")\n'
    )
    with pytest.raises(TypeError, match="^size must be even$"):
        build("wheel", "strict")


def test_duplicates_name_both_modules(shop):
    (shop / "wheels" / "second.py").write_text('EXAMPLES = {"solid": {}}\n\ndef solid():\n    return 0\n')
    with pytest.raises(ValueError, match=r"'solid': in shop\.wheels\.round and in shop\.wheels\.second"):
        build("wheel", "spoked")


def test_examples_must_be_literal(shop):
    (shop / "wheels" / "odd.py").write_text("EXAMPLES = {name: {} for name in 'ab'}\n")
    with pytest.raises(ValueError, match=r"EXAMPLES in shop\.wheels\.odd must be a literal dict"):
        available("wheel")


def test_a_missing_dependency_stops_only_the_component_that_needs_it(shop):
    assert build("wheel", "solid") == ("solid", 1.0)
    with pytest.raises(ModuleNotFoundError, match="a_dependency_that_is_not_installed"):
        build("wheel", "heavy")


def test_example_builds(shop):
    assert build("wheel", example("wheel", "spoked")) == ("spoked", 4, "steel")
    assert build("cart", example("cart", "sledge")).length == 2


def test_a_run_stands_for_what_it_gives(shop, monkeypatch):
    calls = []
    monkeypatch.setattr(
        building, "_bound_of_run", lambda run, ema=True: calls.append((run, ema)) or f"bound of {run}"
    )
    assert build("objective", {"run": "runs/a"}) == "bound of runs/a"
    spec = ml_collections.ConfigDict(
        {"name": "cart", "wheel": "solid", "extra": {"run": "runs/b", "ema": False}}
    )
    assert build("cart", spec)[2] == "bound of runs/b"
    assert calls == [("runs/a", True), ("runs/b", False)]


def test_scanning_every_kind_imports_no_heavy_dependency():
    code = (
        "import sys; from diffusion_jax.build import KINDS, available\n"
        "for kind in KINDS: available(kind)\n"
        "print(*sorted({'tensorflow_datasets', 'grain', 'orbax', 'matplotlib'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == []


def test_a_finished_run_is_built_from_its_folder(tmp_path, key):
    config = {"objective": example("objective", "elbo"), "optimizer": example("optimizer", "sgd")}
    objective = build("objective", config["objective"])
    data = build("data", {"name": "swiss_roll", "train": 16, "test": 8, "data_dir": str(tmp_path / "data")})
    state = loop.train(
        objective,
        data.iterator("train", 8, seed=0),
        build("optimizer", config["optimizer"]),
        workdir=tmp_path / "run",
        config=config,
        seed=0,
        steps=2,
        batch_size=8,
        ema=build("ema", {"name": "warmup", "decay": 0.5}),
    )
    x, t = jax.random.normal(key, (3, 1, 2)), jnp.asarray(0.5)
    for ema in (True, False):
        bound = build("objective", {"run": str(tmp_path / "run"), "ema": ema})
        wanted = objective.bind(variables(state, ema), key, {})
        np.testing.assert_allclose(bound.denoiser(x, t), wanted.denoiser(x, t), rtol=1e-6)
    with pytest.raises(FileNotFoundError, match="not the folder of a run"):
        build("objective", {"run": str(tmp_path / "nowhere")})
