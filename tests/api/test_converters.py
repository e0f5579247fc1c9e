"""Conversions between ids, paths, URLs and records: over the recorded tables beside ONE, and over made-up ones."""

import copy
import json
import shutil
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote
from uuid import UUID

import numpy as np
import one.converters as theirs
import pandas as pd
import pytest
from archives import RECORDINGS, recorded_rows
from asking import Database, a_dataset, a_session, tables_of
from hypothesis import given, settings
from hypothesis import strategies as st
from one.alf.path import PurePosixALFPath
from one.api import One

from onefs.alf import archive_path
from onefs.alf_files.bunch import Bunch
from onefs.alf_files.path import ALFPath, PureALFPath
from onefs.api import converters
from onefs.api.converters import ConversionMixin, Tables
from onefs.catalogue.live import LiveSnapshot
from onefs.catalogue.records import Dataset, Session
from onefs.catalogue.snapshot import load_snapshot
from onefs.errors import UnreachableError as ServerUnreachableError
from onefs.frames.catalogue import FrameCatalogue
from onefs.frames.reading import datasets_frame, session_series
from onefs.one_errors import (
    ALFMultipleObjectsFound,
    ALFObjectNotFound,
    NoDatabaseError,
    UsageError,
)
from onefs.request_errors import UnreachableError

EID = "d6ee68d4-ee19-4c5e-8595-633efeb735ed"
UNKNOWN = "226ba79d-2a3a-4b50-9acc-ebeebe6da35d"
SESSION = "cortexlab/Subjects/KS014/2020-07-01/001"
REFERENCE = {"subject": "KS014", "date": date(2020, 7, 1), "sequence": 1}
CONTRACT = json.loads((RECORDINGS / "rest" / "contract.json").read_text())
quick = settings(deadline=None, max_examples=100)


class Face(ConversionMixin):
    """Conversions over catalogues by query type."""

    database: Database

    def __init__(self, cache_dir: Path, tables: Tables, asking: Tables | None = None, *, server: str = "") -> None:
        self._cache_dir = cache_dir
        self._at_hand = tables
        self._asking = asking
        self._server = server
        self.uuid_filenames = False
        self.mode = "auto"

    @property
    def cache_dir(self) -> Path:
        return self._cache_dir

    def _tables(self, query_type: str | None) -> Tables:
        if query_type != "remote":
            return self._at_hand
        if self._asking is None:
            raise NoDatabaseError("There is no database.")
        return self._asking

    def _further_tables(self, query_type: str | None) -> Tables | None:
        return None if (query_type or self.mode) != "auto" else self._asking

    def _session_series(self, catalogue: Any, row: int) -> pd.Series:
        return session_series(catalogue.session(row))

    def _datasets_frame(self, catalogue: Any, rows: Any, kept: Iterable[int], *, keep_eid: bool) -> pd.DataFrame:
        return datasets_frame([rows.dataset(i) for i in kept], keep_eid=keep_eid)

    def _urls(self, dataset: Dataset) -> list[str]:
        if not self._server:
            raise NoDatabaseError("There is no server.")
        return [f"{self._server}/{quote(archive_path(dataset.path, dataset.id))}"]


@pytest.fixture(scope="module")
def tables_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    for name in ("sessions.pqt", "datasets.pqt"):
        shutil.copy(RECORDINGS / "tables" / name, folder)
    return folder


@pytest.fixture(scope="module")
def one(tables_dir: Path) -> One:
    return One(cache_dir=tables_dir, mode="local")


@pytest.fixture(scope="module", params=["index", "frames"])
def face(request: pytest.FixtureRequest, tables_dir: Path, one: One, tmp_path_factory: pytest.TempPathFactory) -> Face:
    """Over the recorded tables, as an index and as frames."""
    if request.param == "index":
        return Face(tables_dir, load_snapshot(tables_dir, tmp_path_factory.mktemp("state")), server="https://data")
    frames = {name: pd.read_parquet(tables_dir / f"{name}.pqt") for name in ("sessions", "datasets")}
    return Face(tables_dir, FrameCatalogue(frames), server="https://data")


def made(tmp_path: Path, *sessions: Session, datasets: list[Dataset] | None = None, **options: Any) -> Face:
    """Over made-up tables."""
    tables = tables_of(tmp_path / "tables", sessions, datasets or [])
    return Face(tmp_path, load_snapshot(tables, tmp_path / "state"), **options)


def text_of(value: Any) -> Any:
    """ONE's answers as onefs gives them: ids and paths as texts."""
    if isinstance(value, list):
        return [text_of(each) for each in value]
    return str(value) if isinstance(value, UUID | PurePosixPath) or hasattr(value, "as_posix") else value


# -- sessions --------------------------------------------------------------------------------------------------------


def test_every_recorded_session_as_one_converts_it(face: Face, one: One) -> None:
    eids = [str(eid) for eid in one._cache.sessions.index]
    paths = one.eid2path(eids)
    assert [str(path) for path in face.eid2path(eids)] == text_of(paths)
    assert face.path2eid(paths) == text_of(one.path2eid(paths)) == eids
    for as_dict in (True, False):
        for parse in (True, False):
            ours, expected = (each.eid2ref(eids, as_dict=as_dict, parse=parse) for each in (face, one))
            assert ours == expected
            assert face.ref2eid(ours) == text_of(one.ref2eid(expected)) == eids
            assert face.ref2path(ours) == face.eid2path(eids)
    for each in (eids, paths, face.eid2ref(eids), face.eid2ref(eids, as_dict=False)):
        assert face.to_eid(each) == text_of(one.to_eid(each)) == eids


@pytest.mark.parametrize(
    "named",
    [
        EID, EID.upper(), UUID(EID), f"https://alyx.example/sessions/{EID}", f"session {EID}", f"/data/{SESSION}",
        Path("/data", SESSION), f"{SESSION}/alf/a.b.npy", f"/any/KS014/2020-07-01/1/alf/a.b.{UNKNOWN}.npy",
        f"https://data/{SESSION}/alf/a.b.{UNKNOWN}", "KS014/2020-07-01/001", "2020-07-01_1_KS014",
        "2020-07-01_001_KS014", REFERENCE, Bunch(REFERENCE),
        {"subject": "KS014", "date": "2020-07-01", "sequence": "001"},
        {"lab": "cortexlab", "subject": "KS014", "number": 1, "date": date(2020, 7, 1)},
        {"lab": "cortexlab", "subject": "KS014", "number": np.uint16(1), "start_time": "2020-07-01T10:21:03.123"},
    ],
)  # fmt: skip
def test_an_eid_from_whatever_names_the_session(face: Face, named: Any) -> None:
    assert face.to_eid(named) == EID
    assert face.to_eid([named, None]) == [EID, None]


@pytest.mark.parametrize("named", ["x", "", 5, {}, {"subject": "KS014"}, UNKNOWN[:-1], "/data/KS014", b"x" * 36, 1.5])
def test_what_names_no_session(face: Face, named: Any) -> None:
    with pytest.raises(UsageError):
        face.to_eid(named)
    with pytest.raises(ValueError):
        face.to_eid([EID, named])


@pytest.mark.parametrize(
    "named",
    [
        "2020-07-01_2_KS014", "2020-07-01_1_KS01", "2020-07-01_1_ks014", "/data/KS014/2020-07-09/001",
        "/data/mainenlab/Subjects/KS014/2020-07-01/001", {**REFERENCE, "lab": "mainenlab"},
        {**REFERENCE, "sequence": 3},
    ],
)  # fmt: skip
def test_sessions_that_are_not_known(face: Face, named: Any) -> None:
    assert face.to_eid(named) is None
    if isinstance(named, str) and named.startswith("/"):
        assert face.path2eid(named) is None
        assert face.path2record(named) is None
    else:
        assert face.ref2eid(named) is None
        assert face.ref2path(named) is None


def test_an_unknown_eid(face: Face) -> None:
    assert face.to_eid(UNKNOWN) == UNKNOWN
    assert face.eid2path(UNKNOWN) is None
    assert face.eid2ref(UNKNOWN) is None
    assert face.eid2ref([EID, UNKNOWN]) == [REFERENCE, None]
    assert face.eid2path("0" * 8 + "-0000-0000-0000-" + "0" * 12) is None


@pytest.mark.parametrize("value", ["x", 5, SESSION, {}])
def test_only_ids_have_paths(face: Face, value: Any) -> None:
    with pytest.raises(UsageError, match="is no id"):
        face.eid2path(value)


def test_nothing_is_converted_into_nothing(face: Face) -> None:
    for convert in ("to_eid", "eid2path", "path2eid", "eid2ref", "ref2eid", "ref2path", "path2record", "path2url"):
        assert getattr(face, convert)(None) is None
        assert getattr(face, convert)([]) == []
    assert face.to_eid() is None
    assert face.path2eid("/data") is None


@pytest.mark.parametrize("value", ["x", 5, ""])
def test_what_is_no_reference_or_path(face: Face, value: Any) -> None:
    with pytest.raises(UsageError, match="is no reference"):
        face.ref2eid(value)
    with pytest.raises(UsageError, match="is no path"):
        face.path2eid(5)


def test_types_of_answers(face: Face, tables_dir: Path) -> None:
    path = face.eid2path(EID)
    assert type(path) is ALFPath
    assert path == tables_dir / SESSION
    assert type(face.path2eid(path)) is str
    assert isinstance(face.eid2ref(EID), Bunch)
    assert face.eid2path(pd.Index([EID])) == face.eid2path((EID,)) == face.eid2path(iter([EID])) == [path]
    assert face.to_eid(id=[EID], cache_dir="/data") == [EID]


def test_a_folder_with_an_unpadded_number_is_found_as_it_stands(tmp_path: Path) -> None:
    session = a_session()
    face = made(tmp_path, session, datasets=[a_dataset(session, "alf/a.b.npy")])
    padded = tmp_path / session.path
    assert face.eid2path(session.eid) == padded
    unpadded = padded.with_name("1")
    unpadded.mkdir(parents=True)
    assert face.eid2path(session.eid) == unpadded
    record = face.path2record(unpadded / "alf/a.b.npy")
    assert face.record2path(record) == unpadded / "alf/a.b.npy"
    assert face.path2eid(unpadded) == str(session.eid)
    padded.mkdir()
    assert face.eid2path(session.eid) == padded


# -- sessions that share a name --------------------------------------------------------------------------------------


def test_the_lab_decides_between_sessions_of_one_name(tmp_path: Path) -> None:
    first, second = a_session("first"), a_session("second")
    face = made(tmp_path, first, second)
    for session in (first, second):
        assert face.path2eid(session.path) == str(session.eid)
        assert face.to_eid(f"/data/{session.path}/alf/a.b.npy") == str(session.eid)
        reference = {"subject": "mouse", "date": "2024-01-02", "number": 1, "lab": session.lab}
        assert face.ref2eid(reference) == face.to_eid(reference) == str(session.eid)
        assert face.path2record(session.path).name == str(session.eid)
    for convert, named in [
        (face.path2eid, "mouse/2024-01-02/001"),
        (face.path2record, "mouse/2024-01-02/001"),
        (face.ref2eid, "2024-01-02_1_mouse"),
        (face.ref2path, {"subject": "mouse", "date": "2024-01-02", "sequence": 1}),
        (face.to_eid, "2024-01-02_1_mouse"),
    ]:
        with pytest.raises(ALFMultipleObjectsFound, match=r"several sessions: .*second/Subjects.* lab") as e:
            convert(named)
        assert str(first.eid) in str(e.value)


def test_a_session_without_lab_is_not_that_of_a_lab(tmp_path: Path) -> None:
    session = a_session("")
    face = made(tmp_path, session)
    assert face.path2eid("mouse/2024-01-02/001") == str(session.eid)
    assert face.path2eid("lab/Subjects/mouse/2024-01-02/001") is None
    assert face.eid2path(session.eid) == tmp_path / "mouse/2024-01-02/001"


# -- asking ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def online(tmp_path: Path) -> tuple[Face, Session, list[str]]:
    """Tables with one session, a database that knows another one too, and what it was asked."""
    known, told = a_session(subject="known"), a_session(subject="told")
    asked: list[str] = []

    class Told(Database):
        def told(self, *question: str) -> tuple[list[Session], list[Dataset]]:
            asked.append(" ".join(question))
            return super().told(*question)

    datasets = [a_dataset(known, "alf/a.b.npy"), a_dataset(told, "alf/#r#/a.b.npy")]
    tables = load_snapshot(tables_of(tmp_path / "tables", [known], datasets[:1]), tmp_path / "state")
    database = Told([known, told], datasets)
    face = Face(tmp_path, tables, LiveSnapshot(database, tables), server="https://data")
    face.database = database
    return face, told, asked


def test_tables_answer_before_the_database_is_asked(online: tuple[Face, Session, list[str]]) -> None:
    face, told, asked = online
    known = a_session(subject="known")
    assert face.path2eid(face.eid2path(str(known.eid))) == str(known.eid)
    assert face.ref2path(face.eid2ref(known.eid)) == face.cache_dir / known.path
    assert asked == []
    assert face.eid2path(told.eid) == face.cache_dir / told.path
    assert asked == [f"session {told.eid}"]
    assert face.path2eid(told.path) == str(told.eid)
    assert face.eid2ref(told.eid) == {"subject": "told", "date": told.date, "sequence": 1}
    assert face.path2record(told.path).subject == "told"


def test_lists_keep_the_query_type(online: tuple[Face, Session, list[str]]) -> None:
    face, told, asked = online
    assert face.eid2path([told.eid, UNKNOWN], query_type="local") == [None, None]
    assert face.path2eid([told.path], query_type="local") == [None]
    assert face.path2url([f"{told.path}/alf/#r#/a.b.npy"], query_type="local") == [None]
    assert asked == []
    face.mode = "local"
    assert face.eid2path([told.eid]) == [None]
    assert asked == []
    assert face.eid2path([told.eid, UNKNOWN], query_type="remote") == [face.cache_dir / told.path, None]
    assert asked == [f"session {told.eid}", f"session {UNKNOWN}"]
    assert face.path2eid([told.path], query_type="remote") == [str(told.eid)]


def test_what_cannot_be_asked_is_raised(tmp_path: Path) -> None:
    class Down(Database):
        def told(self, *question: str) -> tuple[list[Session], list[Dataset]]:
            raise ServerUnreachableError("The server cannot be reached.")

    session = a_session()
    face = made(tmp_path, session, asking=LiveSnapshot(Down(), None))
    assert face.eid2path(session.eid) == tmp_path / session.path
    for convert, named in [(face.eid2path, UNKNOWN), (face.path2eid, "x/2024-01-02/001"), (face.eid2ref, UNKNOWN)]:
        with pytest.raises(UnreachableError, match="cannot be reached"):
            convert(named)
    with pytest.raises(NoDatabaseError):
        made(tmp_path / "alone", session).eid2path(UNKNOWN, query_type="remote")


# -- datasets --------------------------------------------------------------------------------------------------------


def test_every_recorded_dataset_there_and_back(face: Face, one: One, tables_dir: Path) -> None:
    frame = one._cache.datasets
    paths = face.record2path(frame)
    assert [str(path) for path in paths] == text_of(one.record2path(frame))
    assert {type(path) for path in paths} == {ALFPath}
    assert face.record2path(frame.reset_index()) == paths
    assert [path.relative_to(tables_dir).as_posix() for path in paths] == [row.path for row in recorded_rows()]
    for path, (ids, row) in list(zip(paths, frame.iterrows(), strict=True))[::7]:
        id_ = str(ids[1])
        for place in (path, path.relative_to(tables_dir), path.with_uuid(id_) if path.is_valid_alf() else path):
            record = face.path2record(place)
            assert record.name == tuple(map(str, ids))
            assert (record.rel_path, record.qc, record.exists) == (row.rel_path, row.qc, row.exists)
        assert face.path2record(face.path2url(path)).name == record.name
        assert face.record2path(record) == path
        assert face.record2url(record) == face.path2url(path)


def test_records_of_sessions_as_one_has_them(face: Face, one: One) -> None:
    for eid in map(str, one._cache.sessions.index):
        record, expected = face.path2record(face.eid2path(eid)), one.path2record(one.eid2path(eid))
        assert record.name == str(expected.name) == eid
        assert dict(record) == dict(expected)


def test_paths_with_the_uuid_in_the_name(face: Face, one: One) -> None:
    frame = one._cache.datasets
    plain = face.record2path(frame)
    face.uuid_filenames = True
    try:
        paths = face.record2path(frame)
        assert paths == [
            path.with_name(archive_path(path.name, id_)) for path, (_, id_) in zip(plain, frame.index, strict=True)
        ]
        assert face.path2record(paths[0]).name == tuple(map(str, frame.index[0]))
    finally:
        face.uuid_filenames = False


def test_urls_have_the_uuid_and_are_encoded(tmp_path: Path) -> None:
    session = a_session()
    plain, revised, other = (
        a_dataset(session, path) for path in ("alf/a.b.npy", "alf/#2024-05-06#/a.b.npy", "raw/a.b.npy")
    )
    face = made(tmp_path, session, datasets=[plain, revised, other], server="https://data")
    place = "https://data/lab/Subjects/mouse/2024-01-02/001"
    urls = face.path2url([tmp_path / dataset.path for dataset in (plain, revised, other)])
    assert urls == [
        f"{place}/alf/a.b.{plain.id}.npy",
        f"{place}/alf/%232024-05-06%23/a.b.{revised.id}.npy",
        f"{place}/raw/a.b.{other.id}.npy",
    ]
    assert [face.path2record(url).name[1] for url in urls] == [str(each.id) for each in (plain, revised, other)]
    records = pd.DataFrame([face.path2record(url) for url in urls])
    records.index.names = ["eid", "id"]
    assert face.record2url(records) == urls
    assert face.record2url(records.iloc[1]) == urls[1]
    assert face.record2url(records.iloc[:0]) == []


def test_a_path_to_what_is_not_known(online: tuple[Face, Session, list[str]]) -> None:
    face, told, _ = online
    path = f"{told.path}/alf/#r#/a.b.npy"
    assert face.path2url(path) is None
    assert face.path2url(path, query_type="remote").endswith(
        f"/alf/%23r%23/a.b.{a_dataset(told, 'alf/#r#/a.b.npy').id}.npy"
    )
    for unknown in (f"{told.path}/alf/c.d.npy", "x", f"x.{UNKNOWN}.npy", "x/2024-01-02/001/a.b.npy"):
        assert face.path2url(unknown) is None
        assert face.path2record(unknown) is None
        with pytest.raises(ALFObjectNotFound, match="no dataset at"):
            face.path2url(unknown, query_type="remote")


def test_newer_datasets_of_a_known_session_are_asked_for(online: tuple[Face, Session, list[str]]) -> None:
    face, _, asked = online
    known = a_session(subject="known")
    newer = a_dataset(known, "alf/new.b.npy")
    face.database.all_datasets.append(newer)
    assert face.path2url(newer.path) is None
    assert asked == []
    assert face.path2url(newer.path, query_type="remote") == f"https://data/{archive_path(newer.path, newer.id)}"
    assert face.path2record(newer.path).name == (str(known.eid), str(newer.id))


def test_without_a_server_there_is_no_url(tmp_path: Path) -> None:
    session = a_session()
    face = made(tmp_path, session, datasets=[a_dataset(session, "a.b.npy")])
    record = face.path2record(f"{session.path}/a.b.npy")
    for convert, named in [(face.path2url, f"{session.path}/a.b.npy"), (face.record2url, record)]:
        with pytest.raises(NoDatabaseError, match="no server"):
            convert(named)
    assert face.path2url("x") is None


def test_a_uuid_in_the_name_tells_datasets_on_one_path_apart(tmp_path: Path) -> None:
    first = a_session()
    same = {"lab": "lab", "subject": "mouse", "date": first.date, "number": 1, "task_protocol": "", "projects": ""}
    sessions = pd.DataFrame([{"id": str(first.eid), **same}, {"id": EID, **same}]).set_index("id")
    columns = {"rel_path": "a.b.npy", "file_size": 1, "hash": "", "exists": True, "qc": "PASS"}
    ids = [(str(first.eid), UNKNOWN), (EID, EID)]
    datasets = pd.DataFrame([columns] * 2, index=pd.MultiIndex.from_tuples(ids, names=["eid", "id"]))
    face = Face(tmp_path, FrameCatalogue({"sessions": sessions, "datasets": datasets}))
    with pytest.raises(ALFMultipleObjectsFound, match=f"several datasets: {UNKNOWN}, {EID}"):
        face.path2record(f"{first.path}/a.b.npy")
    for eid, id_ in ids:
        assert face.path2record(f"{first.path}/a.b.{id_}.npy").name == (eid, id_)
    assert face.path2record(f"{first.path}/a.b.{first.eid}.npy") is None


def test_datasets_of_no_session(tmp_path: Path) -> None:
    dataset = a_dataset(None, "Subjects/lab/mouse/_ibl_subjectTrials.table.pqt")
    face = made(tmp_path, a_session(), datasets=[dataset], server="https://data")
    for place in (tmp_path / dataset.path, f"https://data/public/{archive_path(dataset.path, dataset.id)}"):
        record = face.path2record(place)
        assert record.name[1] == str(dataset.id)
        assert face.record2path(record) == tmp_path / dataset.path
        assert face.record2url(record) == f"https://data/{archive_path(dataset.path, dataset.id)}"
    assert face.path2record(f"x.{dataset.id}.pqt").name == record.name


def test_folders_in_a_session_are_no_records(face: Face) -> None:
    assert face.path2record(f"{SESSION}/alf") is None
    assert face.path2record("/data") is None
    with pytest.raises(UsageError, match="is no path"):
        face.path2record(5)


@pytest.mark.parametrize("convert", ["record2path", "record2url"])
def test_records_that_are_none(face: Face, one: One, convert: str) -> None:
    row = one._cache.datasets.iloc[0]
    for value in (5, "x", None, {"rel_path": "x"}, [row]):
        with pytest.raises(TypeError, match="is a pandas Series or DataFrame"):
            getattr(face, convert)(value)
    unknown = row.copy()
    unknown.name = (UNKNOWN, row.name[1])
    with pytest.raises(UsageError, match=f"The session {UNKNOWN} is not known"):
        getattr(face, convert)(unknown)
    nameless = row.copy()
    nameless.name = None
    for value in (nameless, one._cache.sessions.iloc[0], one._cache.datasets.droplevel("eid")):
        with pytest.raises(UsageError, match="no row of datasets"):
            getattr(face, convert)(value)


# -- records of Alyx -------------------------------------------------------------------------------------------------


def answer(name: str) -> Any:
    return CONTRACT[name]["response"]["json"]


@pytest.mark.parametrize("name", ["sessions_read_ephys", "sessions_read_empty"])
def test_a_session_of_alyx_as_rows(name: str) -> None:
    record = answer(name)
    series, frame = converters.ses2records(record)
    expected, expected_frame = theirs.ses2records(record)
    assert dict(series) == dict(expected)
    assert series.name == str(expected.name)
    assert_same_rows(frame, expected_frame)


def assert_same_rows(frame: pd.DataFrame, expected: pd.DataFrame) -> None:
    columns = [*frame.columns]
    assert {*columns} == {*expected.columns} or not len(expected)
    assert frame.index.names == ["eid", "id"]
    assert [*frame.index] == [tuple(map(str, ids)) for ids in expected.index]
    for ours, other in zip(frame.itertuples(index=False), expected[columns].itertuples(index=False), strict=True):
        assert tuple(ours) == tuple(other)


def test_base_sessions_and_datasets_without_url() -> None:
    series, frame = converters.ses2records(answer("sessions_read_base_number_null"))
    assert series.number is None
    assert series.subject == "KS005"
    assert len(frame) == 0
    with pytest.raises(TypeError):
        theirs.ses2records(answer("sessions_read_data_url_null"))
    _, frame = converters.ses2records(answer("sessions_read_data_url_null"))
    assert [*frame.rel_path] == ["alf/_ibl_wheel.timestamps.npy", "alf/sparseNoise.xyPos.npy"]


def test_nested_datasets_that_cannot_be_placed_are_left_out() -> None:
    record = copy.deepcopy(answer("sessions_read_data_url_null"))
    record["data_dataset_session_related"][1]["revision"] = UNKNOWN
    assert len(converters.ses2records(record)[1]) == 1


def test_datasets_of_alyx_as_rows() -> None:
    record = answer("datasets_special_misc_info_txt")["results"][0]
    for records in (record, [record]):
        assert_same_rows(converters.datasets2records(records), theirs.datasets2records(records))
    frame = converters.datasets2records(record, additional=["dataset_type", "no such"])
    assert [*frame.dataset_type] == ["misc.info"]
    assert [*frame["no such"]] == [None]
    empty = converters.datasets2records([])
    assert (len(empty), empty.index.names) == (0, ["eid", "id"])


def test_datasets_of_all_kinds() -> None:
    records = answer("datasets_list")["results"]
    frame = converters.datasets2records(records)
    ids = {record["url"][-36:]: record for record in records}
    assert {*frame.index.get_level_values("id")} <= {*ids}
    aggregates = frame[frame.index.get_level_values("eid").isna()]
    assert len(aggregates) == 2
    assert all(path.startswith("aggregates/Subjects/") for path in aggregates.rel_path)
    for id_ in theirs.datasets2records(records).index.get_level_values("id"):
        assert str(id_) in frame.index.get_level_values("id")


def test_copies_that_do_not_exist_are_passed_over() -> None:
    record = copy.deepcopy(answer("datasets_special_misc_info_txt")["results"][0])
    record["file_records"][0]["exists"] = False
    assert len(converters.datasets2records(record)) == len(theirs.datasets2records(record)) == 1
    for file_record in record["file_records"]:
        file_record["exists"] = False
    assert len(converters.datasets2records(record)) == len(theirs.datasets2records(record)) == 0
    record["file_records"] = []
    assert len(converters.datasets2records(record)) == 0


def test_what_alyx_did_not_send() -> None:
    with pytest.raises(UsageError, match="no record of a session: no subject"):
        converters.ses2records({"id": EID})
    with pytest.raises(UsageError, match="no record of a dataset"):
        converters.datasets2records({"name": "x"})
    with pytest.raises(UsageError, match="no record of a file: no relative_path"):
        converters.path_from_filerecord({"data_repository_path": "/x"})
    with pytest.raises(UsageError, match="no record of a dataset: no UUID"):
        converters.path_from_dataset({"file_records": [{"relative_path": "x"}]}, uuid=True)


PATH_OPTIONS: list[dict[str, Any]] = [
    {}, {"root_path": "/data"}, {"root_path": Path("/data")}, {"root_path": PurePosixALFPath("/data")},
    {"repository": "aws_cortexlab"}, {"uuid": True}, {"root_path": "/data", "repository": "cortexlab_SR", "uuid": True},
]  # fmt: skip


@pytest.mark.parametrize("options", PATH_OPTIONS)
def test_paths_of_datasets_of_alyx(options: dict[str, Any]) -> None:
    record = answer("datasets_special_misc_info_txt")["results"][0]
    path = converters.path_from_dataset(record, **options)
    assert path.as_posix() == theirs.path_from_dataset(record, **options).as_posix()
    assert isinstance(path, PureALFPath)
    assert isinstance(path, ALFPath) == (not isinstance(options.get("root_path"), PurePosixALFPath))
    assert converters.path_from_dataset([record, record], **options) == [path, path]


def test_paths_of_files_of_alyx() -> None:
    record = answer("datasets_special_misc_info_txt")["results"][0]["file_records"][1]
    for options in ({}, {"root_path": "/data"}, {"root_path": "/data", "uuid": UNKNOWN}, {"uuid": UUID(UNKNOWN)}):
        path = converters.path_from_filerecord(record, **options)
        assert path.as_posix() == theirs.path_from_filerecord(record, **options).as_posix()
        assert converters.path_from_filerecord([record], **options) == [path]


def test_paths_below_the_cache_directory() -> None:
    record = answer("datasets_special_misc_info_txt")["results"][0]
    path = converters.one_path_from_dataset(record, "/cache")
    assert str(path) == str(theirs.one_path_from_dataset(record, "/cache"))
    assert converters.one_path_from_dataset([record], "/cache") == [path]  # ONE forgets the directory here


def test_files_that_are_not_on_the_web_have_paths_too() -> None:
    record = copy.deepcopy(answer("datasets_special_misc_info_txt")["results"][0])
    for file_record in record["file_records"]:
        file_record["data_url"] = None
    assert converters.path_from_dataset(record).name == "misc.info.txt"
    with pytest.raises(UsageError, match=r"no file in 'x'\. Name one of flatiron_cortexlab, aws_cortexlab"):
        converters.path_from_dataset(record, repository="x")
    record["file_records"] = []
    with pytest.raises(ALFObjectNotFound, match=r"knows no file of the dataset misc\.info\.txt"):
        converters.path_from_dataset(record)


@given(st.none() | st.just("") | st.just("lab"), st.dates(min_value=date(1000, 1, 1)), st.integers(0, 999))
@quick
def test_folders_of_sessions(lab: str | None, day: date, number: int) -> None:
    record = {"subject": "mouse", "date": day, "number": number, "lab": lab}
    variants: list[Callable[[dict[str, Any]], Any]] = [dict, pd.Series, lambda each: {**each, "number": str(number)}]
    for variant in variants:
        for root in (None, "/data", Path("/data")):
            path = converters.session_record2path(variant(record), root)
            assert path.as_posix() == theirs.session_record2path(record, root).as_posix()
            assert isinstance(path, Path) == (root is not None)


def test_folders_of_many_sessions(one: One, face: Face) -> None:
    frame = one._cache.sessions
    paths = converters.session_record2path(frame, face.cache_dir)
    assert paths == face.eid2path([str(eid) for eid in frame.index])
    assert converters.session_record2path([frame.iloc[0]], face.cache_dir) == paths[:1]
    record = answer("sessions_read_ephys")
    assert converters.session_record2path(record, "/data") == Path("/data", SESSION)
    with pytest.raises(UsageError, match="is no reference to a session"):
        converters.session_record2path({"subject": "x"})


@pytest.mark.parametrize("rel_path", ["../../x/a.b.npy", "/etc/a.b.npy", "alf/../../a.b.npy", ""])
@pytest.mark.parametrize("convert", ["record2path", "record2url"])
def test_a_row_whose_path_leaves_its_session_has_no_path(face: Face, convert: str, rel_path: str) -> None:
    with pytest.raises(UsageError, match="is no path in a session"):
        getattr(face, convert)(pd.Series({"rel_path": rel_path}, name=(EID, UNKNOWN)))


@pytest.mark.parametrize("inside", ["../../x/a.b.npy", "lab/../../a.b.npy"])
def test_a_file_of_alyx_whose_path_leaves_its_repository_has_no_path(inside: str) -> None:
    with pytest.raises(UsageError, match="is no path in a repository"):
        converters.path_from_filerecord({"data_repository_path": "/x", "relative_path": inside}, "/data")


def test_a_file_of_alyx_stays_below_the_root() -> None:
    path = converters.path_from_filerecord({"data_repository_path": "", "relative_path": "/lab/a.b.npy"}, "/data")
    assert path.as_posix() == "/data/lab/a.b.npy"


@pytest.mark.parametrize("odd", [{"subject": "../x"}, {"lab": ".."}, {"lab": "/etc"}])
def test_a_session_whose_path_leaves_the_root_has_no_path(odd: dict[str, str]) -> None:
    record = {"lab": "lab", "subject": "S", "date": date(2020, 7, 1), "number": 1, **odd}
    with pytest.raises(UsageError, match="is no path of a session"):
        converters.session_record2path(record, "/data")
