import numpy as np
import pytest
from PIL import Image

from experiments import curves, records

METRICS = {
    "curve/heun/nfe=35": 0.5,
    "curve/heun/nfe=35_se": 0.01,
    "curve/heun/nfe=9": 2.0,
    "curve/heun/nfe=9_se": 0.1,
    "curve/euler/nfe=9": 8.0,
    "curve/euler/nfe=9_se": None,
    "frechet/frechet": 0.5,
    "frechet/nfe": 35.0,
}


def test_points_are_read_from_a_record_and_ordered():
    assert curves.curves(METRICS) == {
        "curve": {"heun": [(9, 2.0, 0.1), (35, 0.5, 0.01)], "euler": [(9, 8.0, None)]}
    }


def test_the_command_prints_a_table_and_draws(tmp_path, capsys):
    path = tmp_path / "record.json"
    records.write(path, {"metrics": METRICS})
    curves.main([str(path), "--out", str(tmp_path / "curve.png")])
    assert capsys.readouterr().out.splitlines() == [
        "|  | 9 | 35 |",
        "| --- | --- | --- |",
        "| heun | 2 ± 0.1 | 0.5 ± 0.01 |",
        "| euler | 8 |  |",
    ]
    assert np.asarray(Image.open(tmp_path / "curve.png").convert("L")).std() > 0


def test_records_without_a_curve(tmp_path):
    with pytest.raises(SystemExit, match="there is no record"):
        curves.main([str(tmp_path / "nowhere.json")])
    records.write(tmp_path / "record.json", {"metrics": METRICS})
    with pytest.raises(SystemExit, match="has no curve other; there are: curve"):
        curves.main([str(tmp_path / "record.json"), "--evaluation", "other"])
    records.write(tmp_path / "none.json", {"metrics": {"frechet/nfe": 35.0}})
    with pytest.raises(SystemExit, match="there are: none"):
        curves.main([str(tmp_path / "none.json")])
