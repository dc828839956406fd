import numpy as np
import pytest

from experiments import sample


def test_samples_are_exported_as_evaluators_outside_read_them(digits_run, tmp_path):
    folder, _ = digits_run
    line = ["--workdir", str(folder), "--count", "3", "--out", str(tmp_path / "drawn"), "--export"]
    sample.main([*line, "--sampler", "ddim", "--steps", "2"])
    stored = np.load(tmp_path / "drawn_uint8.npz")
    assert stored.files == ["arr_0"]
    out, x = stored["arr_0"], np.load(tmp_path / "drawn.npz")["x"]
    assert (out.shape, out.dtype) == ((3, 8, 8, 3), np.uint8)
    # 17 grey levels, so within half of one
    np.testing.assert_allclose(out[..., 1] / 127.5 - 1, np.clip(x[:, 0, ..., 0], -1, 1), atol=1 / 16 + 0.01)


def test_points_of_the_plane_are_no_images(swiss_roll_run, tmp_path):
    folder, _ = swiss_roll_run
    line = ["--workdir", str(folder), "--count", "3", "--out", str(tmp_path / "drawn"), "--export"]
    with pytest.raises(SystemExit, match=r"images must be \[N, 1, H, W, C\]"):
        sample.main(line)


def test_guidance_from_the_command_line(digits_run, tmp_path):
    folder, _ = digits_run
    line = ["--workdir", str(folder), "--count", "3", "--sampler", "ddim", "--steps", "2", "--labels"]
    drawn = {}
    for name, more in {
        "plain": [],
        "outside": ["--guidance", "3", "--interval", "1e8", "1e9"],
        "guided": ["--guidance", "3", "--interval", "0", "1e9"],
        "itself": ["--guidance", "3", "--guide", str(folder)],
    }.items():
        sample.main([*line, *more, "--out", str(tmp_path / name)])
        drawn[name] = np.load(tmp_path / f"{name}.npz")["x"]
    for same in ("outside", "itself"):
        np.testing.assert_allclose(drawn[same], drawn["plain"], rtol=1e-4, atol=1e-5)
    assert np.abs(drawn["guided"] - drawn["plain"]).max() > 1e-3
    with pytest.raises(SystemExit, match="--interval needs --guidance W or --latent-guidance G"):
        sample.main([*line, "--interval", "0", "1"])
    with pytest.raises(SystemExit, match="--guide needs --guidance W"):
        sample.main([*line, "--guide", str(folder)])
    with pytest.raises(SystemExit, match="no latents that could be drawn"):
        sample.main([*line, "--latent-guidance", "1"])
