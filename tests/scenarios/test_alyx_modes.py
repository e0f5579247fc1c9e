"""The four modes of a mount of an Alyx, one row of the table each: what is listed, what is asked, what opens."""

import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from alyx_archive import AlyxArchive
from alyx_mounts import Asked, SocketWatch, errno_of, mount_of, tree_of
from waiting import wait_until

from onefs.demo.server import DemoServer

SESSION = "lab/Subjects/mouse/2024-01-02/001"
FIRST, SECOND, THIRD = (f"{SESSION}/alf/{name}" for name in ("a.times.npy", "b.times.npy", "c.times.npy"))
LATER = "lab/Subjects/mouse/2024-01-05/001"
ADDED = f"{LATER}/alf/d.times.npy"
BYTES = {FIRST: b"first" * 100, SECOND: b"second" * 100, THIRD: b"third" * 100}
TABLES = {"cache", "cache.zip", "tables"}
"""Endpoints that newer tables come from."""


class Setting:
    """A mount in mode auto with one file cached; then the database is told of one session more."""

    def __init__(self, home: Path, server: DemoServer, archive: AlyxArchive, *flags: str, **environment: str) -> None:
        self.server = server
        self.archive = archive
        self.mount = mount_of(server, home, *flags, **environment)

    def prepare(self) -> None:
        """Cache one file, then let the database know more than the tables at hand."""
        assert (self.mount.path / FIRST).read_bytes() == BYTES[FIRST]
        self.say("local")
        self.archive.put(ADDED, b"added" * 100)
        self.archive.publish()

    def say(self, mode: str) -> None:
        """`echo mode > .onefs/mode`."""
        (self.mount.path / ".onefs/mode").write_text(f"{mode}\n")
        assert self.mount.status()["mode"]["requested"] == mode

    def listed(self) -> set[str]:
        """All files, by a walk."""
        return tree_of(self.mount.path)

    def read(self, path: str) -> bytes:
        """A file's bytes."""
        return (self.mount.path / path).read_bytes()


@pytest.fixture
def archive(tmp_path: Path) -> AlyxArchive:
    archive = AlyxArchive(tmp_path / "archive")
    archive.put_all(BYTES)
    archive.publish()
    return archive


NEVER_BY_ITSELF = ("--cache-expiry", "365d", "--refresh-interval", "0s")


@pytest.fixture
def setting(tmp_path: Path, server: DemoServer, archive: AlyxArchive) -> Iterator[Setting]:
    """The tables never expire by themselves, and only what is read is fetched."""
    setting = Setting(tmp_path, server, archive, *NEVER_BY_ITSELF, "--prefetch", "off")
    with setting.mount:
        yield setting


@pytest.fixture
def watch(tmp_path: Path) -> SocketWatch:
    return SocketWatch(tmp_path)


@pytest.fixture
def watched(tmp_path: Path, server: DemoServer, archive: AlyxArchive, watch: SocketWatch) -> Iterator[Setting]:
    """The same, whose connections are noted from the start of its interpreter."""
    setting = Setting(tmp_path, server, archive, *NEVER_BY_ITSELF, **watch.environment)
    with setting.mount:
        yield setting


def test_local_asks_nobody(watched: Setting, watch: SocketWatch) -> None:
    setting = watched
    setting.prepare()
    asked, sockets = Asked(setting.server), watch.noted()
    assert sockets, "the watch sees what auto connects to"
    assert setting.listed() == set(BYTES)
    assert setting.read(FIRST) == BYTES[FIRST]
    for path in (SECOND, THIRD):
        assert errno_of(lambda path=path: setting.read(path)) == errno.ENETDOWN
        assert setting.mount.xattr(path, "state") == "remote"
        assert setting.mount.xattr(path, "source")
    assert errno_of(lambda: setting.read(ADDED)) == errno.ENOENT
    assert asked.paths() == []
    assert watch.noted() == sockets
    assert "mode local fetches nothing" in setting.mount.errors()


def test_local_from_the_start_opens_no_socket(
    watched: Setting, watch: SocketWatch, server: DemoServer, tmp_path: Path
) -> None:
    watched.prepare()
    watched.mount.stop()
    asked, sockets = Asked(server), watch.noted()
    again = mount_of(server, tmp_path, "--mode", "local", **watch.environment)
    with again:
        assert again.status()["mode"] == {"requested": "local", "effective": "local"}
        assert tree_of(again.path) == set(BYTES)
        assert (again.path / FIRST).read_bytes() == BYTES[FIRST]
        assert errno_of((again.path / SECOND).read_bytes) == errno.ENETDOWN
        assert errno_of(lambda: (again.path / ".onefs/control").write_text("refresh\n")) == errno.ENETDOWN
    assert asked.paths() == []
    assert watch.noted() == sockets


def test_auto_lists_its_tables_and_fetches(setting: Setting) -> None:
    setting.prepare()
    asked = Asked(setting.server)
    setting.say("auto")
    assert setting.listed() == set(BYTES)
    assert asked.paths() == []
    assert setting.read(SECOND) == BYTES[SECOND]
    assert not TABLES & asked.kinds().keys()
    assert errno_of(lambda: setting.read(ADDED)) == errno.ENOENT


def test_auto_renews_expired_tables_in_the_background(tmp_path: Path, server: DemoServer, archive: AlyxArchive) -> None:
    setting = Setting(tmp_path, server, archive, "--cache-expiry", "0s")
    with setting.mount:
        setting.prepare()
        server.hold("/tables")
        setting.say("auto")
        asked = Asked(server)
        assert setting.listed() == set(BYTES), "a listing does not wait for what is under way"
        wait_until(lambda: "tables" in asked.kinds(), "newer tables are fetched")
        assert setting.read(SECOND) == BYTES[SECOND]
        server.recover()
        wait_until(lambda: ADDED in setting.listed(), "the new session appears")
        assert setting.read(ADDED) == b"added" * 100


def test_refresh_checks_before_a_listing_is_answered(setting: Setting) -> None:
    setting.prepare()
    asked = Asked(setting.server)
    setting.say("refresh")
    assert setting.listed() == {*BYTES, ADDED}
    kinds = asked.kinds()
    assert kinds["cache"] and "datasets" not in kinds and "sessions" not in kinds
    assert setting.read(SECOND) == BYTES[SECOND]
    setting.archive.remove(THIRD)
    setting.archive.publish()
    assert "c.times.npy" not in {path.name for path in (setting.mount.path / SESSION / "alf").iterdir()}


def test_refresh_checks_at_most_every_interval(tmp_path: Path, server: DemoServer, archive: AlyxArchive) -> None:
    setting = Setting(tmp_path, server, archive, "--refresh-interval", "1h", "--cache-expiry", "365d")
    with setting.mount:
        setting.say("refresh")
        setting.listed()
        asked = Asked(server)
        archive.put(ADDED, b"added" * 100)
        archive.publish()
        for _ in range(3):
            assert setting.listed() == set(BYTES)
        assert asked.paths() == []


def test_remote_asks_as_directories_are_listed(setting: Setting) -> None:
    setting.prepare()
    asked = Asked(setting.server)
    setting.say("remote")
    assert setting.listed() == {*BYTES, ADDED}
    kinds = asked.kinds()
    assert {"labs", "subjects", "sessions", "datasets"} >= kinds.keys() - {"auth-token", "data-repository"}
    assert kinds["datasets"] + kinds["sessions"] > 0
    assert not TABLES & kinds.keys()
    assert setting.read(ADDED) == b"added" * 100
    assert setting.read(SECOND) == BYTES[SECOND]


def test_what_remote_learned_stays_in_the_other_modes(setting: Setting) -> None:
    setting.prepare()
    setting.say("remote")
    setting.listed()
    setting.say("local")
    asked = Asked(setting.server)
    assert setting.listed() == {*BYTES, ADDED}
    assert asked.paths() == []
    assert errno_of(lambda: setting.read(SECOND)) == errno.ENETDOWN


def test_one_listing_in_another_mode_than_the_mounts(setting: Setting) -> None:
    setting.prepare()
    setting.say("auto")
    via = setting.mount.path / ".onefs/via"
    asked = Asked(setting.server)
    assert tree_of(via / "local") == set(BYTES)
    assert asked.paths() == []
    assert tree_of(via / "remote") == {*BYTES, ADDED}
    assert "sessions" in asked.kinds()
    assert (via / "remote" / SECOND).stat().st_ino == (setting.mount.path / SECOND).stat().st_ino
    assert setting.mount.status()["mode"]["requested"] == "auto"
    assert (via / "remote" / ADDED).read_bytes() == b"added" * 100


def test_files_that_are_open_go_on_when_the_mode_changes(setting: Setting) -> None:
    with (setting.mount.path / FIRST).open("rb", buffering=0) as file:
        start = file.read(10)
        for mode in ("local", "remote", "refresh", "auto"):
            setting.say(mode)
            start += file.read(10)
        assert start + file.read() == BYTES[FIRST]


def test_a_name_known_to_be_absent_is_asked_for_in_remote(setting: Setting) -> None:
    setting.prepare()
    for _ in range(2):
        assert errno_of(lambda: setting.read(ADDED)) == errno.ENOENT
    setting.say("remote")
    assert setting.read(ADDED) == b"added" * 100


def test_who_works_in_a_folder_stays_there_when_the_mode_changes(setting: Setting) -> None:
    folder = setting.mount.path / SESSION
    worker = subprocess.Popen(
        ["sh", "-c", "while read line; do /bin/pwd -P; done"],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with worker:
        assert worker.stdin and worker.stdout
        for mode in ("remote", "local", "refresh", "auto"):
            setting.say(mode)
            worker.stdin.write("where\n")
            worker.stdin.flush()
            assert worker.stdout.readline() == f"{folder}\n"
        worker.stdin.close()


def test_each_mode_is_asked_of_the_mount_by_name(setting: Setting) -> None:
    for mode in ("local", "refresh", "remote", "auto"):
        setting.say(mode)
        assert (setting.mount.path / ".onefs/mode").read_text() == f"{mode}\n"


def test_the_bucket_is_asked_first_and_the_data_server_next(setting: Setting) -> None:
    setting.read(FIRST)  # which tells the form of the bucket's names
    setting.archive.keep_only_on(SECOND, "server_lab")
    setting.archive.keep_only_on(THIRD, "aws_lab")
    asked = Asked(setting.server)
    assert setting.read(SECOND) == BYTES[SECOND]
    where = [path.split("/")[1] for path in asked.paths() if SESSION in path]
    assert where == ["onefs-demo", "public"]
    asked = Asked(setting.server)
    assert setting.read(THIRD) == BYTES[THIRD]
    assert [path.split("/")[1] for path in asked.paths()] == ["onefs-demo"]


def test_a_file_that_no_server_has_is_eio_with_the_reason(setting: Setting) -> None:
    setting.archive.file(SECOND).unlink()
    assert errno_of(lambda: setting.read(SECOND)) == errno.EIO
    assert SECOND in setting.mount.xattr(SECOND, "error")
    setting.archive.put(SECOND, BYTES[SECOND])
    (setting.mount.path / ".onefs/control").write_text(f"retry {SECOND}\n")
    assert setting.read(SECOND) == BYTES[SECOND]
