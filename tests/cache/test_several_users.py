"""A cache directory of several users: each has a state of his own, and takes nothing of the others' on trust."""

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from archive_and_cache import ArchiveAndCache, read
from servers import Fault
from waiting import PATIENCE_S, wait_until

from onefs.cache.sharing import state_folder
from onefs.catalogue.records import Dataset
from onefs.errors import CacheDamagedError
from onefs.fetch.access import BlockRules, State

pytestmark = pytest.mark.needs_root

GROUP, ANNE, BOB = 4000, 4001, 4002
DATA = os.urandom(1 << 20) * 4
PIECE = 2_500_000
BLOCKS = BlockRules(whole_file_max_bytes=1 << 20, block_bytes=1 << 18)


@contextmanager
def user(number: int, umask: int = 0o002) -> Iterator[None]:
    """Be another user of the group for a while; all threads are."""
    before = os.umask(umask)
    os.setegid(GROUP)
    os.seteuid(number)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.umask(before)


@pytest.fixture
def lab() -> Iterator[ArchiveAndCache]:
    """A place whose cache belongs to the group, and all that is made in it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as home, ArchiveAndCache(Path(home)) as place:
        Path(home).chmod(0o755)
        place.cache.mkdir()
        os.chown(place.cache, ANNE, GROUP)
        place.cache.chmod(0o2775)
        yield place


def begin(lab: ArchiveAndCache, dataset: Dataset, blocks: BlockRules | None = None) -> None:
    """Anne fetches a part of a dataset."""
    if blocks is None:
        lab.server.fault(lab.url_path(dataset), Fault(stall_after=PIECE, times=1))
    with user(ANNE):
        content = lab.content(blocks=blocks)
        file = content.open(dataset, may_fetch=True)
        while blocks is not None and (waiting := file.wait(0, PIECE)) is not None:
            waiting.result(PATIENCE_S)
        wait_until(lambda: blocks is not None or content.transfers()[0].done_bytes == PIECE)
        file.close()
        content.close()
    lab.server.release()


@pytest.mark.parametrize("blocks", [None, BLOCKS], ids=["whole", "blocks"])
def test_each_fetches_for_himself_what_is_not_whole(lab: ArchiveAndCache, blocks: BlockRules | None) -> None:
    dataset = lab.add(DATA)
    begin(lab, dataset, blocks)
    asked = []
    for who in (BOB, ANNE):
        with user(who):
            content = lab.content(blocks=blocks)
            assert read(content, dataset) == DATA
            wait_until(lambda content=content: content.inspect(dataset).state is State.VERIFIED)
            content.flush()
            content.close()
        asked.append(lab.server.requests())
    assert asked[0] == asked[1], "Anne has what Bob fetched, once she has hashed it"


def test_who_can_do_what_in_the_cache(lab: ArchiveAndCache) -> None:
    """The group can remove all but the state of others; nobody can change a file in place or look into a state."""
    dataset = lab.add(DATA)
    for who, umask in ((ANNE, 0o022), (BOB, 0)):
        with user(who, umask):
            content = lab.content()
            assert read(content, dataset) == DATA
            content.flush()
            content.close()
    users = lab.cache / ".onefs" / "users"
    assert {path.name for path in users.iterdir()} == {str(ANNE), str(BOB)}
    assert {path.name for path in users.parent.iterdir()} == {"users"}
    for path in (lab.cache, *lab.cache.rglob("*")):
        status = path.stat()
        is_state = path.is_relative_to(users) and path != users
        if is_state and path.parent == users:
            assert stat.S_IMODE(status.st_mode) & 0o777 == 0o700
            assert status.st_uid == int(path.name)
        elif stat.S_ISREG(status.st_mode):
            assert not status.st_mode & 0o022, path
    for path in (users, users.parent):
        assert stat.S_IMODE(path.stat().st_mode) & 0o1777 == 0o1775


def test_a_file_of_another_edition_is_replaced_by_whoever_comes(lab: ArchiveAndCache) -> None:
    old = lab.add(DATA)
    with user(ANNE):
        content = lab.content()
        assert read(content, old) == DATA
        content.flush()
        content.close()
    new = lab.add(DATA[::-1])
    with user(BOB):
        content = lab.content()
        assert read(content, new) == DATA[::-1]
        content.close()


def test_what_may_only_be_read_is_used_after_one_verification(lab: ArchiveAndCache) -> None:
    """Where users share a cache without a common group."""
    fetched, found, missing = lab.add(DATA, 1), lab.add(DATA, 2), lab.add(DATA, 3)
    with user(ANNE, 0o022):
        lab.cache.chmod(0o755)
        content = lab.content()
        lab.put_in_cache(found, DATA)
        assert read(content, fetched) == DATA
        content.flush()
        content.close()
    asked = lab.server.requests()
    with user(BOB, 0o022):
        content = lab.content()
        assert content.inspect(fetched).state is not State.VERIFIED
        assert read(content, fetched) == read(content, found) == DATA
        for dataset in (fetched, found):
            assert content.inspect(dataset).state is State.VERIFIED
        with pytest.raises(CacheDamagedError, match="permission denied") as failure:
            read(content, missing)
        assert "write access" in failure.value.remedy
        content.close()
    assert lab.server.requests() == asked


def test_the_state_of_the_first_layout_is_not_read(lab: ArchiveAndCache) -> None:
    with user(ANNE):
        lab.cache.chmod(0o2755)
        assert state_folder(lab.cache) == lab.cache / ".onefs"
        content, dataset = lab.content(), lab.add(DATA)
        assert read(content, dataset) == DATA
        content.flush()
        content.close()
        lab.cache.chmod(0o2775)
        content = lab.content()
        assert content.inspect(dataset).state is not State.VERIFIED
        content.close()
