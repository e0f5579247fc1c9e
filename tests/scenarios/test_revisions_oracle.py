"""The edition that a view gives is the one that ONE-api loads; where ONE is wrong, the test says so."""

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
import pytest
from archives import RECORDINGS
from asking import a_dataset, a_session
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onefs.catalogue.editions import EditionRows, edition_of
from onefs.catalogue.layout import LeftOutTally
from onefs.catalogue.records import QC, Dataset
from onefs.catalogue.revisions import Rule, shown
from onefs.catalogue.revisions import edition_of as edition_of_path
from onefs.catalogue.snapshot import Snapshot, load_snapshot

SESSION = a_session()
DATES = ("1999-01-01", "2023-01-01", "2024-05-05", "2024-05-06", "2024-05-07", "2030-12-31")
NAMES = ("spikes.times.npy", "_ibl_trials.table.pqt", "clusters.uuids.probe.csv")
REVISIONS = ("", "2023-01-01", "2024-05-06", "2024-05-06a", "v1.0", "test")
pytestmark = pytest.mark.filterwarnings("ignore")


class Oracle:
    """ONE in local mode over tables in memory."""

    def __init__(self, home: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HOME", str(home))
            from one.api import One

            (home / "empty").mkdir()
            self.one = One(cache_dir=home / "empty", mode="local")

    def has(self, sessions: pd.DataFrame, datasets: pd.DataFrame) -> None:
        self.one._cache["sessions"], self.one._cache["datasets"] = sessions, datasets

    def load(self, eid: UUID, name: str, collection: str, **how: Any) -> str | None:
        """The path in the session that `load_dataset` would load from, None if it finds none."""
        import one.alf.exceptions as alferr

        found: list[str] = []

        def taken(datasets: pd.DataFrame, **_: Any) -> list[str]:
            found.extend(datasets["rel_path"])
            return found

        self.one._check_filesystem = taken  # after this comes reading, for which there are no files
        try:
            self.one.load_dataset(eid, name, collection=collection, download_only=True, **how)
        except alferr.ALFObjectNotFound:
            return None
        assert len(found) == 1
        return found[0]


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Oracle:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Oracle(tmp_path_factory.mktemp("one"))


def names_in(paths: list[str]) -> Iterator[tuple[str, str]]:
    """Each file that there is, whichever its edition: collection and name."""
    for path in sorted({edition_of_path(path)[0] for path in paths}):
        collection, _, name = path.rpartition("/")
        yield collection, name


def given_by(rows: Any, rule: Rule) -> dict[str, str]:
    """The dataset's path by the name that a view gives it."""
    return {name: path for path, name in zip(rows.rel_paths, shown(rows, rule), strict=True) if name is not None}


def a_frame(datasets: list[Dataset]) -> pd.DataFrame:
    """The datasets table as ONE has it in memory."""
    index = pd.MultiIndex.from_tuples([(row.eid, row.id) for row in datasets], names=["eid", "id"])
    qc = pd.Categorical([row.qc.name for row in datasets], [each.name for each in QC], ordered=True)
    frame = pd.DataFrame({"rel_path": [row.rel_path for row in datasets], "qc": qc, "exists": True}, index=index)
    frame["file_size"], frame["hash"] = 1, ""
    if all(row.default_revision is not None for row in datasets):
        frame["default_revision"] = [bool(row.default_revision) for row in datasets]
    return frame.sort_index()


def a_sessions_frame() -> pd.DataFrame:
    fields = {"lab": SESSION.lab, "subject": SESSION.subject, "date": SESSION.date, "number": SESSION.number}
    return pd.DataFrame([{**fields, "task_protocol": "", "projects": ""}], index=pd.Index([SESSION.eid], name="id"))


@st.composite
def tables(draw: st.DrawFn) -> list[Dataset]:
    """One session's files in several editions, each of them marked as the default once, or the column absent."""
    marks = draw(st.booleans())
    rows = []
    for collection in draw(st.lists(st.sampled_from(["", "alf", "alf/probe00"]), unique=True, min_size=1, max_size=2)):
        for name in draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1, max_size=2)):
            revisions = draw(st.lists(st.sampled_from(REVISIONS), unique=True, min_size=1, max_size=4))
            default = draw(st.sampled_from(revisions)) if marks else None
            for revision in revisions:
                path = "/".join(filter(None, (collection, revision and f"#{revision}#", name)))
                dataset = a_dataset(SESSION, path, qc=draw(st.sampled_from(list(QC))))
                rows.append(replace(dataset, default_revision=revision == default if marks else None))
    return rows


@given(tables(), st.sampled_from(DATES))
@settings(
    deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
def test_on_random_tables_each_view_gives_what_one_loads(oracle: Oracle, datasets: list[Dataset], date: str) -> None:
    oracle.has(a_sessions_frame(), a_frame(datasets))
    tally = LeftOutTally()
    rows = EditionRows(edition_of(datasets, tally), 0, SESSION.eid, SESSION.path)
    assert not tally.totals()
    default = given_by(rows, Rule(default_only=True))
    then = given_by(rows, Rule(as_of=date, default_only=True))
    for collection, name in names_in(rows.rel_paths):
        path = f"{collection}/{name}" if collection else name
        assert default.get(path) == oracle.load(SESSION.eid, name, collection), path
        assert then.get(path) == oracle.load(SESSION.eid, name, collection, revision=date), (path, date)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    return load_snapshot(RECORDINGS / "tables", tmp_path_factory.mktemp("state"))


def test_on_the_recorded_tables_each_view_gives_what_one_loads(oracle: Oracle, recorded: Snapshot) -> None:
    frames = [pd.read_parquet(RECORDINGS / "tables" / f"{table}.pqt") for table in ("sessions", "datasets")]
    sessions, datasets = frames
    sessions.index = pd.Index(map(UUID, sessions.index), name="id")
    datasets.index = pd.MultiIndex.from_tuples([(UUID(a), UUID(b)) for a, b in datasets.index], names=["eid", "id"])
    oracle.has(sessions.sort_index(), datasets.sort_index())
    asked = 0
    for row in range(recorded.n_sessions):
        rows, eid = recorded.datasets(row), recorded.session(row).eid
        for date in (None, *DATES):
            found = given_by(rows, Rule(as_of=date or "", default_only=True))
            revised = {edition_of_path(path)[0] for path in rows.rel_paths if "#" in path}
            for collection, name in names_in(rows.rel_paths):
                path = f"{collection}/{name}" if collection else name
                if date in (None, DATES[2]) or path in revised:
                    how = {"revision": date} if date else {}
                    assert found.get(path) == oracle.load(eid, name, collection, **how), (path, date)
                    asked += 1
    assert asked > 400


# -- where ONE is wrong ------------------------------------------------------------------------------------------------


FAULTY = [replace(a_dataset(SESSION, path), default_revision=default) for path, default in {
    "alf/spikes.times.npy": True,
    "alf/spikes.clusters.npy": True,
    "alf/#2023-01-01#/spikes.times.npy": False,
    "spikes.clusters.npy": True,
}.items()]  # fmt: skip


@pytest.fixture
def faulty(oracle: Oracle) -> Any:
    oracle.has(a_sessions_frame(), a_frame(FAULTY))
    oracle.one._check_filesystem = lambda datasets, **_: list(datasets["rel_path"])
    return oracle.one


def ours(as_of: str) -> dict[str, str]:
    rows = EditionRows(edition_of(FAULTY, LeftOutTally()), 0, SESSION.eid, SESSION.path)
    return given_by(rows, Rule(as_of=as_of, default_only=True))


def test_one_takes_a_relative_path_for_an_error_once_a_date_is_set(
    faulty: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a view, a relative path is a path, whatever the date."""
    monkeypatch.setattr("one.api.REVISION_LAST_BEFORE", "2024-04-01")
    with pytest.raises(ValueError, match="must be None when dataset is a relative path"):
        faulty.load_dataset(SESSION.eid, "alf/spikes.times.npy", download_only=True)
    assert ours("2024-04-01")["alf/spikes.times.npy"] == "alf/#2023-01-01#/spikes.times.npy"


def test_one_takes_a_collection_s_revision_for_its_name(faulty: Any) -> None:
    """A view's folder holds the collection's files, each in its edition of the date."""
    import one.alf.exceptions as alferr

    with pytest.raises(alferr.ALFObjectNotFound):
        faulty.load_collection(SESSION.eid, "alf", revision="2024-04-01", download_only=True)
    below = {name: path for name, path in ours("2024-04-01").items() if name.startswith("alf/")}
    assert below == {
        "alf/spikes.times.npy": "alf/#2023-01-01#/spikes.times.npy",
        "alf/spikes.clusters.npy": "alf/spikes.clusters.npy",
    }


def test_one_loses_the_collection_after_the_first_of_several_names(faulty: Any) -> None:
    """In a view, each name stands in its own collection, and in no other."""
    found = faulty.list_datasets(SESSION.eid, filename=["spikes.times.npy", "spikes.clusters.npy"], collection="alf")
    assert found == ["alf/#2023-01-01#/spikes.times.npy", "alf/spikes.times.npy", "spikes.clusters.npy"]
    assert set(ours("")) == {"alf/spikes.times.npy", "alf/spikes.clusters.npy", "spikes.clusters.npy"}


def test_one_gives_up_where_two_editions_are_marked(oracle: Oracle) -> None:
    """The view gives the greatest of them."""
    import one.alf.exceptions as alferr

    doubled = [replace(row, default_revision=True) for row in FAULTY]
    oracle.has(a_sessions_frame(), a_frame(doubled))
    with pytest.raises(alferr.ALFMultipleRevisionsFound):
        oracle.load(SESSION.eid, "spikes.times.npy", "alf")
    rows = EditionRows(edition_of(doubled, LeftOutTally()), 0, SESSION.eid, SESSION.path)
    assert given_by(rows, Rule(default_only=True))["alf/spikes.times.npy"] == "alf/#2023-01-01#/spikes.times.npy"
