"""Metrics against the level of noise, from records."""

import numpy as np
import pytest
from PIL import Image

from experiments import profiles, records

FIRST = {"use/true@0.5": 1.0, "use/true@2": 3.0, "use/null@0.5": 2.0, "use/codes": 8, "use/true@20": None}
SECOND = {"use/true@0.5": 2.0, "use/true@2": 3.0, "use/true@5": 9.0}
OTHER = {"use/true@2": 7.0, "use/true@2_se": 0.5}


@pytest.fixture
def paths(tmp_path):
    found = []
    for name, metrics in (("soft_s0", FIRST), ("soft_s1", SECOND), ("plain", OTHER)):
        found.append(tmp_path / f"{name}.json")
        records.write(found[-1], {"metrics": metrics})
    return found


def test_seeds_are_averaged_at_the_levels_that_all_have(paths):
    found = profiles.profiles(paths, ["use/true"])
    assert found == {"soft": [(0.5, 1.5, 0.5), (2.0, 3.0, 0.0)], "plain": [(2.0, 7.0, 0.5)]}


def test_several_metrics_are_told_apart(paths):
    assert set(profiles.profiles(paths[:1], ["use/true", "use/null"])) == {"soft, true", "soft, null"}


def test_the_command_prints_a_table_and_draws(paths, tmp_path, capsys):
    out = tmp_path / "profile.png"
    profiles.main([*map(str, paths), "--metric", "use/true", "--out", str(out)])
    assert capsys.readouterr().out.splitlines() == [
        "|  | 0.5 | 2 |",
        "| --- | --- | --- |",
        "| soft | 1.5 ± 0.5 | 3 ± 0 |",
        "| plain |  | 7 ± 0.5 |",
    ]
    assert np.asarray(Image.open(out).convert("L")).std() > 0


def test_what_there_is_not(paths, tmp_path):
    with pytest.raises(SystemExit, match="there is no record"):
        profiles.main([str(tmp_path / "nowhere.json"), "--metric", "use/true"])
    with pytest.raises(SystemExit, match="no record has use/drawn at levels; there are: use/null, use/true"):
        profiles.main([*map(str, paths), "--metric", "use/drawn"])
