"""Tables on a paper made for the test, with records written by hand."""

import json
import sys
import types

import pytest

from experiments import configuration, records, reporting
from experiments.reporting import Row, Run, Table
from experiments.tables import __main__ as command

CONFIG = "configs/nonequilibrium/digits.py:debug"
TABLE = Table(
    "A paper",
    runs=(
        Run("plain", CONFIG),
        Run("other", CONFIG, {"seed": 1}),
        Run("absent", CONFIG, {"seed": 2}),
        Run("fetched", CONFIG, {"seed": 3}, needs_data=True),
    ),
    rows=(
        Row("first", "plain", "bound/bits", "bits", paper=2.35, limit=-0.058, expect=(-3, -2), note="n"),
        Row("second", "other", "bound/bits", "bits", paper="5.4 ± 0.2", limit=("plain", "bound/bits")),
        Row("third", "plain", "bound/other", "bits"),
        Row("fourth", "absent", "bound/bits", "bits"),
        Row("fifth", "fetched", "bound/bits", "bits"),
        Row("sixth", "plain", "bound/spread", "nats", se="bound/bits_se"),
        Row("both", ("plain", "other"), "bound/bits", "bits"),
        Row("half", ("plain", "absent"), "bound/bits", "bits"),
        Row("same", ("plain", "other"), "bound/spread", "nats", se="bound/error", shared=True),
        Row("seventh", "plain", "bound/bits", "bits/pixel", limit=("plain", "bound/bits"), per=10),
    ),
)


@pytest.fixture
def paper(monkeypatch, tmp_path):
    """The folder of the records of a paper with two of them."""
    monkeypatch.setattr(reporting, "papers", lambda: ["fake"])
    monkeypatch.setitem(sys.modules, "experiments.tables.fake", types.SimpleNamespace(TABLE=TABLE))
    write(
        tmp_path,
        "plain",
        {"bound/bits": -2.37518, "bound/bits_se": 0.00312, "bound/spread": 1.5, "bound/error": 4.0},
    )
    write(tmp_path, "other", {"bound/bits": -0.5, "bound/spread": 7.5, "bound/error": 4.0}, seed=1)
    return tmp_path


def write(results, run, metrics, hardware="2 cores of a CPU", **overrides):
    config = configuration.load(CONFIG, overrides)
    seconds = {"training": 100.0, "evaluation": 30.0}
    record = records.record_of(config, {"git": "c", "started": "now"}, hardware, seconds, metrics)
    records.write(results / "fake" / f"{run}.json", record)
    return record


def cells(results, only=None):
    """Row label -> its other cells, by column."""
    text = reporting.render("fake", only, results)
    assert text.startswith("A paper\n\n|")
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]
    assert tuple(lines[0]) == reporting.COLUMNS
    assert set("".join(lines[1])) == {"-"}
    return {line[0]: dict(zip(reporting.COLUMNS[1:], line[1:], strict=True)) for line in lines[2:]}


def test_a_row_shows_what_its_record_says(paper):
    assert cells(paper)["first"] == {
        "paper": "2.35",
        "ours": "-2.3752 ± 0.0031",
        "limit": "-0.058",
        "unit": "bits",
        "hardware": "2 cores of a CPU",
        "time": "2 min 10 s",
        "note": "n",
    }


def test_trainings_with_several_seeds_are_one_row(paper):
    """The mean of -2.37518 and -0.5, and half their distance; the time of both."""
    found = cells(paper)
    assert found["both"]["ours"] == "-1.44 ± 0.94"
    assert found["both"]["time"] == "4 min 20 s"
    assert "1 of 2 trainings" in found["half"]["note"]
    assert found["same"]["ours"] == "4.5 ± 5.0"  # 3 from their spread, 4 from the cases that they share
    assert "first" in cells(paper, "plain")
    assert "both" in cells(paper, "other")


def test_limits_and_errors_come_from_records(paper):
    found = cells(paper)
    assert found["second"]["paper"] == "5.4 ± 0.2"
    assert found["second"]["ours"] == "-0.5"
    assert found["second"]["limit"] == "-2.3752 ± 0.0031"
    assert found["sixth"]["ours"] == "1.5000 ± 0.0031"
    assert found["seventh"]["ours"] == found["seventh"]["limit"] == "-0.23752 ± 0.00031"
    (paper / "fake" / "plain.json").unlink()
    assert cells(paper)["second"]["limit"] == "not run"


def test_what_has_no_record_or_metric_says_so(paper):
    found = cells(paper)
    assert found["third"]["ours"] == "no bound/other"
    assert found["fourth"]["ours"] == "not run"
    assert found["fifth"]["ours"] == "needs data"
    assert found["fifth"]["hardware"] == found["fifth"]["time"] == ""


def test_a_value_outside_what_is_expected_is_marked_and_shown(paper):
    assert "outside" not in cells(paper)["first"]["note"]
    write(paper, "plain", {"bound/bits": -1.9})
    first = cells(paper)["first"]
    assert first["ours"] == "-1.9"
    assert first["note"] == "n; **outside the expected -3 to -2**"


def test_a_record_of_another_config_is_stale(paper):
    write(paper, "plain", {"bound/bits": -2.4}, **{"training.log_every": 1, "sampling.count": 3})
    assert "stale" not in cells(paper)["first"]["note"]
    write(paper, "plain", {"bound/bits": -2.4}, **{"optimizer.learning_rate": 0.5})
    assert "stale" in cells(paper)["first"]["note"]


def test_only_chooses_runs_by_pattern(paper):
    assert list(cells(paper, "o*")) == ["second", "both", "same"]
    with pytest.raises(ValueError, match=r"no run matches 'x\*'; there are: plain, other, absent, fetched"):
        reporting.render("fake", "x*", paper)


def test_a_record_finds_its_runs_by_its_config(paper, tmp_path):
    record = write(tmp_path / "elsewhere", "other", {"bound/bits": -0.7}, seed=1)
    assert reporting.keep(record, tmp_path / "kept") == [tmp_path / "kept" / "fake" / "other.json"]
    assert json.loads((tmp_path / "kept" / "fake" / "other.json").read_text()) == record
    rows = reporting.rows_of(record, paper)
    assert "second" in rows
    assert "-0.7" in rows
    assert "first" not in rows
    stranger = write(tmp_path / "elsewhere", "x", {}, **{"optimizer.learning_rate": 0.5})
    assert reporting.rows_of(stranger, paper) == ""
    assert reporting.keep(stranger, tmp_path / "kept") == []


def test_wrong_tables_are_refused(paper, monkeypatch):
    with pytest.raises(ValueError, match="no table 'real'; there are: fake"):
        reporting.table("real")
    wrong = TABLE._replace(rows=(*TABLE.rows, Row("x", "plain", "m", "u", limit=("nowhere", "m"))))
    monkeypatch.setitem(sys.modules, "experiments.tables.fake", types.SimpleNamespace(TABLE=wrong))
    with pytest.raises(ValueError, match=r"unknown runs \['nowhere'\]"):
        reporting.table("fake")


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (1.23456, None, "1.235"),
        (1.23456, 0.1, "1.23 ± 0.10"),
        (-123.456, 21.0, "-123 ± 21"),
        (0.5, float("nan"), "0.5"),
        (2.0, 0.000123, "2.00000 ± 0.00012"),
    ],
)
def test_numbers_have_two_digits_of_their_error(value, error, text):
    assert reporting.number(value, error) == text


def test_durations():
    assert [reporting.duration(s) for s in (0.4, 59.4, 185, 7800)] == [
        "0 s",
        "59 s",
        "3 min 5 s",
        "2 h 10 min",
    ]


def test_run_does_only_what_is_missing(paper, tmp_path, monkeypatch, capsys):
    """The command's loop, with a stand-in for the training process that writes its folder's record."""
    write(paper, "plain", {"bound/bits": -2.4}, **{"optimizer.learning_rate": 0.5})  # stale
    started = []

    def process(arguments, **_):
        started.append(arguments[3:])
        folder = tmp_path / "runs" / arguments[-1].rpartition("/")[2]
        seed = 0 if folder.name == "plain" else 2
        if folder.name != "absent":
            record = write(tmp_path / "scratch", folder.name, {"bound/bits": -2.5}, seed=seed)
            records.write(folder / "evaluation.json", record)

    monkeypatch.setattr(command.subprocess, "run", process)
    line = ["fake", "--run", "--workdir", str(tmp_path / "runs"), "--results", str(paper)]
    with pytest.raises(SystemExit, match="these runs failed: absent"):
        command.main(line)
    assert [one[:3] for one in started] == [
        ["--config", CONFIG, "--workdir"],
        ["--config", CONFIG, "--config.seed=2"],
    ]
    assert "-2.5" in capsys.readouterr().out

    started.clear()
    (paper / "fake" / "plain.json").unlink()  # its folder holds the record
    command.main([*line, "--only", "plain"])
    assert started == []
    assert (paper / "fake" / "plain.json").exists()
    capsys.readouterr()
    command.main(["fake", "--list", "--results", str(paper)])
    listed = capsys.readouterr().out.splitlines()
    assert [line[33:44].strip() for line in listed] == ["done", "done", "not run", "needs data"]
    assert listed[1].endswith(f"--config {CONFIG} --config.seed=1")


@pytest.mark.parametrize("name", reporting.papers())
def test_every_table_is_sound(name):
    found = reporting.table(name)
    for run in found.runs:
        reporting.config_of(run)
    assert len(reporting.render(name).splitlines()) == len(found.rows) + 4
