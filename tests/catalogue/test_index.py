"""The index on disk: made once, reused without reading tables, made again when damaged."""

import json
import os
import shutil
import subprocess
import sys
import zlib
from dataclasses import replace

import pytest
from table_shapes import CREATED, a_dataset, a_session, an_archive, contents, expected, load

from onefs.catalogue import building
from onefs.catalogue.index import has_index, indexes_of
from onefs.catalogue.known import Known, Memo, read_memo, stat_of, write_memo
from onefs.catalogue.layout import COLUMNS, sum_of
from onefs.catalogue.snapshot import load_snapshot
from onefs.catalogue.tables import write_tables
from onefs.errors import CacheDamagedError, NoRoomError, TableError

SESSIONS, DATASETS = an_archive()

REPORT = """
import sys
from pathlib import Path
from onefs.catalogue.snapshot import load_snapshot
snapshot = load_snapshot(Path(sys.argv[1]), Path(sys.argv[2]))
print(snapshot.n_sessions, snapshot.n_datasets, sum(name in sys.modules for name in ("pyarrow", "pandas")))
"""


def indexes(tmp_path):
    return sorted(entry.name for entry in directory(tmp_path).iterdir() if entry.is_dir())


def directory(tmp_path):
    return indexes_of(tmp_path / "state")


def forbid_building(monkeypatch):
    def fail(*_):
        raise AssertionError("an index was built")

    monkeypatch.setattr(building, "build_index", fail)


def test_a_ready_index_is_reused_without_reading_the_tables(tmp_path, monkeypatch):
    first = load(tmp_path, SESSIONS, DATASETS)
    forbid_building(monkeypatch)
    for name in ("sessions", "datasets"):  # other bytes, but nothing that stat could tell
        file = tmp_path / "tables" / f"{name}.pqt"
        stat = file.stat()
        with file.open("r+b") as stream:
            stream.write(b"\0" * 100)
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        _forget_ctime(tmp_path, file)
    assert contents(load_snapshot(tmp_path / "tables", tmp_path / "state")) == contents(first)


def test_whether_tables_were_indexed_is_told_without_reading_them(tmp_path):
    files = load(tmp_path, SESSIONS, DATASETS).files
    state = tmp_path / "state"
    assert has_index(files, state)
    assert not has_index(files, tmp_path / "other")
    os.utime(files.datasets, ns=(1, 1))
    assert not has_index(files, state)
    load_snapshot(tmp_path / "tables", state)
    assert has_index(files, state)
    shutil.rmtree(directory(tmp_path) / indexes(tmp_path)[0])
    assert not has_index(files, state)
    files.sessions.unlink()
    assert not has_index(files, state)


def _forget_ctime(tmp_path, file):
    """Note the file's new change time as the known one: no program can set that back."""
    memo = read_memo(directory(tmp_path))
    known = Known(stat_of(file), memo.files[str(file)].digest)
    write_memo(directory(tmp_path), Memo({**memo.files, str(file): known}, memo.kept))


def test_a_later_mount_loads_neither_pyarrow_nor_pandas(tmp_path):
    load(tmp_path, SESSIONS, DATASETS)
    command = [sys.executable, "-c", REPORT, tmp_path / "tables", tmp_path / "state"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert told == [str(len(SESSIONS)), str(4 * (len(SESSIONS) - 1)), "0"]


def test_moved_and_touched_tables_keep_their_index(tmp_path, monkeypatch):
    load(tmp_path, SESSIONS, DATASETS)
    forbid_building(monkeypatch)
    shutil.copytree(tmp_path / "tables", tmp_path / "moved")
    os.utime(tmp_path / "tables" / "datasets.pqt")
    for tables in ("moved", "tables"):
        assert contents(load_snapshot(tmp_path / tables, tmp_path / "state")) == expected(SESSIONS, DATASETS)
    assert len(indexes(tmp_path)) == 1


def test_new_tables_make_a_new_index_and_the_previous_one_stays(tmp_path):
    seen = []
    for n in (1, 2, 3):
        snapshot = load(tmp_path, SESSIONS[:n], [])
        assert snapshot.n_sessions == n
        seen.append(set(indexes(tmp_path)))
    assert [len(names) for names in seen] == [1, 2, 2]
    assert seen[0] < seen[1]
    assert not seen[0] & seen[2]
    assert len(seen[1] & seen[2]) == 1


def test_going_back_to_the_previous_tables_builds_nothing(tmp_path, monkeypatch):
    load(tmp_path, SESSIONS[:1], [])
    shutil.copytree(tmp_path / "tables", tmp_path / "older")
    load(tmp_path, SESSIONS[:2], [])
    forbid_building(monkeypatch)
    for file in (tmp_path / "older").iterdir():
        file.replace(tmp_path / "tables" / file.name)
    assert load_snapshot(tmp_path / "tables", tmp_path / "state").n_sessions == 1


def test_indexes_of_other_tables_stay_as_long_as_the_tables(tmp_path):
    for n in (1, 2, 3, 4):
        load(tmp_path, SESSIONS[:n], [], tables=f"tables{n}")
    assert len(indexes(tmp_path)) == 4
    shutil.rmtree(tmp_path / "tables1")
    load(tmp_path, SESSIONS[:5], [], tables="tables2")
    assert len(indexes(tmp_path)) == 4


def _damages():
    return {
        "truncated array": lambda index: os.truncate(index / "dataset_size", 200),
        "empty array": lambda index: os.truncate(index / "paths.bytes", 0),
        "array of another type": lambda index: shutil.copy(index / "dataset_size", index / "session_key"),
        "missing array": lambda index: (index / "folder_name.offsets").unlink(),
        "rubbish": lambda index: (index / "session_eid").write_bytes(b"rubbish" * 100),
        "missing meta": lambda index: (index / "meta.json").unlink(),
        "truncated meta": lambda index: os.truncate(index / "meta.json", 30),
        "other meta": lambda index: (index / "meta.json").write_text("[1, 2]"),
        "number for meta": lambda index: (index / "meta.json").write_text("3"),
        "nested meta": lambda index: (index / "meta.json").write_text("[" * 100_000),
        "odd left out": lambda index: _odd_meta(index, left_out=[1]),
        "odd counts left out": lambda index: _odd_meta(index, left_out={"x": ["many", ["y"]]}),
        "nothing left out": lambda index: _odd_meta(index, left_out=None),
        "odd metadata": lambda index: _odd_meta(index, metadata="date_created"),
        "no metadata": lambda index: _odd_meta(index, metadata=None),
        "odd columns": lambda index: _odd_meta(index, columns=[1, 2]),
        "no shapes": lambda index: _odd_meta(index, columns=dict.fromkeys(COLUMNS)),
        "older layout": lambda index: (index / "meta.json").write_text(
            (index / "meta.json").read_text().replace('"layout": ', '"layout": 9')
        ),
        "all gone": shutil.rmtree,
    }


def _odd_meta(index, **odd):
    """Another `meta.json`, with the checksum that belongs to it."""
    meta = json.loads((index / "meta.json").read_text()) | odd
    del meta["crc32"]
    meta["crc32"] = zlib.crc32(json.dumps(meta, sort_keys=True).encode())
    (index / "meta.json").write_text(json.dumps(meta))


@pytest.mark.parametrize("damage", _damages())
def test_a_damaged_index_is_made_again(tmp_path, damage):
    before = load(tmp_path, SESSIONS, DATASETS)
    (name,) = indexes(tmp_path)
    index = directory(tmp_path) / name
    moved = index.with_name("copy")
    shutil.copytree(index, moved)  # damage a copy: `before` still maps the original
    index.rename(index.with_name("original"))
    moved.rename(index)
    _damages()[damage](index)
    after = load_snapshot(tmp_path / "tables", tmp_path / "state")
    assert contents(after) == contents(before) == expected(SESSIONS, DATASETS)
    assert not list(index.parent.glob(".building-*"))


ODD_MEMOS = [
    "",
    "{",
    "[]",
    "3",
    "[" * 100_000,
    "\udcff",
    '{"files": 1, "kept": {}}',
    '{"files": {}}',
    '{"files": [], "kept": []}',
    '{"files": {"TABLE": 3}, "kept": {}}',
    '{"files": {"TABLE": null}, "kept": {}}',
    '{"files": {"TABLE": {"stat": 1, "digest": "x"}}, "kept": {}}',
    '{"files": {"TABLE": {"stat": ["x"], "digest": "x"}}, "kept": {}}',
    '{"files": {"TABLE": {"stat": [1], "digest": 1}}, "kept": {}}',
    '{"files": {}, "kept": {"TABLE": 1}}',
    '{"files": {}, "kept": {"TABLE": [1]}}',
    '{"files": {}, "kept": {"a\\u0000b": ["x"]}}',
    '{"files": {}, "kept": {"' + "x" * 5000 + '": ["x"]}}',
]


@pytest.mark.parametrize("memo", ODD_MEMOS, ids=range(len(ODD_MEMOS)))
def test_a_damaged_note_of_known_tables_costs_nothing_but_time(tmp_path, memo):
    files = load(tmp_path, SESSIONS, DATASETS).files
    memo = memo.replace("TABLE", str(tmp_path / "tables" / "datasets.pqt"))
    if memo.endswith("}"):  # as if that had been written
        raw = json.loads(memo)
        memo = json.dumps({**raw, "crc32": sum_of(raw)})
    (directory(tmp_path) / "known.json").write_bytes(memo.encode(errors="surrogateescape"))
    assert not has_index(files, tmp_path / "state")
    assert contents(load_snapshot(tmp_path / "tables", tmp_path / "state")) == expected(SESSIONS, DATASETS)


def test_two_processes_that_build_at_once_both_end_well(tmp_path):
    (tmp_path / "tables").mkdir()
    write_tables(tmp_path / "tables", SESSIONS, DATASETS, created=CREATED, origin="test")
    command = [sys.executable, "-c", REPORT, tmp_path / "tables", tmp_path / "state"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    for process in running:
        told, _ = process.communicate()
        assert process.returncode == 0
        assert told.split()[:2] == [str(len(SESSIONS)), str(4 * (len(SESSIONS) - 1))]
    assert len(indexes(tmp_path)) == 1


def test_an_index_that_another_process_put_there_first_is_used(tmp_path, monkeypatch):
    build = building.build_index

    def build_twice(files, target, is_current):
        build(files, target, is_current)
        build(files, target, is_current)

    monkeypatch.setattr(building, "build_index", build_twice)
    assert contents(load(tmp_path, SESSIONS, DATASETS)) == expected(SESSIONS, DATASETS)
    assert len(indexes(tmp_path)) == 1


def test_a_state_directory_that_cannot_be_written(tmp_path):
    (tmp_path / "state").write_text("a file")
    with pytest.raises(CacheDamagedError, match=r"cannot be written to .*state") as caught:
        load(tmp_path, SESSIONS, DATASETS)
    assert caught.value.remedy


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("onefs.catalogue.layout.write_column", full)
    with pytest.raises(NoRoomError, match="no room"):
        load(tmp_path, SESSIONS, DATASETS)
    assert indexes(tmp_path) == []


@pytest.mark.parametrize("table", ["sessions", "datasets"])
def test_truncated_tables_are_refused_and_the_older_index_stays(tmp_path, table):
    load(tmp_path, SESSIONS, DATASETS)
    before = indexes(tmp_path)
    file = tmp_path / "tables" / f"{table}.pqt"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(TableError, match=rf"{table}\.pqt cannot be read"):
        load_snapshot(tmp_path / "tables", tmp_path / "state")
    assert indexes(tmp_path) == before


def test_a_table_with_a_damaged_middle_is_refused_or_told_whole(tmp_path):
    load(tmp_path, SESSIONS, DATASETS)
    file = tmp_path / "tables" / "datasets.pqt"
    whole = file.read_bytes()
    file.write_bytes(whole[:4] + b"\xff" * 400 + whole[404:])
    with pytest.raises(TableError, match=r"datasets\.pqt"):
        load_snapshot(tmp_path / "tables", tmp_path / "state")


# -- keys and digests ------------------------------------------------------------------------------------------------


def keys(snapshot):
    """Every number that inode numbers are made of, by what it belongs to."""
    told = {}
    for row in range(snapshot.n_sessions):
        path = snapshot.session_path(row)
        told["session", path] = snapshot.session_key(row)
        told["folder", path] = snapshot.folder_key(snapshot.session_folder(row).row)
        rows = snapshot.datasets(row)
        told |= {("file", path, name): number for name, number in zip(rows.rel_paths, rows.content, strict=True)}
    return told


def digests(snapshot):
    return {snapshot.session(row).eid: snapshot.session_digest(row) for row in range(snapshot.n_sessions)}


def test_keys_do_not_hang_on_row_order_or_on_what_else_there_is(tmp_path):
    small = load(tmp_path, SESSIONS[3:9], DATASETS)
    whole = load(tmp_path, SESSIONS[::-1], DATASETS[::-1], tables="reversed")
    assert keys(small).items() <= keys(whole).items()
    assert {eid: digest for eid, digest in digests(whole).items() if eid in digests(small)} == digests(small)


def test_keys_are_the_same_when_the_index_is_made_again(tmp_path):
    first = load(tmp_path, SESSIONS, DATASETS)
    shutil.rmtree(tmp_path / "state")
    again = load_snapshot(tmp_path / "tables", tmp_path / "state")
    assert keys(again) == keys(first)
    assert digests(again) == digests(first)


def test_keys_are_the_same_in_every_release():
    """Inode numbers live longer than a program: whoever changes these numbers must raise the layout's."""
    import numpy as np

    from onefs.catalogue.mixing import combine, text_digests, words

    texts = np.frombuffer(b"alf/spikes.times.npy", np.uint8)
    assert text_digests(np.array([0, 0, 4, 20]), texts).tolist() == PINNED[:3]
    assert combine(*words(np.arange(16, dtype=np.uint8))).tolist() == PINNED[3:]


PINNED = [16294208416658607535, 14180667136309575117, 16901526258770145838, 4330263798078307970]


def test_content_changes_with_the_bytes_and_with_nothing_else(tmp_path):
    session = a_session()
    base = a_dataset(session, "x.times.npy", md5="0" * 32, size=5)

    def content(**changes):
        snapshot = load(tmp_path, [session], [replace(base, **changes)], tables="t")
        return snapshot.datasets(0).content[0]

    same = content()
    assert content(qc=base.qc.FAIL) == content(default_revision=False) == content(exists=False) == same
    assert content(id=session.eid) == same
    others = [content(md5="1" * 32), content(md5=""), content(md5="", size_bytes=6), content(md5="", size_bytes=None)]
    assert len({same, *others, content(rel_path="y.times.npy")}) == 6
    assert content(size_bytes=6) == same  # the hash decides where there is one


@pytest.mark.parametrize(
    "change",
    [
        {"size_bytes": 6}, {"md5": "1" * 32}, {"exists": False}, {"qc": DATASETS[0].qc.CRITICAL},
        {"default_revision": False}, {"rel_path": "y.times.npy"}, {"id": SESSIONS[0].eid}, {"size_bytes": None},
    ],
)  # fmt: skip
def test_a_sessions_digest_tells_any_change_of_a_dataset(tmp_path, change):
    sessions = [a_session(number=1), a_session("other", number=2)]
    rows = [a_dataset(session, f"{n}.times.npy", size=5) for session in sessions for n in "xz"]
    before = digests(load(tmp_path, sessions, rows))
    after = digests(load(tmp_path, sessions, [replace(rows[0], **change), *rows[1:]], tables="after"))
    assert after[sessions[0].eid] != before[sessions[0].eid]
    assert after[sessions[1].eid] == before[sessions[1].eid]


@pytest.mark.parametrize("change", [{"projects": "c"}, {"task_protocol": "other"}, {"number": 9}, {"lab": "other"}])
def test_a_sessions_digest_tells_any_change_of_its_own(tmp_path, change):
    session = a_session()
    rows = [a_dataset(session, "x.times.npy")]
    before = digests(load(tmp_path, [session], rows))
    after = digests(load(tmp_path, [replace(session, **change)], rows, tables="after"))
    assert after != before
