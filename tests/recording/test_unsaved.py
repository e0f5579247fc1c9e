"""What was recorded and not saved: on the disk as it comes, and read back."""

import errno
import logging
import os
import re
import subprocess
from pathlib import Path
from uuid import UUID

import pytest
from archives import make_tables
from recordings_of import entry_of
from waiting import wait_until

from onefs.recording.manifest import Entry
from onefs.recording.unsaved import Unsaved, unsaved_file


@pytest.fixture
def entries(tmp_path: Path) -> list[Entry]:
    datasets = make_tables(tmp_path / "tables", {"alf/a.x.npy": b"a", "alf/b.x.npy": b"b"})
    return [entry_of(dataset, "archive") for dataset in datasets.values()]


def test_what_came_is_read_back(entries: list[Entry], tmp_path: Path) -> None:
    file = tmp_path / "state" / "recorded.jsonl"
    unsaved = Unsaved(file, list)
    assert unsaved.load() == []
    for entry in entries:
        unsaved.add(entry)
    unsaved.close()
    assert Unsaved(file, list).load() == entries
    assert file.stat().st_mode & 0o777 == 0o600


def test_half_a_line_is_left_out_and_the_rest_kept(
    entries: list[Entry], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "recorded.jsonl"
    file.write_text(entries[0].line() + entries[1].line()[:50] + "\n" + entries[1].line()[:9])
    unsaved = Unsaved(file, lambda: entries)
    assert unsaved.load() == entries[:1]
    assert "line 2" in caplog.text
    unsaved.add(entries[1])
    unsaved.close()
    assert Unsaved(file, list).load() == entries, "what comes later does not go on in the middle of a line"


def test_what_was_taken_out_is_gone_and_the_last_one_takes_the_file(entries: list[Entry], tmp_path: Path) -> None:
    file = tmp_path / "recorded.jsonl"
    left = entries[1:]
    unsaved = Unsaved(file, lambda: left)
    unsaved.add(entries[0])
    unsaved.rewrite()
    wait_until(lambda: unsaved.load() == left, "the file is written anew")
    left.clear()
    unsaved.rewrite()
    unsaved.close()
    assert os.listdir(tmp_path) == ["tables"]


def test_a_disk_that_cannot_be_written_is_told_once_and_stops_nobody(
    entries: list[Entry], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("in the way")
    unsaved = Unsaved(tmp_path / "state" / "recorded.jsonl", list)
    with caplog.at_level(logging.WARNING):
        unsaved.add(entries[0])
        wait_until(lambda: caplog.records, "it is told")
        unsaved.add(entries[1])
        unsaved.close()
    assert len(re.findall("in memory alone", caplog.text)) == 1
    assert os.strerror(errno.EEXIST) in caplog.text or os.strerror(errno.ENOTDIR) in caplog.text


@pytest.mark.needs_mount
def test_what_a_full_disk_did_not_take_is_written_when_it_has_room(
    entries: list[Entry], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=True)
    try:
        recorded: list[Entry] = []
        unsaved = Unsaved(disk / "recorded.jsonl", lambda: recorded)
        (disk / "fill").write_bytes(bytes(os.statvfs(disk).f_bavail * 4096))
        recorded.append(entries[0])
        unsaved.add(entries[0])
        wait_until(lambda: caplog.records, "the disk is full")
        (disk / "fill").unlink()
        recorded.append(entries[1])
        unsaved.add(entries[1])
        unsaved.close()
        assert unsaved.load() == entries
    finally:
        subprocess.run(["umount", disk], check=True)


def test_each_mount_has_a_file_of_its_own(tmp_path: Path) -> None:
    files = {
        unsaved_file(tmp_path, Path(place), source)
        for place in ("/mnt/a", "/mnt/b")
        for source in ("x", str(UUID(int=1)))
    }
    assert len(files) == 4
