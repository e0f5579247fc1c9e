"""The Python face and ONE-api 3.6.1 in local mode, on recorded, demo's and random tables, call by call.

Both answer the same; where they do not, a known fault of ONE is named, and the right answer is asserted by other means.
"""

import os
import random
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import one.alf.io
import pandas as pd
import pytest
import right_answers
from archives import FAULTY as WRONG
from archives import RECORDINGS
from faces import Faces, Failed, agree, answer, plain
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from in_memory import folder_in_memory
from one.alf.path import filename_parts, remove_uuid_string
from one.alf.spec import is_valid
from random_questions import fault_of_list, fault_of_search, random_filters, random_terms
from random_tables import content_of, random_tables, write
from right_answers import parts_of
from seeds import seeded

LONG_AGO = (1_000_000_000, 1_000_000_000)
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("HOME", str(home))
        patch.setenv("XDG_CACHE_HOME", str(home / "cache"))
        yield home


@pytest.fixture(scope="module", params=["recorded", "demo"])
def faces(request: pytest.FixtureRequest, own_home: Path) -> Faces:
    """Both on an archive's tables, with its files below them."""
    is_demo = request.param == "demo"
    archive = request.getfixturevalue("demo_archive") if is_demo else RECORDINGS
    folder = Path(shutil.copytree(archive / "tables", own_home / request.param))
    public = archive / "data" / "public"
    for file in public.rglob("*.*"):
        if file.is_file():
            copy = folder / remove_uuid_string(file.relative_to(public))
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
            os.utime(copy, LONG_AGO)  # so that it is hashed once
    return Faces(folder)


@pytest.fixture(params=[True, False], ids=["wildcards", "plain"])
def wildcards(request: pytest.FixtureRequest, faces: Faces) -> Iterator[bool]:
    faces.set_wildcards(on=request.param)
    yield request.param
    faces.set_wildcards(on=True)


# -- one question, asked of both --------------------------------------------------------------------------------------


def check_search(faces: Faces, pick: random.Random, *, wildcards: bool) -> str:
    """Search both by random terms. The fault of ONE that showed, or how much was found."""
    given, exact = random_terms(pick, faces.sessions, faces.datasets, wildcards=wildcards)
    right = right_answers.found(faces.sessions, faces.rows_of, exact, wildcards=wildcards)
    ours, ones = faces.both("search", **given)
    assert ours == right, given
    if isinstance(ones, list) and sorted(ones) == sorted(ours):
        eids, records = faces.ours.search(details=True, **given)
        assert eids == ours
        of_ones = dict(zip(*answer(faces.ones.search, details=True, **given), strict=True)) if eids else {}
        for eid, record in zip(eids, records or (), strict=True):
            assert dict(record) == {name: of_ones[eid][name] for name in record}
        return "equal" if ours else "nothing"
    fault = fault_of_search(exact, faces.datasets, wildcards=wildcards)
    assert fault, (given, ours, ones)
    return fault


def check_list(faces: Faces, pick: random.Random, eid: str | None, *, wildcards: bool) -> str:
    """List datasets, collections and revisions by random filters. The fault of ONE that showed, or how much was."""
    rows = faces.rows_of[eid] if eid else [row for rows in faces.rows_of.values() for row in rows]
    filters = random_filters(pick, faces.datasets, wildcards=wildcards)
    right = right_answers.listed(rows, filters, wildcards=wildcards)
    ours, ones = faces.both("list_datasets", eid, **filters)
    assert ours == right, (eid, filters)
    few = {name: value for name, value in filters.items() if name in ("filename", "collection", "revision")}
    passing = right_answers.listed(rows, few, wildcards=wildcards)
    collections, revisions = ({parts_of(path)[part] for path in passing} for part in (0, 1))
    assert faces.ours.list_collections(eid, **few) == sorted(collections)
    assert faces.ours.list_revisions(eid, **few) == sorted(revisions)
    if pick.random() < 0.2:
        assert sorted(set(faces.ours.list_datasets(eid, details=True, **filters)["rel_path"])) == right
        assert faces.ours.list_collections(eid, details=True, **few).keys() == collections
        assert faces.ours.list_revisions(eid, details=True, **few).keys() == revisions
    if not isinstance(ones, Failed) and sorted(paths_in(ones)) == ours:
        if filters == few and all(
            is_valid(path.rpartition("/")[2]) for path in ours
        ):  # of others ONE knows no collection
            assert sorted(faces.ones.list_collections(eid, **few)) == faces.ours.list_collections(eid, **few)
        return "equal" if ours else "nothing"
    fault = fault_of_list(filters, set(ours), paths_in(ones), wildcards=wildcards)
    assert fault, (eid, filters, sorted(set(ours) ^ paths_in(ones)))
    return fault


def paths_in(listed: Any) -> set[str]:
    """ONE's list of paths, which is a frame for a session without datasets."""
    return set() if isinstance(listed, Failed | tuple) else set(listed)


# -- recorded and demo's tables ---------------------------------------------------------------------------------------


@pytest.mark.seeded
def test_five_hundred_random_searches(faces: Faces, wildcards: bool) -> None:
    pick = seeded(1)
    seen = Counter(check_search(faces, pick, wildcards=wildcards) for _ in range(250))
    assert seen["equal"] > 40, seen  # it depends on the seed


@pytest.mark.seeded
def test_random_lists_of_every_session(faces: Faces, wildcards: bool) -> None:
    pick = seeded(2)
    seen = Counter(check_list(faces, pick, eid, wildcards=wildcards) for eid in (*faces.eids, None) for _ in range(8))
    assert seen["equal"] > 30, seen


def test_identifiers_of_every_session(faces: Faces) -> None:
    for eid in faces.eids:
        path = faces.ours.eid2path(eid)
        ref, parts = faces.ours.eid2ref(eid, as_dict=False), faces.ours.eid2ref(eid)
        calls = [
            ("eid2path", eid), ("path2eid", path), ("path2eid", str(path / "alf" / "a.b.npy")), ("path2record", path),
            ("ref2eid", ref), ("ref2eid", parts), ("ref2path", ref), ("ref2path", parts), ("path2ref", path),
            ("ref2dict", ref), ("dict2ref", parts), ("is_exp_ref", ref), ("get_details", eid),
            *(("to_eid", each) for each in (eid, ref, parts, path, str(path), f"https://alyx.org/sessions/{eid}")),
        ]  # fmt: skip
        for method, argument in calls:
            ours, ones = faces.both(method, argument)
            assert not isinstance(ours, Failed), (method, argument, ours)
            if method == "path2ref" and "." in parts.subject:  # for ONE the subject begins behind the dot
                assert (ours, ones["subject"]) == (parts, parts.subject.rpartition(".")[2])
            else:
                assert agree(ours, ones), (method, argument, ours, ones)
        for how in ({"as_dict": False}, {"parse": False}, {"as_dict": False, "parse": False}):
            assert agree(*faces.both("eid2ref", eid, **how))
    for method in ("to_eid", "eid2path", "path2eid", "ref2eid"):
        several = [faces.ours.eid2path(eid) if method == "path2eid" else eid for eid in faces.eids]
        if method == "ref2eid":
            several = [faces.ours.eid2ref(eid, as_dict=False) for eid in faces.eids]
        assert agree(*faces.both(method, several))


def test_records_of_every_dataset(faces: Faces) -> None:
    for (eid, id_), row in faces.datasets.iloc[::2].iterrows():
        path = faces.ours.eid2path(eid) / row.rel_path
        record = faces.ours.path2record(path)
        assert record.name == (str(eid), str(id_))
        assert faces.ours.record2path(record) == path
        ones = faces.ones.path2record(path)
        if ones is None:
            assert row.qc == "CRITICAL", "ONE finds only what it lists"
        else:
            assert ones.rel_path == record.rel_path == row.rel_path
            assert (record.hash or "") == (ones["hash"] or "")
            for name in ("file_size", "exists", "qc"):
                assert plain(record[name]) == plain(ones[name])
            assert answer(faces.ones.record2path, ones) == str(path)


class File(NamedTuple):
    """A dataset whose file is there. `fault` says what makes ONE fail at it, "" for nothing."""

    eid: str
    rel_path: str
    id: str
    path: Path
    fault: str

    @property
    def collection(self) -> str:
        return parts_of(self.rel_path)[0]

    @property
    def object(self) -> str:
        return str(filename_parts(self.rel_path.rpartition("/")[2], as_dict=True)["object"])


@pytest.fixture(scope="module")
def files(faces: Faces) -> list[File]:
    """The datasets whose files are there, but for those of QC CRITICAL, which nobody loads by name."""
    found = []
    for eid, rows in faces.rows_of.items():
        folder = faces.ours.eid2path(eid)
        for row in rows:
            path = folder / row.rel_path
            is_wrong = str(path.relative_to(faces.ours.cache_dir)) in WRONG
            fault = "wrong" if is_wrong else "null size" if row.file_size is pd.NA else ""
            if row.qc != "CRITICAL" and path.exists():
                found.append(File(eid, row.rel_path, str(row.Index[1]), path, fault))
    return found


@pytest.fixture(scope="module")
def objects(files: list[File]) -> dict[tuple[str, str, str], list[File]]:
    """The files of each object, by eid, collection and name."""
    found: dict[tuple[str, str, str], list[File]] = defaultdict(list)
    for file in files:
        found[file.eid, file.collection, file.object].append(file)
    return found


def test_every_dataset_loads(faces: Faces, files: list[File]) -> None:
    n_equal = 0
    for file in files[:: len(files) // 50]:
        collection, revision, name = parts_of(file.rel_path)
        calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
            ("load_dataset_from_id", (file.id,), {}),
            ("load_dataset", (file.eid, file.rel_path), {"download_only": True}),
            ("load_dataset", (file.eid, name, collection, revision or None), {"download_only": True}),
        ]
        for method, arguments, further in calls:
            ours, ones = faces.both(method, *arguments, **further)
            if file.fault == "wrong":  # ONE gives the wrong bytes
                assert "MismatchError" in ours.kinds
            elif file.fault == "null size":  # ONE fails at it
                assert isinstance(ones, Failed)
                assert agree(ours, str(file.path) if further else answer(one.alf.io.load_file_content, file.path))
            else:
                assert not isinstance(ours, Failed), (arguments, ours)
                assert agree(ours, ones), (method, arguments, ours, ones)
                n_equal += 1
    assert n_equal > 120


def test_datasets_of_a_session_load_in_one_call(faces: Faces, files: list[File]) -> None:
    for eid in faces.eids:
        paths = [file.rel_path for file in files if file.eid == eid and not file.fault]
        if paths:
            ours, ones = faces.both("load_datasets", eid, paths, download_only=True)
            assert agree(ours[0], ones[0]), eid
            wanted = [{key: record[key] for key in ("rel_path", "id", "eid", "revision")} for record in ones[1]]
            assert [{key: record[key] for key in wanted[0]} for record in ours[1]] == wanted
    ours, ones = faces.both("load_datasets", files[0].eid, ["no.such.npy"])
    assert isinstance(ours, Failed) and agree(ours, ones)


def test_every_object_loads(faces: Faces, objects: dict[tuple[str, str, str], list[File]]) -> None:
    n_equal = 0
    for (eid, collection, name), files in list(objects.items())[:: len(objects) // 25]:
        faults = {file.fault for file in files}
        if "wrong" in faults:
            assert "MismatchError" in answer(faces.ours.load_object, eid, name, collection).kinds
        elif "null size" in faults:
            assert not isinstance(answer(faces.ours.load_object, eid, name, collection), Failed)
        else:
            assert agree(*faces.both("load_object", eid, name, collection)), (eid, name, collection)
            for asked in ({"collection": collection}, {}, {"collection": collection, "revision": "2024"}):
                ours, ones = faces.both("load_object", eid, name, **asked, download_only=True)
                assert agree(ours, sorted(ones) if isinstance(ones, list) else ones), (eid, name, asked)
            for file in files:
                assert_own_types(faces, file)
            n_equal += 1
    assert n_equal > 20


def assert_own_types(faces: Faces, file: File) -> None:
    """Each column of a table has its own type; in ONE they get one that suits all of them."""
    if file.path.name.endswith(".table.pqt") and "#" not in file.rel_path:
        frame = pd.read_parquet(file.path)
        loaded = faces.ours.load_object(file.eid, file.object, file.collection, revision="", attribute="table")
        for key in set(frame) & set(loaded):
            assert loaded[key].dtype == frame[key].to_numpy().dtype


def test_every_collection_loads(faces: Faces, objects: dict[tuple[str, str, str], list[File]]) -> None:
    n_equal = 0
    faulty = {file.eid for files in objects.values() for file in files if file.fault}
    for eid, collection in sorted({each[:2] for each in objects if each[0] not in faulty})[::8]:
        ours, ones = faces.both("load_collection", eid, collection)
        assert agree(ours, ones), (eid, collection, ours, ones)
        paths, of_ones = faces.both("load_collection", eid, collection, download_only=True)
        assert isinstance(paths, list)
        assert paths == sorted(of_ones), "which ONE answers as a tuple"
        early = answer(faces.ours.load_collection, eid, collection, revision="2024", download_only=True)
        each_object = [
            faces.both("load_object", eid, name, collection, revision="2024", download_only=True)[1]
            for each, where, name in objects
            if (each, where) == (eid, collection)
        ]  # ONE takes the revision of load_collection for a collection
        wanted = sorted(path for found in each_object if isinstance(found, list) for path in found)
        assert early == wanted or (not wanted and "ALFObjectNotFound" in early.kinds)
        n_equal += 1
    assert n_equal > 2


# -- random tables ----------------------------------------------------------------------------------------------------


@settings(
    max_examples=200, deadline=None, database=None, phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(seed=st.integers(0, 2**32))
def test_random_tables(own_home: Path, seed: int) -> None:
    pick = random.Random(seed)
    tables = random_tables(pick)
    with folder_in_memory() as directory:
        folder = Path(directory)
        write(folder, tables)
        faces = Faces(folder)
        try:
            check_all(faces, pick, tables.aggregates)
        finally:
            faces.close()


def check_all(faces: Faces, pick: random.Random, aggregates: pd.DataFrame) -> None:
    """A few questions of each kind."""
    for wildcards in (True, False):
        faces.set_wildcards(on=wildcards)
        check_search(faces, pick, wildcards=wildcards)
        check_list(faces, pick, pick.choice([*faces.eids, None]), wildcards=wildcards)
    faces.set_wildcards(on=True)
    eid = pick.choice(faces.eids)
    check_identifiers(faces, eid)
    check_loads(faces, pick, eid)
    check_aggregates(faces, aggregates)


def check_identifiers(faces: Faces, eid: str) -> None:
    path = faces.ours.eid2path(eid)
    assert agree(str(path), answer(faces.ones.eid2path, eid))
    assert faces.ours.to_eid(path) == faces.ours.path2eid(path) == eid
    reference = faces.ours.eid2ref(eid, as_dict=False)
    ours = answer(faces.ours.ref2eid, reference)
    assert ours == eid or "ALFMultipleObjectsFound" in ours.kinds


def check_loads(faces: Faces, pick: random.Random, eid: str) -> None:
    """One file by its name alone and with its collection, and its object."""
    rows = faces.rows_of[eid]
    if not rows:
        return
    collection, _, name = parts_of(pick.choice(rows).rel_path)
    editions = [
        row for row in rows
        if parts_of(row.rel_path)[::2] == (collection, name) and row.qc != "CRITICAL"
    ]  # fmt: skip
    ours, ones = faces.both("load_dataset", eid, name, collection, download_only=True)
    marked = [row for row in editions if getattr(row, "default_revision", False)]
    if len(marked) == 1 or len(editions) == 1 or not marked:
        assert agree(ours, ones) or not is_valid(name), (eid, collection, name, ours, ones)
    chosen = max(marked or editions, key=lambda row: parts_of(row.rel_path)[1], default=None)
    if chosen is None or not chosen.exists:
        assert "ALFObjectNotFound" in ours.kinds
        return
    assert ours == str(faces.ours.eid2path(eid) / chosen.rel_path)
    content = faces.ours.load_dataset_from_id(chosen.Index[1])
    if is_valid(name):
        assert content.tobytes() == content_of(chosen.rel_path)[-16:]


def check_aggregates(faces: Faces, rows: pd.DataFrame) -> None:
    """One edition of each: the one marked, else the greatest."""
    found = faces.ours.list_aggregates("subjects")
    by_subject: dict[str, list[Any]] = defaultdict(list)
    for row in rows.itertuples():
        if row.qc != "CRITICAL":
            by_subject[row.rel_path.split("/")[3]].append(row)
    wanted = []
    for editions in by_subject.values():
        marked = [row for row in editions if getattr(row, "default_revision", False)]
        wanted.append(max(marked or editions, key=lambda row: parts_of(row.rel_path)[1]).rel_path)
    assert sorted(found["rel_path"]) == sorted(wanted)
