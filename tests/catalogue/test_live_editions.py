"""Rows made from a database's answers and rows made from tables: the same numbers for the same values."""

from dataclasses import replace
from pathlib import Path
from uuid import UUID

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from in_memory import folder_in_memory
from table_shapes import a_dataset, a_session, load

from onefs.catalogue.editions import edition_of
from onefs.catalogue.layout import LeftOutTally
from onefs.catalogue.live_sessions import LiveSessions, wanted_key
from onefs.catalogue.mixing import order_of_ids
from onefs.catalogue.records import QC
from onefs.catalogue.session_rows import digests_of, keys_of

SESSION = a_session()
PARTS = st.sampled_from(["alf", "#2024-01-01#", "x.times.npy", "é", "..", "", "a" * 256, ".", "raw\0"])
PATHS = st.lists(PARTS, max_size=4).map("/".join)
DATASETS = st.builds(
    lambda path, name, size, md5, exists, qc, default: a_dataset(
        SESSION, path, name, size=size, md5=md5, exists=exists, qc=qc, default=default
    ),
    PATHS,
    st.integers(0, 3),
    st.none() | st.integers(0, 2**63) | st.integers(2**50 - 1, 2**50 + 1),
    st.sampled_from(["", "rubbish", "A" * 32, "0123456789abcdef" * 2, str(UUID(int=2**120 + 5))]),
    st.booleans(),
    st.sampled_from(QC),
    st.none() | st.booleans(),
)


@settings(deadline=None, max_examples=40)
@given(st.lists(DATASETS, max_size=8))
def test_an_answer_makes_the_rows_that_tables_make(datasets):
    datasets = list({dataset.id: dataset for dataset in datasets}.values())
    with folder_in_memory() as folder:
        snapshot = load(Path(folder), [SESSION], datasets)
        tally = LeftOutTally()
        edition = edition_of(datasets, tally)
        rows = snapshot.datasets(0)
        for column in ("rel_paths", "sizes", "exists", "qc", "content", "default_revision"):
            assert list(getattr(edition, column)) == list(getattr(rows, column)), column
        assert edition.ids == [rows.id(i) for i in range(len(rows))]
        assert edition.md5s == [rows.dataset(i).md5 for i in range(len(rows))]
        own = int(digests_of([SESSION], aggregates=False)[0])
        assert (own + edition.digest) % 2**64 == snapshot.session_digest(0)
        assert {reason: left.count for reason, left in tally.totals().items()} == {
            reason: left.count for reason, left in snapshot.left_out.items()
        }


@given(st.lists(st.uuids(), unique=True, min_size=1, max_size=20))
def test_one_session_gets_the_key_that_all_at_once_get(eids):
    ids = np.frombuffer(b"".join(eid.bytes for eid in eids), np.uint8).reshape(-1, 16)
    assert [wanted_key(eid) for eid in eids] == keys_of(ids, order_of_ids(ids)).tolist()


def test_sessions_that_want_one_key_get_different_ones(monkeypatch):
    monkeypatch.setattr("onefs.catalogue.live_sessions.wanted_key", lambda eid: (1 << 34) - 1)
    sessions = LiveSessions(None)
    rows = [sessions.learn(replace(SESSION, eid=UUID(int=n)), 0)[1] for n in (1, 2, 3)]
    assert [sessions.key(row) for row in rows] == [(1 << 34) - 1, 0, 1]
    assert [sessions.of_key(sessions.key(row)) for row in rows] == rows
