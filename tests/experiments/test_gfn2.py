"""Labels of GFN2-xTB against the Hueckel gap."""

import importlib.util
import json

import numpy as np
import pytest
from PIL import Image

from diffusion_jax.molecules import xtb
from diffusion_jax.molecules.catafusenes import catafusenes
from experiments import gfn2

SMALL = ["--rings", "3", "--smaller"]


def test_the_line_of_anscombe():
    """The first of his four sets (1973): y = 3.00 + 0.500 x, r = 0.816; at x = 13 lies 7.58."""
    x = np.array([10, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5], float)
    y = np.array([8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68])
    found = gfn2.fit(x, y)
    assert (found.r, found.slope, found.intercept) == pytest.approx((0.816, 0.500, 3.00), abs=2e-3)
    assert found.deviation == pytest.approx(1.92, abs=5e-3)


def test_molecules_are_drawn_without_repetition():
    first, again, other = (gfn2.chosen(6, 10, seed) for seed in (0, 0, 1))
    assert first == again != other
    assert len(set(first)) == 10
    assert set(first) < set(catafusenes(6))
    assert gfn2.chosen(3, 20, 0, smaller=True) == ["E", "SE", "SLE", "SSE"]


def test_small_molecules_follow_the_line(tmp_path, capsys):
    """Gaps of COMPAS-1x, and of Hueckel theory: benzene 2, naphthalene 5**.5 - 1, anthracene 8**.5 - 2."""
    pytest.importorskip("tblite")
    picture, path = tmp_path / "gap.png", tmp_path / "gap.json"
    gfn2.main([*SMALL, "--out", str(picture), "--record", str(path)])
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if "|" in line]
    assert [row[:2] for row in rows[2:]] == [["gap", "4"], ["ionisation", "4"], ["affinity", "4"]]
    record = json.loads(path.read_text())
    assert float(rows[2][2]) == pytest.approx(record["fits"]["gap"]["r"], abs=1e-4)
    assert record["fits"]["gap"]["r"] > 0.99
    molecules = record["molecules"]
    for code, gap in (("E", 2.0), ("SE", 5**0.5 - 1), ("SSE", 8**0.5 - 2)):
        assert molecules[code]["hueckel_gap"] == pytest.approx(gap)
    for code, gap in (("SE", 3.250), ("SLE", 3.168), ("SSE", 2.266)):
        assert molecules[code]["gap"] == pytest.approx(gap, abs=0.35)
    assert {"commit", "made", "hardware", "seconds"} < set(record)
    assert Image.open(picture).size[0] > 100


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["--rings", "0"], "rings must be at least 1"),
        (["--count", "0"], "count must be at least 1"),
        (["--seed", "-1"], "seed must not be negative"),
        (["--rings", "3"], "three different gaps at least, got 2 molecules"),
    ],
)
def test_wrong_lines_are_refused(line, message):
    with pytest.raises(SystemExit, match=f"error: .*{message}"):
        gfn2.main(line)


def test_without_tblite_the_extra_is_named(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        xtb.importlib.util, "find_spec", lambda name: None if name == "tblite" else find(name)
    )
    with pytest.raises(SystemExit, match=r"error: .*diffusion_jax\[xtb\]"):
        gfn2.main(SMALL)


def test_a_molecule_that_fails_is_named(monkeypatch):
    def fails(atoms):
        raise ValueError("no convergence")

    monkeypatch.setattr(gfn2, "gfn2", fails)
    with pytest.raises(SystemExit, match="error: E: no convergence"):
        gfn2.main(SMALL)
