"""An exception that nobody foresaw, inside a real mount: EIO, a sentence, a traceback in the log."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from archives import MADE_SESSION, make_tables, on_servers
from servers import FaultServer
from waiting import PATIENCE_S, wait_until

DATA = b"spikes" * 1000
NAMES = [f"sound/{name}.times.npy" for name in ("b", "c", "torn", "shut")] + ["broken/a.times.npy"]
# A mount as `onefs mount --foreground` makes it, of which some parts are broken on purpose.
PROGRAM = """
import sys
from pathlib import Path
from onefs.daemon import logs
from onefs.daemon.service import Service
from onefs.fuse.mounters import Mounter
from onefs.sources.source import prepare, resolve
from onefs.settings import Settings

tables, cache, url, mountpoint, breaks_fetch = sys.argv[1:]
settings = Settings(cache_dir=Path(cache), data_url=url)
source = resolve(tables, settings)
prepare(source)
log = logs.install("info", None)
service = Service(source, settings, Mounter(Path(mountpoint)), log)
files = service._file_system
entries, attributes, opening, file_ino = files.entries, files.xattr, files.open, files.file_ino

def broken_entries(ino):
    if files.path(ino).endswith("/broken"):
        raise ZeroDivisionError("entries of " + files.path(ino))
    return entries(ino)

def broken_open(ino, refusal, user):
    opened = opening(ino, refusal, user)
    if opened.path.endswith("torn.times.npy"):
        def torn(offset, size):
            raise LookupError("read of " + opened.path)
        opened.file.close()
        class Torn:
            edition = origin = None
            is_whole = True
            wait = staticmethod(lambda offset, size: None)
            close = staticmethod(lambda: None)
            read_now = staticmethod(torn)
        return opened._replace(file=Torn())
    if opened.path.endswith("shut.times.npy"):
        raise RuntimeError("open of " + opened.path)
    return opened

def broken_xattr(ino, name):
    if name == "user.onefs.qc":
        raise UnicodeError("attribute")
    if name == "user.onefs.hash":
        raise MemoryError("untold attribute")
    return attributes(ino, name)

operations = service._operations
tell = operations._tell_unforeseen

def broken_tell(method, number, error):
    if isinstance(error, MemoryError):
        raise RuntimeError("can't start new thread")
    tell(method, number, error)

def broken_refresh():
    raise MemoryError("refresh")

def broken_check():
    raise MemoryError("check")

operations._tell_unforeseen = broken_tell
service._archive.refresh, service._refresher.refresh_if_due = broken_refresh, broken_check
failed = []

def broken_file_ino(dataset):
    if not failed:
        failed.append(dataset)
        raise ArithmeticError("number of " + dataset.path)
    return file_ino(dataset)

files.entries, files.open, files.xattr = broken_entries, broken_open, broken_xattr
if breaks_fetch == "yes":
    files.file_ino = broken_file_ino
service.run(lambda: print("ready", flush=True))
"""


@dataclass
class Broken:
    """The mount, its process and its log."""

    mountpoint: Path
    process: "subprocess.Popen[str]"
    log_file: Path

    @property
    def session(self) -> Path:
        return self.mountpoint / MADE_SESSION

    def log(self) -> str:
        return self.log_file.read_text()


@pytest.fixture
def broken(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broken]:
    breaks_fetch = "yes" if "fetch" in request.node.name else "no"
    names = [
        "broken/a.times.npy",
        "sound/b.times.npy",
        "sound/c.times.npy",
        "sound/torn.times.npy",
        "sound/shut.times.npy",
    ]
    datasets = make_tables(tmp_path / "tables", dict.fromkeys(names, DATA))
    mountpoint, log_file = tmp_path / "mnt", tmp_path / "log"
    mountpoint.mkdir()
    with FaultServer() as server, log_file.open("w") as log:
        for dataset in datasets.values():
            server.put(on_servers(dataset), DATA)
        words = [tmp_path / "tables", tmp_path / "cache", server.url, mountpoint, breaks_fetch]
        command = [sys.executable, "-c", PROGRAM, *words]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", log_file.read_text()
            yield Broken(mountpoint, process, log_file)
            process.terminate()
            assert process.wait(PATIENCE_S) == 0
            assert not os.path.ismount(mountpoint)
        finally:
            process.kill()
            process.communicate()
            if os.path.ismount(mountpoint):
                subprocess.run(["umount", "-l", mountpoint], check=True)


def fails(act: object, *arguments: object) -> int | None:
    with pytest.raises(OSError) as failure:
        act(*arguments)  # type: ignore[operator]
    return failure.value.errno


def test_the_mount_outlives_it(broken: Broken) -> None:
    assert fails(os.listdir, broken.session / "broken") == errno.EIO
    assert fails((broken.session / "sound/shut.times.npy").read_bytes) == errno.EIO
    assert fails((broken.session / "sound/torn.times.npy").read_bytes) == errno.EIO
    assert fails(os.getxattr, broken.session / "sound/b.times.npy", "user.onefs.qc") == errno.EIO
    for words in ("ZeroDivisionError: entries of ", "RuntimeError: open of ", "LookupError: read of ", "UnicodeError"):
        assert words in broken.log()
    assert broken.log().count("Traceback") >= 4
    lines = [line.split("\t") for line in (broken.mountpoint / ".onefs/errors").read_text().splitlines()]
    told = {
        path.removeprefix(f"{MADE_SESSION}/"): (number, reason, remedy) for _, number, path, reason, remedy, _ in lines
    }
    assert set(told) == {"broken", "sound/shut.times.npy", "sound/torn.times.npy", "sound/b.times.npy"}
    for number, reason, remedy in told.values():
        assert number == "EIO"
        assert f"{reason} {remedy}" in broken.log()
        assert "onefs log" in remedy
    assert "ZeroDivisionError('entries of " in told["broken"][1]
    assert fails(os.listdir, broken.session / "broken") == errno.EIO
    assert sorted(os.listdir(broken.session)) == ["broken", "sound"]
    assert (broken.session / "broken/a.times.npy").read_bytes() == DATA
    assert (broken.session / "sound/b.times.npy").read_bytes() == DATA
    assert os.getxattr(broken.session / "sound/b.times.npy", "user.onefs.state") == b"verified"
    assert broken.process.poll() is None


def test_the_mount_outlives_it_where_nobody_asked(broken: Broken) -> None:
    assert fails(os.getxattr, broken.session / "sound/b.times.npy", "user.onefs.hash") == errno.EIO
    for number in range(1, 3):
        broken.process.send_signal(signal.SIGHUP)
        wait_until(lambda number=number: broken.log().count(" MemoryError: refresh\n") == number, "it is in the log")  # type: ignore[misc]
    wait_until(lambda: "MemoryError: check" in broken.log(), "it is in the log")
    assert sorted(os.listdir(broken.session)) == ["broken", "sound"]
    assert broken.process.poll() is None


def test_a_fault_beside_a_fetch_harms_no_other_file(broken: Broken) -> None:
    first, second = broken.session / "sound/b.times.npy", broken.session / "sound/c.times.npy"
    with contextlib.suppress(OSError):
        first.read_bytes()
    wait_until(lambda: "ArithmeticError: number of" in broken.log(), "the failure is in the log")
    assert second.read_bytes() == DATA
    assert second.stat().st_blocks > 0
    assert first.read_bytes() == DATA
