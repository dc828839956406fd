"""One metric against another over the scales, from records."""

import pytest
from PIL import Image

from experiments import fronts, records

NONE = {"guided/novel@0": 0.5, "guided/novel@4": 0.2, "guided/objective_median@0": 0.0}
FIRST = {"guided/objective_median@4": 1.0}
SECOND = {"guided/objective_median@4": 3.0}
CONTEXT = {
    "guided/novel@0": 0.4,
    "guided/novel@4": 0.4,
    "guided/objective_median@0": 0.0,
    "guided/objective_median@4": 2.0,
}


@pytest.fixture
def paths(tmp_path):
    found = []
    for name, metrics in (("none_s0", NONE | FIRST), ("none_s1", NONE | SECOND), ("context", CONTEXT)):
        found.append(tmp_path / f"{name}.json")
        records.write(found[-1], {"metrics": metrics})
    return found


def test_the_table_marks_what_is_undominated_and_the_picture_is_drawn(paths, tmp_path, capsys):
    out = tmp_path / "fronts.png"
    fronts.main([*map(str, paths), "--out", str(out)])
    assert capsys.readouterr().out.splitlines() == [
        "|  | 0 | 4 |",
        "| --- | --- | --- |",
        "| none | 0.5, 0 * | 0.2, 2 |",
        "| context | 0.4, 0 | 0.4, 2 * |",
    ]
    assert Image.open(out).size[0] > 100


def test_records_without_both_metrics_are_refused(paths, tmp_path):
    with pytest.raises(SystemExit, match=r"no record has guided/nothing at levels"):
        fronts.main([*map(str, paths), "--up", "guided/nothing"])
    with pytest.raises(SystemExit, match="there is no record"):
        fronts.main([str(tmp_path / "absent.json")])
