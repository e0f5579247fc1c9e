"""Searches find what ONE-api finds in the same tables; where ONE is wrong, the test says so."""

import random
import shutil
import warnings
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from in_memory import folder_in_memory
from seeds import seeded
from table_shapes import RECORDED, a_dataset, a_session, load

from onefs.catalogue.query import columns_of, eids_of, search
from onefs.catalogue.records import QC
from onefs.catalogue.snapshot import Snapshot, load_snapshot
from onefs.catalogue.terms import terms_of

pytestmark = pytest.mark.filterwarnings("ignore")

DAYS = ["2019-04-01", "2019-04-02", "2020-07-01", "2020-07-02", "2021-06-03", "2030-01-01"]
SUBJECTS = ["KS", "KS0", "^KS005$", "ZFM-02368", "zm", "Z[FM]", "", "nothing"]
FILES = [
    "licks.times.npy",
    "_ibl_wheel.position.npy",
    "spikes.times.npy",
    "_ibl_trials.table.pqt",
    "licks.times",
    "alf/x",
]


def a_one(tables: Path, home: Path) -> Any:
    """A ONE in local mode over tables."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("HOME", str(home))
        from one.api import One

        return One(cache_dir=tables, mode="local")


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Any:
    home = tmp_path_factory.mktemp("home")
    return a_one(Path(shutil.copytree(RECORDED, home / "tables")), home)  # ONE may write there


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    return load_snapshot(RECORDED, tmp_path_factory.mktemp("state"))


def ours(snapshot: Snapshot, *, wildcards: bool = True, **terms: object) -> list[str]:
    columns = columns_of(snapshot)
    return eids_of(columns, search(columns, terms_of(terms, wildcards=wildcards)))


def theirs(one: Any, *, wildcards: bool = True, **terms: object) -> list[str]:
    one.wildcards = wildcards
    return [str(eid) for eid in one.search(**terms)]


def some_terms(pick: random.Random) -> dict[str, object]:
    """A few terms, in any of the shapes that ONE takes."""

    def one_or_two(texts: list[str]) -> object:
        return pick.choice([pick.choice(texts), pick.sample(texts, 2)])

    day, last = sorted(pick.sample(DAYS, 2))
    dates = [day, date.fromisoformat(day), datetime.fromisoformat(day), np.datetime64(day)]
    ranges = [[day, last], (day, None), [None, last], [day], [date.fromisoformat(day), last]]
    possible = {
        pick.choice(["subject", "subj"]): one_or_two(SUBJECTS),
        pick.choice(["laboratory", "lab"]): one_or_two(["cortexlab", "mainen", "lab$", "x"]),
        pick.choice(["task_protocol", "task"]): one_or_two(["ephys", "training", "World6.4", "biased|habit", "^$"]),
        pick.choice(["projects", "proj"]): one_or_two(["practice", "^ibl", "brainwide_01$", ""]),
        pick.choice(["number", "n"]): pick.choice([1, "002", [1, 2], ["1", 3], 7]),
        pick.choice(["date_range", "date"]): pick.choice([*dates, *ranges]),
    }
    found = dict(pick.sample(list(possible.items()), pick.randint(1, 3)))
    if pick.random() < 0.5:
        found["datasets"] = one_or_two(FILES)
        if pick.random() < 0.5:
            found[pick.choice(["dataset_qc_lte", "dataset_qc"])] = pick.choice(
                ["PASS", "fail", 30, QC.CRITICAL, "NOT_SET"]
            )
    return found


@pytest.mark.seeded
def test_five_hundred_random_searches_of_the_recorded_tables(one: Any, recorded: Snapshot) -> None:
    pick = seeded(1)
    n_found = 0
    for _ in range(500):
        terms = some_terms(pick)
        found = ours(recorded, **terms)
        assert found == theirs(one, **terms), terms
        n_found += bool(found)
    assert n_found > 150


def test_plain_texts_of_the_recorded_tables(one: Any, recorded: Snapshot) -> None:
    for text in (*SUBJECTS, "World6.4", "ibl_neuropixel_brainwide_01,practice", ".", "("):
        for name in ("subject", "lab", "task", "projects"):
            assert ours(recorded, wildcards=False, **{name: text}) == theirs(one, wildcards=False, **{name: text})


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_random_tables(data: st.DataObject) -> None:
    pick = data.draw(st.randoms(use_true_random=False))
    sessions = [
        a_session(
            n, pick.choice(["laba", "labb"]), pick.choice(["KS014", "KS.1", "ZM_1"]),
            date(2020, 1, 1) + timedelta(pick.randint(0, 3)), pick.randint(1, 3),
            pick.choice(["", "ephys", "training"]), pick.choice(["", "practice", "a,practice"]),
        )
        for n in range(pick.randint(1, 8))
    ]  # fmt: skip
    sessions = list({session.path: session for session in sessions}.values())  # of two on one path, see below
    datasets = [
        a_dataset(session, path, exists=pick.random() < 0.7, qc=pick.choice(list(QC)))
        for session in sessions
        for path in pick.sample(["alf/licks.times.npy", "b/spikes.times.npy", "a/b/wheel.x.npy"], pick.randint(0, 3))
    ]  # ONE takes no tables without rows
    datasets.append(a_dataset(sessions[0], "alf/x.y.npy"))
    with folder_in_memory() as directory:
        snapshot = load(Path(directory), sessions, datasets)
        one = a_one(Path(directory, "tables"), Path(directory))
        for _ in range(5):
            terms = some_terms(pick)
            if pick.random() < 0.5:
                terms["date_range" if "date" not in terms else "date"] = pick.choice(["2020-01-02", ["2020-01-02"]])
            assert ours(snapshot, **terms) == theirs(one, **terms), terms


# -- where ONE is wrong --------------------------------------------------------------------------------------------


def test_a_limit_of_qc_alone_finds_sessions_with_some_dataset_up_to_it(one: Any, recorded: Snapshot) -> None:
    with_datasets = [eid for eid in ours(recorded) if len(one.list_datasets(eid))]
    assert ours(recorded, dataset_qc_lte="CRITICAL") == with_datasets != []
    assert theirs(one, dataset_qc_lte="CRITICAL") == []


def test_of_two_datasets_on_one_path_the_first_by_id_is_found(tmp_path: Path) -> None:
    """The other is not shown anywhere; ONE, which does not look at paths, finds the sessions of both."""
    sessions = [a_session(n, "laba", "KS014", date(2020, 1, 1), 1) for n in range(2)]
    datasets = [a_dataset(session, "alf/licks.times.npy") for session in sessions]
    snapshot = load(tmp_path, sessions, datasets)
    assert ours(snapshot, datasets="licks.times.npy") == [str(min(datasets, key=lambda each: each.id).eid)]
    of_ones = theirs(a_one(tmp_path / "tables", tmp_path), datasets="licks.times.npy")
    assert sorted(of_ones) == sorted(str(session.eid) for session in sessions)
    assert sorted(ours(snapshot, subject="KS014")) == sorted(of_ones)


def test_names_of_files_are_no_expressions(one: Any, recorded: Snapshot) -> None:
    assert ours(recorded, datasets="lick..times.npy") == ours(recorded, datasets="licks.*") == []
    assert theirs(one, datasets="licks.*")


def test_a_file_beside_collections_is_found_by_its_name(tmp_path: Path) -> None:
    session = a_session()
    snapshot = load(
        tmp_path, [session], [a_dataset(session, name) for name in ("root.times.npy", "alf/licks.times.npy")]
    )
    one = a_one(tmp_path / "tables", tmp_path)
    assert ours(snapshot, datasets="root.times.npy") == ours(snapshot) == [str(session.eid)]
    assert theirs(one, datasets="licks.times.npy") == [str(session.eid)]
    assert theirs(one, datasets="root.times.npy") == []


def test_one_of_several_plain_texts_will_do(one: Any, recorded: Snapshot) -> None:
    either = ours(recorded, wildcards=False, subject=["KS014", "ZM_1085"])
    assert either == ours(recorded, subject="KS014|ZM_1085") != []
    assert theirs(one, wildcards=False, subject=["KS014", "ZM_1085"]) != either


def test_parts_of_paths_can_be_searched_for(one: Any, recorded: Snapshot) -> None:
    """ONE 3 has given up this term, which ONE 2 has."""
    with pytest.raises(ValueError, match="dataset"):
        one.search(dataset="licks")
    assert ours(recorded, dataset=["alf/licks", "wheel"]) == theirs(
        one, datasets=["licks.times.npy", "_ibl_wheel.position.npy"]
    )
