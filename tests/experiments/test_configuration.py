import argparse

import ml_collections
import pytest

from configs.variants import assign, chosen
from diffusion_jax.build import build
from experiments import configuration

DIGITS = "configs/nonequilibrium/digits.py"


def config():
    return ml_collections.ConfigDict(
        {"training": {"steps": 10, "rate": 0.1, "mesh": None}, "objective": {"name": "elbo", "grid": "a"}}
    )


def test_variants_are_applied_in_order():
    variants = {"long": {"training.steps": 99}, "short": {"training.steps": 1, "training.rate": 1}}
    assert chosen(config(), "", variants) == config()
    assert chosen(config(), "short, long", variants).training.to_dict() == {
        "steps": 99,
        "rate": 1.0,
        "mesh": None,
    }
    with pytest.raises(
        ValueError, match=r"unknown variant 'shorts' \(did you mean 'short'\?\); there are: long"
    ):
        chosen(config(), "shorts", variants)


def test_specs_are_replaced_as_a_whole():
    changed = config()
    assign(changed, "objective.grid", {"name": "b", "steps": 3})
    assert changed.objective.grid.to_dict() == {"name": "b", "steps": 3}
    assign(changed, "objective.grid.steps", 4)
    assert changed.objective.grid.steps == 4
    assign(changed, "objective.grid", "c")
    assert changed.objective.grid == "c"
    assign(changed, "training.mesh", {"data": 2})
    assert changed.training.mesh.data == 2


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("trainin.steps", r"no field 'trainin' \(did you mean 'training'\?\); it has: objective, training"),
        ("training.stops", r"no field 'training.stops' \(did you mean 'steps'\?\); training has: mesh"),
        ("training.steps.more", "training.steps has: no fields"),
    ],
)
def test_a_misspelt_field_is_named_with_those_that_exist(field, message):
    with pytest.raises(ValueError, match=message):
        assign(config(), field, 1)


@pytest.mark.parametrize(
    ("field", "value"), [("training.steps", 1.5), ("training.steps", "ten"), ("training.rate", True)]
)
def test_a_value_of_another_type_is_refused(field, value):
    with pytest.raises(TypeError, match=f"{field} is .* cannot become {value!r}"):
        assign(config(), field, value)


def test_the_command_line_sets_any_field():
    line = ["--config.training.steps=7", "--config.ema", "None", "--config.objective.coefficients=eps"]
    found = configuration.load(f"{DIGITS}:debug", configuration.settings(line))
    assert (found["training"]["steps"], found["ema"]) == (7, None)
    assert found["objective"]["coefficients"] == "eps"
    untouched = configuration.load(f"{DIGITS}:debug")
    assert found["objective"]["network"] == untouched["objective"]["network"]


@pytest.mark.parametrize(
    "line", [["--confg.seed=1"], ["7"], ["--config.seed"], ["--config.seed", "--record"]]
)
def test_what_is_no_setting_is_refused(line, capsys):
    with pytest.raises(SystemExit) as left:
        configuration.parse(argparse.ArgumentParser(), line)
    assert left.value.code == 2
    assert "unrecognised argument" in (said := capsys.readouterr().err) or "needs a value" in said


def test_files_that_are_not_configs(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no config file 'configs/digts.py'; there are: .*digits\.py"
    ):
        configuration.load("configs/digts.py")
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(ValueError, match=r"no function get_config"):
        configuration.load(str(tmp_path / "empty.py"))


def test_what_a_config_leaves_out_has_defaults_and_can_be_set(tmp_path):
    (tmp_path / "short.py").write_text(
        "from ml_collections import ConfigDict\n"
        "def get_config(arg=''):\n"
        "    return ConfigDict(dict(seed=0, data='digits', objective='o', optimizer='p', evaluation={},\n"
        "        training=dict(steps=5, batch_size=2), sampling=None))\n"
    )
    overrides = {"training.mesh": {"data": 2}, "ema": {"name": "constant", "decay": 0.9}}
    found = configuration.load(str(tmp_path / "short.py"), overrides)
    assert found["training"] == configuration.DEFAULTS["training"] | {
        "steps": 5,
        "batch_size": 2,
        "mesh": {"data": 2},
    }
    assert (found["sampling"], found["ema"], found["conditions"]) == (None, overrides["ema"], [])
    (tmp_path / "short.py").write_text((tmp_path / "short.py").read_text().replace("data=", "date="))
    with pytest.raises(ValueError, match="the config has no field 'data'; it has: date, evaluation"):
        configuration.load(str(tmp_path / "short.py"))


@pytest.mark.parametrize("path", configuration.files())
def test_every_variant_of_a_config_changes_it_and_builds(path, tmp_path):
    plain = configuration.load(path)
    for variant in configuration.variants(path):
        config = configuration.load(f"{path}:{variant}")
        assert config != plain
        for kind in ("objective", "optimizer"):
            build(kind, config[kind])
        for evaluation in filter(None, config["evaluation"].values()):
            scored = evaluation.get("evaluation", evaluation)  # some go around another
            if "weights" in scored.get("extractor", ""):  # which the user brings
                with pytest.raises(FileNotFoundError, match="no weights of the 2015 Inception"):
                    build("evaluation", evaluation)
            elif "generator" in scored:  # a run that must be there first
                with pytest.raises(FileNotFoundError, match="is not the folder of a run"):
                    build("evaluation", {**evaluation, "generator": {"run": str(tmp_path)}})
            else:
                build("evaluation", evaluation)
