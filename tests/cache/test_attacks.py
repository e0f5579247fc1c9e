"""What other members of a shared cache's group may try: nothing of the victim's is read, written, made or blocked.

Each attack is made by two users, before and after the victim uses the cache for the first time.
"""

import errno
import fcntl
import hashlib
import os
import signal
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from archive_and_cache import ArchiveAndCache, read, read_open

from onefs.cache.sharing import make_state_folder, others_can_write, path_of, refuse_shared
from onefs.catalogue.records import Dataset
from onefs.errors import CacheDamagedError, ContentError, OnefsError
from onefs.fetch.access import State
from onefs.recording.manifest import Entry
from onefs.recording.programs import ProgramFiles
from onefs.recording.unsaved import Unsaved, unsaved_file
from onefs.settings import Settings
from onefs.sources.source import Kind, prepare, resolve

pytestmark = pytest.mark.needs_root

GROUP, VICTIM = 4000, 4001
DATA = os.urandom(300_000)
SECRET = b"only the victim may read this"
KEPT_FILES = ("locks/datasets", "room/ledger", "room/arrivals", "state.db", "state.current", "state.lock", "source")
"""State files of this and of earlier layouts, at names that an attacker can know."""


@contextmanager
def user(number: int) -> Iterator[None]:
    """Be another user of the group for a while; all threads are."""
    before, groups = os.umask(0o002), os.getgroups()
    os.setgroups([])
    os.setegid(GROUP)
    os.seteuid(number)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
        os.umask(before)


class Victim:
    """A user with a private file and an empty private folder, who shares a cache with the attacker."""

    def __init__(self, place: ArchiveAndCache, attacker: int) -> None:
        self.place = place
        self.cache = place.cache
        self.attacker = attacker
        self.home = place.home / "victim"
        self.secret = self.home / "secret"
        self.folder = self.home / "folder"
        with user(VICTIM):
            self.folder.mkdir(0o700)
            self.secret.write_bytes(SECRET)
            self.secret.chmod(0o600)

    @property
    def state(self) -> Path:
        """Where the victim's state is."""
        return self.cache / ".onefs" / "users" / str(VICTIM)

    def reads(self, dataset: Dataset) -> bytes:
        """What the victim reads in a new mount, may fetch."""
        with user(VICTIM):
            content = self.place.content()
            try:
                data = read(content, dataset)
                content.flush()
                return data
            finally:
                content.close()

    def is_refused(self, dataset: Dataset, match: str = "symbolic link") -> None:
        """The victim reads nothing, and is told why."""
        with pytest.raises(OnefsError, match=match) as failure:
            self.reads(dataset)
        assert failure.value.remedy
        self.is_unharmed()

    def is_unharmed(self) -> None:
        """The private file and folder are as they were."""
        assert self.secret.read_bytes() == SECRET
        assert stat.S_IMODE(self.secret.stat().st_mode) == 0o600
        assert list(self.folder.iterdir()) == []
        assert {path.name for path in self.home.iterdir()} == {"secret", "folder"}


@pytest.fixture(params=[4002, 4003], ids=["second user", "third user"])
def victim(request: pytest.FixtureRequest) -> Iterator[Victim]:
    with tempfile.TemporaryDirectory(dir="/tmp") as home, ArchiveAndCache(Path(home)) as place:
        Path(home).chmod(0o755)
        for folder in (place.cache, Path(home) / "victim", Path(home) / "attacker"):
            folder.mkdir()
        os.chown(place.cache, 0, GROUP)
        place.cache.chmod(0o2775)
        os.chown(Path(home) / "victim", VICTIM, GROUP)
        os.chown(Path(home) / "attacker", request.param, GROUP)
        yield Victim(place, request.param)


def forged(victim: Victim) -> Dataset:
    """A dataset of which the attacker says that the private file's hash is the right one."""
    return victim.place.add(b"x" * len(SECRET), md5=hashlib.md5(SECRET).hexdigest())


def test_a_private_file_is_not_served_through_a_link(victim: Victim) -> None:
    dataset = forged(victim)
    with user(victim.attacker):
        path = victim.place.file(dataset)
        path.parent.mkdir(parents=True)
        path.symlink_to(victim.secret)
    victim.is_refused(dataset)
    assert path.is_symlink()


def test_a_private_folder_is_not_read_through_a_link(victim: Victim) -> None:
    dataset = forged(victim)
    with user(victim.attacker):
        path = victim.place.file(dataset).parent
        path.parent.mkdir(parents=True)
        path.symlink_to(victim.home)
        path.with_name("x").symlink_to(victim.secret)
    victim.is_refused(dataset)


@pytest.mark.parametrize("level", ["lab", "lab/Subjects", "lab/Subjects/KS014/2020-01-01/001/alf"])
def test_nothing_is_written_through_a_folder_that_is_a_link(victim: Victim, level: str) -> None:
    dataset = victim.place.add(DATA)
    with user(victim.attacker):
        (victim.cache / level).parent.mkdir(parents=True, exist_ok=True)
        (victim.cache / level).symlink_to(victim.folder)
    victim.is_refused(dataset)


def test_nothing_is_written_though_a_folder_becomes_a_link_meanwhile(victim: Victim) -> None:
    first, second = victim.place.add(DATA), victim.place.add(DATA[::-1], 2)
    with user(VICTIM):
        content = victim.place.content()
        assert read(content, first) == DATA
    with user(victim.attacker):
        (victim.cache / "lab").rename(victim.cache / "old")
        (victim.cache / "lab").symlink_to(victim.folder)
    with user(VICTIM):
        for dataset in (first, second):
            with pytest.raises(CacheDamagedError, match="symbolic link"):
                read(content, dataset)
        content.close()
    victim.is_unharmed()


def test_a_wrong_file_is_not_moved_away_from_behind_a_link(victim: Victim) -> None:
    dataset = victim.place.add(DATA)
    victim.reads(dataset)
    with user(VICTIM):
        content = victim.place.content()
        opened = content.open(dataset, may_fetch=True)
        assert read_open(opened) == DATA
    with user(victim.attacker):
        folder = victim.place.file(dataset).parent
        folder.rename(folder.with_name("old"))
        folder.symlink_to(victim.home)
    with user(VICTIM):
        assert read_open(opened) == DATA
        opened.close()
        with pytest.raises(OnefsError, match="symbolic link"):
            read(content, dataset)
        content.close()
    victim.is_unharmed()


def test_another_users_part_file_is_not_gone_on_with(victim: Victim) -> None:
    dataset = victim.place.add(DATA)
    with user(victim.attacker):
        parts = victim.cache / ".onefs" / "partial"
        parts.mkdir(parents=True)
        for name in (str(dataset.id), f"{dataset.id}.blocks", f"{dataset.id}.map", f"{dataset.id}.json"):
            (parts / name).symlink_to(victim.secret)
    assert victim.reads(dataset) == DATA
    victim.is_unharmed()
    assert not victim.place.file(dataset).is_symlink()
    assert victim.place.file(dataset).stat().st_uid == VICTIM
    assert not victim.place.file(dataset).stat().st_mode & 0o022


@pytest.mark.parametrize("kind", ["links", "pipes", "open files", "folders"])
def test_state_files_put_there_by_others_are_not_touched(victim: Victim, kind: str) -> None:
    """Links to a private file, pipes that would keep one waiting, files that all can write, locked for ever."""
    dataset = victim.place.add(DATA)
    held = []
    with user(victim.attacker):
        for name in KEPT_FILES:
            path = victim.cache / ".onefs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == "links":
                path.symlink_to(victim.secret)
            elif kind == "pipes":
                os.mkfifo(path, 0o666)
            elif kind == "folders":
                path.mkdir()
            else:
                held.append(path.open("wb"))
                path.chmod(0o666)
                fcntl.lockf(held[-1], fcntl.LOCK_EX)
                fcntl.flock(held[-1], fcntl.LOCK_EX)
    assert victim.reads(dataset) == DATA
    victim.is_unharmed()
    for file in held:
        assert os.fstat(file.fileno()).st_size == 0
        file.close()


@pytest.mark.parametrize("what", ["link", "folder"])
def test_a_state_folder_that_another_made_is_not_used(victim: Victim, what: str) -> None:
    dataset = victim.place.add(DATA)
    with user(victim.attacker):
        victim.state.parent.mkdir(parents=True)
        if what == "link":
            victim.state.symlink_to(victim.folder)
        else:
            victim.state.mkdir(0o777)
            victim.state.chmod(0o777)
    victim.is_refused(dataset, "users")
    if what == "folder":
        assert list(victim.state.iterdir()) == []


def test_a_state_folder_behind_a_link_is_not_used(victim: Victim) -> None:
    dataset = victim.place.add(DATA)
    with user(victim.attacker):
        elsewhere = victim.place.home / "attacker" / "users"
        elsewhere.mkdir()
        (elsewhere / str(VICTIM)).symlink_to(victim.folder)
        (victim.cache / ".onefs").symlink_to(elsewhere.parent)
    victim.is_refused(dataset)


def test_a_state_folder_that_is_replaced_meanwhile_leads_nowhere(victim: Victim) -> None:
    """What onefs writes whole goes by a descriptor; nothing is written where a link leads."""
    first, second = victim.place.add(DATA), victim.place.add(DATA[::-1], 2)
    with user(VICTIM):
        content = victim.place.content()
        assert read(content, first) == DATA
    with user(victim.attacker):
        elsewhere = victim.place.home / "attacker" / "users"
        elsewhere.mkdir()
        (elsewhere / str(VICTIM)).symlink_to(victim.folder)
        (victim.cache / ".onefs").rename(victim.cache / "moved")
        (victim.cache / ".onefs").symlink_to(elsewhere.parent)
    with user(VICTIM):
        with suppress(OnefsError):
            read(content, second)
        content.close()
    victim.is_unharmed()


def test_nobody_looks_into_or_locks_the_state_of_another(victim: Victim) -> None:
    dataset = victim.place.add(DATA)
    assert victim.reads(dataset) == DATA
    with user(victim.attacker):
        for attempt in (
            lambda: list(victim.state.iterdir()),
            lambda: (victim.state / "locks" / "datasets").open(),
            lambda: (victim.state / "planted").touch(),
            lambda: victim.state.rename(victim.state.with_name("x")),
            lambda: victim.state.rmdir(),
        ):
            with pytest.raises(OSError) as error:
                attempt()
            assert error.value.errno in (errno.EACCES, errno.EPERM)
    modes = [path.lstat().st_mode for path in victim.state.rglob("*") if not path.is_dir()]
    assert modes
    assert not [oct(mode) for mode in modes if mode & 0o022]


@pytest.mark.parametrize("what", ["pipe", "socket", "folder"])
def test_what_is_no_file_keeps_nobody_waiting(victim: Victim, what: str) -> None:
    dataset = victim.place.add(DATA)
    path = victim.place.file(dataset)
    with user(victim.attacker):
        path.parent.mkdir(parents=True)
        if what == "pipe":
            os.mkfifo(path, 0o666)
        elif what == "socket":
            os.mknod(path, stat.S_IFSOCK | 0o666)
        else:
            path.mkdir()
    with pytest.raises((ContentError, CacheDamagedError)) as failure:
        victim.reads(dataset)
    assert "Remove" in failure.value.remedy


def test_a_file_that_another_holds_a_lease_on_keeps_nobody_waiting(victim: Victim) -> None:
    """Opening it would wait for 45 s, if it could wait."""
    dataset = victim.place.add(DATA)
    path = victim.place.file(dataset)
    with user(victim.attacker):
        path.parent.mkdir(parents=True)
        path.write_bytes(DATA)
        file = path.open("r+b")
        signal.signal(signal.SIGIO, signal.SIG_IGN)  # which tells that somebody wants to open it
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    with file, pytest.raises(CacheDamagedError, match="temporarily unavailable"):
        victim.reads(dataset)


def test_bytes_changed_by_another_are_not_served_to_whoever_opens_them_then(victim: Victim) -> None:
    dataset = victim.place.add(DATA)
    assert victim.reads(dataset) == DATA
    path = victim.place.file(dataset)
    before = path.stat()
    with user(victim.attacker):
        with pytest.raises(PermissionError):
            path.write_bytes(b"wrong")
        path.unlink()
        path.write_bytes(DATA[::-1])
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert victim.reads(dataset) == DATA


def test_a_state_that_another_forged_is_not_believed(victim: Victim) -> None:
    """A stamp of wrong bytes, where the first layout had it."""
    dataset = victim.place.add(DATA)
    with user(victim.attacker):
        private = ArchiveAndCache(victim.place.home / "attacker")
        wrong = private.put_in_cache(dataset, DATA)
        content = private.content()
        assert read(content, dataset, may_fetch=False) == DATA
        content.flush()
        content.close()
        wrong.parents[6].joinpath("x").mkdir()
        (private.cache / ".onefs").rename(victim.cache / ".onefs")
        (private.cache / "lab").rename(victim.cache / "lab")
    with user(VICTIM):
        content = victim.place.content()
        assert content.inspect(dataset).state is not State.VERIFIED
        content.close()


def test_tables_that_another_put_there_are_not_used_unless_they_are_trusted(
    victim: Victim, caplog: pytest.LogCaptureFixture
) -> None:
    """They would say which bytes are right."""
    caplog.set_level("INFO")
    with user(victim.attacker):
        (victim.cache / ".onefs" / "stamps").mkdir(parents=True)
        (victim.cache / ".onefs").chmod(0o2777)
    for settings, tables_dir in (
        (Settings(cache_dir=victim.cache), victim.state / "tables"),
        (Settings(cache_dir=victim.cache, trust_cache=True), victim.cache),
    ):
        with user(VICTIM):
            source = resolve("http://localhost:1/x", settings, Kind.FOLDER)
            prepare(source)
        assert source.state_dir == victim.state
        assert source.tables_dir == tables_dir
    assert "is not read; each user verifies files once" in caplog.text


def test_an_index_is_not_read_where_a_link_leads(victim: Victim) -> None:
    """However the path came to whoever opens it."""
    with user(VICTIM):
        state = make_state_folder(victim.cache)
        (state / "index").mkdir()
    with user(victim.attacker):
        elsewhere = victim.place.home / "attacker" / "users"
        elsewhere.mkdir()
        (elsewhere / str(VICTIM)).symlink_to(victim.folder)
        (victim.cache / ".onefs").rename(victim.cache / "moved")
        (victim.cache / ".onefs").symlink_to(elsewhere.parent)
    with user(VICTIM):
        for path in (state, path_of(str(state))):
            (path / "index" / "made").write_bytes(b"x")
            assert (path / "index" / "made").read_bytes() == b"x"
    victim.is_unharmed()


@pytest.mark.parametrize("is_replaced", [False, True])
def test_what_was_recorded_is_written_in_the_users_own_folder(victim: Victim, is_replaced: bool) -> None:
    """Also if the attacker has the path lead elsewhere since the mount was made."""
    with user(VICTIM):
        state = make_state_folder(victim.cache)
        file, lock = unsaved_file(state, Path("/mnt"), "x"), ProgramFiles(state, "x").folder / "programs.lock"
    real = victim.state / "recorded"
    with user(victim.attacker):
        recorded = victim.cache / ".onefs" / "recorded"
        if is_replaced:
            real = victim.cache / "moved" / "users" / str(VICTIM) / "recorded"
            (victim.cache / ".onefs").rename(victim.cache / "moved")
            (victim.cache / ".onefs").symlink_to(victim.place.home / "attacker")
            (victim.place.home / "attacker" / "users").mkdir()
            (victim.place.home / "attacker" / "users" / str(VICTIM)).symlink_to(victim.folder)
            recorded = victim.place.home / "attacker" / "recorded"
        recorded.mkdir(parents=True)
        for name in (file.name, lock.name, f"{file.stem}.tmp"):
            (recorded / name).symlink_to(victim.secret)
    with user(VICTIM):
        unsaved = Unsaved(file, lambda: [])
        unsaved.add(Entry(uuid4(), None, "a.npy", "", None, "", 1, datetime.now(UTC), 1, "sh", "x", "", "x"))
        unsaved.close()
        with ProgramFiles(state, "x").locked():
            pass
    victim.is_unharmed()
    assert {path.name for path in real.iterdir()} >= {file.name}


def test_what_one_user_damages_of_his_own_harms_nobody_else(victim: Victim) -> None:
    """He truncates all of his state while another's content is in use, whatever is mapped of it."""
    dataset, another = victim.place.add(DATA), victim.place.add(DATA[::-1], 2)
    with user(victim.attacker):
        content = victim.place.content()
        assert read(content, dataset) == DATA
        content.flush()
        content.close()
    with user(VICTIM):
        content = victim.place.content()
        file = content.open(dataset, may_fetch=True)
        assert read_open(file) == DATA
        content.flush()
    with user(victim.attacker):
        own = victim.cache / ".onefs" / "users" / str(victim.attacker)
        damaged = [path for path in own.rglob("*") if path.is_file()]
        for path in damaged:
            os.truncate(path, 0)
    assert damaged
    with user(VICTIM):
        assert read_open(file) == DATA
        file.close()
        assert read(content, another) == DATA[::-1]
        content.close()


@pytest.mark.parametrize("mode", [0o2775, 0o775, 0o777, 0o1777, 0o755], ids=oct)
def test_who_may_use_a_cache_as_root_or_for_others(victim: Victim, mode: int) -> None:
    victim.cache.chmod(mode)
    is_shared = mode != 0o755
    for trusts in (False, True):
        if is_shared and not trusts:
            with pytest.raises(CacheDamagedError, match="root may not use") as failure:
                refuse_shared(victim.cache, serves_others=False, is_trusted=trusts)
            assert "--trust-cache" in failure.value.remedy
        else:
            refuse_shared(victim.cache, serves_others=False, is_trusted=trusts)
    os.chown(victim.cache, VICTIM, GROUP)
    with user(VICTIM):
        assert others_can_write(victim.cache) is is_shared
        refuse_shared(victim.cache, serves_others=False, is_trusted=False)
        if is_shared:
            with pytest.raises(CacheDamagedError, match="allow_other may not use"):
                refuse_shared(victim.cache, serves_others=True, is_trusted=False)
    with user(victim.attacker):
        assert others_can_write(victim.cache), "its owner can"


def test_a_cache_in_a_folder_that_others_can_write_is_theirs_to_replace(victim: Victim) -> None:
    with user(VICTIM):
        own = victim.cache / f"own-{uuid4()}"
        own.mkdir(0o700)
        assert others_can_write(own)
        assert others_can_write(own / "not" / "yet" / "there")
    victim.cache.chmod(0o1777)  # as /tmp: nobody can move away what is another's
    with user(VICTIM):
        assert not others_can_write(own)


def test_a_link_to_a_cache_that_stands_where_others_can_write_is_theirs_to_replace(victim: Victim) -> None:
    link, inner = victim.cache / "link", victim.home / "inner"
    with user(VICTIM):
        link.symlink_to(victim.folder)
        assert not others_can_write(victim.folder)
        assert others_can_write(link)
        inner.symlink_to(f"../{victim.cache.name}/link")
        assert others_can_write(inner / "not" / "yet" / "there")
    victim.cache.chmod(0o1777)
    with user(VICTIM):
        assert not others_can_write(inner), "nobody else can replace what is the victim's in a folder such as /tmp"
    link.unlink()
    with user(victim.attacker):
        link.symlink_to(victim.folder)
    with user(VICTIM):
        assert others_can_write(link), "but the attacker his own link"
