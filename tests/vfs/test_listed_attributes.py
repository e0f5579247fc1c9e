"""What a listing tells of each entry is what a look at that entry tells, whatever the cache holds."""

from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from asking import a_dataset, a_session, tables_of
from file_systems import file_system_of

from onefs.alf import archive_path
from onefs.cache.store import ContentStore
from onefs.catalogue.revisions import Rule
from onefs.catalogue.snapshot import load_snapshot
from onefs.fetch.access import Content
from onefs.modes import Mode
from onefs.transports.file import FileTransport
from onefs.vfs import inodes
from onefs.vfs.filesystem import FileSystem
from onefs.vfs.tree import Tree
from onefs.vfs.views import View

SESSION = a_session()
ABSENT = a_dataset(SESSION, "alf/absent.times.npy")
PLAIN = a_dataset(SESSION, "alf/plain.times.npy")
WITH_UUID = a_dataset(SESSION, "alf/uuid.times.npy")
WITH_BOTH = a_dataset(SESSION, "alf/both.times.npy")
OF_ANOTHER = a_dataset(SESSION, "alf/another.times.npy")
SIZELESS = replace(a_dataset(SESSION, "alf/sizeless.times.npy"), size_bytes=None, md5="")
REVISED = a_dataset(SESSION, "alf/#2024-05-06#/revised.times.npy")
APART = a_dataset(SESSION, "raw/plain.times.npy")
DATASETS = (ABSENT, PLAIN, WITH_UUID, WITH_BOTH, OF_ANOTHER, SIZELESS, REVISED, APART)
COPIES = {
    PLAIN.path: 5000,
    archive_path(WITH_UUID.path, WITH_UUID.id): 9000,
    WITH_BOTH.path: 13000,
    archive_path(WITH_BOTH.path, WITH_BOTH.id): 17000,
    archive_path(OF_ANOTHER.path, UUID(int=7)): 21000,
    SIZELESS.path: 25000,
    REVISED.path: 29000,
    APART.path: 33000,
}


def listed(file_system: FileSystem, ino: int) -> int:
    """How many files there are below a directory, each of which is listed as it is when one looks at it."""
    count = 0
    for name, attributes in file_system.entries(ino):
        if name in (".", ".."):
            continue
        assert attributes == file_system.attributes(attributes.ino) == file_system.lookup(ino, name), name
        count += 1 if inodes.is_file(attributes.ino) else listed(file_system, attributes.ino)
    return count


@pytest.mark.parametrize("uuid_filenames", [False, True])
@pytest.mark.parametrize("rule", [Rule(), Rule(default_only=True)], ids=["full", "default"])
def test_a_listing_tells_what_a_look_at_each_entry_tells(tmp_path: Path, rule: Rule, *, uuid_filenames: bool) -> None:
    snapshot = load_snapshot(tables_of(tmp_path / "tables", [SESSION], DATASETS), tmp_path / "state")
    store = ContentStore(tmp_path / "cache", tmp_path / "cache" / ".onefs", uuid_filenames=uuid_filenames)
    content = Content(store, FileTransport(), lambda _: [], lambda _: [])
    file_system = file_system_of(Tree(snapshot, View(0, rule), {}), content, Mode.LOCAL)
    assert listed(file_system, inodes.ROOT) == len(DATASETS)
    for path, size_bytes in COPIES.items():  # as another process would
        file = tmp_path / "cache" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes(size_bytes))
    assert listed(file_system, inodes.ROOT) == len(DATASETS)
    apart = file_system.forest.find(APART.path)
    assert file_system.attributes(apart.ino).blocks * 512 >= COPIES[APART.path]
