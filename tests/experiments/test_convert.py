"""Official weights to runs of ours and back: the same outputs, the same arrays."""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from diffusion_jax.build import build
from diffusion_jax.processes.schedules import edm, ve, vp_linear
from experiments import convert, runner, sample
from experiments.official import files, runs, safetensors
from experiments.official.description import network_spec, read_off
from tests.experiments import forged

GOLDEN = Path(__file__).parents[1] / "golden"
TINY = {"channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [8], "augment_dim": 9, "dropout": 0.1}
SONG = {"model_type": "SongUNet", "model_channels": 16, **TINY}
NCSN = {
    "embedding_type": "fourier",
    "channel_mult_noise": 2,
    "encoder_type": "residual",
    "resample_filter": [1, 3, 3, 1],
}
IMAGES = {"img_resolution": 16, "img_channels": 3, "label_dim": 4}
DESCRIPTIONS = {
    "ddpmpp": {**IMAGES, **SONG},
    "ncsnpp": {**IMAGES, **SONG, **NCSN},
    "adm": {**IMAGES, "model_type": "DhariwalUNet", "model_channels": 32, **TINY},
}
CLASSES = {"edm": "EDMPrecond", "vp": "VPPrecond", "ve": "VEPrecond"}


def golden(name):
    with np.load(GOLDEN / f"{name}_tiny.npz") as file:
        return dict(file)


def state(name):
    return {k.removeprefix("state/"): v for k, v in golden(name).items() if k.startswith("state/")}


def written(folder, name, coefficients, form):
    """The golden network as a file of that form, and what the command line needs to read it."""
    description = DESCRIPTIONS[name]
    if form == "npz":
        np.savez(folder / "it.npz", **state(name))
        return folder / "it.npz", ["--preconditioner", coefficients]
    if form == "safetensors":
        path = folder / "it.safetensors"
        safetensors.save(path, state(name))
        path.with_suffix(".json").write_text(json.dumps({"class_name": CLASSES[coefficients], **description}))
        return path, []
    path = folder / "it.pkl"
    path.write_bytes(forged.snapshot(state(name), CLASSES[coefficients], form, **description))
    return path, []


@pytest.fixture(
    scope="module",
    params=[
        ("ddpmpp", "vp", forged.legacy_archive),
        ("ncsnpp", "ve", forged.zip_archive),
        ("adm", "edm", "safetensors"),
        ("ddpmpp", "edm", "npz"),
    ],
    ids=lambda p: "-".join(getattr(part, "__name__", part) for part in p),
)
def converted(request, tmp_path_factory):
    """(name, coefficients, the run's folder)."""
    name, coefficients, form = request.param
    folder = tmp_path_factory.mktemp("converted")
    path, options = written(folder, name, coefficients, form)
    convert.main([str(path), "--workdir", str(folder / "run"), *options])
    return name, coefficients, folder / "run"


def test_the_outputs_are_those_of_the_reference(converted):
    name, coefficients, workdir = converted
    numbers = golden(name)
    trained = runner.load(workdir)
    bound = trained.given(
        {"label": jnp.asarray(numbers["in/class_labels"].argmax(1)), "augment": numbers["in/augment_labels"]}
    )
    sigma = jnp.asarray(numbers["in/sigma"])
    t = bound.process.time(sigma)
    x = 5 * jnp.moveaxis(jnp.asarray(numbers["in/x"]), 1, -1)[:, None]
    alpha = jnp.asarray(bound.process.alpha(t))
    x0_hat = jax.jit(bound.denoiser)(x * (alpha.reshape(-1, 1, 1, 1, 1) if alpha.ndim else alpha), t)
    wanted = np.moveaxis(numbers[f"out/denoised_{coefficients}"], 1, -1)[:, None]
    assert np.abs(x0_hat - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_back_to_the_official_layout(converted, tmp_path):
    name, coefficients, workdir = converted
    form = "safetensors" if coefficients == "edm" else "npz"
    out = tmp_path / f"back.{form}"
    convert.main([str(workdir), "--to", form, "--out", str(out)])
    back = files.contents(out)
    wanted = state(name)
    assert set(back.arrays) == set(wanted)
    for key, array in wanted.items():
        if key.endswith("resample_filter"):
            np.testing.assert_allclose(back.arrays[key], array, rtol=1e-6)
        else:
            np.testing.assert_array_equal(back.arrays[key], array)
    description = runs.network(out).description
    again = {**DESCRIPTIONS[name], "class_name": CLASSES[coefficients]}
    dropout = {} if coefficients != "edm" or name == "adm" else {"dropout": 0.0}  # an npz does not say
    assert {key: description[key] for key in again} == again | dropout
    with pytest.raises(SystemExit, match="there already is"):
        convert.main([str(workdir), "--to", form, "--out", str(out)])


def test_a_converted_run_is_a_run(converted, tmp_path, capsys):
    name, coefficients, workdir = converted
    assert {"edm": edm(), "vp": vp_linear(), "ve": ve()}[coefficients] == build(
        "objective", {"run": str(workdir)}
    ).process
    source = json.loads((workdir / "source.json").read_text())
    assert source["description"]["class_name"] == CLASSES[coefficients]
    assert "CC BY-NC-SA 4.0" in source["licence"]
    assert "torch" not in sys.modules
    if (name, coefficients) != ("ddpmpp", "edm"):
        return
    options = ["--sampler=euler", "--steps=2", "--grid=karras_grid", "--count=2", "--labels"]
    sample.main(["--workdir", str(workdir), *options, "--out", str(tmp_path / "drawn")])
    with np.load(tmp_path / "drawn.npz") as drawn:
        assert drawn["x"].shape == (2, 1, 16, 16, 3)
        assert np.isfinite(drawn["x"]).all()


def test_the_config_says_what_the_file_says(tmp_path):
    path, _ = written(tmp_path, "ddpmpp", "edm", forged.legacy_archive)
    objective = runs.config(runs.network(path))["objective"]
    assert objective["levels"]["levels"] == {"name": "lognormal", "mean": -1.2, "std": 1.25}
    assert objective["coefficients"] == {"name": "edm", "sigma_data": 0.5}
    assert objective["network"] == {
        "name": "ddpmpp",
        "channels": 16,
        "multipliers": [1, 2],
        "blocks": 1,
        "attention": [8],
        "labels": 4,
        "augment": 9,
        "outputs": 1,
        "dropout": 0.1,
    }


def listed():
    """(network, {name: shape}) of the published list."""
    for section in (GOLDEN / "edm_keys.tsv").read_text().split("# ")[1:]:
        name, *rows = section.splitlines()
        if name in PUBLISHED:
            pairs = (row.split("\t") for row in rows)
            yield name, {f"model.{key}": tuple(map(int, shape.split("x"))) for key, shape in pairs}


PUBLISHED = {
    "cifar10-cond-vp": ("ddpmpp", 128, [2, 2, 2], 4, [16], 10, 9),
    "cifar10-cond-ve": ("ncsnpp", 128, [2, 2, 2], 4, [16], 10, 9),
    "imagenet64-cond-adm": ("adm", 192, [1, 2, 3, 4], 3, [32, 16, 8], 1000, 0),
}


@pytest.mark.parametrize(("name", "shapes"), list(listed()))
def test_the_published_names_and_shapes_are_the_published_networks(name, shapes):
    arrays = {key: np.broadcast_to(np.float32(0), shape) for key, shape in shapes.items()}
    spec = network_spec({"class_name": "EDMPrecond", "dropout": 0.0, **read_off(arrays)})
    said = tuple(
        spec[k] for k in ("name", "channels", "multipliers", "blocks", "attention", "labels", "augment")
    )
    assert said == PUBLISHED[name]


def test_every_published_network_is_tried():
    assert {name for name, _ in listed()} == set(PUBLISHED)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_becomes_float32_with_a_note(dtype, tmp_path):
    arrays = {name: array.astype(dtype) for name, array in state("ddpmpp").items()}
    path = tmp_path / "half.pkl"
    path.write_bytes(forged.snapshot(arrays, "EDMPrecond", **DESCRIPTIONS["ddpmpp"]))
    found = runs.network(path)
    assert found.notes == [f"{len(arrays)} arrays of half precision became float32"]
    for name, array in found.arrays.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, arrays[name].astype(np.float32))


def test_inspect_lists_what_is_inside_and_writes_nothing(tmp_path, capsys):
    path, _ = written(tmp_path, "ncsnpp", "edm", forged.zip_archive)
    convert.main([str(path), "--inspect"])
    said = capsys.readouterr().out
    assert "loss_fn: EDMLoss(P_mean=-1.2, P_std=1.25, sigma_data=0.5)" in said
    assert "dataset_kwargs: {'path': 'digits.zip', 'use_labels': True}" in said
    assert "model.map_noise.freqs  float32 [16]" in said
    assert "encoder_type = 'residual'" in said
    assert list(tmp_path.iterdir()) == [path]


def test_what_torch_saved_is_read_as_well(tmp_path):
    arrays = state("ddpmpp")
    storages = {name: forged.Numbers(array, str(i)) for i, (name, array) in enumerate(arrays.items())}
    rebuilt = {
        name: forged.Call(
            forged.REBUILD_TENSOR,
            storage,
            0,
            arrays[name].shape,
            tuple(step // 4 for step in arrays[name].strides),
            False,
            {},
        )
        for name, storage in storages.items()
    }
    for archive in (forged.zip_archive, forged.legacy_archive):
        path = tmp_path / "state.pt"
        path.write_bytes(archive(rebuilt, *storages.values()))
        found = runs.network(path, "edm")
        for name, array in arrays.items():
            np.testing.assert_array_equal(found.arrays[name], array)


def change(**changes):
    return lambda arrays, description: description.update(changes)


def leave_out(name):
    return lambda arrays, description: arrays.pop(name)


def put(name, array):
    return lambda arrays, description: arrays.update({name: array})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change(class_name="EDM2Precond"), "unknown preconditioner class_name='EDM2Precond'"),
        (change(model_type="UNet"), "unknown network model_type='UNet'"),
        (change(sigma_dada=0.5), "missing or unknown arguments of EDMPrecond with a SongUNet: sigma_dada"),
        (change(num_blocks=4), "num_blocks: 4 in the description, 1 by the arrays"),
        (change(encoder_type="skip"), "encoder_type: 'skip' in the description, 'standard' by the arrays"),
        (change(class_name="VEPrecond", sigma_max=80), "VEPrecond is known with .* only; this one has"),
        (leave_out("model.map_layer1.bias"), "missing: model.map_layer1.bias"),
        (leave_out("model.enc.16x16_conv.weight"), "not the arrays of an official network"),
        (put("model.enc.extra.weight", np.zeros((2, 2), np.float32)), "unexpected: model.enc.extra.weight"),
        (put("model.map_layer1.bias", np.zeros(3, np.float32)), "shape: model.map_layer1.bias should be"),
        (put("model.map_layer1.bias", np.zeros(64, np.int64)), r"model.map_layer1.bias \(int64\)"),
        (
            put("model.map_layer1.bias", np.full(64, np.nan, np.float32)),
            "not finite in: model.map_layer1.bias",
        ),
        (put("model.map_layer1.bias", np.float32(0)), "rows of numbers"),
    ],
)
def test_what_does_not_fit_is_refused(change, message, tmp_path):
    arrays, description = state("ddpmpp"), {"class_name": "EDMPrecond", **DESCRIPTIONS["ddpmpp"]}
    change(arrays, description)
    path = tmp_path / "it.npz"
    np.savez(path, **arrays)
    path.with_suffix(".json").write_text(json.dumps(description))
    with pytest.raises(SystemExit, match=message):
        convert.main([str(path), "--workdir", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["it.npz", "--workdir=run"], "give --preconditioner, one of edm, vp, ve, iddpm"),
        (["none.pkl", "--inspect"], "there is no file none.pkl"),
        (["text.pkl", "--inspect"], "neither a pickle nor"),
        (
            ["it.npz", "--workdir=run", "--preconditioner=edm", "--data={'name': 'no_images', 'size': 8}"],
            "shape",
        ),
        (["nowhere", "--to=npz"], "not the folder of a run"),
        (["digits", "--to=npz"], "a network 'mlp'; the official layout is that of: ddpmpp, ncsnpp, adm"),
    ],
)
def test_mistakes_are_said_in_one_line(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("it.npz", **state("ddpmpp"))
    Path("text.pkl").write_text("weights")
    Path("digits").mkdir()
    Path("digits/config.json").write_text(
        '{"objective": {"network": {"name": "mlp"}, "coefficients": "edm"}}'
    )
    with pytest.raises(SystemExit, match=message):
        convert.main(options)
    assert not Path("run").exists()


def test_a_run_is_not_overwritten(converted, tmp_path):
    name, coefficients, workdir = converted
    path, options = written(tmp_path, name, coefficients, "safetensors")
    with pytest.raises(SystemExit, match="there already is a run in"):
        convert.main([str(path), "--workdir", str(workdir), *options])
