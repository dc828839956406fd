"""A small table in the format of COMPAS-1x."""

import csv

import numpy as np
import pytest
from rdkit import Chem

from diffusion_jax.data.compas import COLUMNS, compas1x
from diffusion_jax.molecules.atoms import molecule
from diffusion_jax.molecules.catafusenes import catafusenes
from diffusion_jax.molecules.hueckel import hueckel

HEADER = [
    *("molecule", "smiles", "balaban_notation", "augmented_lalas", "lalas", "HOMO_eV", "LUMO_eV", "GAP_eV"),
    *("Dipmom_Debye", "Etot_eV", "Etot_pos_eV", "Etot_neg_eV", "ZPE_eV", "ZPE_pos_eV", "ZPE_neg_eV"),
    *("aEA_eV", "aIP_eV", "n_rings", "Erel_eV", "HOMO_eV_corrected", "LUMO_eV_corrected"),
    *("GAP_eV_corrected", "aIP_eV_corrected", "aEA_eV_corrected"),
]
CODES = [code for rings in range(1, 8) for code in catafusenes(rings)]
ARGUMENTS = {"targets": ("GAP_eV", "aIP_eV"), "subset": 60}


def rows():
    rng = np.random.default_rng(0)
    for i, (code, gap) in enumerate(zip(CODES, hueckel(CODES).gap)):
        mol = molecule(code)
        order = rng.permutation(mol.GetNumAtoms()).tolist()
        text = Chem.MolToSmiles(Chem.RenumberAtoms(mol, order), canonical=False)
        numbers = {name: f"{rng.normal():.6f}" for name in HEADER[5:]}
        own = {"molecule": f"hc_c{4 * len(code) + 2}_{i}", "smiles": text, "n_rings": len(code)}
        yield numbers | own | {"GAP_eV": f"{0.5 + 2 * gap:.6f}", "lalas": "LA"}


def write(folder, header=HEADER, changed=None):
    with (folder / "compas-1x.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, header, extrasaction="ignore")
        writer.writeheader()
        for i, row in enumerate(rows()):
            writer.writerow(row | (changed or {}) if i == 9 else row)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compas")
    write(folder)
    return folder


def test_the_table_becomes_ring_graphs(folder):
    data = compas1x(**ARGUMENTS, data_dir=folder)
    assert data.info.shape == (7, 3)
    assert sum(data.info.splits[split] for split in ("train", "validation", "test")) == 118
    for split in ("train", "validation", "test"):
        (batch,) = data.epoch(split, data.info.splits[split])
        codes = [reading.code for reading in data.read(batch["x"], batch["present"])]
        found = data.targets.mean + data.targets.std * batch["target"]
        np.testing.assert_allclose(found[:, 0], 0.5 + 2 * hueckel(codes).gap, atol=2e-5)
        np.testing.assert_allclose(data.label(codes), found, atol=1e-5)
    assert np.isnan(data.label(["SSSSSSSE"])).all()


def test_another_table_is_another_set(folder, tmp_path):
    first = compas1x(**ARGUMENTS, data_dir=folder)
    write(tmp_path, changed={"GAP_eV": "7.5"})
    other = compas1x(**ARGUMENTS, data_dir=tmp_path)
    code = CODES[9]
    assert other.label([code])[0, 0] == 7.5
    assert first.label([code])[0, 0] < 4


def test_a_missing_table_is_named_with_its_source(tmp_path):
    with pytest.raises(FileNotFoundError, match="compas-1x.csv: it is .*gitlab.com/porannegroup/compas"):
        compas1x(data_dir=tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"header": [name for name in HEADER if name != "aIP_eV"]}, r"lacks the columns \['aIP_eV'\]"),
        ({"changed": {"smiles": "c1ccc2ncccc2c1"}}, "line 11: .* not aromatic carbon"),
        ({"changed": {"smiles": "c1cccc"}}, "line 11: RDKit cannot read"),
        ({"changed": {"GAP_eV": "n/a"}}, "line 11: could not convert"),
    ],
)
def test_a_table_that_cannot_be_read(change, message, tmp_path):
    write(tmp_path, **change)
    with pytest.raises(ValueError, match=message):
        compas1x(**ARGUMENTS, data_dir=tmp_path)


def test_targets_are_columns(folder):
    with pytest.raises(ValueError, match=f"different ones of {COLUMNS[0]}"):
        compas1x(targets=("gap",), data_dir=folder)
