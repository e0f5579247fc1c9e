"""Loading from Python: what each call returns, which datasets it means, and what is told if there is no such one."""

import hashlib
import io
import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import numpy as np
import pandas as pd
import pytest
from one_of_tables import one_of

from onefs import One
from onefs.alf_files.path import ALFPath
from onefs.catalogue.records import QC, Dataset, Session
from onefs.catalogue.tables import write_tables
from onefs.errors import MismatchError
from onefs.one_errors import (
    ALFError,
    ALFMultipleCollectionsFound,
    ALFMultipleObjectsFound,
    ALFObjectNotFound,
    ALFWarning,
    UsageError,
)

EID = uuid5(NAMESPACE_URL, "session")
OTHER = uuid5(NAMESPACE_URL, "other session")
EMPTY = uuid5(NAMESPACE_URL, "session without datasets")
SESSION = Session(EID, "lab", "mouse", date(2024, 1, 2), 1, "task", "project")


def npy(array: Any) -> bytes:
    with io.BytesIO() as file:
        np.save(file, np.asarray(array))
        return file.getvalue()


def pqt(**columns: Any) -> bytes:
    return pd.DataFrame(columns).to_parquet(None)


FILES: dict[str, bytes] = {
    "alf/_ibl_trials.table.pqt": pqt(choice=[1, -1], intervals_0=[0.0, 1.0], intervals_1=[0.5, 1.5]),
    "alf/_ibl_trials.goCue_times.npy": npy([0.1, 1.1]),
    "alf/_ibl_wheel.position.npy": npy([[1.0], [2.0]]),
    "alf/_ibl_wheel.timestamps.npy": npy([1.0, 2.0]),
    "alf/#2024-01-01#/_ibl_wheel.position.npy": npy([3.0, 4.0]),
    "alf/#2024-02-01#/_ibl_wheel.position.npy": npy([5.0, 6.0]),
    "alf/probe00/spikes.times.npy": npy(np.arange(3.0)),
    "alf/probe00/spikes.times.metadata.json": json.dumps({"unit": "s"}).encode(),
    "alf/probe00/spikes.amps.npy": npy(np.arange(3)),
    "alf/probe00/clusters.metrics.csv": b"a,b\n1,2\n",
    "alf/probe01/spikes.times.npy": npy(np.arange(5.0)),
    "alf/probe00/clusters.metrics.npy": npy([1]),
    "licks.times.npy": npy([7]),
    "notes with spaces.txt": b"hello",
    "raw/video.mp4": b"film",
    "alf/bad.quality.npy": npy([9]),
}
DEFAULTS = {"alf/#2024-01-01#/_ibl_wheel.position.npy": True, "alf/#2024-02-01#/_ibl_wheel.position.npy": False}


def dataset(path: str, data: bytes, eid: UUID = EID, **changes: Any) -> Dataset:
    """A row of the tables."""
    session = "lab/Subjects/mouse/2024-01-02/001" if eid == EID else "lab/Subjects/mouse/2024-01-03/001"
    default = DEFAULTS.get(path, path != "alf/_ibl_wheel.position.npy")
    qc = QC.CRITICAL if "bad" in path else QC.PASS
    made = Dataset(
        uuid5(eid, path),
        eid,
        session,
        path,
        len(data),
        hashlib.md5(data).hexdigest(),
        True,
        qc,
        default_revision=default,
    )
    return replace(made, **changes)


def make_folder(folder: Path, files: dict[str, bytes] = FILES, **changes: Any) -> Path:
    """Tables and files; `changes` to each row."""
    sessions = [SESSION, replace(SESSION, eid=OTHER, date=date(2024, 1, 3)), replace(SESSION, eid=EMPTY, number=9)]
    rows = [dataset(path, data, **changes) for path, data in files.items()]
    rows.append(dataset("alf/spikes.times.npy", files["licks.times.npy"], OTHER))
    folder.mkdir(parents=True, exist_ok=True)
    write_tables(folder, sessions, rows, created="2024-01-03 00:00", origin="tests")
    for row, data in zip(rows, [*files.values(), files["licks.times.npy"]], strict=True):
        path = folder / row.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (1e9, 1e9))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tests leave it as it is."""
    return make_folder(tmp_path_factory.mktemp("shared") / "folder")


@pytest.fixture
def one(folder: Path, home: Path) -> One:
    return One(folder)


@pytest.fixture
def own_folder(tmp_path: Path, home: Path) -> Path:
    """One for a test that changes it."""
    return make_folder(tmp_path / "folder")


# -- as ONE --------------------------------------------------------------------------------------------------------


def outcome(call: Callable[[], Any]) -> Any:
    """What a call returns or raises."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is compared
        return error


def assert_same(theirs: Any, ours: Any) -> None:
    """The same values; errors of ours are the same kind of theirs. Dtypes may be more exact."""
    if isinstance(theirs, Exception):
        assert isinstance(ours, Exception), f"{theirs!r}, but {ours!r}"
        names = {each.__name__ for each in type(ours).__mro__}
        assert type(theirs).__name__ in names, f"{theirs!r}, but {ours!r}"
    elif isinstance(theirs, dict):
        assert set(theirs) == set(ours)
        for key in theirs:
            assert_same(theirs[key], ours[key])
    elif isinstance(theirs, pd.DataFrame):
        pd.testing.assert_frame_equal(theirs, ours)
    elif isinstance(theirs, np.ndarray):
        np.testing.assert_array_equal(theirs, ours)
    elif isinstance(theirs, list):
        assert isinstance(ours, list), f"{theirs!r}, but {ours!r}"
        assert sorted(map(str, theirs)) == sorted(map(str, ours))
    else:
        assert type(theirs).__name__.removeprefix("Posix") == type(ours).__name__
        assert str(theirs) == str(ours)


NAMES = [path for path in FILES if path not in ("notes with spaces.txt", "raw/video.mp4")]
"""Without names that are not ALF, which ONE does not load."""
CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    *(("load_dataset", (path,), {}) for path in NAMES if "wheel" not in path),
    *(("load_dataset", (path.rpartition("/")[2],), {}) for path in NAMES),
    *(("load_dataset", (path.rpartition("/")[2],), {"collection": "alf/probe00"}) for path in NAMES),
    *(("load_dataset", ("_ibl_wheel.position",), {"revision": day}) for day in ("2023", "2024-01-15", "2025")),
    *(
        ("load_object", (name,), {"collection": collection})
        for name in ("trials", "wheel", "spikes", "clusters", "licks", "none", "*")
        for collection in (None, "", "alf", "alf/probe0[0]", "alf*", "none")
        if (name, collection) != ("*", "")  # for ONE any collection
    ),
    ("load_object", ("spikes",), {"collection": "alf/probe00", "attribute": "times"}),
    ("load_object", ("spikes",), {"collection": "alf/probe00", "attribute": ["times", "a*"]}),
    ("load_object", ("trials",), {"namespace": "ibl"}),
    ("load_object", ("trials",), {"namespace": "other"}),
    ("load_object", ("trials",), {"extension": "pqt"}),
    ("load_object", ("clusters",), {"collection": "alf/probe00", "extension": "csv"}),
    ("load_object", ("spikes",), {"collection": "alf/probe00", "download_only": True}),
    ("load_object", ("wheel",), {"revision": "2024-01-15"}),
    ("load_collection", ("alf/probe00",), {"object": "spikes"}),
    ("load_collection", ("alf/probe01",), {}),
    ("load_collection", ("none",), {}),
    ("load_dataset_from_id", (), {}),
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_load_is_as_ones(folder: Path, home: Path) -> None:
    """Over the index, and over frames once these are touched."""
    theirs, one, touched = one_of(folder), One(folder), One(folder)
    assert len(touched._cache.datasets) == len(FILES) + 1
    differences = []
    for name, given, options in CALLS:
        first = (dataset("licks.times.npy", b"").id,) if name == "load_dataset_from_id" else (EID, *given)
        expected = outcome(partial(getattr(theirs, name), *first, **options))
        for ours in (one, touched):
            try:
                assert_same(expected, outcome(partial(getattr(ours, name), *first, **options)))
            except AssertionError as error:
                differences.append(f"{name}{first[1:]} {options}: {error}")
    assert not differences, "\n".join(differences)


# -- one dataset ---------------------------------------------------------------------------------------------------


def values(content: Any) -> list[Any]:
    return list(content.tolist())


def test_an_edition_is_named_by_its_revision_or_its_path(one: One) -> None:
    def wheel(name: str = "_ibl_wheel.position", **options: Any) -> list[Any]:
        return values(one.load_dataset(EID, name, **options))

    assert wheel() == [3, 4], "the one that is marked"
    assert wheel(revision="2024-03") == [5, 6], "the greatest before it, whatever is marked"
    assert wheel(revision="") == wheel(revision="2023") == [1, 2], "the one in no revision folder"
    assert wheel("alf/_ibl_wheel.position.npy") == wheel("alf/_ibl_wheel.position") == [1, 2]
    assert wheel("alf/#2024-02-01#/_ibl_wheel.position.npy") == [5, 6]


def test_a_bound_from_the_environment_stands_for_a_revision(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONE_REVISION_LAST_BEFORE", "2024-03")
    one = One(folder)
    assert values(one.load_dataset(EID, "_ibl_wheel.position")) == [5, 6]
    assert values(one.load_dataset(EID, "_ibl_wheel.position", revision="2024-01-15")) == [3, 4]
    assert values(one.load_dataset(EID, "alf/_ibl_wheel.position.npy")) == [1, 2], "exact paths load"


def test_names_that_are_not_alf_load_by_name(one: One, folder: Path) -> None:
    path = one.load_dataset(EID, "notes with spaces.txt")
    assert isinstance(path, ALFPath)
    assert path.read_bytes() == b"hello"
    assert one.load_dataset(EID, "raw/video.mp4").read_bytes() == b"film"
    assert (
        one.load_dataset(EID, "video.mp4", download_only=True)
        == folder / "lab/Subjects/mouse/2024-01-02/001/raw/video.mp4"
    )


@pytest.mark.parametrize("other", ["notes.text.bak", "notes.text.npy"])
def test_a_name_of_two_parts_is_that_file_if_there_is_one(tmp_path: Path, home: Path, other: str) -> None:
    rows = [dataset("alf/notes.text", b"it"), dataset(f"alf/{other}", b"other"), dataset("alf/a.b.npy", b"1")]
    write_tables(tmp_path, [SESSION], rows, created="2024-01-03 00:00", origin="tests")
    (tmp_path / SESSION.path / "alf").mkdir(parents=True)
    for name, data in (("notes.text", b"it"), (other, b"other"), ("a.b.npy", b"1")):
        (tmp_path / SESSION.path / "alf" / name).write_bytes(data)
    one = One(tmp_path)
    for name in ("notes.text", "alf/notes.text"):
        assert one.load_dataset(EID, name, download_only=True).name == "notes.text"
    with pytest.raises(ALFMultipleObjectsFound):
        one.load_dataset(EID, "notes.t*")
    assert one.load_dataset(EID, "a.b", download_only=True).name == "a.b.npy"


def test_a_dataset_is_named_by_parts_too(one: One) -> None:
    assert values(
        one.load_dataset(
            EID, {"object": "spikes", "attribute": "times", "extension": "npy", "collection": "alf/probe01"}
        )
    ) == [0, 1, 2, 3, 4]
    assert values(one.load_dataset(EID, {"object": "licks"})) == [7]


def test_a_pattern_in_a_path_is_matched_with_a_warning(one: One) -> None:
    with pytest.warns(UserWarning, match="pattern in it"):
        assert values(one.load_dataset(EID, "alf/probe*1/spikes.times.npy")) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("name", "options", "kind", "sentence"),
    [
        ("none.such", {}, ALFObjectNotFound, r"has no dataset 'none\.such'"),
        ("bad.quality.npy", {}, ALFObjectNotFound, "bad.quality"),
        ("spikes.times.npy", {}, ALFMultipleCollectionsFound, r'"alf/probe00", "alf/probe01"'),
        ("spikes.*", {"collection": "alf/probe00"}, ALFMultipleObjectsFound, "spikes.amps.npy"),
        ("clusters.metrics", {}, ALFMultipleObjectsFound, "clusters.metrics.csv"),
        ("_ibl_trials.table", {"revision": "#"}, None, ""),
        ("alf/licks.times.npy", {"collection": "alf"}, UsageError, "Leave the collection out"),
        ("alf/licks.times.npy", {"revision": "2024"}, UsageError, "Leave revision out"),
        ("licks.times.npy", {"revision": ["2024"]}, UsageError, "is no revision"),
        ({"object": "licks", "colour": "red"}, {}, KeyError, "colour.*namespace"),
        ({"object": "licks", "collection": "alf"}, {"collection": "alf"}, UsageError, "collection"),
        (7, {}, TypeError, "is no dataset"),
        ("licks.times.npy", {"query_type": "remote"}, NotImplementedError, "database"),
        ("licks.times.npy", {"query_type": "other"}, ValueError, "other"),
    ],
)
def test_what_no_dataset_is_meant_by(one: One, name: Any, options: dict[str, Any], kind: Any, sentence: str) -> None:
    if kind is None:
        assert one.load_dataset(EID, name, **options) is not None
        return
    with pytest.raises(kind, match=f"(?s){sentence}"):
        one.load_dataset(EID, name, **options)


@pytest.mark.parametrize(
    ("eid", "kind"),
    [
        (uuid5(NAMESPACE_URL, "unknown"), ALFObjectNotFound),
        (str(uuid5(NAMESPACE_URL, "unknown")), ALFObjectNotFound),
        ("lab/Subjects/nobody/2024-01-02/001", ValueError),
        ("2024-01-02_1_nobody", ValueError),
        ({"subject": "nobody", "date": date(2024, 1, 2), "sequence": 1}, ValueError),
        ("nonsense", ValueError),
        (None, ValueError),
    ],
)
def test_what_leads_to_no_session(one: One, eid: Any, kind: type[Exception]) -> None:
    calls = [
        lambda: one.load_dataset(eid, "licks.times.npy"),
        lambda: one.load_object(eid, "licks"),
        lambda: one.load_datasets(eid, ["licks.times.npy"]),
        lambda: one.load_collection(eid, "alf"),
    ]
    for call in calls:
        with pytest.raises(kind):
            call()


@pytest.mark.parametrize(
    "eid",
    [
        str(EID),
        EID,
        "2024-01-02_001_mouse",
        "mouse/2024-01-02/001",
        "/any/lab/Subjects/mouse/2024-01-02/001/alf/x.y.npy",
    ],
)
def test_a_session_is_named_in_many_forms(one: One, eid: Any) -> None:
    assert values(one.load_dataset(eid, "licks.times.npy")) == [7]


# -- objects and collections ---------------------------------------------------------------------------------------


def test_mixed_revisions_are_told(one: One) -> None:
    with pytest.warns(ALFWarning, match='Multiple revisions: "", "2024-01-01"'):
        assert values(one.load_object(EID, "wheel")["position"]) == [3, 4]


def test_missing_files_of_an_object_are_left_out_with_a_warning(own_folder: Path) -> None:
    one = One(own_folder)
    (own_folder / "lab/Subjects/mouse/2024-01-02/001/alf/probe00/spikes.amps.npy").unlink()
    with pytest.warns(ALFWarning, match="1 of 3 files are left out.*spikes.amps"):
        assert set(one.load_object(EID, "spikes", "alf/probe00")) == {"times", "timesmetadata"}
    (own_folder / "lab/Subjects/mouse/2024-01-02/001/licks.times.npy").unlink()
    with pytest.raises(ALFObjectNotFound, match=r"licks\.times\.npy is in the catalogue but not in the folder"):
        one.load_object(EID, "licks")


def test_two_files_for_one_key_are_told_apart(one: One) -> None:
    with pytest.raises(ALFMultipleObjectsFound, match="extension='csv' or extension='npy'"):
        one.load_object(EID, "clusters", "alf/probe00")
    with pytest.raises(ALFMultipleObjectsFound, match="extension='csv' or extension='npy'"):
        one.load_collection(EID, "alf/probe00")
    assert len(one.load_object(EID, "clusters", "alf/probe00", download_only=True)) == 2
    assert len(one.load_collection(EID, "alf/probe00", download_only=True)) == 5


def test_the_revision_of_a_collection_is_that(one: One) -> None:
    with pytest.warns(ALFWarning, match="Multiple revisions"):
        found = one.load_collection(EID, "alf", revision="2024-03")
    assert values(found["wheel"]["position"]) == [5, 6]
    assert set(found) == {"trials", "wheel"}


def test_a_collection_that_is_not_there(one: One) -> None:
    with pytest.raises(ALFError, match="no collection 'none'") as caught:
        one.load_collection(EID, "none")
    assert type(caught.value) is ALFError
    with pytest.raises(ALFObjectNotFound, match="object 'none'"):
        one.load_collection(EID, "alf", object="none")
    with pytest.raises(ALFMultipleCollectionsFound, match="spikes is in alf/probe00, alf/probe01"):
        one.load_collection(EID, "alf/probe*", object="spikes")
    assert len(one.load_collection(EID, "alf/probe*", object="spikes", download_only=True)) == 4
    with pytest.raises(KeyError, match="colour"):
        one.load_object(EID, "spikes", colour="red")


# -- several -------------------------------------------------------------------------------------------------------


def test_several_come_in_the_order_that_was_asked_for(one: One, folder: Path) -> None:
    contents, records = one.load_datasets(EID, ["spikes.times", "licks.times.npy"], collections=["alf/probe01", None])
    assert [values(content) for content in contents] == [[0, 1, 2, 3, 4], [7]]
    assert [record["rel_path"] for record in records] == ["alf/probe01/spikes.times.npy", "licks.times.npy"]
    assert records[1] == {
        "eid": str(EID), "id": str(uuid5(EID, "licks.times.npy")), "rel_path": "licks.times.npy",
        "file_size": len(FILES["licks.times.npy"]), "hash": hashlib.md5(FILES["licks.times.npy"]).hexdigest(),
        "exists": True, "qc": "PASS", "default_revision": True, "revision": "",
    }  # fmt: skip
    paths, _ = one.load_datasets(
        EID, [{"object": "licks"}, {"object": "spikes", "collection": "alf/probe01"}], download_only=True
    )
    assert [path.name for path in paths] == ["licks.times.npy", "spikes.times.npy"]


def test_one_path_makes_paths_of_all(one: One) -> None:
    contents, records = one.load_datasets(EID, ["alf/probe00/spikes.amps.npy", "licks.times.npy"])
    assert values(contents[1]) == [7]
    with pytest.raises(ALFObjectNotFound, match=r"lacks spikes\.times\.npy"):
        one.load_datasets(EID, ["alf/probe00/spikes.amps.npy", "spikes.times.npy"])
    with pytest.warns(ALFWarning, match="Not the default revision: alf/_ibl_wheel.position.npy, alf/#2024-02-01#"):
        contents, records = one.load_datasets(
            EID, ["alf/_ibl_wheel.position.npy", "alf/#2024-02-01#/_ibl_wheel.position.npy", "licks.times.npy"]
        )
    assert [record["revision"] for record in records] == ["", "2024-02-01", ""]


def test_a_frame_of_the_session_will_do(one: One) -> None:
    frame = one.list_datasets(EID, "*times*", collection="alf/probe*", details=True)
    contents, records = one.load_datasets(EID, frame)
    assert [len(content) if isinstance(content, np.ndarray) else content for content in contents] == [
        {"unit": "s"} if path.endswith("json") else {"0": 3, "1": 5}[path[10]] for path in frame["rel_path"]
    ]
    assert [record["id"] for record in records] == list(frame.index)
    with pytest.raises(UsageError, match="is not one of"):
        one.load_datasets(EID, one.list_datasets(OTHER, details=True))


def test_missing_ones_are_named_or_none(one: One, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ALFObjectNotFound, match=r"lacks no\.such, nor\.this"):
        one.load_datasets(EID, ["no.such", "licks.times", "nor.this"])
    contents, records = one.load_datasets(EID, ["no.such", "licks.times"], assert_present=False)
    assert contents[0] is records[0] is None
    assert values(contents[1]) == [7]
    assert "no.such" in caplog.text
    for found, rows in (
        one.load_datasets(EMPTY, ["licks.times"], assert_present=False),
        one.load_datasets(EID, []),
    ):
        assert found is None
        assert len(rows) == 0
        assert list(rows.index.names) == ["eid", "id"]
    with pytest.raises(ALFObjectNotFound, match=r"licks\.times"):
        one.load_datasets(EMPTY, ["licks.times"])


@pytest.mark.parametrize(
    ("datasets", "options", "kind", "sentence"),
    [
        ("licks.times", {}, TypeError, "not a list"),
        ({"object": "licks"}, {}, TypeError, "not a list"),
        (None, {}, TypeError, "not a list"),
        (["licks.times", {"object": "licks"}], {}, ValueError, "mixes texts and dicts"),
        (["licks.times"], {"collections": ["alf", "alf"]}, ValueError, "1 datasets and 2 collections"),
        (["licks.times"], {"revisions": []}, ValueError, "1 datasets and 0 revisions"),
        (["alf/licks.times"], {"collections": "alf"}, ValueError, "Leave these out"),
        (["alf/licks.times"], {"revisions": "2024"}, ValueError, "Leave these out"),
    ],
)
def test_what_several_are_not_asked_for_with(one: One, datasets: Any, options: Any, kind: Any, sentence: str) -> None:
    with pytest.raises(kind, match=sentence):
        one.load_datasets(EID, datasets, **options)


# -- by id ---------------------------------------------------------------------------------------------------------


def test_an_id_in_any_form(one: One) -> None:
    id_ = uuid5(EID, "licks.times.npy")
    for form in (id_, str(id_), np.frombuffer(id_.bytes, "<i8")):
        assert values(one.load_dataset_from_id(form)) == [7]
    content, record = one.load_dataset_from_id(id_, details=True, download_only=True)
    assert content.name == "licks.times.npy"
    assert record.name == (str(EID), str(id_))
    assert record["rel_path"] == "licks.times.npy"
    with pytest.raises(ALFObjectNotFound, match="no dataset with the id"):
        one.load_dataset_from_id(EID)
    for wrong in ("licks", 7, None, [1, 2, 3]):
        with pytest.raises(UsageError, match="is no id"):
            one.load_dataset_from_id(wrong)


@pytest.mark.parametrize("is_touched", [False, True])
def test_an_id_that_the_tables_have_twice(tmp_path: Path, home: Path, is_touched: bool) -> None:
    folder = make_folder(tmp_path / "twice")
    rows = [dataset("licks.times.npy", b"1"), dataset("a.b.npy", b"1", OTHER, id=uuid5(EID, "licks.times.npy"))]
    sessions = [SESSION, replace(SESSION, eid=OTHER, date=date(2024, 1, 3))]
    write_tables(folder, sessions, rows, created="2024-01-03 00:00", origin="tests")
    one = One(folder)
    if is_touched:
        assert len(one._cache.datasets) == 2
    with pytest.raises(ALFMultipleObjectsFound, match=r"2024-01-02.*2024-01-03"):
        one.load_dataset_from_id(uuid5(EID, "licks.times.npy"))


# -- bytes ---------------------------------------------------------------------------------------------------------


def test_wrong_bytes_are_not_loaded(own_folder: Path) -> None:
    one = One(own_folder)
    file = own_folder / "lab/Subjects/mouse/2024-01-02/001/licks.times.npy"
    file.write_bytes(npy([8]))
    os.utime(file, (1e9, 1e9))
    with pytest.raises(MismatchError, match=r"licks\.times"):
        one.load_dataset(EID, "licks.times")
    with pytest.raises(MismatchError, match=r"licks\.times"):
        one.load_object(EID, "licks", download_only=True)
    assert values(one.load_dataset(EID, "licks.times", check_hash=False)) == [8]


def test_pickled_objects_are_loaded_only_if_they_are_trusted(tmp_path: Path, home: Path) -> None:
    with io.BytesIO() as file:
        np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
        files = {**FILES, "alf/licks.info.npy": file.getvalue()}
    one = One(make_folder(tmp_path / "pickled", files))
    with pytest.raises(ValueError, match=r"licks\.info\.npy holds pickled objects"):
        one.load_dataset(EID, "licks.info")
    one.allow_pickle = True
    assert one.load_dataset(EID, "licks.info")[0] == {"a": 1}


def test_a_load_changes_no_table(own_folder: Path) -> None:
    one = One(own_folder)
    frames = one._cache.datasets.copy()
    (own_folder / "lab/Subjects/mouse/2024-01-02/001/licks.times.npy").unlink()
    with pytest.raises(ALFObjectNotFound):
        one.load_dataset(EID, "licks.times")
    pd.testing.assert_frame_equal(one._cache.datasets, frames)


def test_edits_of_frames_count(one: One) -> None:
    assert values(one.load_dataset(EID, "_ibl_wheel.position")) == [3, 4]
    marks = one._cache.datasets["rel_path"] == "alf/#2024-02-01#/_ibl_wheel.position.npy"
    one._cache.datasets["default_revision"] = marks
    assert values(one.load_dataset(EID, "_ibl_wheel.position")) == [5, 6]
    licks = one._cache.datasets["rel_path"] == "licks.times.npy"
    one._cache.datasets.drop(one._cache.datasets.index[licks], inplace=True)
    with pytest.raises(ALFObjectNotFound):
        one.load_dataset(EID, "licks.times.npy")


def test_files_of_rows(own_folder: Path) -> None:
    one = One(own_folder)
    frame = one.list_datasets(EID, ["licks.times.npy", "_ibl_wheel.timestamps.npy"], details=True)
    (own_folder / "lab/Subjects/mouse/2024-01-02/001/licks.times.npy").unlink()
    found = {path and path.name for path in one._check_filesystem(frame)}
    assert found == {None, "_ibl_wheel.timestamps.npy"}
    assert one._check_filesystem(frame.iloc[0]) is not None


# -- warnings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "load",
    [
        lambda one: one.load_object(EID, "wheel"),
        lambda one: one.load_collection(EID, "alf", revision="2024-03"),
        lambda one: one.load_dataset(EID, "alf/probe*1/spikes.times.npy"),
        lambda one: one.load_datasets(EID, ["alf/_ibl_wheel.position.npy"]),
        lambda one: one.save_loaded_ids(),
    ],
)
def test_warnings_point_at_the_line_of_the_caller(one: One, load: Callable[[One], Any]) -> None:
    with pytest.warns(Warning) as caught:
        load(one)
    assert {warning.filename for warning in caught} == {__file__}
