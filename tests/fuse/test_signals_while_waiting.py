"""Programs that wait, in whatever operation, can be stopped at once, and nothing of them is left over."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from archives import MADE_SESSION
from held_mount import BLOCKS, FILES, UNSIZED, VERIFIED, WHOLE, HeldMount
from servers import Fault
from waiting import PATIENCE_S, wait_until
from waiting_program import HALF

pytestmark = pytest.mark.needs_mount

PROGRAM = Path(__file__).with_name("waiting_program.py")
REMOTE = ".onefs/via/remote"
_OTHERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOPPING = {"open": _OTHERS, "read": _OTHERS}
"""Beside SIGKILL and SIGQUIT, by operation. The kernel treats them alike."""
WAITING = {
    "open of what is fetched": ("open", f"{MADE_SESSION}/{WHOLE}"),
    "read through the kernel's pages": ("read", f"{MADE_SESSION}/{BLOCKS}"),
    "read of a file of unknown size": ("read", f"{MADE_SESSION}/{UNSIZED}"),
    "read with O_DIRECT": ("read with O_DIRECT", f"{MADE_SESSION}/{BLOCKS}"),
    "mmap": ("mmap", f"{MADE_SESSION}/{BLOCKS}"),
    "sendfile": ("sendfile", f"{MADE_SESSION}/{BLOCKS}"),
    "splice": ("splice", f"{MADE_SESSION}/{BLOCKS}"),
    "lookup": ("lookup", f"{REMOTE}/{MADE_SESSION}/unknown"),
    "readdir": ("readdir", f"{REMOTE}/lab/Subjects/mouse"),
    "readlink": ("readlink", ".onefs/by-ref/2024-01-03_1_mouse"),
    "getxattr": ("getxattr", f"{REMOTE}/{MADE_SESSION}"),
    "write": ("write", ".onefs/control"),
    "statfs": ("statfs", "."),
}
BLOCKED_OPENS, BLOCKED_READS = 120, 500


class Program:
    """A program that waits in an operation."""

    def __init__(self, mount: HeldMount, kind: str) -> None:
        operation, path = WAITING[kind]
        mount.wait_at_open(is_on=operation == "open")
        command = [sys.executable, "-S", "-E", PROGRAM, operation, mount.path / path]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        try:
            assert self.process.stdout.read(1) == b"\n"
            wait_until(lambda: mount.request_of(self.process.pid), "its request waits")
        except BaseException:
            self.end()
            raise

    def stopped_by(self, *numbers: signal.Signals) -> int:
        """Send signals, and wait for its end. Returns which one ended it."""
        for number in numbers:
            self.process.send_signal(number)
        try:
            return -self.process.wait(PATIENCE_S)
        finally:
            self.end()

    def end(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.communicate()


@contextmanager
def held(home: Path) -> Iterator[HeldMount]:
    """A mount that answers what is needed to begin to wait, and nothing else."""
    with HeldMount(home) as mount:
        mount.hold(WHOLE, Fault(stall_after=10))
        for name in (BLOCKS, UNSIZED):
            mount.hold(name, Fault(held=(HALF, len(FILES[name]))))
        assert os.listdir(mount.path / REMOTE / MADE_SESSION) == ["alf"]
        mount.database.answers.clear()
        yield mount


@pytest.fixture(scope="module")
def mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeldMount]:
    with held(tmp_path_factory.mktemp("held")) as mount:
        yield mount


@pytest.mark.parametrize("kind", WAITING)
def test_a_program_that_waits_ends_at_a_signal_and_leaves_nothing(mount: HeldMount, kind: str) -> None:
    with mount.held_disk() if kind == "statfs" else nullcontext():
        for number in (signal.SIGKILL, signal.SIGQUIT, *STOPPING.get(WAITING[kind][0], ())):
            assert Program(mount, kind).stopped_by(number) == number
        assert Program(mount, kind).stopped_by(signal.SIGALRM, signal.SIGINT) == signal.SIGINT
        wait_until(lambda: not mount.left(), "nothing is left of them")


@pytest.mark.parametrize("kind", ["open of what is fetched", "read of a file of unknown size", "write"])
def test_a_signal_that_stops_nothing_breaks_nothing(tmp_path: Path, kind: str) -> None:
    with held(tmp_path) as mount:
        program = Program(mount, kind)
        for number in (signal.SIGCHLD, signal.SIGWINCH, signal.SIGALRM):
            program.process.send_signal(number)
        wait_until(lambda: mount.is_interrupted(program.process.pid), "the kernel tells of a signal")
        mount.answer()
        assert program.process.wait(PATIENCE_S) == 0
        program.process.communicate()


def test_a_command_whose_writer_is_killed_is_carried_out(tmp_path: Path) -> None:
    with held(tmp_path) as mount:
        assert Program(mount, "write").stopped_by(signal.SIGKILL) == signal.SIGKILL
        wait_until(lambda: not mount.left(), "nothing is left of it")
        wait_until(lambda: mount.n_commands_under_way, "its thread has begun")
        assert mount.n_commands_under_way == 1
        mount.command_done.set()
        wait_until(lambda: not mount.n_commands_under_way, "it is done")


def test_others_are_answered_while_very_many_wait(tmp_path: Path) -> None:
    opened = [f"alf/opened{number}.x.npy" for number in range(BLOCKED_OPENS)]
    read = [f"alf/read{number}.x.npy" for number in range(BLOCKED_READS)]
    files = {name: name.encode() * 100 for name in [*opened, *read, VERIFIED]}
    found: dict[str, bytes] = {}
    with HeldMount(tmp_path, files, max_transfers=4) as mount:
        folder = mount.path / MADE_SESSION
        assert (folder / VERIFIED).read_bytes() == files[VERIFIED]

        def read_all(name: str) -> None:
            found[name] = (folder / name).read_bytes()

        threads = []
        for names in (opened, read):
            mount.wait_at_open(is_on=names is opened)
            for name in names:
                mount.hold(name, Fault(stall_before_headers=True))
                threads.append(threading.Thread(target=read_all, args=(name,)))
                threads[-1].start()
            wait_until(lambda: mount.n_waiting() == len(threads), "all wait")
        assert len(os.listdir(folder / "alf")) == len(files)
        assert (folder / VERIFIED).read_bytes() == files[VERIFIED]
        assert not found
        assert mount.n_waiting() == len(threads) == BLOCKED_OPENS + BLOCKED_READS
        mount.answer()
        for thread in threads:
            thread.join(PATIENCE_S)
    assert found == {name: files[name] for name in [*opened, *read]}
