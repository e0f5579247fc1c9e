"""The kernel is told to forget a name of a folder in which programs wait for their answers."""

import errno
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import inf
from pathlib import Path
from typing import Any

import pytest
import trio
from toy_operations import DIRECTORY, ROOT, Served, ToyOperations, is_stuck, mounted
from waiting import PATIENCE_S, wait_until

from onefs.fuse import directory_waits
from onefs.fuse.errnos import FuseError
from onefs.fuse.protocol import Opcode

pytestmark = pytest.mark.needs_mount

N_FILES = 10
CONTENT = b"content"


class Mount:
    """A mount whose `folder` has files, of which `slow` and `slower` are found once `answer` is called."""

    def __init__(self, path: Path) -> None:
        self.operations = ToyOperations()
        self.ino = self.operations.add(ROOT, b"folder", DIRECTORY)
        for number in range(N_FILES):
            self.operations.add(self.ino, b"file%d" % number, content=CONTENT)
        self.gate = trio.Event()
        for name in (b"slow", b"slower"):
            self.operations.nodes[self.operations.add(self.ino, name, content=CONTENT)].found = self.gate
        self.folder = path / "folder"
        self.served: Served
        self._programs: list[subprocess.Popen[bytes]] = []
        self._threads: list[threading.Thread] = []

    def answer(self) -> None:
        """Let those go on who wait."""
        with suppress(trio.RunFinishedError):
            self.served.in_loop(self.gate.set)

    def program(self, *command: str) -> "subprocess.Popen[bytes]":
        """A program in the folder's parent."""
        # It goes there by itself: with `cwd`, this process would wait for that, and could not answer the kernel.
        words = ("env", f"--chdir={self.folder.parent}", *command)
        program = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={"LC_ALL": "C", "PATH": os.environ["PATH"]}
        )
        self._programs.append(program)
        return program

    def waiting(self, *command: str) -> "subprocess.Popen[bytes]":
        """A program that waits for an answer."""
        before = self.operations.asked["waiting"]
        program = self.program(*command)
        wait_until(lambda: self.operations.asked["waiting"] > before, "the program waits")
        return program

    def forgetting(self, name: bytes = b"file1") -> threading.Thread:
        """A thread that has the kernel forget a name of the folder, and now waits, if it has to."""
        begun = threading.Event()

        def forget() -> None:
            begun.set()
            with suppress(OSError):
                self.served.session.invalidate_entry(self.ino, name)

        thread = threading.Thread(target=forget, daemon=True)
        thread.start()
        self._threads.append(thread)
        wait_until(begun.is_set)
        wait_until(lambda: not thread.is_alive() or state(thread) in "DS", "it waits")
        return thread

    def waits(self) -> list[Any]:
        """What waits in the folder."""
        return self.served.in_loop(lambda: list(self.served.session._directory_waits._waiting[self.ino]))

    def end(self) -> None:
        """Answer, so that whatever waits in the kernel ends."""
        self.answer()
        for program in self._programs:
            program.kill()
            program.communicate(timeout=PATIENCE_S)
        for thread in self._threads:
            thread.join(PATIENCE_S)


def state(thread: threading.Thread) -> str:
    """What a thread of this process does: R runs, S sleeps, D sleeps out of reach of signals."""
    try:
        return Path(f"/proc/self/task/{thread.native_id}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return "S"


@pytest.fixture
def mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mount]:
    for limit in ("POSTPONED_S", "DELAY_S", "LISTING_DELAY_S"):
        monkeypatch.setattr(directory_waits, limit, PATIENCE_S)
    mount = Mount(tmp_path / "mnt")
    with mounted(tmp_path / "mnt", mount.operations) as served:
        mount.served = served
        os.stat(mount.folder)
        try:
            yield mount
        finally:
            mount.end()


def wait_for_lookup(mount: Mount) -> "subprocess.Popen[bytes]":
    return mount.waiting("cat", "folder/slow")


def wait_for_listing(mount: Mount) -> "subprocess.Popen[bytes]":
    mount.operations.nodes[mount.ino].found = mount.gate
    return mount.waiting("ls", "folder")


@pytest.mark.parametrize("begin", [wait_for_lookup, wait_for_listing])
def test_others_find_files_while_a_name_is_to_be_forgotten(
    mount: Mount, begin: Callable[[Mount], "subprocess.Popen[bytes]"]
) -> None:
    first = begin(mount)
    thread = mount.forgetting()
    for number in range(N_FILES):
        assert mount.program("cat", f"folder/file{number}").communicate(timeout=PATIENCE_S) == (CONTENT, b"")
    assert thread.is_alive()
    assert first.poll() is None
    mount.answer()
    assert first.communicate(timeout=PATIENCE_S)[1] == b""
    assert first.returncode == 0
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


@pytest.mark.parametrize("begin", [wait_for_lookup, wait_for_listing])
def test_programs_that_wait_while_a_name_is_to_be_forgotten_can_be_killed(
    mount: Mount, begin: Callable[[Mount], "subprocess.Popen[bytes]"]
) -> None:
    first = begin(mount)
    thread = mount.forgetting()
    for program in (mount.waiting("cat", "folder/slower"), first):
        program.kill()
        assert program.wait(PATIENCE_S) == -signal.SIGKILL
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_the_name_is_forgotten(mount: Mount) -> None:
    assert (mount.folder / "file1").read_bytes() == CONTENT
    wait_for_lookup(mount)
    thread = mount.forgetting()
    before = mount.operations.asked["lookup"]
    os.stat(mount.folder / "file1")
    assert mount.operations.asked["lookup"] == before
    mount.answer()
    thread.join(PATIENCE_S)
    before = mount.operations.asked["lookup"]
    os.stat(mount.folder / "file1")
    assert mount.operations.asked["lookup"] == before + 1


def test_a_lookup_that_waits_too_long_is_repeated_by_the_kernel(mount: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    program = wait_for_lookup(mount)
    (wait,) = mount.waits()
    monkeypatch.setattr(directory_waits, "POSTPONED_S", 0)
    thread = mount.forgetting()
    wait_until(lambda: is_stuck(thread), "the kernel waits for the lookup")
    wait_until(lambda: wait.scope.deadline < inf, "it is to wait no longer")
    mount.served.in_loop(wait.scope.cancel)
    wait_until(lambda: mount.operations.asked["waiting"] == 2, "it is repeated")
    mount.answer()
    assert program.communicate(timeout=PATIENCE_S) == (CONTENT, b"")
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


@pytest.mark.trio
async def test_the_next_name_is_forgotten_after_a_refused_lookup_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would meet the repeated lookup unawares, and refuse it too."""
    monkeypatch.setattr(directory_waits, "REPEATED_S", PATIENCE_S)
    monkeypatch.setattr(directory_waits, "DELAY_S", 0)
    waiting, refused = directory_waits.DirectoryWaits(), threading.Event()
    is_there: list[bool] = []

    def forget() -> None:
        with waiting.forgetting(2):
            assert refused.wait(PATIENCE_S)
        is_there.append(2 in waiting._waiting)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, forget)
        while not waiting._forgetting:
            await trio.sleep(0.001)
        with pytest.raises(FuseError) as failed:
            await waiting.answer(Opcode.LOOKUP, 2, trio.sleep_forever())
        assert failed.value.number == errno.ESTALE
        refused.set()
        while waiting._forgetting or waiting._refused:
            await trio.sleep(0.001)
        repeated = waiting.answer(Opcode.LOOKUP, 2, trio.sleep(0))
        while not is_there:
            await trio.sleep(0.001)
        await repeated
    assert is_there == [True]


@contextmanager
def locked(mount: Mount, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A block in which a name is forgotten, and requests that begin to wait are refused at once."""
    for limit in ("DELAY_S", "LISTING_DELAY_S", "REPEATED_S"):
        monkeypatch.setattr(directory_waits, limit, 0)
    with mount.served.session._directory_waits.forgetting(mount.ino):
        yield


def test_what_begins_to_wait_while_a_name_is_forgotten_is_refused(
    mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    with locked(mount, monkeypatch):
        program = mount.program("cat", "folder/slow")
        assert os.strerror(errno.ESTALE).encode() in program.communicate(timeout=PATIENCE_S)[1]
        assert mount.operations.asked["waiting"] > 1
        mount.operations.nodes[mount.ino].found = mount.gate
        with pytest.raises(OSError) as failed:
            os.listdir(mount.folder)
        assert failed.value.errno == errno.ESTALE
    programs = [wait_for_lookup(mount), wait_for_listing(mount)]
    mount.answer()
    for program in programs:
        assert program.communicate(timeout=PATIENCE_S)[1] == b""


def test_a_limit_is_lifted_once_the_name_is_forgotten(mount: Mount) -> None:
    with mount.served.session._directory_waits.forgetting(mount.ino):
        first = wait_for_lookup(mount)
        (wait,) = mount.waits()
        assert wait.scope.deadline < inf
    wait_until(lambda: wait.scope.deadline == inf, "it is lifted")
    mount.answer()
    assert first.communicate(timeout=PATIENCE_S) == (CONTENT, b"")


def test_nothing_waits_for_a_mount_that_has_ended(mount: Mount) -> None:
    first = wait_for_lookup(mount)
    thread = mount.forgetting()
    mount.served.in_loop(mount.served.cancel)
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert os.strerror(errno.ENOTCONN).encode() in first.communicate(timeout=PATIENCE_S)[1]
