"""Dumps of arrays: known bytes, and what is refused."""

import json

import ml_dtypes
import numpy as np
import pytest

from experiments.official import files, safetensors

KNOWN = (
    b'\x76\x00\x00\x00\x00\x00\x00\x00{"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},'
    b'"b":{"dtype":"BF16","shape":[],"data_offsets":[8,10]}}        '
    b"\x00\x00\x80\x3f\x00\x00\x00\xc0" + b"\x40\x40"
)


def test_safetensors_of_known_bytes(tmp_path):
    path = tmp_path / "known.safetensors"
    path.write_bytes(KNOWN)
    found = safetensors.load(path)
    np.testing.assert_array_equal(found["a"], np.array([[1], [-2]], np.float32))
    assert found["b"] == ml_dtypes.bfloat16(3)
    assert found["b"].dtype == ml_dtypes.bfloat16
    safetensors.save(tmp_path / "again.safetensors", found)
    again = safetensors.load(tmp_path / "again.safetensors")
    assert {name: (array.tolist(), array.dtype) for name, array in again.items()} == {
        name: (array.tolist(), array.dtype) for name, array in found.items()
    }


def header(text, numbers=b"\x00" * 8):
    return len(text).to_bytes(8, "little") + text + numbers


def entry(**changes):
    known = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    return header(json.dumps({"a": known | changes}).encode())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "does not fit in"),
        ((2**40).to_bytes(8, "little") + b"{}", "does not fit in"),
        (header(b"{"), "cannot be read"),
        (header(b"[]"), "cannot be read"),
        (header(b'{"a": {}}'), "cannot be read"),
        (entry(dtype="F8_E4M3"), "a in .* is of dtype F8_E4M3"),
        (entry(shape=[3]), r"bytes 0 to 8 are not those of F32 \[3\]"),
        (entry(shape=[10**9, 10**9]), "bytes 0 to 8 are not those"),
        (entry(data_offsets=[4, 12]), "bytes 4 to 12 are not those"),
        (entry(shape=[4], data_offsets=[0, 16]), "bytes 0 to 16 are not those"),
        (entry(shape=[-2]), "cannot be read"),
        (entry(shape=[1], data_offsets=[0, 4]), "4 bytes that belong to no array"),
    ],
)
def test_safetensors_that_do_not_fit_are_refused(data, message, tmp_path):
    path = tmp_path / "it.safetensors"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        safetensors.load(path)


def test_safetensors_have_no_complex_numbers(tmp_path):
    with pytest.raises(ValueError, match="a is of dtype complex64"):
        safetensors.save(tmp_path / "it.safetensors", {"a": np.zeros(2, np.complex64)})


def test_npz_with_objects_are_refused(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (tmp_path / "made").mkdir, ()

    np.savez(tmp_path / "it.npz", a=np.array([Hostile()], object))
    with pytest.raises(ValueError, match="cannot be read as npz"):
        files.contents(tmp_path / "it.npz")
    assert not (tmp_path / "made").exists()


def test_npz_that_would_fill_the_memory_are_refused(tmp_path):
    np.savez_compressed(tmp_path / "it.npz", a=np.zeros(2**22, np.float32))
    with pytest.raises(ValueError, match="unpacks to 167773.. bytes, more than 100 times its own size"):
        files.contents(tmp_path / "it.npz")


@pytest.mark.parametrize(("text", "message"), [("{", "is not JSON"), ("[1]", "holds a list")])
def test_a_description_is_a_mapping(text, message, tmp_path):
    np.savez(tmp_path / "it.npz", a=np.zeros(2))
    (tmp_path / "it.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        files.contents(tmp_path / "it.npz")


def test_arrays_that_are_no_part_of_the_network_are_left_out(tmp_path):
    np.savez(tmp_path / "it.npz", **{"u": np.zeros(2), "model.a": np.zeros(2, np.float32)})
    found = files.weights(files.contents(tmp_path / "it.npz"))
    assert list(found.arrays) == ["model.a"]
    assert found.notes == ["left out, since it is no part of the network: u"]
