"""Probe insertions by their id, from the optional table beside the cache tables."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from table_shapes import METADATA, a_session, an_id, as_pair, load

from onefs.errors import TableError

SESSION = a_session()
PID, OTHER = an_id("probe00"), an_id("probe01")


def write(tmp_path, columns, metadata=METADATA):
    table = pa.table(columns).replace_schema_metadata({"one_metadata": json.dumps(metadata)})
    pq.write_table(table, tmp_path / "tables" / "insertions.pqt")


@pytest.fixture
def snapshot(tmp_path):
    return load(tmp_path, [SESSION], [])


@pytest.mark.parametrize("as_pairs", [False, True])
def test_an_insertion_is_found_in_text_and_in_older_tables(tmp_path, snapshot, as_pairs):
    pids, eids = [PID, None, OTHER], [SESSION.eid, SESSION.eid, None]
    ids = {"id": [str(one) for one in pids], "eid": [str(one) for one in eids]}
    columns = as_pair("id", pids) | as_pair("eid", eids) if as_pairs else ids
    write(tmp_path, {**columns, "name": ["probe00", "nameless", "homeless"], "model": ["3A", "3B", "3B"]})
    assert snapshot.insertion(PID) == (SESSION.eid, "probe00")
    assert snapshot.insertion(OTHER) is None


def test_the_insertions_of_a_session_are_those_of_the_table_and_those_learned_since(tmp_path, snapshot):
    write(tmp_path, {"id": [str(PID)], "eid": [str(SESSION.eid)], "name": ["probe00"]})
    snapshot.insertions.learn(OTHER, SESSION.eid, "probe01")
    snapshot.insertions.learn(PID, SESSION.eid, "another name")
    assert snapshot.probes_of(SESSION.eid) == [("probe00", PID), ("probe01", OTHER)]
    assert snapshot.insertion(OTHER) == (SESSION.eid, "probe01")
    assert snapshot.probes_of(an_id("another session")) == []


def test_without_such_a_table_no_insertion_is_known(snapshot, caplog):
    assert snapshot.insertion(PID) is None
    assert not caplog.records


def damaged(tmp_path):
    (tmp_path / "tables" / "insertions.pqt").write_bytes(b"PAR1 rubbish PAR1")


def without_names(tmp_path):
    write(tmp_path, {"id": [str(PID)], "eid": [str(SESSION.eid)]})


def of_another_kind(tmp_path):
    write(tmp_path, {"id": [str(PID)], "eid": [str(SESSION.eid)], "name": ["probe00"]}, {})


def a_folder(tmp_path):
    (tmp_path / "tables" / "insertions.pqt").mkdir()


@pytest.mark.parametrize("spoil", [damaged, without_names, of_another_kind, a_folder])
def test_a_table_that_cannot_be_used_is_warned_of_once_and_tells_of_no_absence(tmp_path, snapshot, caplog, spoil):
    spoil(tmp_path)
    for pid in (PID, OTHER):
        with pytest.raises(TableError, match=r"insertions\.pqt"):
            snapshot.insertion(pid)
    snapshot.insertions.learn(PID, SESSION.eid, "probe00")
    assert snapshot.insertion(PID) == (SESSION.eid, "probe00")
    (warning,) = caplog.records
    assert "insertions.pqt" in warning.getMessage()
