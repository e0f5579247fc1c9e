"""Hashing files that change, grow, vanish or are replaced meanwhile."""

import os
import time
from hashlib import md5

import pytest
from indexed import fill, make_tables

from onefs.indexer import hash as hash_module
from onefs.indexer.hash import ToHash, hash_files
from onefs.indexer.scan import facts_of
from onefs.workers import ThisProcess


def hashed(path):
    (found,) = hash_files([ToHash(1, 0, str(path))])
    return found


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.b.npy"
    path.write_bytes(b"before")
    os.utime(path, (1, 1))
    return path


def test_hashes_have_the_facts_of_their_file(file):
    found = hashed(file)
    assert (found.md5, found.facts) == (md5(b"before").digest(), facts_of(file.stat()).tobytes())


def test_a_change_right_after_hashing_changes_the_facts(file):
    for round_ in range(20):
        with file.open("r+b") as stream:
            stream.write(b"%06d" % round_)
        found = hashed(file)
        with file.open("r+b") as stream:
            stream.write(b"change")
        assert found.facts != facts_of(file.stat()).tobytes()


@pytest.mark.parametrize(
    ("ahead_ns", "waits_ns"),
    [(500_000_001, 20_000_000), (-60_000_000_001, 0), (3600_000_000_001, 0)],
    ids=["server's clock is ahead", "minute ago", "in an hour"],
)
def test_only_files_that_may_have_been_changed_just_now_are_waited_for(ahead_ns, waits_ns, file, monkeypatch):
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    mtime_ns = time.time_ns() // 1_000_000_000 * 1_000_000_000 + 1_000_000_000 + ahead_ns
    os.utime(file, ns=(mtime_ns, mtime_ns))
    assert hashed(file).md5
    assert slept == ([waits_ns / 1e9] if waits_ns else [])


@pytest.mark.parametrize("mtime_ns", [0, -1, -(10**18), 10**19 // 2])
def test_any_mtime_is_a_fact(mtime_ns, file):
    os.utime(file, ns=(mtime_ns, mtime_ns))
    assert hashed(file).facts == facts_of(file.stat()).tobytes()


def test_a_file_that_grows_all_the_while_is_told(file, monkeypatch):
    read = os.preadv

    def read_and_grow(*arguments):
        with file.open("ab") as stream:
            stream.write(bytes(2 << 20))
        return read(*arguments)

    monkeypatch.setattr(os, "preadv", read_and_grow)
    found = hashed(file)
    assert (found.md5, found.why, found.is_gone) == (b"", "it changes while it is read", False)
    assert found.facts == facts_of(file.stat()).tobytes()


def test_a_file_that_changes_once_is_hashed_again(file, monkeypatch):
    read = os.preadv

    def read_and_change(*arguments):
        monkeypatch.setattr(os, "preadv", read)
        count = read(*arguments)
        file.write_bytes(b"after!")
        return count

    monkeypatch.setattr(os, "preadv", read_and_change)
    found = hashed(file)
    assert (found.md5, found.facts) == (md5(b"after!").digest(), facts_of(file.stat()).tobytes())


def test_a_file_that_is_gone_is_not_told(file):
    file.unlink()
    assert hashed(file)[3:] == (b"", b"", "", True)
    assert hashed(file / "below")[3:] == (b"", b"", "", True)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_what_is_no_file_any_more_is_told_and_gone(make, file):
    file.unlink()
    make(file)
    assert hashed(file)[3:] == (b"", b"", "it is not a regular file any more", True)


def test_links_to_files_are_hashed(file, tmp_path):
    link = tmp_path / "link.a.npy"
    link.symlink_to(file)
    assert hashed(link)[3:5] == hashed(file)[3:5]


def test_files_are_hashed_in_the_order_of_the_disk(tmp_path, monkeypatch):
    names = "a.b.npy", "c.d.npy", "e.f.npy", "g.h.npy", "i.j.npy"
    folders = [f"S{n}/2020-01-01/001" for n in range(9)]
    root = fill(tmp_path, *(f"{folder}/{name}" for name in reversed(names) for folder in folders))
    read, hash_one = [], hash_module._hashed
    monkeypatch.setattr(hash_module, "_hashed", lambda file, buffer: read.append(file.path) or hash_one(file, buffer))
    make_tables(root, hash_files=True, workers=ThisProcess())
    assert read == [
        path
        for folder in folders
        for path in sorted(map(str, (root / folder).iterdir()), key=lambda path: os.stat(path).st_ino)
    ]
