"""The commands about tables and kept responses, written into the control file of a real mount of a database."""

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from alyx_archive import AlyxArchive
from alyx_mounts import Asked, mount_of
from archives import make_tables
from mounted import Mounted, run_onefs
from tables_in_use import export_tag
from waiting import PATIENCE_S, wait_until

from onefs.alyx.client import AlyxClient
from onefs.alyx.credentials import Credentials
from onefs.daemon.commands import rest_cache
from onefs.demo.server import DemoServer

SESSION = "lab/Subjects/mouse/2024-01-02/001"
A, B = (f"{SESSION}/alf/{name}.times.npy" for name in "ab")
TAG = "2024_Q1_paper"


@pytest.fixture
def archive(tmp_path: Path) -> AlyxArchive:
    archive = AlyxArchive(tmp_path / "archive")
    archive.put_all({A: b"a", B: b"b"})
    export_tag(archive, TAG, archive.publish(), A)
    return archive


@pytest.fixture
def mount(server: DemoServer, tmp_path: Path) -> Iterator[Mounted]:
    with mount_of(server, tmp_path, "--cache-expiry", "365d") as mount:
        yield mount


def tell(mount: Mounted, command: str) -> int:
    """Write a command into the control file; the errno with which it fails, 0 if it does not."""
    try:
        (mount.path / ".onefs" / "control").write_text(command)
    except OSError as error:
        return error.errno or -1
    return 0


def shown(mount: Mounted) -> list[str]:
    return sorted(os.listdir(mount.path / SESSION / "alf"))


def test_tables_of_a_tag_and_back(mount: Mounted, server: DemoServer) -> None:
    assert shown(mount) == ["a.times.npy", "b.times.npy"]
    assert tell(mount, f"tables tag {TAG}") == 0
    assert shown(mount) == ["a.times.npy"]
    facts = mount.status()["tables"]
    assert (facts["tag"], facts["directory"]) == (TAG, str(mount.cache / TAG))
    assert (mount.path / "datasets.pqt").read_bytes() == (mount.cache / TAG / "datasets.pqt").read_bytes()
    assert tell(mount, "tables reset") == 0
    assert shown(mount) == ["a.times.npy", "b.times.npy"]
    assert (mount.path / "datasets.pqt").read_bytes() == (mount.cache / "datasets.pqt").read_bytes()


def test_tables_of_another_directory_and_back(mount: Mounted, tmp_path: Path) -> None:
    make_tables(tmp_path / "saved tables", {"alf/x.y.npy": b"z"})
    assert tell(mount, f"tables load '{tmp_path}/saved tables'") == 0
    assert shown(mount) == ["x.y.npy"]
    assert tell(mount, "refresh") == errno.EINVAL
    assert "tables reset" in mount.errors()
    assert tell(mount, "tables reset") == 0
    assert shown(mount) == ["a.times.npy", "b.times.npy"]


def test_tables_are_saved_for_a_mount_without_the_database(mount: Mounted, tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    assert mount.status()["tables"]["saved"] is None
    assert tell(mount, f"tables save {tmp_path}/saved") == 0
    assert mount.status()["tables"]["saved"] is not None
    with Mounted(tmp_path / "saved", tmp_path / "elsewhere") as other:
        assert shown(other) == shown(mount)


WRONG = [
    ("tables", "tables save [DIR] [clobber]|load [DIR]|tag T|reset"),
    ("tables drop", "tables save [DIR] [clobber]|load [DIR]|tag T|reset"),
    ("tables load a b", "Write: tables load [DIR]"),
    ("tables load here", "from / on"),
    ("tables save /a /b", "Write: tables save [DIR] [clobber]"),
    ("tables tag", "Write: tables tag T"),
    ("tables tag ../x", "Give a tag as the database lists it"),
    ("tables reset now", "Write: tables reset"),
    ("rest-cache", "rest-cache on|off|clear|expiry DURATION"),
    ("rest-cache maybe", "rest-cache on|off|clear|expiry DURATION"),
    ("rest-cache expiry", "Write: rest-cache expiry DURATION"),
    ("rest-cache expiry soon", "Write: rest-cache expiry DURATION"),
    ("mode fast", "local, auto, refresh, remote"),
    ("mode", "mode local|auto|refresh|remote"),
]


def test_wrong_words_are_refused_with_the_right_form(mount: Mounted) -> None:
    for command, remedy in WRONG:
        assert tell(mount, command) == errno.EINVAL, command
        assert remedy in mount.errors().splitlines()[-1], command
    assert shown(mount) == ["a.times.npy", "b.times.npy"]


def test_tables_in_the_mount_itself_are_not_loaded(mount: Mounted) -> None:
    assert tell(mount, f"tables load {mount.path}") == errno.EINVAL
    assert shown(mount) == ["a.times.npy", "b.times.npy"]


def test_kept_responses_are_steered(server: DemoServer, tmp_path: Path) -> None:
    client = AlyxClient(
        server.url,
        Credentials("demo", "demo"),
        responses_dir=tmp_path,
        connect_timeout_s=PATIENCE_S,
        read_timeout_s=PATIENCE_S,
        retry_max_s=0,
    )
    command = rest_cache(client, lambda: None)

    def asks() -> bool:
        asked = Asked(server)
        client.labs()
        return "/labs" in asked.paths()

    assert [asks(), asks()] == [True, False]
    for words, asked in {
        "off": [True, True],
        "on": [False, False],
        "clear": [True, False],
        "expiry 1h": [True, False],
    }.items():
        command.run(words.split())
        assert [asks(), asks()] == asked, words
    client.close()


def test_in_mode_local_a_tag_that_is_not_at_hand_is_enetdown(mount: Mounted, server: DemoServer) -> None:
    assert tell(mount, "mode local") == 0
    asked = Asked(server)
    assert tell(mount, f"tables tag {TAG}") == errno.ENETDOWN
    assert tell(mount, "refresh") == errno.ENETDOWN
    assert asked.paths() == []
    assert shown(mount) == ["a.times.npy", "b.times.npy"]


def test_without_a_database_there_are_no_tags_and_no_responses(tmp_path: Path) -> None:
    make_tables(tmp_path / "tables", {"alf/x.y.npy": b"z"})
    with Mounted(tmp_path / "tables", tmp_path) as mount:
        for command in (f"tables tag {TAG}", "tables save", "rest-cache on", "rest-cache expiry 1h"):
            assert tell(mount, command) == errno.EINVAL
        assert mount.errors().count("database") >= 3


def test_status_tells_sizes_and_times_as_people_read_them(server: DemoServer, tmp_path: Path) -> None:
    with mount_of(server, tmp_path, "--cache-expiry", "1h") as mount:
        wait_until(lambda: not mount.status()["tables"]["expired"], "the server has been asked, and has none newer")
        text, facts = (mount.path / ".onefs" / "status").read_text(), mount.status()
        assert re.search(r"^  cache .*\b\d+\.\d [kMGT]B free on the disk$", text, re.MULTILINE | re.DOTALL)
        assert facts["tables"]["created"][:10] in text
        assert facts["tables"]["metadata"]["sessions"]["date_created"] == facts["tables"]["created"]
        assert isinstance(facts["cache"]["free_bytes"], int)
        assert run_onefs("status", mount.path).stdout.splitlines()[:3] == text.splitlines()[:3]
