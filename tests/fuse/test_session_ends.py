"""`Session` while programs wait, and how it ends: signals, unmounting with files open, an abort, notifications."""

import errno
import functools
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import kernel_messages as km
import pytest
import trio
from kernel_messages import negotiated
from privileges import is_root
from toy_operations import DIRECTORY, ROOT, Served, ToyOperations, is_stuck, mount, mounted, unmount
from waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.needs_mount

WAITING_OPENS = 120
ROUNDS = 1000
WALKERS = 4
needs_fusectl = pytest.mark.skipif(not is_root(), reason="only root may abort a connection")


@pytest.fixture
def operations() -> ToyOperations:
    toy = ToyOperations()
    folder = toy.add(ROOT, b"folder", DIRECTORY)
    for number in range(40):
        toy.add(folder, b"file%d" % number, content=b"content")
    toy.nodes[toy.add(ROOT, b"slow", content=b"slow content")].gate = trio.Event()
    return toy


def reader(file: Path, output: int = subprocess.DEVNULL) -> "subprocess.Popen[bytes]":
    """A program with the usual signal actions, which reads a file."""
    return subprocess.Popen(["cat", file], stdout=output, stderr=subprocess.DEVNULL)


def open_gate(served: Served) -> None:
    """Let those go on who wait."""
    gates = [node.gate for node in served.operations.nodes.values() if node.gate is not None]
    served.in_loop(lambda: [gate.set() for gate in gates])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_ends_a_program_that_waits(tmp_path: Path, operations: ToyOperations, number: signal.Signals) -> None:
    with mounted(tmp_path / "mnt", operations) as served:
        program = reader(served.path / "slow")
        wait_until(lambda: operations.asked["waiting"], "the program waits")
        program.send_signal(number)
        assert program.wait(PATIENCE_S) == -number
        assert operations.asked["interrupted"] == 1
        assert not operations.open_files


def test_nothing_is_kept_of_many_programs_that_were_stopped(tmp_path: Path, operations: ToyOperations) -> None:
    with mounted(tmp_path / "mnt", operations) as served:
        programs = [reader(served.path / "slow") for _ in range(20)]
        wait_until(lambda: operations.asked["waiting"] == len(programs), "all programs wait")
        for program in programs:
            program.send_signal(signal.SIGINT)
        assert [program.wait(PATIENCE_S) for program in programs] == [-signal.SIGINT] * len(programs)
        assert not served.session._waiting
        assert not operations.open_files


def test_a_signal_that_ends_nothing_may_come_first(tmp_path: Path, operations: ToyOperations) -> None:
    with mounted(tmp_path / "mnt", operations) as served:
        stay = "import signal, sys; signal.signal(signal.SIGUSR1, lambda *_: None); open(sys.argv[1])"
        program = subprocess.Popen(["python3", "-c", stay, served.path / "slow"], stderr=subprocess.DEVNULL)
        wait_until(lambda: operations.asked["waiting"], "the program waits")
        program.send_signal(signal.SIGUSR1)
        program.send_signal(signal.SIGINT)
        program.wait(PATIENCE_S)
        assert operations.asked["interrupted"] == 1


def test_a_signal_before_the_answer_does_no_harm(tmp_path: Path, operations: ToyOperations) -> None:
    """Such as SIGWINCH, which ends no program."""
    with mounted(tmp_path / "mnt", operations) as served:
        program = reader(served.path / "slow", subprocess.PIPE)
        wait_until(lambda: operations.asked["waiting"], "the program waits")
        program.send_signal(signal.SIGWINCH)
        open_gate(served)
        assert program.communicate(timeout=PATIENCE_S)[0] == b"slow content"


def test_others_are_answered_while_many_wait(tmp_path: Path, operations: ToyOperations) -> None:
    with mounted(tmp_path / "mnt", operations) as served:
        opened: list[bytes] = []
        threads = [
            threading.Thread(target=lambda: opened.append((served.path / "slow").read_bytes()))
            for _ in range(WAITING_OPENS)
        ]
        for thread in threads:
            thread.start()
        wait_until(lambda: operations.asked["waiting"] == WAITING_OPENS, "all wait")
        assert len(os.listdir(served.path / "folder")) == 40
        assert (served.path / "folder" / "file1").read_bytes() == b"content"
        assert not opened
        open_gate(served)
        for thread in threads:
            thread.join(PATIENCE_S)
        assert opened == [b"slow content"] * WAITING_OPENS


@needs_fusectl
def test_a_file_whose_opening_was_aborted_is_closed(tmp_path: Path, operations: ToyOperations) -> None:
    with mounted(tmp_path / "mnt", operations) as served:
        os.listdir(served.path)
        number = os.minor(os.stat(served.path).st_dev)
        operations.on_open = lambda: Path(f"/sys/fs/fuse/connections/{number}/abort").write_text("1")
        with pytest.raises(OSError, match=r"."):
            (served.path / "folder" / "file1").read_bytes()
        served.end()
    assert operations.asked["open"] == operations.asked["release"] == 1
    assert not operations.open_files


@needs_fusectl
def test_an_abort_ends_it_with_programs_waiting(tmp_path: Path, operations: ToyOperations) -> None:
    with mounted(tmp_path / "mnt", operations) as served:
        with (served.path / "folder" / "file1").open("rb"):
            program = reader(served.path / "slow")
            wait_until(lambda: operations.asked["waiting"], "the program waits")
            served.abort()
            served.end()
            assert program.wait(PATIENCE_S) == 1
            with pytest.raises(OSError) as failed:
                os.stat(served.path / "unknown")
            assert failed.value.errno == errno.ENOTCONN
        assert operations.asked["release"] == 1
        assert not operations.open_files


def test_unmounted_lazily_it_serves_what_is_open(tmp_path: Path, operations: ToyOperations) -> None:
    path = tmp_path / "mnt"
    path.mkdir()
    served = Served(mount(path), operations)
    with (path / "folder" / "file1").open("rb", buffering=0) as file:
        with pytest.raises(OSError) as failed:
            unmount(path)
        assert failed.value.errno == errno.EBUSY
        unmount(path, lazily=True)
        assert os.listdir(path) == []
        assert file.read() == b"content"
    served.end()
    assert operations.asked["release"] == 1
    served.session.close()


def test_an_unmounted_session_ends(tmp_path: Path, operations: ToyOperations) -> None:
    path = tmp_path / "mnt"
    path.mkdir()
    served = Served(mount(path), operations)
    os.listdir(path)
    unmount(path)
    served.end()
    served.session.close()


def test_it_ends_when_the_kernel_destroys_the_mount(operations: ToyOperations) -> None:
    with negotiated(operations) as kernel:
        assert kernel.ask(km.DESTROY) == (0, b"")
        kernel.served.end()


def test_a_closed_connection_leaves_a_dead_mount(tmp_path: Path, operations: ToyOperations) -> None:
    with mounted(tmp_path / "mnt", operations) as served:
        os.listdir(served.path)
        served.in_loop(served.cancel)
        served.end()
        served.session.close()
        with pytest.raises(OSError) as failed:
            os.stat(served.path / "unknown")
        assert failed.value.errno == errno.ENOTCONN


def test_who_waits_is_told_that_serving_has_ended(tmp_path: Path, operations: ToyOperations) -> None:
    """At once: whatever waits for a page that is being read could not end before, nor could the connection."""
    with mounted(tmp_path / "mnt", operations) as served:
        program = subprocess.Popen(["cat", served.path / "slow"], stderr=subprocess.PIPE, text=True)
        wait_until(lambda: operations.asked["waiting"], "the program waits")
        served.in_loop(served.cancel)
        served.end()
        assert os.strerror(errno.ENOTCONN) in program.communicate(timeout=PATIENCE_S)[1]


@needs_fusectl
def test_who_asks_after_the_end_does_not_keep_a_notification_from_ending(
    tmp_path: Path, operations: ToyOperations
) -> None:
    """A page that nobody brings is locked; forgetting it waits for that, and closing for the forgetting."""
    ino = operations.nodes[operations.nodes[ROOT].children[b"folder"]].children[b"file1"]
    failures: list[OSError] = []

    def note_failure(act: Callable[[], object]) -> None:
        try:
            act()
        except OSError as error:
            failures.append(error)

    with mounted(tmp_path / "mnt", operations) as served:
        file = os.open(served.path / "folder" / "file1", os.O_RDONLY)
        waiting = Path(f"/sys/fs/fuse/connections/{os.minor(os.stat(served.path).st_dev)}/waiting")
        served.in_loop(served.cancel)
        served.end()
        ask = functools.partial(note_failure, functools.partial(os.read, file, 100))
        forget = functools.partial(served.session.invalidate_inode, ino, attributes_only=False)
        asking, forgetting, closing = threads = [
            threading.Thread(target=target, daemon=True)
            for target in (ask, functools.partial(note_failure, forget), served.session.close)
        ]
        try:
            asking.start()
            wait_until(lambda: waiting.read_text() == "1\n", "the kernel asks for a page")
            forgetting.start()
            wait_until(lambda: is_stuck(forgetting), "forgetting waits for the page")
            closing.start()
            for thread in threads:
                thread.join(PATIENCE_S)
                assert not thread.is_alive()
        finally:
            with suppress(OSError):  # or this process could not end either
                waiting.with_name("abort").write_text("1")
            with suppress(OSError):
                os.close(file)
        assert len(failures) == 1
        assert failures[0].errno in (errno.ENOTCONN, errno.ECONNABORTED)  # refused, or lost as it was closed


class Walkers:
    """Programs that list a folder and look at all of it, again and again, until the end of a block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lengths: list[int] = []
        self.errors: list[OSError] = []
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._walk) for _ in range(WALKERS)]

    def _walk(self) -> None:
        try:
            while not self._ended.is_set():
                names = os.listdir(self.folder)
                for name in names:
                    os.stat(self.folder / name)
                self.lengths.append(len(names))
        except OSError as error:
            self.errors.append(error)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


def test_notifications_while_programs_walk(tmp_path: Path, operations: ToyOperations) -> None:
    folder = operations.nodes[ROOT].children[b"folder"]
    with mounted(tmp_path / "mnt", operations) as served, Walkers(served.path / "folder") as walkers:
        for version in range(ROUNDS):
            operations.replace(folder, version=version)
            with suppress(FileNotFoundError):
                served.session.invalidate_inode(folder, attributes_only=False)
            with suppress(FileNotFoundError):
                served.session.invalidate_entry(folder, b"file1")
            with suppress(FileNotFoundError):
                served.session.invalidate_entry(ROOT, b"folder")
            if not version % 10:  # one more walk than there are walkers: at least one of these begins from now on
                enough = len(walkers.lengths) + WALKERS + 1
                wait_until(
                    lambda enough=enough: len(walkers.lengths) >= enough or walkers.errors, "they walk", pause_s=0.0001
                )
    assert not walkers.errors
    assert set(walkers.lengths) == {40}
    assert operations.asked["opendir"] >= ROUNDS // 10
