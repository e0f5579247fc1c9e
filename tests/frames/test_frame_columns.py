"""Searching in frames finds what searching in the index finds, and sees edits."""

from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from table_shapes import RECORDED, a_dataset, a_session, an_archive, an_id, dataset_columns, save, session_columns

from onefs.catalogue.query import columns_of, eids_of, search
from onefs.catalogue.snapshot import load_snapshot
from onefs.catalogue.terms import terms_of
from onefs.frames.catalogue import FrameCatalogue
from onefs.frames.reading import read_frame

TERMS = (
    {},
    {"subject": "S"},
    {"subject": "^KS0"},
    {"laboratory": ["laba", "cortexlab"]},
    {"laboratory": "^$"},
    {"number": [1, "002"]},
    {"date_range": ["2020-01-02", None]},
    {"task_protocol": "ephys|task1"},
    {"projects": "brainwide"},
    {"dataset": ["spikes", "raw"]},
    {"dataset": "alf/"},
    {"datasets": "spikes.times.npy"},
    {"dataset_qc_lte": "PASS"},
    {"dataset": "licks", "dataset_qc_lte": 0},
)


def found(columns, **terms):
    return eids_of(columns, search(columns, terms_of(terms, wildcards=True)))


def frames_of(directory):
    return {name: read_frame(directory / f"{name}.pqt") for name in ("sessions", "datasets")}


@pytest.fixture
def archive(tmp_path):
    sessions, datasets = an_archive()
    return save(tmp_path / "tables", session_columns(sessions), dataset_columns(datasets))


@pytest.mark.parametrize("terms", TERMS, ids=str)
def test_searches_find_what_they_find_in_the_index(terms, archive, tmp_path):
    for directory in (archive, RECORDED):
        index = load_snapshot(directory, tmp_path / directory.name)
        assert found(FrameCatalogue(frames_of(directory)).columns(), **terms) == found(columns_of(index), **terms)


def test_every_column_is_as_the_catalogue_tells(archive):
    catalogue = FrameCatalogue(frames_of(archive))
    columns = catalogue.columns()
    for row in range(catalogue.n_sessions):
        session, rows = catalogue.session(row), catalogue.datasets(row)
        assert columns.eids[row].tobytes() == session.eid.bytes
        assert columns.subjects.texts[columns.subjects.codes[row]] == session.subject
        mine = columns.dataset_session == row
        paths = [columns.dataset_path.texts[code] for code in columns.dataset_path.codes[mine]]
        assert set(paths) == set(rows.rel_paths)
        ids = {id_.tobytes() for id_ in columns.dataset_id[mine]}
        assert {rows.id(i).bytes for i in range(len(rows))} <= ids


def test_edits_and_nulls(archive):
    tables = frames_of(archive)
    catalogue = FrameCatalogue(tables)
    eid = tables["sessions"].index[0]
    tables["sessions"].loc[eid, ["projects", "task_protocol"]] = [None, np.nan]
    assert eid not in found(catalogue.columns(), projects=".")
    assert eid in found(catalogue.columns(), task_protocol="^$")
    tables["sessions"].loc[eid, "projects"] = "new"
    assert found(catalogue.columns(), projects="new") == [eid]
    tables["datasets"]["exists"] = False
    assert found(catalogue.columns(), dataset="spikes") == []


def test_sessions_that_cannot_stand_and_unsafe_paths_are_not_found(tmp_path):
    sessions = [a_session("good"), a_session("bad", subject="..")]
    datasets = [a_dataset(sessions[0], "../x.y.npy"), a_dataset(sessions[1], "a.b.npy")]
    tables = frames_of(save(tmp_path / "t", session_columns(sessions), dataset_columns(datasets)))
    columns = FrameCatalogue(tables).columns()
    assert found(columns) == [str(sessions[0].eid)]
    assert found(columns, dataset=".") == []


def test_frames_without_rows_or_index(archive):
    empty = {name: frame.iloc[:0] for name, frame in frames_of(archive).items()}
    assert found(FrameCatalogue(empty).columns(), dataset="x", subject="y") == []
    flat = {name: frame.reset_index() for name, frame in frames_of(archive).items()}
    assert found(FrameCatalogue(flat).columns(), dataset="spikes")


def test_datasets_of_no_session_are_of_none(tmp_path):
    session = a_session()
    datasets = [a_dataset(session, "a.b.npy"), a_dataset(None, "aggregates/c.d.npy")]
    tables = frames_of(save(tmp_path / "t", session_columns([session]), dataset_columns(datasets)))
    columns = FrameCatalogue(tables).columns()
    assert sorted(columns.dataset_session) == [-1, 0]
    assert found(columns, dataset="c.d") == []


def test_nullable_columns(archive):
    tables = frames_of(archive)
    tables["datasets"]["exists"] = tables["datasets"]["exists"].astype("boolean")
    tables["datasets"].iloc[0, tables["datasets"].columns.get_loc("exists")] = pd.NA
    tables["sessions"]["number"] = tables["sessions"]["number"].astype("UInt16")
    tables["sessions"].iloc[0, tables["sessions"].columns.get_loc("number")] = pd.NA
    columns = FrameCatalogue(tables).columns()
    assert tables["sessions"].index[0] not in found(columns)
    assert not columns.dataset_exists[0]
    assert FrameCatalogue(tables).find_session(an_id("x")) is None


def test_without_a_column_exists_searches_and_sessions_agree(archive):
    tables = frames_of(archive)
    tables["datasets"] = tables["datasets"].drop(columns="exists")
    catalogue = FrameCatalogue(tables)
    with_spikes = found(catalogue.columns(), dataset="spikes")
    assert with_spikes
    for eid in with_spikes:
        rows = catalogue.datasets(catalogue.find_session(UUID(eid)))
        assert any("spikes" in path and exists for path, exists in zip(rows.rel_paths, rows.exists, strict=True))
