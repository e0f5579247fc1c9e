"""Indexes while others work beside: tables replaced under way, several processes, several hosts."""

import errno
import fcntl
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from filelock import FileLock
from table_shapes import CREATED, an_archive, contents, expected, load

from onefs.catalogue import building, index
from onefs.catalogue.index import indexes_of
from onefs.catalogue.snapshot import load_snapshot
from onefs.catalogue.tables import find_tables, write_tables
from onefs.errors import CacheDamagedError, TableError

SESSIONS, DATASETS = an_archive()


def on_host(monkeypatch, name):
    monkeypatch.setattr(index.os, "uname", lambda: SimpleNamespace(nodename=name))


def names(tmp_path):
    return {entry.name for entry in indexes_of(tmp_path / "state").iterdir() if entry.is_dir()}


def replace_tables(tmp_path, n):
    write_tables(tmp_path / "tables", SESSIONS[:n], [], created=CREATED, origin="test")


def once(monkeypatch, act):
    """Have `act(build)` take the place of the next making of an index; `build` is the real one."""
    build = building.build_index

    def instead(*arguments):
        monkeypatch.setattr(building, "build_index", build)
        return act(lambda: build(*arguments))

    monkeypatch.setattr(building, "build_index", instead)


# -- tables replaced while they are indexed --------------------------------------------------------------------------


def test_tables_replaced_before_they_are_read_are_not_taken_for_the_old_ones(tmp_path, monkeypatch):
    (tmp_path / "tables").mkdir()
    replace_tables(tmp_path, 1)
    shutil.copytree(tmp_path / "tables", tmp_path / "old")

    def act(build):
        replace_tables(tmp_path, 3)
        return build()

    once(monkeypatch, act)
    assert load_snapshot(tmp_path / "tables", tmp_path / "state").n_sessions == 3
    assert load_snapshot(tmp_path / "old", tmp_path / "state").n_sessions == 1
    assert len(names(tmp_path)) == 2


def test_tables_replaced_after_they_were_read(tmp_path, monkeypatch):
    (tmp_path / "tables").mkdir()
    replace_tables(tmp_path, 1)
    read = building.DatasetReader.read

    def read_and_replace(reader, file):
        monkeypatch.setattr(building.DatasetReader, "read", read)
        result = read(reader, file)
        replace_tables(tmp_path, 3)
        return result

    monkeypatch.setattr(building.DatasetReader, "read", read_and_replace)
    assert load_snapshot(tmp_path / "tables", tmp_path / "state").n_sessions == 3
    assert len(names(tmp_path)) == 1


def test_a_table_caught_half_way_is_not_complained_of_once_it_is_whole(tmp_path, monkeypatch):
    (tmp_path / "tables").mkdir()
    replace_tables(tmp_path, 1)

    def act(build):
        (tmp_path / "tables" / "datasets.pqt").write_bytes(b"PAR1")
        try:
            return build()
        finally:
            replace_tables(tmp_path, 3)

    once(monkeypatch, act)
    assert load_snapshot(tmp_path / "tables", tmp_path / "state").n_sessions == 3


def test_tables_that_never_rest(tmp_path, monkeypatch):
    (tmp_path / "tables").mkdir()
    replace_tables(tmp_path, 1)
    build = building.build_index

    def touch_and_build(files, *rest):
        replace_tables(tmp_path, 1)
        return build(files, *rest)

    monkeypatch.setattr(building, "build_index", touch_and_build)
    with pytest.raises(TableError, match="change while they are read") as caught:
        load_snapshot(tmp_path / "tables", tmp_path / "state")
    assert caught.value.remedy
    assert names(tmp_path) == set()


def test_an_index_that_vanishes_whenever_it_is_made(tmp_path, monkeypatch):
    build = building.build_index

    def build_and_lose(files, target, is_current):
        build(files, target, is_current)
        shutil.rmtree(target)

    monkeypatch.setattr(building, "build_index", build_and_lose)
    with pytest.raises(CacheDamagedError, match="vanishes or is damaged"):
        load(tmp_path, SESSIONS, DATASETS)


# -- several processes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_damaged", [False, True])
def test_whoever_comes_while_an_index_is_made_waits_and_takes_it(tmp_path, monkeypatch, is_damaged):
    load(tmp_path, SESSIONS, DATASETS)
    (name,) = names(tmp_path)
    target = indexes_of(tmp_path / "state") / name
    shutil.rmtree(target)
    if is_damaged:
        target.mkdir()
    waiting, builds = threading.Event(), []
    build, acquire = building.build_index, FileLock.acquire

    def acquire_and_tell(lock, *arguments, **options):
        if threading.current_thread().name.endswith("_1"):
            waiting.set()
        return acquire(lock, *arguments, **options)

    def build_when_the_other_waits(*arguments):
        builds.append(arguments)
        other.append(threads.submit(load_snapshot, tmp_path / "tables", tmp_path / "state"))
        assert waiting.wait(60)
        return build(*arguments)

    monkeypatch.setattr(FileLock, "acquire", acquire_and_tell)
    monkeypatch.setattr(building, "build_index", build_when_the_other_waits)
    other = []
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(load_snapshot, tmp_path / "tables", tmp_path / "state").result(60)
        made = target.stat().st_ino
        second = other[0].result(60)
    assert contents(first) == contents(second) == expected(SESSIONS, DATASETS)
    assert len(builds) == 1
    assert target.stat().st_ino == made


def test_an_index_that_its_maker_has_not_noted_yet_stays(tmp_path):
    load(tmp_path, SESSIONS, DATASETS)
    directory = indexes_of(tmp_path / "state")
    made = shutil.copytree(directory / names(tmp_path).pop(), directory / "made by another process")
    with FileLock(directory / "lock"):  # as its maker holds it until it has noted the index
        os.utime(tmp_path / "tables" / "datasets.pqt")
        load_snapshot(tmp_path / "tables", tmp_path / "state")
        assert made.exists()
    load_snapshot(tmp_path / "tables", tmp_path / "state")
    assert not made.exists()  # nobody holds the lock and nobody has noted it: its maker died


@pytest.mark.parametrize("why", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_does_too(tmp_path, monkeypatch, caplog, why):
    def refuse(*_):
        raise OSError(why, os.strerror(why))

    monkeypatch.setattr(fcntl, "flock", refuse)
    caplog.set_level("INFO", "onefs")
    for n in (1, 2, 3, 4):
        assert load(tmp_path, SESSIONS[:n], []).n_sessions == n
    assert len(names(tmp_path)) == 2
    assert os.strerror(why) in caplog.text


def test_a_lock_that_another_user_left_unreadable(tmp_path, monkeypatch):
    def refuse(lock, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", lock.lock_file)

    monkeypatch.setattr(FileLock, "acquire", refuse)
    assert contents(load(tmp_path, SESSIONS, DATASETS)) == expected(SESSIONS, DATASETS)


def test_a_directory_that_may_not_be_written(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / "tables").mkdir()
    replace_tables(tmp_path, 1)
    monkeypatch.setattr(index.Path, "mkdir", refuse)
    with pytest.raises(CacheDamagedError, match="Permission denied") as caught:
        load_snapshot(tmp_path / "tables", tmp_path / "state")
    assert caught.value.remedy


def test_the_lock_is_for_its_user_alone(tmp_path):
    before = os.umask(0)
    try:
        load(tmp_path, SESSIONS, DATASETS)
    finally:
        os.umask(before)
    assert (indexes_of(tmp_path / "state") / "lock").stat().st_mode & 0o777 == 0o600


def test_tables_of_a_user_whose_folder_is_closed_keep_their_index(tmp_path, monkeypatch):
    load(tmp_path, SESSIONS[:1], [], tables="closed")
    before = names(tmp_path)
    stat = index.Path.stat

    def refuse(path, **options):
        if "closed" in path.parts:
            raise PermissionError(errno.EACCES, "Permission denied")
        return stat(path, **options)

    monkeypatch.setattr(index.Path, "stat", refuse)
    load(tmp_path, SESSIONS[:2], [], tables="open")
    assert before < names(tmp_path)


# -- several hosts ---------------------------------------------------------------------------------------------------


def test_no_host_touches_anothers_indexes(tmp_path, monkeypatch):
    on_host(monkeypatch, "one")
    first = load(tmp_path, SESSIONS[:1], [])
    shutil.copytree(tmp_path / "tables", tmp_path / "first")
    theirs = sorted(str(file) for file in indexes_of(tmp_path / "state").rglob("*"))
    on_host(monkeypatch, "other")
    for n in (2, 3, 4):
        load(tmp_path, SESSIONS[:n], [])
    assert len(names(tmp_path)) == 2
    on_host(monkeypatch, "one")
    assert sorted(str(file) for file in indexes_of(tmp_path / "state").rglob("*")) == theirs
    monkeypatch.setattr(building, "build_index", None)
    assert contents(load_snapshot(tmp_path / "first", tmp_path / "state")) == contents(first)


@pytest.mark.parametrize("name", ["", "..", "a/b", "/", "n" * 256])
def test_a_host_of_an_impossible_name_stays_inside(tmp_path, monkeypatch, name):
    on_host(monkeypatch, name)
    load(tmp_path, SESSIONS, DATASETS)
    assert indexes_of(tmp_path / "state").parent == tmp_path / "state" / "index"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["state", "tables"]
    assert find_tables(tmp_path / "tables")
