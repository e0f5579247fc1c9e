"""Mode remote on a real mount: what the kernel knows follows what the database says when it is asked anew."""

import errno
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from alyx_archive import AlyxArchive
from alyx_mounts import Asked, control, errno_of, mount_of, tree_of
from mounted import Mounted, run_onefs
from waiting import wait_until

from onefs.demo.server import DemoServer

KEPT = "lab/Subjects/mouse/2024-01-02/001/alf/a.times.npy"
GONE_SESSION = "lab/Subjects/mouse/2024-01-03/001"
GONE = f"{GONE_SESSION}/alf/b.times.npy"
BYTES = {KEPT: b"kept" * 5000, GONE: b"gone" * 5000}
SUBJECT = "lab/Subjects/mouse"


@pytest.fixture
def archive(tmp_path: Path) -> AlyxArchive:
    archive = AlyxArchive(tmp_path / "archive")
    archive.put_all(BYTES)
    archive.publish()
    return archive


@pytest.fixture
def mount(server: DemoServer, tmp_path: Path) -> Iterator[Mounted]:
    with mount_of(server, tmp_path, "--mode", "remote", "--cache-expiry", "365d") as mount:
        yield mount


def test_each_command_has_the_next_listing_ask_again(mount: Mounted, server: DemoServer, archive: AlyxArchive) -> None:
    days = mount.path / SUBJECT
    known = ["2024-01-02", "2024-01-03"]
    for day, command in enumerate(("rest-cache clear", "refresh", "retry", f"retry {KEPT}"), 4):
        assert sorted(os.listdir(days)) == known
        new = f"{SUBJECT}/2024-01-0{day}/001/alf/c.times.npy"
        archive.put(new, command.encode())
        archive.publish()
        asked = Asked(server)
        assert errno_of((mount.path / new).stat) == errno.ENOENT
        assert sorted(os.listdir(days)) == known
        assert asked.paths() == []
        assert control(mount, command) == 0
        asked = Asked(server)
        known.append(f"2024-01-0{day}")
        for _ in range(2):
            assert sorted(os.listdir(days)) == known
            assert asked.kinds()["sessions"] == 1
        assert (mount.path / new).read_bytes() == command.encode()


def test_a_session_that_is_deleted_leaves_the_tree_and_what_is_open_of_it_stays(
    mount: Mounted, archive: AlyxArchive
) -> None:
    root = mount.path
    assert tree_of(root) == set(BYTES)
    with (root / GONE).open("rb", buffering=0) as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        begun = file.read(100)
        archive.remove_session(GONE_SESSION)
        archive.publish()
        assert sorted(os.listdir(root / SUBJECT)) == ["2024-01-02", "2024-01-03"]
        assert run_onefs("refresh", root).stdout.endswith("listed from now on.\n")
        assert os.listdir(root / SUBJECT) == ["2024-01-02"]
        for path in (GONE, f"{GONE_SESSION}/alf", GONE_SESSION, f"{SUBJECT}/2024-01-03"):
            wait_until(lambda path=path: errno_of((root / path).stat) == errno.ENOENT, f"the kernel forgets {path}")
        assert begun + file.readall() == mapped[:] == BYTES[GONE]
        assert os.fstat(file.fileno()).st_size == len(BYTES[GONE])
    assert tree_of(root) == {KEPT}
    assert (root / KEPT).read_bytes() == BYTES[KEPT]


def test_links_by_identifier_ask_the_database(mount: Mounted, server: DemoServer, archive: AlyxArchive) -> None:
    new = "lab2/Subjects/rat/2024-02-01/003"
    archive.put(f"{new}/alf/c.times.npy", b"new")
    archive.publish()
    links = mount.path / ".onefs"
    by_eid = links / f"by-eid/{archive.sessions[new].eid}"
    assert errno_of(by_eid.lstat) == 0
    assert by_eid.resolve() == mount.path / new
    assert (by_eid / "alf/c.times.npy").read_bytes() == b"new"
    assert (links / "by-ref/2024-02-01_3_rat").resolve() == mount.path / new
    assert (links / f"by-id/{archive.id_of(f'{new}/alf/c.times.npy')}").read_bytes() == b"new"
    assert sorted(os.listdir(mount.path / "lab2/Subjects/rat")) == ["2024-02-01"]
    unknown = [f"by-{kind}/{UUID(int=9)}" for kind in ("eid", "id", "pid")] + ["by-ref/2024-02-01_3_nobody"]
    assert [errno_of((links / link).lstat) for link in unknown] == [errno.ENOENT] * len(unknown)
    assert control(mount, "refresh") == 0
    server.stop()
    assert [errno_of((links / link).lstat) for link in unknown] == [errno.EHOSTUNREACH] * len(unknown)
    assert by_eid.resolve() == mount.path / new
