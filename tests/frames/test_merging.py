"""Merging records into frames, against the reference client."""

import copy
from datetime import date, datetime
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from one.alf import cache as reference
from seeds import seeded
from table_shapes import RECORDED, a_dataset, a_session, an_archive, an_id

from onefs import errors
from onefs.api.cache import load_tables, merge_tables
from onefs.catalogue.query import eids_of, search
from onefs.catalogue.records import QC
from onefs.catalogue.terms import terms_of
from onefs.frames.catalogue import FrameCatalogue
from onefs.frames.merging import merged_frame
from onefs.frames.reading import QC_TYPE, datasets_frame, session_series, sessions_frame
from onefs.one_errors import UsageError

SESSIONS, DATASETS = an_archive()


def a_cache(sessions=SESSIONS, datasets=DATASETS):
    raw = {name: {"date_created": "2026-01-02 03:04"} for name in ("sessions", "datasets")}
    return {
        "sessions": sessions_frame(sessions).sort_index(),
        "datasets": datasets_frame(datasets).sort_index(),
        "_meta": {"modified_time": None, "raw": raw},
    }


def by_reference(cache, **records):
    """What the reference client makes of the same: it has UUIDs for ids, and sets of origins."""
    theirs = copy.deepcopy(cache)
    names = ("sessions", "datasets")
    theirs.update({name: reference.cast_index_object(theirs[name].copy()) for name in names})
    reference.merge_tables(theirs, **{k: reference.cast_index_object(v.copy()) for k, v in records.items()})
    return {name: reference.cast_index_object(theirs[name].copy(), str) for name in names}


@pytest.mark.seeded
@pytest.mark.parametrize("seed", range(8))
def test_random_records_are_merged_as_by_the_reference_client(seed):
    rng = seeded(seed)
    known = rng.sample(DATASETS, 20)
    changed = [a_dataset(SESSIONS[0], f"new/{n}.b.npy", size=n) for n in range(5)]
    records = datasets_frame(known + changed).sample(frac=1, random_state=seed)
    records["file_size"] = pd.array([rng.choice([None, rng.randrange(1 << 40)]) for _ in range(len(records))], "UInt64")
    records["qc"] = pd.Categorical([rng.choice([qc.name for qc in QC]) for _ in range(len(records))], dtype=QC_TYPE)
    sessions = sessions_frame([*rng.sample(SESSIONS, 3), a_session(f"new {seed}", subject="new")])
    sessions["projects"] = rng.choice(["", "x", "y,z"])
    ours = a_cache()
    theirs = by_reference(ours, sessions=sessions, datasets=records)
    updated = merge_tables(ours, sessions=sessions, datasets=records)
    assert isinstance(updated, datetime)
    assert ours["_meta"]["modified_time"] == updated
    for name, frame in theirs.items():
        pd.testing.assert_frame_equal(ours[name], frame.sort_index())
        assert ours[name].index.is_monotonic_increasing


def test_the_recorded_tables_merged_with_themselves_stay():
    cache = load_tables(RECORDED)
    before = cache["datasets"].copy()
    merge_tables(cache, datasets=before.sample(30, random_state=1), sessions=cache["sessions"].iloc[2])
    pd.testing.assert_frame_equal(cache["datasets"], before)
    assert cache["sessions"].index.is_unique


def test_columns_that_records_lack_become_null_where_need_be():
    cache = a_cache()
    kinds = cache["datasets"].dtypes
    new = datasets_frame([a_dataset(SESSIONS[0], "new/a.b.npy")]).drop(columns=["default_revision", "hash"])
    merge_tables(cache, datasets=new)
    frame = cache["datasets"]
    row = frame.loc[new.index[0]]
    assert row["default_revision"] is pd.NA
    assert row["hash"] is None
    assert frame["default_revision"].dtype == pd.BooleanDtype()
    others = [name for name in frame.columns if name != "default_revision"]
    assert list(frame[others].dtypes) == list(kinds[others])
    assert frame["default_revision"].isna().sum() == 1


def test_columns_of_exists_elsewhere_say_what_exists_says():
    cache = a_cache()
    cache["datasets"]["exists_aws"] = False
    new = datasets_frame([a_dataset(SESSIONS[0], "a/a.b.npy"), a_dataset(SESSIONS[0], "a/c.d.npy", exists=False)])
    merge_tables(cache, datasets=new)
    assert list(cache["datasets"].loc[new.index, "exists_aws"]) == [True, False]
    assert cache["datasets"]["exists_aws"].dtype == bool


def test_columns_that_the_table_lacks_are_dropped():
    cache = a_cache()
    columns = list(cache["sessions"].columns)
    merge_tables(cache, sessions=sessions_frame(SESSIONS[:1]).assign(n_trials=3))
    assert list(cache["sessions"].columns) == columns


def test_of_doubled_ids_the_first_counts():
    cache = a_cache()
    one = sessions_frame(SESSIONS[:1])
    merge_tables(cache, sessions=pd.concat([one.assign(projects="first"), one.assign(projects="second")]))
    assert cache["sessions"].loc[one.index[0], "projects"] == "first"


def test_a_series_and_ids_that_are_uuids():
    cache = a_cache()
    session = a_session("of a series", subject="series")
    merge_tables(cache, sessions=session_series(session))
    assert FrameCatalogue(cache).session(FrameCatalogue(cache).find_session(session.eid)) == session
    dataset = a_dataset(session, "x/y.z.npy")
    row = datasets_frame([dataset]).iloc[0]
    row.name = (session.eid, dataset.id)
    merge_tables(cache, datasets=row)
    assert FrameCatalogue(cache).find_dataset(dataset.id) == dataset
    assert all(type(one) is str for one in cache["datasets"].index.get_level_values("id"))


def test_ids_may_stand_in_columns_and_levels_in_any_order():
    cache = a_cache()
    new = datasets_frame([a_dataset(SESSIONS[0], "new/a.b.npy")])
    for shape in (new.reset_index(), new.reset_index("id"), new.swaplevel(), new.reset_index("eid")):
        frame = merged_frame(cache["datasets"], shape)
        assert len(frame) == len(cache["datasets"]) + 1
        assert new.index[0] in frame.index
    with pytest.raises(UsageError, match="eid"):
        merged_frame(cache["datasets"], datasets_frame(DATASETS[:1], keep_eid=False))


def test_datasets_of_no_session_are_known_again():
    cache = a_cache(datasets=[*DATASETS[:3], a_dataset(None, "aggregates/a.b.npy")])
    record = datasets_frame([a_dataset(None, "aggregates/a.b.npy", size=77)])
    merge_tables(cache, datasets=record)
    assert len(cache["datasets"]) == 4
    assert 77 in set(cache["datasets"]["file_size"].dropna())


def test_qc_by_value_and_sizes_that_are_floats():
    cache = a_cache()
    record = datasets_frame(DATASETS[:2]).astype({"qc": object, "file_size": object})
    record["qc"] = [QC.FAIL, "critical"]
    record["file_size"] = [1.0, np.nan]
    merge_tables(cache, datasets=record)
    merged = cache["datasets"].loc[record.index]
    assert list(merged["qc"]) == ["FAIL", "CRITICAL"]
    assert merged["file_size"].iloc[0] == 1
    assert merged["file_size"].iloc[1] is pd.NA
    assert cache["datasets"]["qc"].dtype == QC_TYPE


def test_dates_as_programs_have_them():
    cache = a_cache()
    new = [a_session(n, subject=n) for n in ("text", "time", "stamp")]
    records = sessions_frame(new)
    records["date"] = ["2024-01-02T03:04", datetime(2024, 1, 2, 3), pd.Timestamp("2024-01-02")]
    merge_tables(cache, sessions=records)
    assert list(cache["sessions"].loc[records.index, "date"]) == [date(2024, 1, 2)] * 3
    assert {type(one) for one in cache["sessions"]["date"]} == {date}


def test_into_a_frame_whose_index_was_taken_away():
    expected, cache = a_cache(), a_cache()
    cache["sessions"] = cache["sessions"].reset_index()
    cache["datasets"] = cache["datasets"].reset_index("eid")
    for one in (expected, cache):
        merge_tables(one, sessions=session_series(a_session("x")), datasets=datasets_frame(DATASETS[:2]))
    for name in ("sessions", "datasets"):
        pd.testing.assert_frame_equal(cache[name], expected[name])


def test_what_does_not_fit_is_named():
    with pytest.raises(UsageError, match="number"):
        merged_frame(sessions_frame(SESSIONS), sessions_frame(SESSIONS[:1]).assign(number="first"))


def test_nulls_of_a_merge_meet_no_search():
    cache = a_cache()
    new = sessions_frame([a_session("null", subject="null")]).drop(columns=["projects", "task_protocol"])
    merge_tables(cache, sessions=new)
    for term in ("projects", "task_protocol"):
        columns = FrameCatalogue(cache).columns()
        found = eids_of(columns, search(columns, terms_of({term: "."}, wildcards=True)))
        assert new.index[0] not in found


def test_strict_wants_the_same_columns():
    cache = a_cache()
    with pytest.raises(AssertionError):
        merge_tables(cache, strict=True, sessions=sessions_frame(SESSIONS[:1]).drop(columns="lab"))
    merge_tables(cache, strict=True, sessions=sessions_frame(SESSIONS[:1]))


def test_nothing_to_merge_and_unknown_tables():
    cache = a_cache()
    assert merge_tables(cache, sessions=None, datasets=datasets_frame([])) is None
    assert cache["_meta"]["modified_time"] is None
    with pytest.raises(KeyError, match="insertions"):
        merge_tables(cache, insertions=datasets_frame(DATASETS[:1]))


def test_origins_are_added_once():
    cache = a_cache()
    for origin in ("here", "there", "here"):
        merge_tables(cache, origin=origin, sessions=sessions_frame(SESSIONS[:1]))
    assert cache["_meta"]["raw"]["sessions"]["origin"] == ["here", "there"]
    assert cache["_meta"]["raw"]["sessions"]["date_created"] == "2026-01-02 03:04"


def test_into_a_frame_without_rows():
    cache = a_cache([], [])
    merge_tables(cache, sessions=sessions_frame(SESSIONS), datasets=datasets_frame(DATASETS))
    pd.testing.assert_frame_equal(cache["sessions"], sessions_frame(SESSIONS).sort_index())
    assert len(cache["datasets"]) == len(DATASETS)
    assert UUID(cache["sessions"].index[0])
    assert an_id("x") not in cache["sessions"].index


@pytest.mark.parametrize("number", [70_000, -1, 1.5, 2**70, "x"])
def test_a_number_that_the_table_cannot_hold_is_refused(number):
    frame = sessions_frame(SESSIONS)
    record = session_series(a_session("new"))
    record["number"] = number
    with pytest.raises(UsageError, match="What the records say of number"):
        merged_frame(frame, record)


@pytest.mark.parametrize("number", [1.0, np.int64(1), "1", True])
def test_a_number_of_another_type_is_taken(number):
    record = session_series(a_session("new"))
    record["number"] = number
    merged = merged_frame(sessions_frame(SESSIONS), record)
    assert merged["number"].dtype == np.uint16
    assert merged.loc[record.name, "number"] == 1


@pytest.mark.parametrize("qc", ["bogus", 1])
def test_what_is_no_qc_is_refused(qc):
    records = datasets_frame(DATASETS[:1]).astype({"qc": object}).assign(qc=qc)
    with pytest.raises(errors.UsageError, match="is no QC"):
        merged_frame(datasets_frame(DATASETS), records)
