"""Damage to an index on disk, of any kind and anywhere: every answer is the right one, or a sentence tells why not."""

import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
from seeds import seeded
from table_shapes import CREATED, a_dataset, an_archive, contents, load

from onefs.catalogue import stored
from onefs.catalogue.index import indexes_of
from onefs.catalogue.layout import read_index
from onefs.catalogue.query import columns_of, search
from onefs.catalogue.records import QC
from onefs.catalogue.snapshot import Snapshot, load_snapshot
from onefs.catalogue.stored import CHUNK_ROWS, Column, ColumnDamagedError, write_column
from onefs.catalogue.tables import write_tables
from onefs.catalogue.terms import Terms
from onefs.errors import CacheDamagedError, DamagedTableError

SESSIONS, DATASETS = an_archive()
AGGREGATES = [a_dataset(None, "Subjects/lab/S1/_ibl_subjectTrials.table.pqt")]
SEARCHES = [
    Terms(),
    Terms(subject=("S.1",), dataset=("spikes",)),
    Terms(datasets=("é.ü.npy",)),
    Terms(qc_limit=QC.PASS),
]
PAGE_BYTES = 4096


def everything(snapshot: Snapshot) -> dict[str, object]:
    """All that a snapshot can be asked for."""
    rows = range(snapshot.n_sessions + (snapshot.aggregates is not None))
    folders = [snapshot.folder(0)]
    for folder in folders:
        folders += snapshot.folders(folder.row)
    ids = [dataset.id for dataset in (*DATASETS, *AGGREGATES)]
    return {
        "contents": contents(snapshot),
        "rows": [[getattr(snapshot.datasets(row), name) for name in ("content", "rel_paths", "qc")] for row in rows],
        "folders": [(folder, snapshot.folder_path(folder.row), snapshot.folder_key(folder.row)) for folder in folders],
        "children": [snapshot.child(folder.parent, folder.name) for folder in folders[1:]],
        "by key": [snapshot.folder_of_key(snapshot.folder_key(folder.row)) for folder in folders],
        "sessions": [(snapshot.session_path(row), snapshot.session_digest(row)) for row in rows],
        "by eid": [snapshot.session_of_eid(session.eid) for session in SESSIONS],
        "by session key": [snapshot.session_of_key(snapshot.session_key(row)) for row in rows],
        "by ref": [snapshot.sessions_of_ref(each.date, each.number, each.subject) for each in SESSIONS],
        "by id": [snapshot.dataset_of_id(id_) for id_ in ids],
        "searches": [search(columns_of(snapshot), terms).tolist() for terms in SEARCHES],
        "sums": (snapshot.n_datasets, snapshot.total_bytes, snapshot.revision_dates),
        "said": (snapshot.metadata, snapshot.left_out),
    }


class Place:
    """Tables, and the directory of their one index."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.right = everything(load(home, SESSIONS, [*DATASETS, *AGGREGATES]))
        (self.index,) = (each for each in indexes_of(home / "state").iterdir() if each.is_dir())

    def open(self) -> Snapshot:
        return load_snapshot(self.home / "tables", self.home / "state")

    def check_whole(self) -> None:
        """What is on the disk now is an index without any damage, and nothing else."""
        read_index(self.index).check()
        assert [each for each in self.index.parent.iterdir() if each.is_dir()] == [self.index]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def damage(file: Path, chance: random.Random) -> str:
    """Spoil a file in one of the ways in which files are spoilt; which that was."""
    data = bytearray(file.read_bytes())
    at = chance.randrange(len(data)) if data else 0
    match chance.choice(["bit", "byte", "bytes", "cut", "longer", "zeros", "empty"]):
        case "bit" if data:
            how = f"bit in byte {at}"
            data[at] ^= 1 << chance.randrange(8)
        case "byte" if data:
            how = f"byte {at}"
            data[at] ^= chance.randrange(1, 256)
        case "bytes" if data:
            how = f"bytes from {at}"
            data[at : at + 40] = bytes(byte ^ chance.randrange(1, 256) for byte in data[at : at + 40])
        case "cut":
            how = f"cut at {at}"
            del data[at:]
        case "zeros":
            begin = at - at % PAGE_BYTES
            how = f"a page of zeros at {begin}"
            data[begin : begin + PAGE_BYTES] = bytes(len(data[begin : begin + PAGE_BYTES]))
        case "empty":
            how = "empty"
            data.clear()
        case _:
            how = "longer"
            data += b"\0" * chance.randrange(1, 2 * PAGE_BYTES)
    with file.open("r+b") as stream:  # the same file, which may be open
        stream.truncate(len(data))
        stream.write(data)
    return f"{file.name}: {how}"


@pytest.mark.seeded
@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_damaged_between_two_mounts_changes_no_answer(place: Place, seed: int) -> None:
    chance = seeded(seed)
    for _ in range(12):
        files = sorted(file for file in indexes_of(place.home / "state").rglob("*") if file.is_file())
        how = [damage(file, chance) for file in chance.sample(files, chance.choice([1, 1, 1, 3]))]
        snapshot = place.open()
        for attempt in ("at first", "and again"):
            assert everything(snapshot) == place.right, (how, attempt)
        place.check_whole()


def test_a_wrong_digit_in_the_note_of_the_tables_is_no_damage_to_the_tables(place: Place) -> None:
    """Nor do tables have another index for it."""
    note = place.index.parent / "known.json"
    for known in json.loads(note.read_text())["files"].values():
        digest = known["digest"]
        note.write_text(note.read_text().replace(digest, digest[::-1]))
        assert everything(place.open()) == place.right
        place.check_whole()


@pytest.mark.seeded
@pytest.mark.parametrize("name", ["dataset_md5", "dataset_by_id", "dataset_path", "paths.offsets", "paths.bytes"])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_damaged_before_it_is_looked_into_changes_no_answer(place: Place, name: str, seed: int) -> None:
    """Also a file that becomes shorter while it is open."""
    snapshot = place.open()
    damage(place.index / name, seeded(seed))
    assert everything(snapshot) == place.right
    assert everything(place.open()) == place.right
    place.check_whole()


@pytest.mark.seeded
@pytest.mark.parametrize("is_read_before", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_damaged_while_the_index_is_open_changes_no_answer(
    place: Place, seed: int, *, is_read_before: bool
) -> None:
    """Any file, also one that was read; and again what was made anew in its place."""
    chance = seeded(seed)
    snapshot = place.open()
    for _ in range(3):
        if is_read_before:
            everything(snapshot)
        how = [damage(file, chance) for file in sorted(place.index.iterdir())]
        assert everything(snapshot) == place.right, how
    assert everything(place.open()) == place.right
    place.check_whole()


@pytest.mark.parametrize("size_bytes", [0, 1])
def test_an_index_that_becomes_shorter_while_it_is_open_changes_no_answer(place: Place, size_bytes: int) -> None:
    snapshot = place.open()
    everything(snapshot)
    for file in place.index.iterdir():
        os.truncate(file, size_bytes)
    assert everything(snapshot) == place.right


def test_an_index_is_rebuilt_once_for_all_threads_and_snapshots(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    first, second = place.open(), place.open()
    (place.index / "dataset_size").write_bytes(bytes((place.index / "dataset_size").stat().st_size))
    assert everything(first) == everything(second) == everything(place.open()) == place.right
    assert [record.message.partition(" in ")[0] for record in caplog.records] == ["The index of the cache tables"]


def test_an_index_whose_tables_are_gone_is_told_and_not_guessed(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    snapshot = place.open()
    write_tables(place.home / "tables", SESSIONS[:1], [], created=CREATED, origin="test")
    damage_all(place.index)
    for _ in range(2):
        with pytest.raises(CacheDamagedError, match="no longer there") as caught:
            snapshot.datasets(1)
        assert "onefs refresh" in caught.value.remedy
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [str(caught.value)]
    assert snapshot.session_of_eid(SESSIONS[0].eid) is not None  # what is not in the damaged files is told on
    assert place.open().n_sessions == 1


def damage_all(index: Path) -> None:
    for file in index.glob("dataset_*"):
        with file.open("r+b") as stream:
            stream.write(b"\xff" * 16)


@pytest.mark.parametrize("is_open", [True, False])
def test_no_index_is_made_from_tables_whose_bytes_changed_by_themselves(
    place: Place, is_open: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a disk does it: the time of the last change stays. The index would be of wrong bytes for ever."""
    snapshot = place.open()
    table = place.home / "tables" / "datasets.pqt"
    before = table.stat()
    data = bytearray(table.read_bytes())
    data[len(data) // 3] ^= 1
    table.write_bytes(data)
    real = Path.stat
    monkeypatch.setattr(Path, "stat", lambda file, **how: before if file == table else real(file, **how))
    damage_all(place.index)
    if is_open:
        with pytest.raises(DamagedTableError, match=r"datasets\.pqt is damaged: its bytes"):
            snapshot.datasets(1)
    else:
        (place.index / "session_eid").unlink()
        with pytest.raises(DamagedTableError, match=r"datasets\.pqt is damaged: its bytes"):
            place.open()


# -- columns ---------------------------------------------------------------------------------------------------------

N_ROWS = 2 * CHUNK_ROWS + 10


def a_column(tmp_path: Path) -> tuple[Path, np.ndarray, list[int]]:
    rows = np.arange(N_ROWS * 2, dtype="<u4").reshape(N_ROWS, 2)
    return tmp_path / "column", rows, write_column(tmp_path / "column", rows)


def opened(file: Path, rows: np.ndarray, sums: list[int]) -> Column:
    return Column(file, rows.dtype, rows.shape, sums)


def test_a_column_gives_what_was_written(tmp_path: Path) -> None:
    file, rows, sums = a_column(tmp_path)
    column = opened(file, rows, sums)
    assert len(column) == N_ROWS
    for where in (0, CHUNK_ROWS, N_ROWS - 1, slice(CHUNK_ROWS - 2, CHUNK_ROWS + 2), slice(5, 5), slice(0, 10 * N_ROWS)):
        np.testing.assert_array_equal(column[where], rows[where])
    np.testing.assert_array_equal(column.rows(), rows)
    with pytest.raises(ValueError, match="read-only"):
        column[0][0] = 1


def test_only_what_is_looked_into_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, rows, sums = a_column(tmp_path)
    checked = []
    real = stored.crc32
    monkeypatch.setattr(stored, "crc32", lambda piece: checked.append(len(piece)) or real(piece))
    column = opened(file, rows, sums)
    assert checked == []
    for _ in range(2):
        column[N_ROWS - 1]
        column[2 * CHUNK_ROWS : N_ROWS]
    assert checked == [10 * 8]
    column[CHUNK_ROWS - 1 : CHUNK_ROWS + 1]
    assert checked == [10 * 8, CHUNK_ROWS * 8, CHUNK_ROWS * 8]


def test_a_damaged_chunk_is_refused_and_the_others_are_not(tmp_path: Path) -> None:
    file, rows, sums = a_column(tmp_path)
    with file.open("r+b") as stream:
        stream.seek(CHUNK_ROWS * 8 + 4)
        stream.write(b"x")
    column = opened(file, rows, sums)
    np.testing.assert_array_equal(column[CHUNK_ROWS - 1], rows[CHUNK_ROWS - 1])
    np.testing.assert_array_equal(column[2 * CHUNK_ROWS], rows[2 * CHUNK_ROWS])
    for where in (CHUNK_ROWS, 2 * CHUNK_ROWS - 1, slice(CHUNK_ROWS - 1, CHUNK_ROWS + 1), slice(None)):
        for _ in range(2):
            with pytest.raises(ColumnDamagedError):
                column[where]


@pytest.mark.parametrize("is_cut", [True, False])
def test_a_chunk_is_checked_again_after_its_file_was_written_to(tmp_path: Path, *, is_cut: bool) -> None:
    file, rows, sums = a_column(tmp_path)
    column = opened(file, rows, sums)
    column.check()
    with file.open("r+b") as stream:
        if is_cut:
            stream.truncate(PAGE_BYTES)
        else:
            stream.seek(CHUNK_ROWS * 8 - 4)
            stream.write(b"x")
    for where in (CHUNK_ROWS - 1, slice(0, CHUNK_ROWS)):
        with pytest.raises(ColumnDamagedError):
            column[where]
    if is_cut:
        with pytest.raises(ColumnDamagedError):
            column[CHUNK_ROWS]
    else:
        np.testing.assert_array_equal(column[CHUNK_ROWS:], rows[CHUNK_ROWS:])


def test_a_column_of_another_size_is_refused(tmp_path: Path) -> None:
    file, rows, sums = a_column(tmp_path)
    for size_bytes in (0, rows.nbytes - 1, rows.nbytes + 1):
        os.truncate(file, size_bytes)
        with pytest.raises(ColumnDamagedError):
            opened(file, rows, sums)


def test_an_empty_column(tmp_path: Path) -> None:
    rows = np.empty((0, 16), np.uint8)
    column = opened(tmp_path / "column", rows, write_column(tmp_path / "column", rows))
    assert len(column) == 0
    assert column.rows().shape == (0, 16)
