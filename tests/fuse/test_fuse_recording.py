"""Which reads the kernel's requests tell the recorder of, and that nothing is asked while nothing is recorded."""

import errno
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import CoroutineType
from typing import Any

import pytest
import trio
import trio.testing
from archives import make_tables
from file_systems import file_system_of
from waiting import PATIENCE_S, wait_until

from onefs.cache.store import ContentStore
from onefs.catalogue.snapshot import load_snapshot
from onefs.fetch.access import Content
from onefs.fuse import process_lookup
from onefs.fuse.callers import Request, finished
from onefs.fuse.errnos import FuseError
from onefs.fuse.operations import Operations
from onefs.modes import Mode
from onefs.recording.processes import reader
from onefs.recording.recorder import Recorder
from onefs.transports.file import FileTransport
from onefs.vfs.filesystem import FileSystem
from onefs.vfs.handles import MemoryFile
from onefs.vfs.tree import Tree
from onefs.vfs.views import View

FILES = {"alf/a.x.npy": b"spikes", "alf/b.x.npy": b"clusters", "alf/none.x.npy": b""}


pytestmark = pytest.mark.trio


class Kernel:
    """Asks as the kernel does. It has no pages; `open` gives the handle, and whether it would keep them."""

    def __init__(self, file_system: FileSystem, paths: dict[str, str]) -> None:
        self.files = file_system
        self.recorder = file_system.recorder
        self.operations = Operations(file_system, open_wait_s=1)
        self.paths = paths

    async def open(self, name: str, pid: int = os.getpid()) -> int:
        ino = self.files.forest.find(self.paths[name]).ino
        opening = self.operations.open(ino, os.O_RDONLY, Request(pid, os.getuid()))
        return (await finished(opening)).handle

    async def read(self, handle: int) -> bytes:
        return bytes(await finished(self.operations.read(handle, 0, 4096, Request(0, 0))))

    async def close(self, handle: int) -> None:
        await finished(self.operations.release(handle))

    def counted(self) -> list[str]:
        return [entry.path.rpartition("/")[2] for entry in self.recorder.entries()]


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    datasets = make_tables(tmp_path / "archive", FILES)
    for name, data in FILES.items():
        file = tmp_path / "archive" / datasets[name].path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    store = ContentStore(tmp_path / "archive", tmp_path / "state", is_cache=False)
    content = Content(store, FileTransport(), lambda dataset: [], lambda dataset: [])
    recorder = Recorder("archive", content.md5_of)
    tree = Tree(load_snapshot(tmp_path / "archive", tmp_path / "state"), View(), {})
    files = file_system_of(tree, content, Mode.LOCAL, recorder=recorder)
    yield Kernel(files, {name: dataset.path for name, dataset in datasets.items()})
    content.close()


class AskedError(Exception):
    """Something was asked that nobody needs to know."""


async def test_while_nothing_is_recorded_nothing_is_asked(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*args: object, **kwargs: object) -> None:
        raise AskedError

    monkeypatch.setattr(process_lookup, "reader", asked)
    monkeypatch.setattr(kernel.recorder, "count", asked)
    handle = await kernel.open("alf/a.x.npy")
    assert await kernel.read(handle) == b"spikes"
    assert await kernel.read(handle) == b"spikes"
    again = await kernel.open("alf/a.x.npy")
    await kernel.close(handle)
    kernel.recorder.turn_on()
    with pytest.raises(FuseError):  # now somebody asks
        await kernel.read(again)


async def test_reads_that_wait_to_be_recorded_keep_their_bytes(kernel: Kernel) -> None:
    first, second = [await kernel.open(name) for name in ("alf/a.x.npy", "alf/b.x.npy")]
    assert (await kernel.read(first), await kernel.read(second)) == (b"spikes", b"clusters")  # not recorded
    kernel.recorder.turn_on()
    answers = [kernel.operations.read(each, 0, 4096, Request(0, 0)) for each in (first, second)]
    assert [isinstance(answer, CoroutineType) for answer in answers] == [True, True]  # who reads has to be found out
    assert [bytes(await finished(answer)) for answer in answers] == [b"spikes", b"clusters"]


async def test_an_open_alone_does_not_count_but_of_an_empty_file(kernel: Kernel) -> None:
    kernel.recorder.turn_on()
    await kernel.close(await kernel.open("alf/a.x.npy"))
    assert kernel.counted() == []
    await kernel.close(await kernel.open("alf/none.x.npy"))
    assert kernel.counted() == ["none.x.npy"]


async def test_whoever_opens_what_the_kernel_has_pages_of_counts(kernel: Kernel) -> None:
    before = await kernel.open("alf/a.x.npy")
    await kernel.read(before)
    await kernel.close(before)
    await kernel.close(await kernel.open("alf/b.x.npy"))
    kernel.recorder.turn_on()
    await kernel.close(await kernel.open("alf/b.x.npy"))
    assert kernel.counted() == []
    await kernel.close(await kernel.open("alf/a.x.npy"))
    assert kernel.counted() == ["a.x.npy"]


async def test_pages_that_come_while_others_have_it_open_count_for_them(kernel: Kernel) -> None:
    """Two programs ask for the same page at once: the kernel makes one request of it."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as other:
        kernel.recorder.turn_on("other", other.pid)
        theirs = await kernel.open("alf/a.x.npy", other.pid)
        elsewhere = await kernel.open("alf/b.x.npy", other.pid)
        mine = await kernel.open("alf/a.x.npy")
        assert kernel.counted() == []
        await kernel.read(mine)
        assert [(entry.path[-7:], entry.pid) for entry in kernel.recorder.entries("other")] == [("a.x.npy", other.pid)]
        for handle in (theirs, elsewhere, mine):
            await kernel.close(handle)
        other.communicate()


async def test_what_was_open_before_counts_at_its_next_request(kernel: Kernel) -> None:
    handle = await kernel.open("alf/a.x.npy")
    await kernel.read(handle)
    kernel.recorder.turn_on()
    assert kernel.counted() == []
    await kernel.read(handle)
    assert kernel.counted() == ["a.x.npy"]
    kernel.recorder.clear()
    await kernel.read(handle)
    assert kernel.counted() == ["a.x.npy"]
    [entry] = kernel.recorder.entries()
    assert entry.pid == os.getpid()
    kernel.recorder.turn_off()
    kernel.recorder.clear()
    await kernel.read(handle)
    assert kernel.counted() == []


async def test_who_cannot_be_told_soon_is_told_by_what_never_waits(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = process_lookup.reader

    def slow(pid: int, uid: int, *, in_full: bool = True) -> Any:
        if in_full:
            os.read(never, 1)
        return look(pid, uid, in_full=in_full)

    never, end = os.pipe()
    monkeypatch.setattr(process_lookup, "reader", slow)
    monkeypatch.setattr(process_lookup, "LONGEST_LOOK_S", 0.05)
    kernel.recorder.turn_on()
    handle = await kernel.open("alf/a.x.npy")
    await kernel.read(handle)
    os.close(end)
    [entry] = kernel.recorder.entries()
    assert entry.pid == os.getpid()
    assert entry.program


async def test_a_program_that_takes_its_own_interpreter_s_place_is_told_from_the_one_before(
    kernel: Kernel, tmp_path: Path
) -> None:
    """As launchers do: the process stays, and its name."""
    first, second = tmp_path / "launch.py", tmp_path / "fit.py"
    first.write_text(f"import os, sys; input(); os.execv(sys.executable, [sys.executable, {str(second)!r}])")
    second.write_text("print('runs', flush=True); input()")
    with subprocess.Popen([sys.executable, first], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        wait_until(lambda: str(first) in reader(program.pid, 0).program, "the launcher runs")
        kernel.recorder.turn_on()
        await kernel.read(await kernel.open("alf/a.x.npy", program.pid))
        program.stdin.write(b"\n")
        program.stdin.flush()
        assert program.stdout.readline() == b"runs\n"
        await kernel.read(await kernel.open("alf/b.x.npy", program.pid))
        program.communicate(b"\n")
    told = {entry.path[-7:]: entry.program.rpartition("/")[2] for entry in kernel.recorder.entries()}
    assert told == {"a.x.npy": "launch.py", "b.x.npy": "fit.py"}


async def test_a_long_manifest_keeps_nobody_else_waiting(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    def long() -> MemoryFile:
        select.select([written], [], [], PATIENCE_S)
        return MemoryFile(b"{}")

    written, end = os.pipe()
    manifest = kernel.files.forest.find(".onefs/recorded/manifest.jsonl")
    monkeypatch.setattr(manifest, "open", long)
    kernel.paths["manifest"] = manifest.path
    told: list[bytes] = []

    async def read_manifest() -> None:
        told.append(await kernel.read(await kernel.open("manifest")))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_manifest)
        await trio.testing.wait_all_tasks_blocked()
        assert await kernel.read(await kernel.open("alf/a.x.npy")) == b"spikes"
        assert told == []
        os.close(end)
    assert told == [b"{}"]
    os.close(written)


async def test_what_nobody_has_open_is_a_bad_handle(kernel: Kernel) -> None:
    handle = await kernel.open("alf/a.x.npy")
    await kernel.close(handle)
    operations = kernel.operations
    for act in (
        lambda: operations.read(handle, 0, 10, Request(0, 0)),
        lambda: operations.write(handle, b"refresh", Request(0, 0)),
        lambda: operations.release(handle),
    ):
        with pytest.raises(FuseError) as failed:
            await finished(act())
        assert failed.value.number == errno.EBADF
    assert operations.counters.in_progress == 0


def n_open(file: Path) -> int:
    """How often this process has a file open."""
    links = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            links.append(os.readlink(f"/proc/self/fd/{number}"))
    return links.count(str(file))


async def test_a_file_is_closed_again_if_its_opening_cannot_be_recorded(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise ArithmeticError

    file = tmp_path / "archive" / kernel.paths["alf/a.x.npy"]
    handle = await kernel.open("alf/a.x.npy")
    await kernel.read(handle)
    assert n_open(file)
    await kernel.close(handle)
    kernel.recorder.turn_on()
    monkeypatch.setattr(kernel.recorder, "count", fail)
    with pytest.raises(FuseError):
        await kernel.open("alf/a.x.npy")
    assert not n_open(file)
