"""The requests that `status` counts are those that the servers saw."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from alyx_archive import AlyxArchive
from alyx_mounts import Asked, mount_of, tree_of
from mounted import Mounted

from onefs.demo.server import DemoServer

SESSION = "lab/Subjects/mouse/2024-01-02/001"
FIRST, SECOND = (f"{SESSION}/alf/{name}" for name in ("a.times.npy", "b.times.npy"))
DATA = {"onefs-demo", "public", "tables"}
"""Folders on the server that are no part of the database."""
MODES = ("local", "auto", "refresh", "remote")


class Counted:
    """The requests of a mount from now on: as its status counts them, and as the server saw them."""

    def __init__(self, mount: Mounted, server: DemoServer) -> None:
        self._mount = mount
        self._before = mount.status()["requests"]
        self._asked = Asked(server)

    def told(self) -> dict[str, int]:
        """By the mount."""
        return {kind: count - self._before[kind] for kind, count in self._mount.status()["requests"].items()}

    def seen(self) -> dict[str, int]:
        """By the server."""
        kinds = self._asked.kinds()
        data = sum(kinds[folder] for folder in DATA)
        return {"database": kinds.total() - data, "data": data}


@pytest.fixture
def archive(tmp_path: Path) -> AlyxArchive:
    archive = AlyxArchive(tmp_path / "archive")
    archive.put_all({FIRST: b"first", SECOND: b"second"})
    archive.publish()
    return archive


@pytest.fixture
def mount(server: DemoServer, tmp_path: Path) -> Iterator[Mounted]:
    with mount_of(server, tmp_path, "--cache-expiry", "365d", "--refresh-interval", "0s") as mount:
        yield mount


def switch(mount: Mounted, mode: str) -> None:
    (mount.path / ".onefs/mode").write_text(f"{mode}\n")


@pytest.mark.parametrize("mode", MODES)
def test_the_status_counts_what_the_server_saw(mount: Mounted, server: DemoServer, mode: str) -> None:
    assert (mount.path / FIRST).read_bytes() == b"first"
    switch(mount, mode)
    counted = Counted(mount, server)
    tree_of(mount.path)
    if mode != "local":
        assert (mount.path / SECOND).read_bytes() == b"second"
    assert counted.told() == counted.seen()
    assert any(counted.told().values()) == (mode != "local")


def test_a_session_is_asked_for_once(mount: Mounted, server: DemoServer) -> None:
    assert (mount.path / FIRST).read_bytes() == b"first"
    switch(mount, "remote")
    for expected in (1, 0, 0):
        counted = Counted(mount, server)
        assert os.listdir(mount.path / SESSION / "alf") == ["a.times.npy", "b.times.npy"]
        assert counted.told() == counted.seen() == {"database": expected, "data": 0}


def test_new_tables_logins_and_repetitions_are_counted(
    mount: Mounted, server: DemoServer, archive: AlyxArchive
) -> None:
    archive.put(SECOND, b"other")
    archive.publish()
    server.answers.logins.forget()
    counted = Counted(mount, server)
    (mount.path / ".onefs/control").write_text("refresh\n")
    asked_again = ["cache/info", "auth-token", "cache/info"]
    assert counted.told() == counted.seen() == {"database": len(asked_again), "data": 1}
    assert (mount.path / FIRST).read_bytes() == b"first"  # which tells the form of the bucket's names
    archive.keep_only_on(SECOND, "server_lab")
    counted = Counted(mount, server)
    assert (mount.path / SECOND).read_bytes() == b"other"
    assert counted.told() == counted.seen()
    assert counted.told()["data"] == len(["the bucket", "the data server"])
