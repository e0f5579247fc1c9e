"""Files of datasets for the Python face: fetched in parallel, verified once, and what is told if they are not there."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alyx_archive import AlyxArchive
from alyx_mounts import mount_of
from waiting import wait_until

from onefs.alf_files.contents import DamagedFileError, load_file_content
from onefs.api.files import Files, read_again
from onefs.api.mounted_files import telling_failures
from onefs.archive.archive import Archive
from onefs.catalogue.records import Dataset
from onefs.demo.server import DemoServer
from onefs.errors import (
    AccessRefusedError,
    ContentError,
    MismatchError,
    MissingOnServerError,
    NoRoomError,
    UnreachableError,
)
from onefs.one_errors import ALFObjectNotFound, ALFWarning
from onefs.settings import Settings
from onefs.sources.source import Kind, prepare, resolve

SESSION = "lab/Subjects/mouse/2024-01-02/001"
NAMES = [f"{SESSION}/alf/spikes.{name}.npy" for name in ("amps", "depths", "times")]
LONG_AGO = (1_000_000_000, 1_000_000_000)
Opener = Callable[..., Archive]


@pytest.fixture
def archive(home: Path) -> AlyxArchive:
    """A session with three files."""
    archive = AlyxArchive(home / "archive")
    archive.put_all({name: name.encode() * 100 for name in NAMES})
    archive.publish()
    return archive


@pytest.fixture
def opened(server: DemoServer, home: Path) -> Iterator[Opener]:
    """Opens the server's Alyx over one cache, with further settings."""
    archives = []

    def open_it(**settings: Any) -> Archive:
        login = {"alyx_user": "demo", "alyx_password": "demo", "data_user": "demo", "data_password": "demo"}
        chosen = Settings(**login, data_url=server.data_url, cache_dir=home / "cache", **settings)
        source = resolve(server.url, chosen, Kind.DATABASE)
        prepare(source)
        archives.append(Archive(source, chosen))
        return archives[-1]

    yield open_it
    for archive in archives:
        archive.close()


def datasets_in(archive: Archive, names: list[str] = NAMES) -> list[Dataset]:
    """Datasets as the tables have them, by their paths."""
    tables = archive.tables
    found = {}
    for row in range(tables.n_sessions):
        rows = tables.datasets(row)
        found.update({rows.dataset(i).path: rows.dataset(i) for i in range(len(rows))})
    return [found[name] for name in names]


def downloads(server: DemoServer) -> list[str]:
    """The files that the data server was asked for."""
    return [visit.path for visit in server.requests() if visit.method == "GET" and ".npy" in visit.path]


def test_files_are_fetched_once_and_then_taken_without_a_look(
    archive: AlyxArchive, server: DemoServer, opened: Opener, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = opened()
    files, datasets = Files(here, may_fetch=True), datasets_in(here)
    paths = files.paths(datasets)
    assert paths == [f"{home}/cache/{name}" for name in NAMES]
    assert [Path(str(path)).read_bytes() for path in paths] == [name.encode() * 100 for name in NAMES]
    assert len(downloads(server)) == 3
    with monkeypatch.context() as watched:
        watched.setattr(os, "pread", lambda *_: pytest.fail("a file was hashed again"))
        assert files.paths(datasets) == paths
    assert len(downloads(server)) == 3
    status = os.stat(str(paths[0]))
    with open(str(paths[0]), "r+b") as file:
        file.write(b"X")
    os.utime(str(paths[0]), ns=(status.st_atime_ns, status.st_mtime_ns))  # its ctime tells
    assert files.paths(datasets) == paths
    assert [Path(str(path)).read_bytes() for path in paths] == [name.encode() * 100 for name in NAMES]
    assert len(downloads(server)) == 4


def test_the_files_of_one_call_are_fetched_in_parallel(server: DemoServer, opened: Opener) -> None:
    here = opened()
    datasets, found = datasets_in(here), []
    server.hold(server.data_url.removeprefix(server.url))
    caller = threading.Thread(target=lambda: found.extend(Files(here, may_fetch=True).paths(datasets)))
    caller.start()
    wait_until(lambda: len(downloads(server)) == 3, "all three are asked for, though none was answered")
    server.recover()
    caller.join()
    assert len(found) == 3


def test_what_another_program_put_there_is_hashed_once(server: DemoServer, opened: Opener, home: Path) -> None:
    right, wrong = home / "cache" / NAMES[0], home / "cache" / NAMES[1]
    right.parent.mkdir(parents=True)
    right.write_bytes(NAMES[0].encode() * 100)
    wrong.write_bytes(b"x" * len(NAMES[1]) * 100)
    for file in (right, wrong):
        os.utime(file, LONG_AGO)
    here = opened()
    paths = Files(here, may_fetch=True).paths(datasets_in(here))
    assert [Path(str(path)).read_bytes() for path in paths] == [name.encode() * 100 for name in NAMES]
    assert len(downloads(server)) == 2
    assert not any("amps" in path for path in downloads(server))


def test_without_check_hash_the_right_size_is_enough(server: DemoServer, opened: Opener, home: Path) -> None:
    same_size, other_size = home / "cache" / NAMES[0], home / "cache" / NAMES[1]
    same_size.parent.mkdir(parents=True)
    same_size.write_bytes(b"x" * len(NAMES[0]) * 100)
    other_size.write_bytes(b"x")
    os.utime(other_size, LONG_AGO)
    here = opened()
    paths = Files(here, may_fetch=True, check_hash=False).paths(datasets_in(here)[:2])
    assert Path(str(paths[0])).read_bytes() == b"x" * len(NAMES[0]) * 100
    assert Path(str(paths[1])).read_bytes() == NAMES[1].encode() * 100
    assert len(downloads(server)) == 1


def test_nothing_is_fetched_unless_it_may_be(server: DemoServer, opened: Opener, home: Path) -> None:
    here = opened()
    datasets = datasets_in(here)
    Files(here, may_fetch=True).paths(datasets[:1])
    found = Files(here, may_fetch=False).paths(datasets)
    assert found[0] == f"{home}/cache/{NAMES[0]}"
    assert isinstance(found[1], ALFObjectNotFound)
    assert NAMES[1] in str(found[1])
    assert "not in the cache, and mode local fetches nothing" in str(found[1])
    assert "one.mode = 'auto'" in str(found[1])
    with pytest.raises(ALFObjectNotFound, match="times"):
        Files(here, may_fetch=False).path(datasets[2])
    assert len(downloads(server)) == 1


def test_what_does_not_exist_is_taken_from_the_cache_only(server: DemoServer, opened: Opener, home: Path) -> None:
    here = opened()
    gone, cached = (replace(dataset, exists=False) for dataset in datasets_in(here)[:2])
    file = home / "cache" / NAMES[1]
    file.parent.mkdir(parents=True)
    file.write_bytes(NAMES[1].encode() * 100)
    error, path = Files(here, may_fetch=True).paths([gone, cached])
    assert isinstance(error, ALFObjectNotFound)
    assert "exists is False" in str(error)
    assert path == str(file)
    assert downloads(server) == []


def test_404_everywhere_is_told_for_that_file_alone(archive: AlyxArchive, server: DemoServer, opened: Opener) -> None:
    archive.file(NAMES[1]).unlink()
    here = opened()
    paths = Files(here, may_fetch=True).paths(datasets_in(here))
    assert [isinstance(path, str) for path in paths] == [True, False, True]
    assert isinstance(paths[1], ALFObjectNotFound)
    assert isinstance(paths[1].__cause__, MissingOnServerError)
    assert NAMES[1] in str(paths[1])
    assert isinstance(Files(here, may_fetch=True).paths(datasets_in(here)[1:2])[0], ALFObjectNotFound), "again at once"


def test_an_outage_is_an_error_of_all(server: DemoServer, opened: Opener, home: Path) -> None:
    here = opened(connect_timeout_s=1.0)
    datasets = datasets_in(here)
    server.stop()
    with pytest.raises(UnreachableError):
        Files(here, may_fetch=True).paths(datasets)
    assert not (home / "cache" / NAMES[0]).exists()
    wait_until(lambda: not here.content._fetches.running(), "the others have failed too, and will not once more")
    server.start()
    here.content.retry(None)
    assert len(Files(here, may_fetch=True).paths(datasets)) == 3


def test_wrong_bytes_are_never_given(archive: AlyxArchive, opened: Opener, home: Path) -> None:
    archive.file(NAMES[1]).write_bytes(b"x" * len(NAMES[1]) * 100)
    here = opened()
    with pytest.raises(MismatchError):
        Files(here, may_fetch=True).paths(datasets_in(here))
    assert not (home / "cache" / NAMES[1]).exists()


def test_with_verify_warn_wrong_bytes_are_given_with_a_warning(archive: AlyxArchive, opened: Opener) -> None:
    archive.file(NAMES[1]).write_bytes(b"x" * len(NAMES[1]) * 100)
    here = opened(verify="warn")
    for _ in range(2):
        with pytest.warns(ALFWarning, match=r"depths\.npy differs from what the catalogue says"):
            paths = Files(here, may_fetch=True).paths(datasets_in(here))
        assert Path(str(paths[1])).read_bytes() == b"x" * len(NAMES[1]) * 100


def test_large_files_come_whole(archive: AlyxArchive, server: DemoServer, opened: Opener) -> None:
    large = os.urandom(1 << 20)
    for name in NAMES[:2]:
        archive.put(name, large)
    archive.publish()
    here = opened(whole_file_max=1 << 17, block_size=1 << 16)
    paths = Files(here, may_fetch=True).paths(datasets_in(here))
    assert [Path(str(path)).read_bytes() for path in paths[:2]] == [large, large]
    assert [here.content.trusted_path(dataset) is not None for dataset in datasets_in(here)] == [True] * 3


def test_uuids_in_names_are_switched_at_any_time(opened: Opener) -> None:
    here = opened()
    datasets, files = datasets_in(here), Files(here, may_fetch=True)
    assert files.path(datasets[0]).endswith("spikes.amps.npy")
    here.content.uuid_filenames = True
    assert files.path(datasets[1]).endswith(f"spikes.depths.{datasets[1].id}.npy")
    assert files.path(datasets[0]).endswith("spikes.amps.npy"), "what is there is not fetched again"


def test_a_file_that_is_evicted_before_it_is_read_is_fetched_again(server: DemoServer, opened: Opener) -> None:
    here = opened()
    dataset, left = datasets_in(here)[0], list(range(4))

    def read() -> bytes:
        path = Path(Files(here, may_fetch=True).path(dataset))
        if left:
            left.pop()
            here.content._store.evict(dataset)
        return path.read_bytes()

    assert read_again(read) == NAMES[0].encode() * 100
    assert len(downloads(server)) == 5
    left += range(99)
    with pytest.raises(NoRoomError, match=r"spikes\.amps\.npy was evicted while it was being loaded"):
        read_again(read)


def test_an_interrupt_ends_the_wait(server: DemoServer, opened: Opener) -> None:
    here = opened()
    datasets = datasets_in(here)
    server.hold(server.data_url.removeprefix(server.url))

    def interrupt() -> None:
        wait_until(lambda: len(downloads(server)) == 3, "all three are asked for")
        os.kill(os.getpid(), signal.SIGINT)

    other = threading.Thread(target=interrupt)
    other.start()
    with pytest.raises(KeyboardInterrupt):
        Files(here, may_fetch=True).paths(datasets)
    other.join()
    server.recover()
    assert len(Files(here, may_fetch=True).paths(datasets)) == 3


def test_files_below_a_mountpoint_are_read_through_it(archive: AlyxArchive, server: DemoServer, home: Path) -> None:
    names = [*NAMES, f"{SESSION}/alf/spikes.waves.npy"]
    archive.put(names[3], b"waves")
    archive.publish()
    archive.file(NAMES[1]).write_bytes(b"x" * len(NAMES[1]) * 100)
    with mount_of(server, home, "--prefetch", "off") as mount:
        settings = Settings(cache_dir=home / "state")
        source = resolve(str(mount.path), settings)
        prepare(source)
        here = Archive(source, settings)
        try:
            files, datasets = Files(here, may_fetch=False), datasets_in(here, names)
            path = files.path(datasets[0])
            assert path == f"{mount.path}/{NAMES[0]}"
            assert mount.xattr(NAMES[0], "state") == "verified"
            assert here.content._store.state.stamp(datasets[0].id) is None, (
                "the mount has hashed it, so nobody else does"
            )
            with pytest.raises(MismatchError, match="depths"):
                files.path(datasets[1])
            archive.file(NAMES[2]).unlink()
            with pytest.raises(ALFObjectNotFound, match="404") as caught:
                files.path(datasets[2])
            assert "refresh_cache" in str(caught.value)
            (mount.path / ".onefs" / "mode").write_text("local")
            with pytest.raises(ALFObjectNotFound, match="mode local fetches nothing"):
                files.path(datasets[3])
        finally:
            here.close()


def test_a_server_that_fails_in_the_middle_of_a_large_file_below_a_mountpoint(
    archive: AlyxArchive, server: DemoServer, home: Path
) -> None:
    """Its end is there already; numpy would call the rest damaged."""
    large = f"{SESSION}/alf/large.data.npy"
    np.save(home / "large.npy", np.arange(1 << 20))
    archive.put(large, (home / "large.npy").read_bytes())
    archive.publish()
    flags = "--whole-file-max", "1M", "--block-size", "64K", "--read-ahead-max", "64K"
    with mount_of(server, home, *flags) as mount:
        path = f"{mount.path}/{large}"
        with open(path, "rb", buffering=0) as file:
            os.pread(file.fileno(), 1, os.fstat(file.fileno()).st_size - 1)
            server.fail()
            with pytest.raises(ContentError, match=large) as caught, telling_failures(mount.path, [path]):
                load_file_content(path)
        assert isinstance(caught.value.__cause__, DamagedFileError | OSError)


def test_a_refused_login_is_no_missing_file(server: DemoServer, opened: Opener) -> None:
    here = opened()
    datasets = datasets_in(here)
    server.fail(status=403)
    with pytest.raises(AccessRefusedError):
        Files(here, may_fetch=True).paths(datasets)
