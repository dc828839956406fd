"""A folder as GluonTS writes it: two features, one training line each, three rolling windows."""

import gzip
import json

import numpy as np
import pytest

from diffusion_jax.data.gluonts import gluonts_folder

TRAIN, HORIZON = 20, 3
SERIES = np.random.default_rng(0).normal(size=(2, TRAIN + 3 * HORIZON)).round(3)


def write(path, rows, pack=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(
        json.dumps(
            {"start": "1990-01-01 00:00:00", "target": list(row), "feat_static_cat": [i], "item_id": i}
        )
        + "\n"
        for i, row in enumerate(rows)
    )
    with (gzip.open if pack else open)(path, "wt") as file:
        file.write(lines)


def folder(root, packed=False, freq="1B", **changed):
    """The keys of `changed` replace train, test or the metadata's."""
    place = root / "metadata.json" if packed else root / "metadata" / "metadata.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    about = {"freq": freq, "target": None, "feat_static_cat": [{"name": "id", "cardinality": "2"}]}
    place.write_text(json.dumps(about | {"prediction_length": changed.get("prediction_length", HORIZON)}))
    suffix = ".json.gz" if packed else ".json"
    ends = [TRAIN + HORIZON * i for i in (1, 2, 3)]
    train = changed.get("train", [row[:TRAIN] for row in SERIES])
    test = changed.get("test", [row[:end] for end in ends for row in SERIES])
    write(root / "train" / f"data{suffix}", train, packed)
    write(root / "test" / f"data{suffix}", test, packed)
    (root / "train" / "_SUCCESS").touch()
    return root


@pytest.mark.parametrize("packed", [False, True])
def test_the_rolling_windows_end_where_their_lines_do(tmp_path, packed):
    data = gluonts_folder(folder(tmp_path, packed))
    assert data.info.shape == (6, 2)
    assert data.info.splits == {"train": TRAIN - 5, "test": 3}
    series = data.series
    np.testing.assert_allclose(series.offset + series.scale * series.x, SERIES.T)
    np.testing.assert_array_equal(series.starts + series.context, [20, 23, 26])
    np.testing.assert_allclose(series.x[:TRAIN].mean(0), 0, atol=1e-12)
    # business days: lags 1 and 2 of two features, and two periods
    assert next(data.epoch("test", 3))["condition"].shape == (3, 6, 2 * 2 + 2 * 2)


def test_the_last_features_and_other_lengths(tmp_path):
    data = gluonts_folder(folder(tmp_path), context=5, horizon=2, lags=(), periods=(), features=1)
    assert data.info.shape == (7, 1)
    np.testing.assert_allclose((data.series.offset + data.series.scale * data.series.x)[:, 0], SERIES[1])
    assert set(data.iterator("train", 2, 0).next()) == {"x"}


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no GluonTS data set"):
        gluonts_folder(tmp_path / "exchange_rate_nips")
    folder(tmp_path)
    (tmp_path / "test" / "data.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"test has no file that ends in \.json"):
        gluonts_folder(tmp_path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"freq": "Q"}, "give lags and periods for the frequency 'Q'; known are D, H"),
        ({"test": [SERIES[0]]}, "1 test series do not make whole windows of the 2 features"),
        ({"train": [SERIES[0, :20], SERIES[1, :19]]}, r"differ in length: \[19, 20\]"),
        ({"train": [SERIES[0, :20] + 1, SERIES[1, :20]]}, "go on with the training series"),
        ({"test": [[1.0, "x"], [1.0]]}, r"test/data.json, line 1 is no series"),
        ({"test": [[[1.0]], [[1.0]]]}, "a target is a list of numbers"),
        ({"test": [[*row[:22], "NaN"] for row in SERIES]}, "finite numbers"),
        ({"prediction_length": 0}, "horizon must be at least 1"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(tmp_path, changed, message):
    with pytest.raises(ValueError, match=message):
        gluonts_folder(folder(tmp_path, **changed))
