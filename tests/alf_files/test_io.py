"""Contents by extension, objects made of files, and files in folders; ONE's own functions are the oracle."""

import json
import os
import pickle
import signal
import subprocess
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from alf_objects import objects
from hypothesis import given, settings
from in_memory import folder_in_memory
from numpy.typing import NDArray
from one.alf import io as one_io

from onefs.alf import without_uuid
from onefs.alf_files import io
from onefs.alf_files.objects import PARALLEL_FROM_BYTES
from onefs.alf_files.path import ALFPath
from onefs.demo.formats import pqt
from onefs.one_errors import ALFInvalid, ALFMultipleObjectsFound, ALFObjectNotFound, OnefsError, UsageError

UUID = "226ba79d-2a3a-4b50-9acc-ebeebe6da35d"


@pytest.fixture(scope="module")
def public(demo_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the demo's archive, named as users have them."""
    directory = tmp_path_factory.mktemp("demo")
    stored = demo_archive / "data" / "public"
    for path in stored.rglob("*"):
        if path.is_file():
            named = directory / "named" / path.relative_to(stored).with_name(without_uuid(path.name))
            named.parent.mkdir(parents=True, exist_ok=True)
            named.hardlink_to(path)
    return directory / "named"


def write(folder: Path, name: str, content: Any) -> Path:
    """A file with an array, the columns of a table, a text or bytes."""
    path = folder / name
    if isinstance(content, np.ndarray):
        np.save(path, content)
    elif isinstance(content, dict):
        path.write_bytes(pqt(content))
    elif isinstance(content, str):
        path.write_text(content)
    else:
        path.write_bytes(content)
    return path


def assert_same(ours: Any, theirs: Any) -> None:
    """Of one kind, shape, dtype and value."""
    if isinstance(theirs, np.ndarray):
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        np.testing.assert_array_equal(ours, theirs)
    elif isinstance(theirs, pd.DataFrame):
        pd.testing.assert_frame_equal(ours, theirs)
    elif isinstance(theirs, pd.Series):
        pd.testing.assert_series_equal(ours, theirs)
    elif isinstance(theirs, Mapping) and not isinstance(theirs, dict):  # of npz
        assert list(ours) == list(theirs)
        for key in theirs:
            assert_same(ours[key], theirs[key])
    elif isinstance(theirs, dict):
        assert set(dict(ours)) == set(dict(theirs))
        for key, values in dict(theirs).items():
            assert_same(ours[key], values)
    elif isinstance(theirs, Path):
        assert isinstance(ours, ALFPath)
        assert Path(ours) == Path(theirs)
    else:
        assert ours == theirs


CONTENTS: dict[str, Any] = {
    "a.b.npy": np.arange(6.0).reshape(2, 3),
    "a.column.npy": np.arange(6, dtype="u2").reshape(6, 1),
    "a.row.npy": np.arange(6).reshape(1, 6),
    "a.fortran.npy": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "a.record.npy": np.zeros(3, [("x", "f4"), ("y", "i8")]),
    "a.scalar.npy": np.array(5),
    "a.none.npy": np.zeros((0, 3)),
    "a.text.npy": np.array(["one", "two"]),
    "a.b.csv": "x,y\n1,a\n2,b\n",
    "a.b.tsv": "x\ty\n1\ta\n2\tb\n",
    "a.b.htsv": "x\ty z\n1\ta\n",
    "a.b.ssv": "x y\n1 0.5\n2 0.25\n",
    "a.single.csv": "x\n1\n2\n",
    "a.single.tsv": "x\n1\n2\n",
    "a.single.ssv": "x\n1.5\n",
    "a.norows.csv": "x,y\n",
    "a.b.pqt": {"x": np.arange(3, dtype="i2"), "y": np.array([0.5, 1.0, 2.0]), "name": ["a", "b", "c"]},
    "a.single.pqt": {"x": [1, 2]},
    "a.b.json": '{"x": [1, 2.5, null], "y": {"z": "ä"}}',
    "a.list.json": "[1, 2]",
    "a.b.jsonable": '{"x": 1}\n{"x": 2}\n',
    "a.b.yml": "x: [1, 2]\ny: text\n",
    "a.b.yaml": "- 1\n- when: 2020-01-01\n",
    "a.b.mp4": b"video",
    "a.b.cbin": b"\x00\x01",
    "a.b.ch": "{}",
    "a.b.meta": "x=1",
    "a.b.bin": b"\x00",
    "a.b.mat": b"MATLAB",
    "a.b.txt": "text",
    "a.b.zip": b"PK",
    "README": "no name of ALF",
    "npy": "no extension",
    ".json": "no extension",
    **{f"a.empty.{extension}": b"" for extension in ("npy", "npz", "csv", "pqt", "json", "jsonable", "yml", "mp4")},
}


@pytest.mark.parametrize("name", CONTENTS)
def test_contents_are_those_that_one_loads(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, name, CONTENTS[name])
    assert_same(io.load_file_content(path), one_io.load_file_content(path))
    assert_same(io.load_file_content(str(path)), one_io.load_file_content(path))


def test_arrays_of_an_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.b.npz", x=np.arange(3), y=np.zeros((2, 2)))
    np.savez(tmp_path / "a.named.npz", x=np.arange(3))
    np.savez(tmp_path / "a.single.npz", np.arange(3))
    np.savez(tmp_path / "a.two.npz", np.arange(3), np.arange(4))
    for name in ("a.b.npz", "a.named.npz", "a.single.npz", "a.two.npz"):
        ours, theirs = io.load_file_content(tmp_path / name), one_io.load_file_content(tmp_path / name)
        assert_same(ours, theirs)
        if not isinstance(theirs, np.ndarray):
            assert ours.files == theirs.files
            theirs.close()


def test_one_column_named_table_stays_a_frame(tmp_path: Path) -> None:
    for name in ("a.table.csv", "_ns_a.table_bpod.x.csv", f"a.table.{UUID}.csv"):
        pd.testing.assert_frame_equal(io.load_file_content(write(tmp_path, name, "x\n1\n")), pd.DataFrame({"x": [1]}))


def test_parquet_is_a_frame_by_its_other_name_too(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [1, 2], "kind": pd.Categorical(["a", "b"])}, index=pd.Index([5, 6], name="n"))
    frame.to_parquet(tmp_path / "a.b.parquet")
    loaded = io.load_file_content(tmp_path / "a.b.parquet")
    pd.testing.assert_frame_equal(loaded, frame)
    loaded.loc[5, "x"] = 7
    loaded["x"].to_numpy()[1] = 8


def test_a_folder_name_with_an_equals_sign_makes_no_column(tmp_path: Path) -> None:
    (tmp_path / "probe=1").mkdir()
    path = write(tmp_path / "probe=1", "a.b.pqt", {"x": [1]})
    assert list(io.load_file_content(path)) == ["x"]


def test_every_file_is_closed(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.single.npz", np.arange(3))
    paths = [write(tmp_path, name, content) for name, content in CONTENTS.items()]
    before = len(os.listdir("/proc/self/fd"))
    kept = [io.load_file_content(path) for path in [*paths, tmp_path / "a.single.npz"]]
    assert len(os.listdir("/proc/self/fd")) == before
    assert len(kept) == len(paths) + 1


def test_blank_lines_among_json_lines_are_none(tmp_path: Path) -> None:
    assert io.load_file_content(write(tmp_path, "a.b.jsonable", '1\n\n"x\u2028y"\n')) == [1, "x\u2028y"]


def test_nothing_is_none() -> None:
    assert io.load_file_content(None) is None
    assert io.load_file_content("") is None


class Harmful:
    """Pickled, it makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_pickled_objects_are_not_run_unasked(tmp_path: Path) -> None:
    """ONE runs them."""
    ran = tmp_path / "ran"
    path = tmp_path / "a.b.npy"
    np.save(path, np.array([Harmful(ran), {"x": 1}], dtype=object))
    with pytest.raises(OnefsError, match=r"a\.b\.npy holds pickled objects.*allow_pickle"):
        io.load_file_content(path)
    with pytest.raises(ValueError, match="allow_pickle"):
        io.load_object(tmp_path, "a")
    assert not ran.exists()
    assert io.load_file_content(path, allow_pickle=True)[1] == {"x": 1}
    assert ran.exists()
    assert io.load_object(tmp_path, "a", allow_pickle=True).b[1] == {"x": 1}


def test_pickled_objects_in_an_npz_are_not_run_unasked(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    np.savez(tmp_path / "a.b.npz", x=np.array([Harmful(ran)], dtype=object))
    with pytest.raises(OnefsError, match="allow_pickle"):
        io.load_file_content(tmp_path / "a.b.npz")
    assert not ran.exists()
    io.load_file_content(tmp_path / "a.b.npz", allow_pickle=True)
    assert ran.exists()


DAMAGED: dict[str, bytes] = {
    "a.b.npy": b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (9,), }\n" + bytes(16),
    "a.short.npy": b"\x93NUM",
    "a.pickle.npy": pickle.dumps([1, 2]),
    "a.html.npy": b"<html>404</html>",
    "a.b.npz": b"PK\x03\x04 cut short",
    "a.html.npz": b"<html>404</html>",
    "a.b.csv": b'x,y\n1,2\n"a,3,4,5\n',
    "a.blank.csv": b"\n\n",
    "a.b.tsv": b"x\ty\n1\t2\n1\t2\t3\t4\n",
    "a.b.ssv": b"\xff\xfe\xff",
    "a.b.pqt": b"PAR1 cut short",
    "a.thrift.pqt": b"PAR1" + b"\x00" * 20 + (16).to_bytes(4, "little") + b"PAR1",
    "a.b.json": b'{"x": 1',
    "a.deep.json": b"[" * 200_000,
    "a.b.jsonable": b'{"x": 1}\n{"x"\n',
    "a.b.yml": b"x: [1, 2\n",
    "a.code.yml": b"!!python/object/apply:os.getcwd []\n",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_content_is_told_with_the_path(tmp_path: Path, name: str) -> None:
    """ONE answers None for damaged JSON."""
    path = write(tmp_path, name, DAMAGED[name])
    with pytest.raises(ValueError, match=f"^{path} cannot be read as {path.suffix[1:]}: .*[.] Remove the file") as told:
        io.load_file_content(path)
    assert isinstance(told.value, OnefsError)
    assert "\n" not in str(told.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        io.load_file_content(tmp_path / "a.b.npy")


def test_sparse_arrays_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sparse", None)
    path = write(tmp_path, "a.b.sparse_npz", b"PK")
    with pytest.warns(UserWarning, match="sparse"):
        assert_same(io.load_file_content(path), path)


def test_sparse_arrays(tmp_path: Path) -> None:
    sparse = pytest.importorskip("sparse")
    array = sparse.COO.from_numpy(np.eye(3))
    with (tmp_path / "a.b.sparse_npz").open("wb") as file:
        sparse.save_npz(file, array)
    loaded = io.load_file_content(tmp_path / "a.b.sparse_npz")
    assert isinstance(loaded, sparse.COO)
    np.testing.assert_array_equal(loaded.todense(), np.eye(3))
    with pytest.raises(ValueError, match="sparse_npz"):
        io.load_file_content(write(tmp_path, "a.bad.sparse_npz", b"PK"))


def test_the_demo_files_are_those_that_one_loads(public: Path) -> None:
    paths = sorted(path for path in public.rglob("*") if path.is_file())
    assert {"npy", "pqt", "csv", "json", "jsonable"} <= {path.suffix[1:] for path in paths}
    for path in paths:
        assert_same(io.load_file_content(path), one_io.load_file_content(path))


def both(folder: Path, *args: Any, **parts: Any) -> tuple[Any, Any]:
    """The object as we load it and as ONE does."""
    return io.load_object(folder, *args, **parts), one_io.load_object(folder, *args, **parts)


def test_the_demo_objects_are_those_that_one_loads(public: Path) -> None:
    n_loaded = 0
    for folder in sorted({path.parent for path in public.rglob("*.*") if path.is_file()}):
        for name in sorted({parts[1] for parts in one_io.filter_by(folder)[1] if parts[1]}):
            try:
                theirs = one_io.load_object(folder, name)
            except AssertionError:
                with pytest.raises(ALFMultipleObjectsFound):
                    io.load_object(folder, name)
                continue
            ours = io.load_object(folder, name)
            for key, values in theirs.items():
                if any(folder.glob(f"*{name}.table*")):  # ONE makes one dtype of those of all columns
                    theirs[key] = values.astype(ours[key].dtype)
            assert_same(ours, theirs)
            n_loaded += 1
    assert n_loaded > 20


def test_keys_have_timescale_and_extra(tmp_path: Path) -> None:
    for name in ("_ibl_a.b.npy", "_ibl_a.b_bpod.npy", "_ibl_a.b_bpod.raw.x.npy", "_ibl_a.c_times_ephys.npy"):
        write(tmp_path, name, np.arange(3))
    ours, theirs = both(tmp_path, "a")
    assert_same(ours, theirs)
    assert set(ours) == {"b", "b_bpod", "b_bpod.raw.x", "c_times_ephys"}
    ours, theirs = both(tmp_path, "a", short_keys=True, extra="raw")
    assert_same(ours, theirs)
    assert set(ours) == {"b_bpod"}


def test_the_uuid_in_a_name_is_no_part_of_its_key(tmp_path: Path) -> None:
    paths = [write(tmp_path, f"a.b.{UUID}.npy", np.arange(3)), write(tmp_path, f"a.c.raw.{UUID}.npy", np.arange(3))]
    assert set(io.load_object(paths)) == {"b", "c.raw"}


@pytest.mark.parametrize(
    ("names", "remedy"),
    [
        (("a.b.npy", "_ns_a.b.npy"), "namespace='ns' or namespace=''"),
        (("a.b.npy", "a.b.csv"), "extension='csv' or extension='npy'"),
        (("a.b.raw.npy", "a.b.npy"), "extra='' or extra='raw'"),
    ],
)
def test_two_files_of_one_key(tmp_path: Path, names: tuple[str, str], remedy: str) -> None:
    for name in names:
        write(tmp_path, name, b"")
    with pytest.raises(ALFMultipleObjectsFound, match="'b'") as told:
        io.load_object(tmp_path, "a", short_keys=True)
    assert remedy in str(told.value)
    assert all(name in str(told.value) for name in names)
    assert isinstance(told.value, AssertionError)


def test_one_name_in_two_folders(tmp_path: Path) -> None:
    (tmp_path / "#r#").mkdir()
    paths = [write(tmp_path, "a.b.npy", np.arange(3)), write(tmp_path / "#r#", "a.b.npy", np.arange(3))]
    with pytest.raises(ALFMultipleObjectsFound, match="different folders"):
        io.load_object(paths)
    paths[1] = paths[1].rename(tmp_path / "#r#" / "a.c.npy")
    assert_same(*both(paths))


def test_an_attribute_with_an_underscore_before_it(tmp_path: Path) -> None:
    write(tmp_path, "channels._phy_ids.csv", "x,y\n1,2\n")
    write(tmp_path, "channels.x.npy", np.arange(1))
    assert_same(*both(tmp_path, "channels"))


def test_several_objects(tmp_path: Path) -> None:
    """ONE makes one object of them."""
    for name in ("wheel.x.npy", "wheelMoves.y.npy"):
        write(tmp_path, name, np.arange(3))
    with pytest.raises(ALFMultipleObjectsFound, match='"wheel", "wheelMoves"'):
        io.load_object(tmp_path, "wheel*")
    assert set(io.load_object(tmp_path, "wheel", wildcards=False)) == {"x"}


def test_an_object_by_one_of_its_files(tmp_path: Path) -> None:
    paths = [write(tmp_path, name, np.arange(3)) for name in ("a.x.npy", "a.y.npy", "b.z.npy")]
    ours, theirs = both(paths[0])
    assert_same(ours, theirs)
    assert set(ours) == {"x", "y"}


def test_no_object(tmp_path: Path) -> None:
    write(tmp_path, "a.x.npy", np.arange(3))
    with pytest.raises(ValueError, match="is a folder"):
        io.load_object(tmp_path)
    for place, name in ((tmp_path, "b"), (tmp_path / "none", "a"), (tmp_path / "none", None)):
        with pytest.raises(ALFObjectNotFound, match=str(tmp_path)):
            io.load_object(place, name)
    with pytest.raises(ALFObjectNotFound, match="empty"):
        io.load_object([])
    with pytest.raises(ALFInvalid, match="README"):
        io.load_object([write(tmp_path, "README", "text")])
    with pytest.raises(ALFInvalid, match="README"):
        io.load_object(tmp_path / "README")


def test_metadata_are_no_key_and_name_columns(tmp_path: Path) -> None:
    write(tmp_path, "a.b.npy", np.arange(6).reshape(3, 2))
    write(tmp_path, "a.b.metadata.json", '{"columns": ["x", "y"], "unit": "mm"}')
    write(tmp_path, "a.c.npy", np.arange(3))
    write(tmp_path, "a.c.metadata.json", '{"unit": "s"}')
    for place in ((tmp_path, "a"), ([tmp_path / "a.b.npy", tmp_path / "a.c.npy"],)):
        ours, theirs = both(*place)
        assert_same(ours, theirs)
        assert {"x", "y", "bmetadata", "c", "cmetadata"} == set(ours)
    assert set(io.load_object(tmp_path, "a", extension="npy")) == set(ours)


def test_metadata_belong_to_the_file_of_their_name_alone(tmp_path: Path) -> None:
    """ONE takes those of any attribute that begins alike."""
    write(tmp_path, "a.time.npy", np.arange(3))
    write(tmp_path, "a.times.npy", np.arange(3))
    write(tmp_path, "a.times.metadata.json", '{"unit": "s"}')
    write(tmp_path, "_ns_a.other.npy", np.arange(3))
    write(tmp_path, "a.other.metadata.json", '{"unit": "s"}')
    assert set(io.load_object(tmp_path, "a")) == {"time", "times", "timesmetadata", "other"}


@pytest.mark.parametrize(
    "metadata", [f"a.b.metadata.{UUID}.json", f"a.b.{UUID}.metadata.json", f"a.b.{UUID}.metadata.{UUID}.json"]
)
def test_metadata_of_a_file_with_a_uuid_in_its_name(tmp_path: Path, metadata: str) -> None:
    write(tmp_path, f"a.b.{UUID}.npy", np.arange(6).reshape(3, 2))
    write(tmp_path, metadata, '{"columns": ["x", "y"]}')
    assert set(io.load_object(tmp_path, "a")) == {"x", "y"}


def test_an_attribute_named_metadata(tmp_path: Path) -> None:
    write(tmp_path, "probe.metadata.json", '{"x": 1}')
    write(tmp_path, "probe.y.npy", np.arange(3))
    assert io.load_object(tmp_path, "probe").metadata == {"x": 1}


def test_the_last_dimension_is_split(tmp_path: Path) -> None:
    """ONE splits the second, and cannot split a single column."""
    write(tmp_path, "a.b.npy", np.arange(12).reshape(3, 2, 2))
    write(tmp_path, "a.b.metadata.json", '{"columns": ["x", "y"]}')
    write(tmp_path, "a.c.npy", np.arange(3).reshape(3, 1))
    write(tmp_path, "a.c.metadata.json", '{"columns": ["z"]}')
    loaded = io.load_object(tmp_path, "a")
    assert set(loaded) == {"x", "y", "z"}
    np.testing.assert_array_equal(loaded.y, np.arange(12).reshape(3, 2, 2)[..., 1])
    np.testing.assert_array_equal(loaded.z, [0, 1, 2])


def test_columns_that_do_not_fit_split_nothing(tmp_path: Path) -> None:
    write(tmp_path, "a.b.npy", np.arange(6).reshape(3, 2))
    write(tmp_path, "a.b.metadata.json", '{"columns": ["x"]}')
    loaded = io.load_object(tmp_path, "a")
    assert loaded.b.shape == (3, 2)
    assert loaded.bmetadata == {"columns": ["x"]}


@pytest.mark.parametrize("name", ["a.table.pqt", "a.table_clock.pqt", "a.table.x.pqt", "_ns_a.table_clock.x.y.pqt"])
def test_a_table_is_dissolved(tmp_path: Path, name: str) -> None:
    columns = {"times": [0.5, 1.5], "x_0": [1.0, 2.0], "x_1": [3.0, 4.0], "y_0": [5.0, 6.0]}
    write(tmp_path, name, columns)
    write(tmp_path, "a.other.npy", np.arange(2))
    assert_same(*both(tmp_path, "a"))


def test_a_table_keeps_dtypes_and_wins_over_a_file(tmp_path: Path) -> None:
    write(tmp_path, "a.table.pqt", {"times": [0.5, 1.5], "n": np.array([1, 2], "u1"), "name": ["a", "b"]})
    write(tmp_path, "a.times.npy", np.arange(2))
    loaded = io.load_object(tmp_path, "a")
    assert {key: values.dtype.kind for key, values in loaded.items()} == {"times": "f", "n": "u", "name": "O"}


def test_tables_of_one_column_and_of_two_clocks(tmp_path: Path) -> None:
    """ONE fails at the first, and dissolves one table only."""
    write(tmp_path, "a.table.csv", "x\n1\n2\n")
    write(tmp_path, "a.table_clock.pqt", {"x": [0.5, 1.5]})
    loaded = io.load_object(tmp_path, "a")
    assert set(loaded) == {"x", "x_clock"}
    assert (loaded.x.dtype.kind, loaded.x_clock.dtype.kind) == ("i", "f")


def test_an_attribute_that_only_begins_like_a_table(tmp_path: Path) -> None:
    write(tmp_path, "a.tables.csv", "x,y\n1,2\n")
    assert isinstance(io.load_object(tmp_path, "a").tables, pd.DataFrame)


@pytest.mark.parametrize("name", ["a.timestamps.npy", "a.timestamps_bpod.npy"])
def test_timestamps_are_interpolated(tmp_path: Path, name: str) -> None:
    write(tmp_path, name, np.array([[0, 10.0], [4, 18.0]]))
    write(tmp_path, "a.position.npy", np.arange(5))
    ours, theirs = both(tmp_path, "a")
    assert_same(ours, theirs)
    np.testing.assert_array_equal(ours[name.split(".")[1]], [10, 12, 14, 16, 18])


def test_timestamps_take_the_longest_length(tmp_path: Path) -> None:
    """ONE takes the first file's, which may be 1."""
    write(tmp_path, "a.timestamps.npy", np.array([[0, 10.0], [4, 18.0]]))
    write(tmp_path, "a.factor.npy", np.array([[2]]))
    write(tmp_path, "a.position.npy", np.arange(5))
    write(tmp_path, "a.video.mp4", b"")
    assert len(io.load_object(tmp_path, "a").timestamps) == 5


def test_timestamps_alone_stay(tmp_path: Path) -> None:
    write(tmp_path, "a.timestamps.npy", np.array([[0, 10.0], [4, 18.0]]))
    assert_same(*both(tmp_path, "a"))


def test_lengths_that_disagree_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, "a.b.npy", np.arange(3))
    write(tmp_path, "a.c.npy", np.arange(4))
    write(tmp_path, "a.d.npy", np.arange(1))
    assert_same(*both(tmp_path, "a"))
    (told,) = [record for record in caplog.records if record.name.startswith("onefs")]
    assert "b (3,), c (4,), d (1,)" in told.getMessage()


def test_large_files_are_read_in_parallel_and_arrays_need_no_pandas(tmp_path: Path) -> None:
    code = (
        "import sys, threading; from onefs.api import io; "
        "small = io.load_object(sys.argv[1], 'small'); before = threading.active_count(); "
        "large = io.load_object(sys.argv[1], 'large'); "
        "print(before, threading.active_count() > 1, sorted(large), large.a[-1], large.b[-1], "
        "{'pandas', 'pyarrow', 'yaml'} & set(sys.modules))"
    )
    n = PARALLEL_FROM_BYTES // 8
    for name, length in (("small.a", 3), ("small.b", 3), ("large.a", n), ("large.b", n)):
        write(tmp_path, f"{name}.npy", np.arange(length))
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == f"1 True ['a', 'b'] {n - 1} {n - 1} set()"


def test_a_forked_process_reads_large_files_too(tmp_path: Path) -> None:
    for name in ("large.a.npy", "large.b.npy"):
        write(tmp_path, name, np.arange(PARALLEL_FROM_BYTES // 8))
    io.load_object(tmp_path, "large")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # later Pythons warn of forks beside threads
        child = os.fork()
    if not child:
        signal.alarm(60)  # ends a child that waits for threads which it does not have
        os._exit(0 if set(io.load_object(tmp_path, "large")) == {"a", "b"} else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


NAMES = (
    "_ibl_wheel.times.npy", "_ibl_wheel.position.npy", "wheel.position_bpod.npy", "wheelMoves.intervals.raw.x.npy",
    "wheelMoves.intervals.csv", "spikes.times.npy", "README", "a.b",
)  # fmt: skip
FILTERS: tuple[dict[str, Any], ...] = (
    {},
    {"object": "wheel"},
    {"object": "wh*"},
    {"object": ["wheel", "spikes"]},
    {"namespace": None},
    {"namespace": "ibl", "attribute": "p*"},
    {"timescale": None, "attribute": ["times", "position"]},
    {"extra": "raw"},
    {"extra": "x.raw"},
    {"extra": ["raw", "x"]},
    {"extra": None},
    {"extension": "csv"},
    {"object": "wheel", "extension": "csv"},
)


@pytest.mark.parametrize("parts", FILTERS)
def test_files_by_parts_of_their_names(tmp_path: Path, parts: dict[str, Any]) -> None:
    (tmp_path / "folder.with.dots").mkdir()
    for name in NAMES:
        write(tmp_path, name, b"")
    ours, theirs = io.filter_by(tmp_path, **parts), one_io.filter_by(tmp_path, **parts)
    assert [str(path) for path in ours[0]] == [str(path) for path in theirs[0]]
    assert ours[1] == theirs[1]
    assert all(isinstance(path, ALFPath) for path in ours[0])


def test_files_by_regular_expressions_for_the_whole_part(tmp_path: Path) -> None:
    for name in NAMES:
        write(tmp_path, name, b"")
    assert {parts[1] for parts in io.filter_by(tmp_path, wildcards=False, object="wheel")[1]} == {"wheel"}
    assert {parts[1] for parts in io.filter_by(tmp_path, wildcards=False, object=["^wheel$", "s.*"])[1]} == {
        "wheel", "spikes",
    }  # fmt: skip


def test_an_empty_text_is_an_absent_part(tmp_path: Path) -> None:
    """ONE finds nothing for `timescale=''`, and everything for `extra=''`."""
    for name in NAMES:
        write(tmp_path, name, b"")
    for part in ("timescale", "extra", "namespace"):
        assert io.filter_by(tmp_path, **{part: ""}) == io.filter_by(tmp_path, **{part: None})
    assert len(io.filter_by(tmp_path, namespace=["ibl", None])[0]) == len(NAMES) - 2


def test_a_part_that_names_do_not_have(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"'attr'.*attribute"):
        io.filter_by(tmp_path, attr="times")


def test_whether_an_object_is_there(tmp_path: Path) -> None:
    for name in NAMES:
        write(tmp_path, name, b"")
    asked: tuple[tuple[tuple[Any, ...], dict[str, Any]], ...] = (
        (("wheel",), {}),
        (("wheel", "times"), {}),
        (("wheel", ["times", "position"]), {}),
        (("wheel", ["times", "none"]), {}),
        (("none",), {}),
        (("wheel", "times"), {"namespace": None}),
    )
    for args, parts in asked:
        assert io.exists(tmp_path, *args, **parts) == one_io.exists(tmp_path, *args, **parts), (args, parts)
    assert not io.exists(tmp_path / "none", "wheel")


def test_a_session_that_is_a_link_and_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "KS" / "2020-01-01" / "001").mkdir(parents=True)
    (tmp_path / "KS" / "2020-01-01" / "002").symlink_to(tmp_path / "KS" / "2020-01-01" / "001")
    (tmp_path / "KS" / "2020-01-01" / "notes").mkdir()
    write(tmp_path / "KS" / "2020-01-01", "003", "a file")
    sessions = [str(path) for path in io.iter_sessions(tmp_path)]
    assert sessions == [str(path) for path in one_io.iter_sessions(tmp_path)]
    assert len(sessions) == 2
    assert list(io.iter_sessions(tmp_path / "none")) == list(one_io.iter_sessions(tmp_path / "none")) == []


def test_sessions_and_their_files(public: Path) -> None:
    sessions = list(io.iter_sessions(public))
    assert [str(path) for path in sessions] == [str(path) for path in one_io.iter_sessions(public)]
    assert len(sessions) > 5
    pattern = "*/Subjects/*/????-??-??/*"
    assert list(io.iter_sessions(public, pattern)) == sessions
    assert list(io.iter_sessions(sessions[0])) == sessions[:1]
    for session in sessions:
        ours, theirs = list(io.iter_datasets(session)), list(one_io.iter_datasets(session))
        assert [str(path) for path in ours] == [str(path) for path in theirs]
        assert all(isinstance(path, ALFPath) for path in ours)


def test_times_of_a_file(tmp_path: Path) -> None:
    values = write(tmp_path, "_ibl_a.position.npy", np.arange(5).reshape(5, 1))
    write(tmp_path, "_ibl_a.timestamps.npy", np.array([[0, 10.0], [4, 18.0]]))
    assert_same(dict(enumerate(io.read_ts(values))), dict(enumerate(one_io.read_ts(values))))
    write(tmp_path, "_ibl_a.timestamps_bpod.npy", np.arange(5))
    assert io.read_ts(values)[0][1] == 12
    (tmp_path / "_ibl_a.timestamps.npy").rename(tmp_path / "_ibl_a.timestamps_ephys.npy")
    with pytest.raises(FileNotFoundError, match=r"_ibl_a\.position"):
        io.read_ts(values)


def test_times_of_samples() -> None:
    for times in (np.arange(4.0), np.arange(4.0).reshape(4, 1), np.array([[0, 1.0], [3, 4.0]])):
        assert_same(io.ts2vec(times, 4), one_io.ts2vec(times, 4))
    for shape in ((4, 3), (2, 2, 2)):
        with pytest.raises(ValueError, match="shape"):
            io.ts2vec(np.zeros(shape), 4)


def test_an_object_is_saved_as_one_saves_it(tmp_path: Path) -> None:
    arrays = {"times": np.arange(3.0), "positions": np.zeros((3, 2))}
    named = {"parts": ["raw", "x"], "namespace": "ibl", "timescale": "bpod"}
    for keywords in ({}, named):
        ours = io.save_object_npy(tmp_path, arrays, "spikes", **keywords)  # type: ignore[arg-type]
        theirs = one_io.save_object_npy(tmp_path, arrays, "spikes", **keywords)
        assert [str(path) for path in ours] == [str(path) for path in theirs]
    io.save_object_npy(tmp_path, arrays, "licks")
    assert_same(io.load_object(tmp_path, "licks"), arrays)
    with pytest.raises(ValueError, match=r"b \(2,\)"):
        io.save_object_npy(tmp_path, {"a": np.arange(3), "b": np.arange(2)}, "spikes")


@given(objects())
@settings(deadline=None, max_examples=50)
def test_saved_and_loaded_again(arrays: dict[str, NDArray[Any]]) -> None:
    with folder_in_memory() as folder:
        io.save_object_npy(folder, arrays, "spikes")
        assert_same(io.load_object(folder, "spikes"), arrays)
        io.AlfBunch(arrays).to_df().to_parquet(f"{folder}/licks.table.pqt")
        assert_same(io.load_object(folder, "licks"), arrays)


def test_metadata_are_saved_where_they_are_looked_for(tmp_path: Path) -> None:
    path = write(tmp_path, "_ns_a.b_clock.raw.npy", np.arange(6).reshape(3, 2))
    saved = io.save_metadata(path, {"columns": ["x", "y"]})
    assert str(saved) == str(one_io.save_metadata(path, {"columns": ["x", "y"]}))
    assert json.loads(saved.read_text()) == {"columns": ["x", "y"]}
    assert set(io.load_object(tmp_path, "a")) == {"x", "y"}
    with pytest.raises(ALFInvalid):
        io.save_metadata(tmp_path / "README", {})


def test_variants_of_files(tmp_path: Path) -> None:
    alf = tmp_path / "lab" / "Subjects" / "KS" / "2020-01-01" / "001" / "alf"
    for name in ("#r1#/a.b.npy", "#r2#/a.b.npy", "#r2#/_ns_a.b.npy", "a.b.npy", "a.b.csv", "a.b_clock.npy", "a.bc.npy"):
        (alf / name).parent.mkdir(parents=True, exist_ok=True)
        write(alf, name, b"")
    for asked in ("a.b.npy", "#r1#/a.b.npy"):
        for keywords in ({}, {"namespace": False}, {"extension": False, "timescale": False}):
            ours, theirs = io.find_variants([alf / asked], **keywords), one_io.find_variants([alf / asked], **keywords)
            assert [str(path) for path in ours] == [str(path) for path in theirs]
            assert {str(path) for path in ours[ALFPath(alf / asked)]} == set(map(str, next(iter(theirs.values()))))
    with pytest.raises(ALFInvalid):
        io.find_variants([alf / "README"])


def test_the_next_number(tmp_path: Path) -> None:
    assert io.next_num_folder(tmp_path / "none") == "001"
    for name in ("001", "007", "x", ".3"):
        (tmp_path / name).mkdir()
    write(tmp_path, "012", "a file")
    assert io.next_num_folder(tmp_path) == one_io.next_num_folder(tmp_path) == "008"
    (tmp_path / "999").mkdir()
    with pytest.raises(AssertionError):
        io.next_num_folder(tmp_path)


def test_empty_folders_are_removed(tmp_path: Path) -> None:
    for name in ("a/b/c", "a/d", "e"):
        (tmp_path / name).mkdir(parents=True)
    write(tmp_path / "a/d", "file", b"")
    (tmp_path / "link").symlink_to(tmp_path / "e")
    io.remove_empty_folders(tmp_path)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "a",
        "a/d",
        "a/d/file",
        "link",
    ]


@pytest.mark.parametrize(
    "array",
    [
        np.float64(3),
        np.empty(0, np.int16),
        np.empty((0, 4)),
        np.arange(12.0).reshape(3, 4),
        np.asfortranarray(np.arange(24).reshape(2, 3, 4)),
        np.arange(5, dtype=">i4"),
        np.array([(1, 2.0), (3, 4.0)], [("a", "i2"), ("b", "f8")]),
        np.array(["a", "bc"]),
    ],
)
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_arrays_are_those_that_numpy_reads(tmp_path: Path, array: np.ndarray, version: tuple[int, int]) -> None:
    for number in range(2):  # the second header is known already
        file = tmp_path / f"spikes.times{number}.npy"
        with file.open("wb") as stream:
            np.lib.format.write_array(stream, np.asanyarray(array), version)
        read, expected = io.load_file_content(file), np.load(file)
        assert (read.dtype, read.shape, read.flags.f_contiguous) == (
            expected.dtype, expected.shape, expected.flags.f_contiguous
        )  # fmt: skip
        np.testing.assert_array_equal(read, expected)
        assert read.flags.writeable


def test_an_array_cut_short_is_told_as_damage(tmp_path: Path) -> None:
    file = tmp_path / "spikes.times.npy"
    for size_bytes in (5, 9, 60, 200):
        np.save(file, np.arange(100))
        os.truncate(file, size_bytes)
        with pytest.raises(UsageError, match=r"spikes\.times\.npy cannot be read as npy"):
            io.load_file_content(file)


@pytest.mark.parametrize("columns", ["[]", '["x", "x"]'])
@pytest.mark.parametrize(("name", "content"), [("a.b.csv", "p,q\n1,2\n"), ("a.b.npy", np.zeros((3, 2))),
                                               ("a.b.jsonable", "1\n2\n")])  # fmt: skip
def test_metadata_whose_columns_do_not_fit_take_nothing_away(
    tmp_path: Path, columns: str, name: str, content: Any
) -> None:
    write(tmp_path, name, content)
    write(tmp_path, "a.b.metadata.json", f'{{"columns": {columns}}}')
    loaded = io.load_object(tmp_path, "a")
    assert set(loaded) == {"b", "bmetadata"}
    assert len(loaded.b) == len(io.load_file_content(tmp_path / name))


def test_a_yaml_value_that_does_not_fit_its_tag_is_damage(tmp_path: Path) -> None:
    with pytest.raises(OnefsError, match="cannot be read as yaml"):
        io.load_file_content(write(tmp_path, "a.b.yaml", '!!int ""'))
