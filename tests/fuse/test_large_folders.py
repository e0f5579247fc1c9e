"""Folders of thousands of entries: what they take is done in small parts, or where nobody has to wait for it."""

import errno
import gc
import os
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import trio
from archives import MADE_SESSION, make_tables
from asking import a_dataset, a_session, tables_of
from file_systems import file_system_of
from mounted import Mounted
from waiting import PATIENCE_S

from onefs.cache.store import ContentStore
from onefs.catalogue.building import build_index
from onefs.catalogue.index import indexes_of, open_index
from onefs.catalogue.interface import Catalogue
from onefs.catalogue.snapshot import DatasetRows, Snapshot
from onefs.catalogue.tables import find_tables
from onefs.errors import NotInCatalogueError
from onefs.fetch.access import Content
from onefs.fuse.callers import Request, finished
from onefs.fuse.errnos import FuseError
from onefs.fuse.operations import PAGE_ENTRIES, Operations
from onefs.modes import Mode
from onefs.transports.file import FileTransport
from onefs.vfs import inodes
from onefs.vfs.contents import FILES_KEPT, Appearance, Entry, SessionFiles
from onefs.vfs.forest import Wait
from onefs.vfs.nodes import DatasetFile
from onefs.vfs.tree import MOST_AT_ONCE, Tree
from onefs.vfs.views import View

LARGE, SMALL = a_session(), a_session(number=2)
N = MOST_AT_ONCE + 500
CALLER = Request(os.getpid(), os.getuid())


class Watched(Snapshot):
    """Tables that note which thread reads a session's datasets."""

    readers: Counter[tuple[int, int]]

    def datasets(self, row: int) -> DatasetRows:
        self.readers[row, threading.get_ident()] += 1
        return super().datasets(row)


@pytest.fixture
def operations(tmp_path: Path) -> Iterator[Operations]:
    datasets = [replace(a_dataset(LARGE, f"raw/{n:05}.npy"), id=UUID(int=n + 1)) for n in range(N)]
    days = [a_session(subject="rat", number=n) for n in range(N)]
    home = tables_of(tmp_path / "tables", [LARGE, SMALL, *days], [*datasets, a_dataset(SMALL, "raw/a.npy")])
    files = find_tables(home)
    tables = Watched(files, open_index(files, tmp_path / "state"))
    tables.readers = Counter()
    content = Content(ContentStore(tmp_path, tmp_path / ".onefs"), FileTransport(), lambda _: [], lambda _: [])
    yield Operations(file_system_of(Tree(tables, View(), {}), content, Mode.LOCAL), open_wait_s=1)
    content.close()


def looked_up(operations: Operations, path: str) -> int:
    """The number of what is at a path, looked up as the kernel does."""

    async def look() -> int:
        ino = inodes.ROOT
        for part in path.split("/"):
            ino = (await finished(operations.lookup(ino, os.fsencode(part), CALLER))).ino
        return ino

    return trio.run(look)


def test_a_large_session_is_made_outside_the_loop_and_a_small_one_in_it(operations: Operations) -> None:
    catalogue = operations.file_system.catalogue
    assert isinstance(catalogue, Watched)
    looked_up(operations, f"{SMALL.path}/raw/a.npy")
    assert {thread for _, thread in catalogue.readers} == {threading.get_ident()}
    catalogue.readers.clear()
    ino = looked_up(operations, f"{LARGE.path}/raw/00007.npy")
    assert catalogue.readers
    assert threading.get_ident() not in {thread for _, thread in catalogue.readers}
    assert operations.file_system.wait_for(ino) is Wait.NOTHING, "it is made only once"


def test_a_damaged_index_is_made_anew_outside_the_loop(
    operations: Operations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builders = []

    def build(*args: Any) -> None:
        builders.append(threading.get_ident())
        build_index(*args)

    monkeypatch.setattr("onefs.catalogue.building.build_index", build)
    for file in indexes_of(tmp_path / "state").rglob("dataset_*"):
        with file.open("r+b") as stream:
            stream.write(b"\xff" * 16)
    assert looked_up(operations, f"{SMALL.path}/raw/a.npy")
    assert len(builders) == 1
    assert threading.get_ident() not in builders


def test_an_index_that_cannot_be_made_anew_is_told_with_path_and_remedy(operations: Operations, tmp_path: Path) -> None:
    for file in (*indexes_of(tmp_path / "state").rglob("dataset_*"), *(tmp_path / "tables").iterdir()):
        with file.open("r+b") as stream:
            stream.write(b"\xff" * 16)
    with pytest.raises(FuseError) as caught:
        looked_up(operations, f"{SMALL.path}/raw/a.npy")
    assert caught.value.number == errno.EIO
    (failure,) = operations.file_system.journal.failures()
    assert failure.path == SMALL.path
    assert failure.remedy


def test_listing_a_large_folder_takes_long_however_often(operations: Operations) -> None:
    file_system = operations.file_system
    raw = looked_up(operations, f"{LARGE.path}/raw")
    assert file_system.wait_for(raw, to_list=True) is Wait.WORK
    assert file_system.wait_for(looked_up(operations, "lab/Subjects/rat/2024-01-02"), to_list=True) is Wait.WORK
    for small in (f"{SMALL.path}/raw", "lab/Subjects", SMALL.path):
        assert file_system.wait_for(looked_up(operations, small), to_list=True) is Wait.NOTHING


def test_attributes_are_made_for_the_entries_that_are_asked_for(
    operations: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = 0
    make = SessionFiles.entries

    def counted(files: SessionFiles, folder: str, rows: Sequence[int], appearance: Appearance) -> list[Entry]:
        nonlocal made
        made += len(rows)
        return make(files, folder, rows, appearance)

    monkeypatch.setattr(SessionFiles, "entries", counted)
    entries = operations.file_system.entries(looked_up(operations, f"{LARGE.path}/raw"))
    made = 0
    assert len(entries) == N + 2
    assert [name for name, _ in entries.part(0, 4)] == [".", "..", "00000.npy", "00001.npy"]
    assert made == 2
    assert [name for name, _ in entries.part(N, N + 9)] == [f"{n:05}.npy" for n in (N - 2, N - 1)]
    assert made == 4
    names = [name for begin in range(0, N + 2, 7) for name, _ in entries.part(begin, begin + 7)]
    assert names == [name for name, _ in entries]
    assert len(set(names)) == N + 2


def n_nodes_of(catalogue: Catalogue) -> int:
    gc.collect()
    return sum(isinstance(node, DatasetFile) and node.catalogue is catalogue for node in gc.get_objects())


def test_of_a_large_folder_few_nodes_are_kept_and_all_are_found(operations: Operations) -> None:
    files, ino = operations.file_system, looked_up(operations, f"{LARGE.path}/raw")
    listed = dict(files.entries(ino))
    assert len(listed) == N + 2
    assert n_nodes_of(files.catalogue) == 0
    for attributes in listed.values():
        again = files.attributes(attributes.ino)
        assert again._replace(version=attributes.version) == attributes  # that of a listing tells listings apart
    assert n_nodes_of(files.catalogue) == FILES_KEPT < N
    names = [f"{n:05}.npy" for n in (0, FILES_KEPT - 1, FILES_KEPT, N - 1)]
    for name in names:
        found = files.forest.node(listed[name].ino)
        assert (found.name, found.path) == (name, f"{LARGE.path}/raw/{name}")
        assert files.forest.child(ino, name).ino == listed[name].ino
    assert len({attributes.ino for attributes in listed.values()}) == len(listed)
    for absent in ("", "00000", "00000.npy.", "99999.npy", "raw"):
        with pytest.raises(NotInCatalogueError):
            files.forest.child(ino, absent)


def test_programs_that_share_a_listing_get_what_each_asked_for(
    operations: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache is on a disk that may hang, so that entries are packed in threads, several parts at the same time."""
    positions = [2, PAGE_ENTRIES + 7]
    all_packed, pack = threading.Barrier(len(positions)), Operations._pack

    def packed_together(*args: Any) -> object:
        page = pack(*args)
        all_packed.wait(PATIENCE_S)
        return page

    async def list_together() -> dict[int, bytes]:
        listing = await finished(operations.opendir(raw, CALLER))
        await finished(operations.readdir(listing, len(listing.entries) - 1, CALLER))
        found: dict[int, bytes] = {}

        async def go_on(position: int) -> None:
            found[position] = (await finished(operations.readdir(listing, position, CALLER)))[0][0]

        monkeypatch.setattr(operations.file_system, "may_block", True)
        monkeypatch.setattr(Operations, "_pack", packed_together)
        async with trio.open_nursery() as nursery:
            for position in positions:
                nursery.start_soon(go_on, position)
        return found

    raw = looked_up(operations, f"{LARGE.path}/raw")
    names = [os.fsencode(name) for name, _ in operations.file_system.entries(raw)]
    assert trio.run(list_together) == {position: names[position] for position in positions}


def test_a_mount_lists_each_entry_once_whatever_was_listed_before(tmp_path: Path) -> None:
    names = [f"{n:05}.npy" for n in range(2 * PAGE_ENTRIES + 77)]
    make_tables(tmp_path / "tables", {f"raw/{name}": b"x" for name in names})
    with Mounted(tmp_path / "tables", tmp_path / "mount") as mount:
        folder = mount.path / MADE_SESSION / "raw"
        assert sorted(os.listdir(folder)) == names
        with os.scandir(folder) as some:
            first = [next(some).name for _ in range(PAGE_ENTRIES + 3)]
            assert sorted(os.listdir(folder)) == names
            assert sorted([*first, *(entry.name for entry in some)]) == names
        assert {entry.name: entry.stat().st_size for entry in os.scandir(folder)} == dict.fromkeys(names, 1)
