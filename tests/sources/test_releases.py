"""The datasets of a release, below .onefs/tag of a mount that shows all."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from alyx_archive import AlyxArchive
from alyx_mounts import Asked, errno_of, mount_of, tree_of
from mounted import Mounted
from tables_in_use import export_tag

from onefs.demo.server import DemoServer

OLD = "lab/Subjects/mouse/2024-01-02/001/alf/a.times.npy"
NEW = "lab/Subjects/mouse/2024-01-02/001/alf/#2024-05-06#/a.times.npy"
OTHER = "lab/Subjects/mouse/2024-01-03/001/b.times.npy"
ALL = {OLD: b"old", NEW: b"new", OTHER: b"other"}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> AlyxArchive:
    archive = AlyxArchive(tmp_path_factory.mktemp("archive") / "archive")
    archive.put_all(ALL)
    created = archive.publish()
    export_tag(archive, "2024_Q1", created, OLD)
    export_tag(archive, "2024_Q2", created, OLD, NEW)
    return archive


@pytest.fixture(scope="module")
def server(archive: AlyxArchive) -> Iterator[DemoServer]:
    with DemoServer(archive.directory) as server:
        yield server


def tag(mount: Mounted, name: str) -> Path:
    return mount.path / ".onefs/tag" / name


def test_a_release_is_fetched_when_it_is_entered_and_kept(server: DemoServer, tmp_path: Path) -> None:
    with mount_of(server, tmp_path) as mount:
        asked = Asked(server)
        assert os.listdir(mount.path / ".onefs/tag") == []
        assert tree_of(mount.path) == set(ALL)
        assert asked.paths() == []
        assert tree_of(tag(mount, "2024_Q1")) == {OLD}
        assert tree_of(tag(mount, "2024_Q2")) == {OLD, NEW}
        assert "/cache/info/2024_Q1/" in asked.paths()
        assert sorted(os.listdir(mount.path / ".onefs/tag")) == ["2024_Q1", "2024_Q2"]
        assert (tag(mount, "2024_Q2") / NEW).read_bytes() == b"new"
        assert (tag(mount, "2024_Q2") / NEW).stat().st_ino == (mount.path / NEW).stat().st_ino
        assert (tag(mount, "2024_Q1") / "datasets.pqt").read_bytes() != (mount.path / "datasets.pqt").read_bytes()
        assert tree_of(mount.path) == set(ALL)
        for absent in ("2031_Q1", ".git", "a\nb"):
            assert errno_of(lambda name=absent: os.listdir(tag(mount, name))) == errno.ENOENT
        asked = Asked(server)
        (mount.path / ".onefs/control").write_text("qc NOT_SET")
        assert tree_of(tag(mount, "2024_Q1")) == set()
        (mount.path / ".onefs/control").write_text("qc FAIL")
        (mount.path / ".onefs/control").write_text("as-of 2024-01-01")
        assert tree_of(tag(mount, "2024_Q2")) == {OLD}
        assert asked.paths() == []
    with mount_of(server, tmp_path, "--mode", "local") as mount:
        asked = Asked(server)
        assert sorted(os.listdir(mount.path / ".onefs/tag")) == ["2024_Q1", "2024_Q2"]
        assert tree_of(tag(mount, "2024_Q2")) == {OLD, NEW}
        assert (tag(mount, "2024_Q2") / NEW).read_bytes() == b"new"
        assert asked.paths() == []


def test_without_its_tables_and_a_server_a_release_is_one_clear_error(server: DemoServer, tmp_path: Path) -> None:
    with mount_of(server, tmp_path) as mount:
        (mount.path / ".onefs/mode").write_text("local")
        assert errno_of(lambda: os.listdir(tag(mount, "2024_Q1"))) == errno.ENETDOWN
        told = [line for line in mount.errors().splitlines() if "2024_Q1" in line]
        assert len(told) == 1
        assert "ENETDOWN" in told[0]
        assert "not at hand, and mode local asks no server.\tSwitch to mode auto first: onefs mode auto." in told[0]
        (mount.path / ".onefs/mode").write_text("auto")
        assert tree_of(tag(mount, "2024_Q1")) == {OLD}


def test_in_remote_mode_the_views_show_what_the_database_tells(server: DemoServer, tmp_path: Path) -> None:
    with mount_of(server, tmp_path, "--mode", "remote") as mount:
        views = mount.path / ".onefs"
        assert tree_of(views / "default") == {OLD, OTHER}
        assert (views / "as-of/2024-01-01" / OLD).read_bytes() == b"old"
        assert (views / "as-of/2024-06-01" / OLD).read_bytes() == b"new"
        assert os.listdir(views / "as-of") == ["2024-05-06"]
        (views / "control").write_text("as-of 2024-01-01")
        assert tree_of(mount.path) == {OLD, OTHER}
        assert (views / "default" / OLD).read_bytes() == b"old"
