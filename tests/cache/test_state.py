"""What onefs knows of a cache: shared by processes, after a restart of the machine, and when files were touched."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from archive_and_cache import ArchiveAndCache, dataset_of, read

from onefs.cache.state import PUT_COPY, QuarantineRecord, State
from onefs.cache.store import ContentStore
from onefs.cache.verify import CopyRecord, Signature, Stamp, row_of
from onefs.catalogue.records import Dataset
from onefs.fetch import access
from onefs.fetch.access import Verify

DATA = os.urandom(5000)
SOURCE = "https://data.example/file"


class Folder:
    """A cache folder with files and as many states of it as a test asks for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._stack = ExitStack()

    def state(self, *, most_in_memory: int = 1000) -> State:
        """Another state of the same folder, closed at the end of the test."""
        state = State(self.root / ".onefs", self.root, again_after_s=0.0, most_in_memory=most_in_memory)
        self._stack.callback(state.close, 60.0)
        return state

    def file(self, number: int = 1, data: bytes = DATA) -> tuple[Dataset, Stamp]:
        """A dataset with its file in the cache, and a stamp that is right."""
        dataset = dataset_of(number, data)
        path = self.root / dataset.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return dataset, Stamp(Signature.of(path.stat()), dataset.md5, source=SOURCE)

    def close(self) -> None:
        """Close the states."""
        self._stack.close()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    with closing(Folder(tmp_path / "cache")) as folder:
        yield folder


# -- shared ----------------------------------------------------------------------------------------------------------


def test_what_one_process_verified_another_sees(folder: Folder) -> None:
    first, second = folder.state(), folder.state()
    dataset, stamp = folder.file()
    assert second.stamp(dataset.id) is None
    first.put(dataset, stamp)
    assert first.stamp(dataset.id) == stamp
    assert first.flush()
    assert second.stamp(dataset.id) is None, "it was looked up before, and is not again"
    assert second.reload(dataset.id) == second.stamp(dataset.id) == stamp
    record = folder.state().copy(dataset.id)
    assert record is not None
    assert (record.dataset.path, record.dataset.eid, record.stamp) == (dataset.path, dataset.eid, stamp)
    first.drop(dataset.id)
    assert first.stamp(dataset.id) is first.reload(dataset.id) is None
    assert first.flush()
    assert folder.state().stamp(dataset.id) is None


class InFolder:
    """A file that knows the ids of those that follow it in its folder."""

    folder_path = "folder"

    def __init__(self, ids: list[UUID]) -> None:
        self._ids = ids

    def ids_from_here(self, count: int) -> list[UUID]:
        return self._ids[:count]


def test_records_of_a_folder_are_read_together_once_two_are_wanted(folder: Folder) -> None:
    first, second = folder.state(), folder.state()
    files = [folder.file(number) for number in range(5)]
    ids = [dataset.id for dataset, _ in files]
    for dataset, stamp in files[:4]:
        first.put(dataset, stamp)
    assert first.flush()
    found = [second.stamp(ids[at], InFolder(ids[at:])) for at in range(2)]
    assert found == [files[0][1], files[1][1]]
    first.drop(ids[2])
    first.put(*files[4])
    assert first.flush()
    assert second.stamp(ids[2]) == files[2][1], "it was read with the second"
    assert second.stamp(ids[3], InFolder(ids[3:])) == files[3][1]
    assert second.stamp(ids[4]) == files[4][1]


def test_what_is_read_ahead_takes_the_place_of_nothing_that_is_known(folder: Folder) -> None:
    first, second = folder.state(), folder.state()
    files = [folder.file(number) for number in range(3)]
    ids = [dataset.id for dataset, _ in files]
    for dataset, stamp in files:
        first.put(dataset, stamp)
    assert first.flush()
    newer = replace(files[2][1], accepted="other")
    second.put(files[2][0], newer)
    for at in range(2):
        assert second.stamp(ids[at], InFolder(ids[at:])) == files[at][1]
    assert second.stamp(ids[2], InFolder(ids[2:])) == newer


def test_a_put_counts_before_it_is_written_and_the_last_one_stays(folder: Folder) -> None:
    state = folder.state()
    dataset, stamp = folder.file()
    later = replace(stamp, accepted="other")
    for each in (stamp, later):
        state.put(dataset, each)
        assert state.reload(dataset.id) == each
    assert [record.stamp for record in state.copies()] == [later]


def test_pins_and_quarantine_count_for_all(folder: Folder) -> None:
    first, second = folder.state(), folder.state()
    dataset, _ = folder.file()
    first.pin(dataset.id)
    assert second.is_pinned(dataset.id)
    assert second.pinned() == {str(dataset.id)}
    second.unpin(dataset.id)
    assert not first.is_pinned(dataset.id)
    first.record_quarantine(dataset, QuarantineRecord("It is wrong.", "Wait.", 3, 60.0))
    found = second.quarantine_of(dataset)
    assert found is not None
    assert (found.reason, found.remedy, found.times) == ("It is wrong.", "Wait.", 3)
    assert second.quarantine_of(replace(dataset, md5="0" * 32)) is None, "the catalogue has changed"
    second.forget_quarantine(dataset)
    assert first.quarantine_of(dataset) is None


def test_uses_are_written_with_the_rest(folder: Folder) -> None:
    first = folder.state()
    (used, stamp), (unused, other) = folder.file(1), folder.file(2)
    first.put(used, stamp)
    first.put(unused, other)
    assert first.flush()
    first.use(used.id)
    assert first.recent_use_s(used.id) > 0
    assert first.flush()
    by_id = {record.dataset.id: record.last_use_s for record in folder.state().copies()}
    assert by_id[used.id] > by_id[unused.id]


def test_memory_is_bounded_and_what_left_it_is_looked_up(folder: Folder) -> None:
    state = folder.state(most_in_memory=10)
    files = [folder.file(number) for number in range(1, 31)]
    for dataset, stamp in files:
        state.put(dataset, stamp)
    assert state.flush()
    assert [state.stamp(dataset.id) for dataset, _ in files] == [stamp for _, stamp in files]
    assert [record.stamp for record in state.copies(fetched_only=True)] == [stamp for _, stamp in files]


def test_inodes_and_times_of_any_size_are_kept(folder: Folder) -> None:
    state = folder.state()
    dataset, stamp = folder.file()
    for inode in (1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1):
        odd = replace(stamp, signature=Signature(0, -(1 << 62), 1 << 62, inode))
        state.put(dataset, odd)
        assert state.flush()
        assert folder.state().stamp(dataset.id) == odd


def test_a_change_that_fails_changes_nothing_and_others_go_on(folder: Folder) -> None:
    state = folder.state()

    def fail(connection: object) -> None:
        state_connection.execute("REPLACE INTO pins VALUES (?)", (UUID(int=1).bytes,))
        raise ValueError("no")

    state_connection = state.write(lambda connection: connection)
    with pytest.raises(ValueError, match="no"):
        state.write(fail)
    assert state.pinned() == set()
    state.write_later(lambda connection: connection.execute("REPLACE INTO pins VALUES (?)", (UUID(int=2).bytes,)))
    assert state.pinned() == {str(UUID(int=2))}


def test_further_tables_are_in_each_database(folder: Folder) -> None:
    first, second = folder.state(), folder.state()
    for state in (first, second):
        state.add_schema("CREATE TABLE IF NOT EXISTS more (number INTEGER)")
    first.write(lambda connection: connection.execute("INSERT INTO more VALUES (7)"))
    assert second.read(lambda connection: connection.execute("SELECT number FROM more").fetchall()) == [(7,)]
    for path in (folder.root / ".onefs").glob("state-*"):
        path.unlink()
    first.write(lambda connection: connection.execute("INSERT INTO more VALUES (8)"))
    assert second.read(lambda connection: connection.execute("SELECT number FROM more").fetchall()) == [(8,)]


FORKING = """
import os, sys
from pathlib import Path
from uuid import UUID
from onefs.cache.state import State
folder = Path(sys.argv[1])
state = State(folder, folder)
state.pin(UUID(int=1))
assert state.is_pinned(UUID(int=1))
child = os.fork()
state.pin(UUID(int=2 if child else 3))
assert state.is_pinned(UUID(int=1)) and state.flush()
state.close(60)
if child:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
os._exit(0)
"""


def test_a_process_that_is_forked_off_has_a_connection_of_its_own(tmp_path: Path) -> None:
    for _ in range(5):
        subprocess.run([sys.executable, "-c", FORKING, tmp_path], check=True, timeout=60)
    with closing(Folder(tmp_path)):
        state = State(tmp_path, tmp_path)
        assert state.pinned() == {str(UUID(int=number)) for number in (1, 2, 3)}
        state.close(60)


def test_the_database_is_made_only_by_whoever_writes(folder: Folder) -> None:
    state = folder.state()
    dataset, _ = folder.file()
    assert state.stamp(dataset.id) is None
    assert not state.is_pinned(dataset.id)
    assert list(state.copies()) == []
    assert not (folder.root / ".onefs").exists()


# -- files that were touched, and restarts of the machine ------------------------------------------------------------


def test_a_file_of_which_only_the_ctime_differs_is_hashed_again_once(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content()
    read(content, dataset)
    path = place.file(dataset)
    status = path.stat()
    path.write_bytes(DATA[::-1])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (status.st_ino, status.st_mtime_ns)
    assert read(content, dataset) == DATA
    assert place.server.requests() == 2
    place.file(dataset).chmod(0o600)
    assert content.inspect(dataset).state is access.State.CACHED
    assert read(content, dataset) == DATA
    assert content.inspect(dataset).state is access.State.VERIFIED
    assert place.server.requests() == 2
    assert content.keeping.evict(dataset) > 0, "it is still one that onefs fetched"


def reboot(place: ArchiveAndCache, dataset: Dataset, *, synced: bool, md5: str = "") -> None:
    """Have a dataset's row be of another boot."""
    with closing(ContentStore(place.cache, place.cache / ".onefs")) as store:
        record = store.state.copy(dataset.id)
        assert record is not None
        stamp = replace(record.stamp, md5=md5 or record.stamp.md5)
        row = row_of(CopyRecord(dataset, stamp, record.last_use_s), "another boot", synced=synced)
        store.state.write(lambda connection: connection.execute(PUT_COPY, row))


@pytest.mark.parametrize("synced", [True, False])
def test_after_a_restart_of_the_machine_only_what_was_synced_counts(place: ArchiveAndCache, *, synced: bool) -> None:
    dataset, content = place.add(DATA), place.content()
    read(content, dataset)
    content.flush()
    content.close()
    reboot(place, dataset, synced=synced)
    again = place.content()
    assert again.inspect(dataset).state is (access.State.VERIFIED if synced else access.State.CACHED)
    assert read(again, dataset) == DATA
    assert again.inspect(dataset).state is access.State.VERIFIED
    assert place.server.requests() == 1
    assert again.keeping.evict(dataset) > 0, "it is still one that onefs fetched"


@pytest.mark.parametrize("policy", [Verify.AUTO, Verify.STRICT])
def test_bytes_that_a_power_loss_took_are_not_served_though_the_catalogue_knows_no_hash(
    place: ArchiveAndCache, policy: Verify
) -> None:
    dataset, content = place.add(DATA, md5=""), place.content(verify=policy)
    read(content, dataset)
    content.flush()
    content.close()
    reboot(place, dataset, synced=False, md5="0" * 32)  # as if other bytes had been there
    again = place.content(verify=policy)
    assert read(again, dataset) == DATA
    assert place.server.requests() == 2, "what was there is not what came"


def test_synced_rows_are_marked_and_counted_for_the_next_boot(folder: Folder) -> None:
    state = folder.state()
    files = [folder.file(number) for number in range(1, 31)]
    for dataset, stamp in files:
        state.put(dataset, stamp)
    assert state.flush()
    query = "SELECT count(*), sum(synced), count(DISTINCT run) FROM copies"
    assert state.read(lambda connection: connection.execute(query).fetchone()) == (30, 30, 1)
    assert [record.stamp for record in folder.state().copies()] == [stamp for _, stamp in files]


def test_files_behind_links_of_an_archive_are_synced(folder: Folder) -> None:
    dataset, stamp = folder.file()
    path = folder.root / dataset.path
    path.symlink_to(path.rename(folder.root / "aside"))
    with closing(ContentStore(folder.root, folder.root / ".onefs", is_cache=False)) as archive:
        archive.state.put(dataset, Stamp(Signature.of(path.stat()), stamp.md5))
        assert archive.flush()
        query = "SELECT synced FROM copies"
        assert archive.state.read(lambda connection: connection.execute(query).fetchone()) == (1,)


def test_what_a_killed_process_did_not_sync_is_synced_by_the_next(folder: Folder) -> None:
    dataset, stamp = folder.file()
    first = folder.state()
    row = row_of(CopyRecord(dataset, stamp, 1.0), first.run)
    first.write(lambda connection: connection.execute(PUT_COPY, row))
    second = folder.state()
    second.use(dataset.id)
    query = "SELECT synced FROM copies"
    assert second.flush()
    assert second.read(lambda connection: connection.execute(query).fetchone()) == (1,)


def test_a_mistaken_statement_does_not_cost_the_database(folder: Folder) -> None:
    state = folder.state()
    state.pin(UUID(int=1))
    for statement in ("SELECT nothing FROM pins", "INSERT INTO pins VALUES (NULL, 1)", "no SQL"):
        with pytest.raises(sqlite3.Error):
            state.write(lambda connection: connection.execute(statement))  # noqa: B023
    state.write_later(lambda connection: connection.execute("no SQL"))
    assert state.flush()
    assert state.pinned() == {str(UUID(int=1))}
    assert len(list((folder.root / ".onefs").glob("state-*.db"))) == 1
