"""Searching and listing: the same answers as ONE's on the same tables, or a fault of ONE put right."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pandas as pd
import pytest
from archives import RECORDINGS, make_tables
from one_of_tables import one_of
from seeds import seeded

from onefs import One
from onefs.catalogue.records import QC, Dataset, Session
from onefs.catalogue.tables import write_tables
from onefs.one_errors import ALFError, ALFMultipleObjectsFound, ALFObjectNotFound, NoDatabaseError

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
EID = "d6ee68d4-ee19-4c5e-8595-633efeb735ed"
SESSION = "cortexlab/Subjects/KS014/2020-07-01/001"
NOBODY = "6a1c1f6e-54f5-4c09-8d5b-3a7d1a4c1d10"


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded tables."""
    return Path(shutil.copytree(RECORDINGS / "tables", tmp_path_factory.mktemp("archive") / "tables"))


@pytest.fixture(scope="module")
def ones(tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """ONE on the recorded tables."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield one_of(tables)


@pytest.fixture
def one(tables: Path, home: Path) -> One:
    return One(tables)


def texts(found: Any) -> list[str]:
    return [str(each) for each in found]


TERMS: dict[str, list[Any]] = {
    "subject": ["KS0", "^KS014$", ["KS005", "ZFM"], "nobody", ""],
    "lab": ["cortexlab", "lab", ["mainenlab", "cortexlab"]],
    "number": [1, "001", [1, 2]],
    "date": ["2020-07-01", ["2019-01-01", "2020-12-31"], ["2020-01-01", None], [None, "2020-01-01"]],
    "task": ["ephys", "train", ["ephys", "Choice"]],
    "proj": ["ibl", "^ibl_", ["nothing", "ibl"]],
    "datasets": ["spikes.times.npy", ["spikes.times.npy", "spikes.clusters.npy"], "spikes"],
    "dataset_qc_lte": ["PASS", "FAIL", "CRITICAL", 30],
}


def combinations() -> list[dict[str, Any]]:
    """Each value alone, and 150 random combinations."""
    chosen = seeded(7)
    found = [{name: value} for name, values in TERMS.items() for value in values if name != "dataset_qc_lte"]
    for _ in range(150):
        names = chosen.sample(sorted(TERMS), chosen.randint(2, 4))
        if "datasets" in names or "dataset_qc_lte" not in names:  # alone it finds nothing in ONE
            found.append({name: chosen.choice(TERMS[name]) for name in names})
    return found


@pytest.mark.seeded
def test_searches_find_what_one_finds(one: One, ones: Any) -> None:
    found = 0
    for terms in combinations():
        wanted = texts(ones.search(**terms))
        assert sorted(one.search(**terms)) == sorted(wanted), terms
        found += len(wanted)
    assert found > 100


@pytest.mark.parametrize("names", ["spikes.times", "wheel", ["spikes", "wheel"], r"\.npy$", "^alf/.*Trials", "nothing"])
def test_searches_by_a_part_of_a_path(one: One, tables: Path, names: str | list[str]) -> None:
    """Which this ONE has no more: each of the names must be in some path."""
    frame = pd.read_parquet(tables / "datasets.pqt").reset_index()
    frame = frame[frame.exists & (frame.qc != "CRITICAL")]
    wanted = [names] if isinstance(names, str) else names
    eids = [set(frame.eid[frame.rel_path.str.contains(name)]) for name in wanted]
    assert set(one.search(dataset=names)) == set.intersection(*eids)


def test_searches_answer_the_newest_first_and_whole_records(one: One, ones: Any) -> None:
    eids, records = one.search(details=True, subject="KS0")
    dates = [record.date for record in records]
    assert dates == sorted(dates, reverse=True)
    wanted = {str(eid): record for eid, record in zip(*ones.search(details=True, subject="KS0"), strict=True)}
    for eid, record in zip(eids, records, strict=True):
        assert dict(record) == {name: wanted[eid][name] for name in record}
        assert set(record) == {"lab", "subject", "date", "number", "task_protocol", "projects"}


def test_nothing_found(one: One) -> None:
    assert one.search(subject="nobody") == []
    assert one.search(subject="nobody", details=True) == ([], None)


@pytest.mark.parametrize(
    "terms", [{"colour": "red"}, {"dataset_": "a"}, {"p": "a", "sub": "b", "s": "c"}, {"lab": "a", "laboratory": "b"},
              {"subject": "["}, {"number": "one"}, {"date": "yesterday"}, {"date": ["2020-01-01"] * 3},
              {"dataset_qc": "GOOD"}],
)  # fmt: skip
def test_terms_that_cannot_be_meant(one: One, terms: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        one.search(**terms)


def test_search_terms(one: One) -> None:
    assert one.search_terms() == (
        "dataset", "datasets", "date_range", "laboratory", "number", "projects", "subject", "task_protocol",
        "dataset_qc_lte",
    )  # fmt: skip
    assert one.search_terms(endpoint="insertions") is None
    with pytest.raises(NoDatabaseError):
        one.search_terms("remote")


def test_list_subjects(one: One, ones: Any) -> None:
    assert one.list_subjects() == ones.list_subjects()


FILTERS: list[dict[str, Any]] = [
    {},
    {"filename": "spikes.times.npy"},
    {"filename": "*times*"},
    {"filename": {"object": "spikes"}},
    {"filename": {"object": ["spikes", "clusters"], "attribute": "t*"}},
    {"filename": {"extension": "pqt"}},
    {"collection": "alf"},
    {"collection": "alf*"},
    {"collection": "alf/probe??/*"},
    {"collection": ["alf", "raw_*"]},
    {"revision": "20*"},
    {"filename": "*Camera*", "collection": "raw_video_data"},
    {"filename": "nothing"},
    {"qc": "PASS"},
    {"qc": QC.CRITICAL},
    {"qc": "WARNING", "ignore_qc_not_set": True},
    {"default_revisions_only": True},
]


@pytest.mark.parametrize("asked", FILTERS, ids=str)
@pytest.mark.parametrize("eid", [EID, None, SESSION])
def test_lists_of_datasets_are_those_of_one(one: One, ones: Any, asked: dict[str, Any], eid: str | None) -> None:
    assert one.list_datasets(eid, **asked) == sorted(set(ones.list_datasets(eid, **asked)))


def test_a_list_of_names_is_any_of_them(one: One) -> None:
    """In ONE only the first one may have a collection before it."""
    both = {*one.list_datasets(EID, "*wheel*"), *one.list_datasets(EID, "licks*")}
    assert one.list_datasets(EID, ["*wheel*", "licks*"]) == sorted(both)
    assert "alf/licks.times.npy" in both


@pytest.mark.parametrize("asked", [each for each in FILTERS if not {"qc", "default_revisions_only"} & set(each)])
@pytest.mark.parametrize("eid", [EID, None])
def test_lists_of_collections_and_revisions_are_those_of_one(
    one: One, ones: Any, asked: dict[str, Any], eid: str | None
) -> None:
    assert one.list_collections(eid, **asked) == sorted(ones.list_collections(eid, **asked))
    assert one.list_revisions(eid, **asked) == sorted(ones.list_revisions(eid, **asked))


@pytest.mark.parametrize("keep_eid_index", [False, True])
@pytest.mark.parametrize("eid", [EID, None])
def test_details_are_frames_as_those_of_one(one: One, ones: Any, eid: str | None, keep_eid_index: bool) -> None:
    found = one.list_datasets(eid, "*times*", details=True, keep_eid_index=keep_eid_index)
    wanted = ones.list_datasets(eid, "*times*", details=True, keep_eid_index=keep_eid_index)
    wanted.index = (
        wanted.index.set_levels([level.astype(str) for level in wanted.index.levels])
        if wanted.index.nlevels > 1
        else wanted.index.astype(str)
    )
    assert list(found.index.names) == list(wanted.index.names)
    assert set(found.columns) == set(wanted.columns)
    pd.testing.assert_frame_equal(found.sort_index(), wanted[found.columns].sort_index(), check_dtype=False)
    assert found.index.is_monotonic_increasing


def test_details_by_collection_and_revision(one: One) -> None:
    collections = one.list_collections(EID, details=True)
    assert sorted(collections) == one.list_collections(EID)
    everything = one.list_datasets(EID, details=True)
    assert sum(map(len, collections.values())) == len(everything)
    revisions = one.list_revisions(EID, details=True)
    assert sorted(revisions) == one.list_revisions(EID)
    assert all(f"/#{name}#/" in f"/{path}" for name in revisions if name for path in revisions[name].rel_path)


def test_details_by_collection_of_one_dataset(one: One) -> None:
    found = one.list_collections(EID, "licks.times.npy", details=True)
    assert {name: list(frame.rel_path) for name, frame in found.items()} == {"alf": ["alf/licks.times.npy"]}
    assert list(one.list_revisions(EID, "licks.times.npy", details=True)) == [""]


def test_a_changed_frame_of_details_changes_no_answer(one: One) -> None:
    one.list_datasets(EID, details=True)["rel_path"] = "gone"
    assert "gone" not in one.list_datasets(EID)


def test_an_unknown_session_has_nothing(one: One) -> None:
    assert one.list_datasets(NOBODY) == []
    assert one.list_datasets("mouse/2001-01-01/001") == []
    assert len(one.list_datasets(NOBODY, details=True)) == 0
    assert one.list_collections(NOBODY) == []
    assert one.list_revisions(NOBODY, details=True) == {}


@pytest.mark.parametrize("eid", ["KS014", 7, "2020-07-01"])
def test_what_is_no_session_is_a_value_error(one: One, eid: Any) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        one.list_datasets(eid)


@pytest.mark.parametrize("query_type", ["remot", "", 3])
def test_other_query_types_are_value_errors(one: One, query_type: Any) -> None:
    for call in (one.list_datasets, one.get_details, one.list_collections):
        with pytest.raises(ValueError, match="mode"):
            call(EID, query_type=query_type)
    with pytest.raises(ValueError, match="mode"):
        one.search(query_type=query_type)


def test_a_remote_query_needs_a_database(one: One) -> None:
    for kind in (NotImplementedError, AssertionError):
        with pytest.raises(kind):
            one.list_datasets(EID, query_type="remote")


def test_details_of_a_session_are_those_of_one(one: One, ones: Any) -> None:
    found, wanted = one.get_details(EID), ones.get_details(EID)
    assert found.name == EID
    assert found.to_dict() == wanted[found.index].to_dict()
    full, wanted_full = one.get_details(EID, full=True), ones.get_details(EID, full=True)
    assert list(full.index.names) == ["eid", "id"]
    assert set(full.columns) == set(wanted_full.columns)
    assert sorted(full.rel_path) == sorted(wanted_full.rel_path)
    assert set(full.subject) == {"KS014"}
    assert [each.name for each in one.get_details([EID, SESSION])] == [EID, EID]


def test_details_of_an_unknown_session(one: One) -> None:
    with pytest.raises(ALFObjectNotFound, match=NOBODY):
        one.get_details(NOBODY)
    with pytest.raises(ValueError, match="leads to no session"):
        one.get_details("mouse/2001-01-01/001")


def session(eid: UUID, subject: str = "mouse", number: int = 1, **changes: Any) -> Session:
    return replace(Session(eid, "lab", subject, date(2024, 1, 2), number, "", ""), **changes)


def dataset(of: Session, rel_path: str, **changes: Any) -> Dataset:
    known = Dataset(
        id=uuid4(), eid=of.eid, session_path=of.path, rel_path=rel_path, size_bytes=1, md5="", exists=True,
        qc=QC.PASS, default_revision=None,
    )  # fmt: skip
    return replace(known, **changes)


def tables_of(directory: Path, sessions: Sequence[Session], datasets: Sequence[Dataset]) -> One:
    directory.mkdir(exist_ok=True)
    write_tables(directory, sessions, datasets, created="2024-01-03 00:00", origin="tests")
    return One(directory)


def test_null_texts_are_empty(tmp_path: Path, home: Path) -> None:
    """ONE finds a session whose projects are null by whatever name."""
    make_tables(tmp_path / "tables", {"alf/a.b.npy": b"1"})
    frame = pd.read_parquet(tmp_path / "tables" / "sessions.pqt")
    frame["projects"] = None
    one = One(tmp_path / "tables")
    one._cache["sessions"] = frame
    assert one.search(projects="anything") == []
    assert len(one.search(projects="")) == 1


def test_the_same_session_twice(tmp_path: Path, home: Path) -> None:
    eid = uuid4()
    one = tables_of(tmp_path / "tables", [session(eid), session(eid, "other")], [])
    with pytest.raises(ALFMultipleObjectsFound, match=str(eid)):
        one.get_details(str(eid))


def test_names_that_are_not_alf_are_listed(tmp_path: Path, home: Path) -> None:
    """ONE leaves them out of lists without a filter."""
    one_session = session(uuid4())
    files = ["notes.txt", "alf/ReadMe", "alf/a.b.npy"]
    one = tables_of(tmp_path / "tables", [one_session], [dataset(one_session, path) for path in files])
    assert one.list_datasets(one_session.eid) == sorted(files)
    assert one.list_datasets(one_session.eid, collection="") == ["notes.txt"]
    assert one.list_datasets(one_session.eid, collection=["alf", ""]) == sorted(files)


def test_which_editions_are_default_ones_must_be_told(tmp_path: Path, home: Path) -> None:
    one_session = session(uuid4())
    one = tables_of(tmp_path / "tables", [one_session], [dataset(one_session, "alf/a.b.npy")])
    with pytest.raises(ALFError, match="default_revision"):
        one.list_datasets(one_session.eid, default_revisions_only=True)
    with pytest.raises(ALFError, match="default_revision"):
        one.list_datasets(default_revisions_only=True)


def aggregate(rel_path: str, **changes: Any) -> Dataset:
    made = dataset(session(uuid4()), f"aggregates/{rel_path}", **changes)
    return replace(made, eid=None, session_path="aggregates")


def test_aggregates(tmp_path: Path, home: Path) -> None:
    table = "_ibl_subjectTrials.table"
    one = tables_of(
        tmp_path / "tables",
        [session(uuid4())],
        [
            aggregate(f"Subjects/cortexlab/KS005/{table}.pqt", default_revision=False),
            aggregate(f"Subjects/cortexlab/KS005/#2024-01-01#/{table}.pqt", default_revision=True),
            aggregate("Subjects/cortexlab/KS0051/_ibl_subjectTraining.table.pqt"),
            aggregate("Tags/2022_Q2/a.table.pqt"),
        ],
    )
    found = one.list_aggregates("subjects", "KS005$")
    assert list(found.rel_path) == [f"aggregates/Subjects/cortexlab/KS005/#2024-01-01#/{table}.pqt"]
    assert list(found.relation) == ["subjects"]
    assert list(found.identifier) == ["cortexlab/KS005"]
    assert found.index.name == "id"
    assert len(one.list_aggregates("SUBJECTS")) == 2
    assert len(one.list_aggregates("subjects", dataset="*Training*")) == 1
    assert list(one.list_aggregates("subjects", revision="", dataset="*Trials*").rel_path) == [
        f"aggregates/Subjects/cortexlab/KS005/{table}.pqt"
    ]
    assert len(one.list_aggregates("subj")) == 0
    with pytest.raises(AssertionError):
        one.list_aggregates("subjects", assert_unique=True)


def test_lists_of_everything_have_aggregates_as_the_table_has_them(tmp_path: Path, home: Path) -> None:
    of = session(uuid4())
    path = "Subjects/lab/mouse/a.table.pqt"
    rows = [aggregate(path), dataset(of, path), aggregate("Tags/t/b.table.pqt", qc=QC.CRITICAL)]
    one = tables_of(tmp_path / "tables", [of], rows)
    wanted = [path, f"aggregates/{path}"]
    assert one.list_datasets() == wanted
    assert one.list_datasets(collection="aggregates*") == wanted[1:]
    assert one.list_collections() == ["Subjects/lab/mouse", "aggregates/Subjects/lab/mouse"]
    assert sorted(one.list_datasets(details=True).rel_path) == wanted  # from now on the frames answer
    assert one.list_datasets() == wanted


def test_critical_aggregates_are_left_out_before_editions_are_chosen(tmp_path: Path, home: Path) -> None:
    rows = [
        aggregate("Subjects/lab/mouse/a.table.pqt", default_revision=False),
        aggregate("Subjects/lab/mouse/#2024-01-01#/a.table.pqt", default_revision=True, qc=QC.CRITICAL),
    ]
    one = tables_of(tmp_path / "tables", [session(uuid4())], rows)
    assert list(one.list_aggregates("subjects").rel_path) == ["aggregates/Subjects/lab/mouse/a.table.pqt"]


def test_insertions(tmp_path: Path, home: Path) -> None:
    old, new = session(uuid4(), date=date(2023, 1, 1)), session(uuid4(), "rat")
    one = tables_of(tmp_path / "tables", [old, new], [])
    with pytest.raises(NoDatabaseError, match="insertions"):
        one.search_insertions()
    rows = [(old, "probe00"), (old, "probe01"), (new, "probe00")]
    pids = [str(uuid4()) for _ in rows]
    index = pd.MultiIndex.from_tuples([(str(of.eid), pid) for (of, _), pid in zip(rows, pids, strict=True)])
    frame = pd.DataFrame({"name": [name for _, name in rows], "model": "3B2"}, index.set_names(["eid", "id"]))
    one._cache["insertions"] = frame
    assert one.search_insertions() == [pids[2], pids[1], pids[0]]
    assert one.search_insertions(name="00$") == [pids[2], pids[0]]
    found, records = one.search_insertions(details=True, subject="mouse", name="probe01")
    assert found == [pids[1]]
    assert records[0].name == "probe01"
    with pytest.raises(ValueError, match="colour"):
        one.search_insertions(colour="red")
