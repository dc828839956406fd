import pytest

from experiments import prepare


def test_a_set_is_prepared_and_described(tmp_path, capsys):
    options = ["--data", "dead_leaves", "--data_dir", str(tmp_path)]
    settings = [f"--set={setting}" for setting in ("size=16", "train=5", "test=3", "standardise=True")]
    prepare.main(options + settings)
    said = capsys.readouterr().out
    assert "5 train, 3 test; continuous, each of shape (1, 16, 16, 1)" in said
    (folder,) = (tmp_path / "dead_leaves").glob("size=16,train=5,test=3,*/1.0.0")
    assert f"in {folder} (" in said


def test_help_names_the_sets(capsys):
    with pytest.raises(SystemExit) as left:
        prepare.main(["--help"])
    assert left.value.code == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("cifar10", "dead_leaves", "digits", "gluonts_folder", "maze2d"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data=digit"], "did you mean 'digits'"),
        (["--data=digits", "--set=dequantize=True"], "did you mean 'dequantise'"),
        (["--data=swiss_roll", "--set=train=none"], "train must be an integer, got 'none'"),
        (["--data=image_folder", "--set=folder=nowhere", "--set=size=8"], "there is no folder of images"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(options, message, tmp_path):
    with pytest.raises(SystemExit) as left:
        prepare.main([*options, f"--data_dir={tmp_path}"])
    assert message in str(left.value.code)


def test_a_setting_needs_a_value(capsys):
    with pytest.raises(SystemExit):
        prepare.main(["--data=digits", "--set=dequantise"])
    assert "'dequantise' is not of the form KEY=VALUE" in capsys.readouterr().err


def test_registered_sets_need_tensorflow_once(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"needs TensorFlow: pip install '\.\[prepare\]'"):
        prepare.registered.prepare("cifar10", tmp_path)
