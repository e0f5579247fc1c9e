"""The catalogue of a directory without tables."""

import os
from datetime import date
from pathlib import Path
from uuid import uuid4

from onefs.catalogue.empty_snapshot import empty_snapshot
from onefs.catalogue.query import columns_of, search
from onefs.catalogue.terms import terms_of


def test_nothing_is_in_it(tmp_path: Path) -> None:
    empty = empty_snapshot(tmp_path)
    assert (empty.n_sessions, empty.n_datasets, empty.total_bytes) == (0, 0, 0)
    assert (empty.aggregates, empty.folders(0), empty.folder(0).name) == (None, [], "")
    assert empty.session_of_eid(uuid4()) is None
    assert empty.dataset_of_id(uuid4()) is None
    assert empty.sessions_of_ref(date(2024, 1, 2), 1, "mouse") == []
    assert empty.metadata.created == ""
    assert empty.files.sessions.parent == tmp_path
    assert list(tmp_path.iterdir()) == []
    for terms in ({}, {"subject": "a"}, {"dataset": "b", "date": "2024-01-02"}):
        assert len(search(columns_of(empty), terms_of(terms, wildcards=True))) == 0


def test_all_of_them_share_their_open_files(tmp_path: Path) -> None:
    first = empty_snapshot(tmp_path)
    before = os.listdir("/proc/self/fd")
    others = [empty_snapshot(tmp_path / name) for name in "abc"]
    assert os.listdir("/proc/self/fd") == before
    assert all(other.index is first.index for other in others)
    assert [other.files.sessions.parent.name for other in others] == ["a", "b", "c"]
