"""Nothing in a pickle is executed, and what no checkpoint contains is refused by its name."""

import io
import pickle
import zipfile

import numpy as np
import pytest

from experiments import convert
from experiments.official import archives, files
from experiments.official.pickles import Refused, read
from tests.experiments import forged

NUMBERS = np.arange(6, dtype=np.float32).reshape(2, 3)


class Hostile:
    """Loaded by pickle, it makes the folder `path`."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        import os

        return os.mkdir, (str(self.path),)


def in_a_storage(archive):
    """The hostile object in the archive of a storage, which is read by a pickle of its own."""

    def wrapped(hostile):
        return {"ema": forged.Call(forged.LOAD_FROM_BYTES, archive(hostile))}

    return wrapped


def in_place_of_a_storage(hostile):
    return {"ema": forged.Call(forged.REBUILD_TENSOR, hostile, 0, (2,), (1,), False, {})}


def in_a_state(hostile):
    return {"ema": forged.persistent("EDMPrecond", {"_parameters": {"weight": hostile}})}


def behind_the_network(hostile):
    return {"ema": forged.module({"model.weight": NUMBERS}, "EDMPrecond"), "loss_fn": hostile}


PLACES = [
    lambda hostile: hostile,
    in_a_state,
    behind_the_network,
    in_place_of_a_storage,
    in_a_storage(forged.zip_archive),
    in_a_storage(forged.legacy_archive),
]


def test_the_hostile_object_is_hostile(tmp_path):
    pickle.loads(pickle.dumps(Hostile(tmp_path / "made")))
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize("action", ["--inspect", "--workdir=run"])
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_a_hostile_pickle_is_refused_by_name_and_does_nothing(place, action, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hostile.pkl").write_bytes(forged.dumps(place(Hostile(tmp_path / "made"))))
    with pytest.raises(
        SystemExit, match=r"asks for posix.mkdir, which no official checkpoint contains: refused"
    ):
        convert.main(["hostile.pkl", action])
    assert [path.name for path in tmp_path.iterdir()] == ["hostile.pkl"]


@pytest.mark.parametrize("archive", [forged.zip_archive, forged.legacy_archive])
def test_so_is_a_hostile_archive(archive, tmp_path):
    path = tmp_path / "hostile.pt"
    path.write_bytes(archive({"ema": Hostile(tmp_path / "made")}))
    with pytest.raises(Refused, match=r"posix.mkdir"):
        files.contents(path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (b"cposix\nsystem\n(S'true'\ntR.", "asks for posix.system"),  # protocol 0
        (b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.", "asks for builtins.eval"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04exec\x93\x8c\x011\x85R.", "asks for builtins.exec"),
        (b"\x80\x04\x8c\x05torch\x8c\x0c_utils.x.run\x93.", "asks for torch._utils.x.run"),
        (b"\x80\x02(iposix\nsystem\n.", "opcode INST"),
        (b"\x80\x02\x82\x01.", "opcode EXT1"),
        (b"\x80\x02(cbuiltins\nset\no.", "opcode OBJ"),
        (b"\x80\x01N.", "protocol 1; expected 2 to 5"),
        (b"\x80\x02X\x01\x00\x00\x00a)R.", "calls a str, which is nothing to be called"),
        (
            b"\x80\x02cbuiltins\nset\nX\x01\x00\x00\x00aR.",
            "calls builtins.set, which is nothing to be called",
        ),
        (b"\x80\x02cbuiltins\nset\nK\x01K\x01K\x01\x87R.", "unexpected arguments"),
        (b"\x80\x02cbuiltins\nset\n}b.", "gives a state to a Name"),
        (b"\x80\x02}X\x01\x00\x00\x00aK\x01sb.", "not a well-formed pickle"),
        (b"\x80\x02N}X\x01\x00\x00\x00aK\x01sb.", "gives a state to a NoneType"),
        (b"\x80\x02}]K\x01s.", "has a list as a key"),
        (b"\x80\x02]K\x01K\x02s.", "fills a list as if it were a dict"),
        (b"\x80\x02K\x01Q.", "a persistent id"),
        (b"\x80\x02h\x05.", "not a well-formed pickle"),
        (b"\x80\x02\x85.", "not a well-formed pickle"),
        (b"\x80\x02K\x01K\x01.", "not a well-formed pickle"),
        (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fab.", "not a well-formed pickle"),
        (b"\x80\x04K\x01", "not a well-formed pickle"),
    ],
)
def test_a_program_that_no_checkpoint_is(program, message):
    with pytest.raises(Refused, match=message):
        read(io.BytesIO(program), "it", archives.MAKERS)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_data_are_read_as_pickle_reads_them(protocol):
    shared = [1, -70000, 2**80, 0.1, "a", "ü" * 300, True, None]
    data = {"a": shared, "b": (shared, (), (1,), (1, 2), (1, 2, 3, 4)), 3: {}, "empty": [[], {"x"}, set()]}
    data |= {"bytes": b"\x00" * 300} if protocol > 2 else {}
    found = read(io.BytesIO(pickle.dumps(data, protocol)), "it", archives.MAKERS)
    assert found == data
    assert found["a"] is found["b"][0]


@pytest.mark.parametrize("archive", [forged.zip_archive, forged.legacy_archive])
def test_a_tensor_is_a_window_on_its_storage(archive):
    thing = forged.tensor(NUMBERS, archive, size=(2, 2), stride=(1, 3), offset=1)
    found = read(io.BytesIO(forged.dumps(thing)), "it", files.snapshots.MAKERS)
    np.testing.assert_array_equal(found.array(), [[1, 4], [2, 5]])


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ({"size": (2, 4)}, "leaves its storage of 6 numbers"),
        ({"offset": 1}, "leaves its storage of 6 numbers"),
        ({"size": (10**6, 10**6), "stride": (0, 0)}, "leaves its storage of 6 numbers"),
        ({"offset": -1}, "rebuilt from something other than"),
        ({"size": (2,)}, "rebuilt from something other than"),
        ({"size": ("2", 3)}, "rebuilt from something other than"),
    ],
)
def test_a_tensor_does_not_leave_its_storage(window, message):
    stream = io.BytesIO(forged.dumps(forged.tensor(NUMBERS, **window)))
    with pytest.raises(Refused, match=message):
        read(stream, "it", files.snapshots.MAKERS).array()


def more_than_there_is(archive):
    return lambda storage, *_: archive(forged.Numbers(NUMBERS, count=10**15), storage)


def another_key(storage, *_):
    return forged.legacy_archive(storage, forged.Numbers(NUMBERS, key="1"))


def packed(storage, *_):
    return forged.zip_archive(storage, storage, compression=zipfile.ZIP_DEFLATED)


def big_endian(storage, *_):
    return forged.legacy_archive(storage, storage).replace(
        b"little_endianq\x02\x88", b"little_endianq\x02\x89"
    )


def no_archive(storage, *_):
    return pickle.dumps("magic")


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        (
            more_than_there_is(forged.zip_archive),
            "1000000000000000 float32 are wanted of archive/data/0, of 24",
        ),
        (more_than_there_is(forged.legacy_archive), "1000000000000000 float32 are wanted of a storage of 6"),
        (lambda storage, *_: forged.zip_archive(storage), "are wanted of archive/data/0, of None bytes"),
        (another_key, "lists other storages than it uses"),
        (packed, "compressed members, which PyTorch never writes"),
        (big_endian, "no little-endian archive"),
        (no_archive, "its magic number is another"),
        (lambda storage, *_: forged.legacy_archive([1]), "holds a list; expected a storage"),
        (lambda *_: forged.legacy_archive(forged.Call(forged.LOAD_FROM_BYTES, b"")), "_load_from_bytes"),
        (lambda storage, *_: forged.legacy_archive(storage, storage)[:-1], "are wanted of a storage"),
        (
            lambda storage, *_: forged.zip_archive(storage, storage)[:-30],
            "not a zip archive that can be read",
        ),
    ],
)
def test_an_archive_holds_what_it_says(archive, message):
    stream = io.BytesIO(forged.dumps(forged.tensor(NUMBERS, archive)))
    with pytest.raises(Refused, match=message):
        read(stream, "it", files.snapshots.MAKERS)


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        ([1], "holds a list; expected a dictionary with 'ema'"),
        ({"net": 1, "g": "x"}, r"no network under 'ema'; it holds: net \(int\), g \(str\)"),
        ({"ema": forged.persistent("EDMPrecond", {}, version=7)}, "EDMPrecond is of persistence version 7"),
        ({"ema": forged.persistent("EDMPrecond", {})}, "does not say which arguments"),
        ({"ema": forged.persistent("EDMPrecond", {"_init_args": (32,)})}, "arguments without names"),
        (
            {"ema": forged.persistent("EDMPrecond", {"_init_kwargs": {"a": [2, 2], "b": [[2]]}})},
            "more than numbers and words: b",
        ),
        (
            {"ema": forged.persistent("EDMPrecond", {"_init_kwargs": {}, "_parameters": {"a": 1}})},
            "a is a int; expected a tensor",
        ),
        (
            {"ema": forged.persistent("EDMPrecond", {"_init_kwargs": {}, "_modules": {"model": []}})},
            "model is a list; expected a module",
        ),
    ],
)
def test_a_snapshot_has_a_network(thing, message, tmp_path):
    path = tmp_path / "it.pkl"
    path.write_bytes(forged.dumps(thing))
    with pytest.raises(ValueError, match=message):
        files.contents(path)


def test_a_snapshot_of_a_snapshot_of_itself_ends(tmp_path):
    """A module that contains itself."""
    module = forged.MODULE_DICT()
    module.__dict__.update({"_modules": {"model": module}})
    network = forged.persistent("EDMPrecond", {"_init_kwargs": {}, "_modules": {"model": module}})
    path = tmp_path / "it.pkl"
    path.write_bytes(forged.dumps({"ema": network}))
    with pytest.raises(ValueError, match="is no module"):
        files.contents(path)
