"""Runs command lines of onefs in processes of their own that are forked from one which has imported onefs.

Such a process does what a new interpreter does, without the second that its imports take. This file is what tests
import, and also the program of the process that is forked.
"""

import atexit
import gc
import importlib
import io
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

LARGEST_PIECE = 1 << 16
IMPORTED_FIRST = (
    "onefs.cli.main",
    "onefs.cli.mount",
    "onefs.cli.umount",
    "onefs.cli.status",
    "onefs.cli.list",
    "onefs.cli.info",
    "onefs.cli.doctor",
    "onefs.daemon.running",
    "onefs.archive.database_searches",
    "onefs.catalogue.live",
    "onefs.catalogue.saving",
    "onefs.sources.probe",
    "onefs.sources.remote_source",
    "onefs.transports.http",
    "onefs.catalogue.building",
    "dateutil.relativedelta",
    "numpy.ma",
    "pyarrow.compute",
    "pyarrow.parquet",
    "requests_cache.session",
)
"""What mounts and the commands that are most often run import while they run; nothing that imports pandas."""
FOR_PYFUSE3 = ("onefs.fuse.pyfuse3_adapter",)
"""What those import besides if pyfuse3 is their adapter to the kernel."""


class ForkServer:
    """The process that is forked: starts when it is first needed, ends with this one. For several threads at once.

    It runs in an interpreter and an environment of its own, if they are given.
    """

    def __init__(self, python: str = sys.executable, environment: Mapping[str, str] = os.environ) -> None:
        self._python, self._environment = python, environment
        self._lock = threading.Lock()  # guards the start
        self._process: subprocess.Popen[bytes] | None = None
        self._control, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def run(
        self, arguments: list[str], environment: dict[str, str], folder: str | Path, stdin: int, timeout_s: float
    ) -> "subprocess.CompletedProcess[str]":
        """Run one command line of onefs to its end, as it is run in a folder. Raises `subprocess.TimeoutExpired`."""
        self._ensure_started()
        output, errors, outcome = os.pipe(), os.pipe(), os.pipe()
        request = os.memfd_create("request")
        standing_in = os.open(folder, os.O_PATH)
        try:
            os.write(request, json.dumps([arguments, environment]).encode())
            socket.send_fds(self._control, [b"run"], [stdin, output[1], errors[1], standing_in, request, outcome[1]])
        finally:
            for fd in (output[1], errors[1], standing_in, request, outcome[1]):
                os.close(fd)
        try:
            said, is_whole = _read_all([output[0], errors[0], outcome[0]], time.monotonic() + timeout_s)
        finally:
            for fd in (output[0], errors[0], outcome[0]):
                os.close(fd)
        pid_and_code = said[2].split()
        if not is_whole:
            for pid in pid_and_code[:1]:
                os.kill(int(pid), signal.SIGKILL)
            raise subprocess.TimeoutExpired(arguments, timeout_s)
        assert len(pid_and_code) == 2, "the process that is forked has ended"
        return subprocess.CompletedProcess(arguments, int(pid_and_code[1]), _text(said[0]), _text(said[1]))

    def run_on(self, arguments: list[str], environment: dict[str, str], folder: int, streams: list[int]) -> int:
        """Run one command line on streams and in a folder that are open here; its exit code."""
        self._ensure_started()
        outcome, theirs = os.pipe()
        request = os.memfd_create("request")
        try:
            os.write(request, json.dumps([arguments, environment]).encode())
            socket.send_fds(self._control, [b"run"], [*streams, folder, request, theirs])
        finally:
            os.close(theirs)
            os.close(request)
        with open(outcome, encoding="utf-8") as said:
            return int(said.read().split()[1])

    def _ensure_started(self) -> None:
        with self._lock:
            if self._process is None:
                fd = self._theirs.fileno()
                # Threads of numpy's libraries would be missing in what is forked.
                environment = {**self._environment, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
                words = [self._python, __file__, str(fd)]
                self._process = subprocess.Popen(words, pass_fds=[fd], env=environment, start_new_session=True)
                self._theirs.close()
                atexit.register(self.close)

    def close(self) -> None:
        """End the process; those that were forked from it stay."""
        atexit.unregister(self.close)
        self._control.close()
        if self._process is not None:
            self._process.wait()


def _read_all(fds: list[int], end_s: float) -> tuple[list[bytes], bool]:
    """What comes from each until all are closed, and whether they were closed in time."""
    said = dict.fromkeys(fds, b"")
    with selectors.DefaultSelector() as selector:
        for fd in fds:
            selector.register(fd, selectors.EVENT_READ)
        while selector.get_map() and time.monotonic() < end_s:
            for key, _ in selector.select(end_s - time.monotonic()):
                piece = os.read(key.fd, LARGEST_PIECE)
                said[key.fd] += piece
                if not piece:
                    selector.unregister(key.fd)
        return list(said.values()), not selector.get_map()


def _text(said: bytes) -> str:
    return io.TextIOWrapper(io.BytesIO(said), encoding="utf-8").read()


# What the process that is forked does


def _serve(control: socket.socket) -> None:
    """Fork for each request, and tell the process's id and its exit code. Returns in the forked processes only."""
    outcomes: dict[int, tuple[int, int]] = {}  # descriptors of processes: their ids, and where the outcome is told
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is not control:
                    _tell_outcome(*outcomes.pop(key.fd))
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    continue
                word, fds, _, _ = socket.recv_fds(control, 16, 8, socket.MSG_CMSG_CLOEXEC)
                if not word:
                    os._exit(0)
                child = os.fork()
                if child == 0:
                    control.close()
                    for process, (_, outcome) in outcomes.items():  # who waits for another's outcome waits for its end
                        os.close(process)
                        os.close(outcome)
                    _become(fds)
                    return
                if not _tell(fds[-1], f"{child} "):
                    os.kill(child, signal.SIGKILL)
                process = os.pidfd_open(child)
                outcomes[process] = child, fds[-1]
                selector.register(process, selectors.EVENT_READ)
                for fd in fds[:-1]:
                    os.close(fd)


def _tell_outcome(child: int, outcome: int) -> None:
    _, status = os.waitpid(child, 0)
    _tell(outcome, str(os.waitstatus_to_exitcode(status)))
    os.close(outcome)


def _tell(outcome: int, words: str) -> bool:
    """Write to whoever asked; False if they no longer wait."""
    try:
        os.write(outcome, words.encode())
    except BrokenPipeError:
        return False
    return True


def _become(fds: list[int]) -> None:
    """Take over what a request gives: the streams, the folder, the command line and the environment."""
    *streams, folder, request, _ = fds
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.fchdir(folder)
    sys.argv[1:], environment = json.loads(os.pread(request, os.fstat(request).st_size, 0))
    for fd in fds:
        os.close(fd)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()


def _run() -> int:
    """Run the command line in `sys.argv` to its end as an interpreter does, but take nothing apart. Its exit code."""
    from onefs.cli.main import run

    code = run(sys.argv[1:])
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return code


def _main() -> None:
    through_pyfuse3 = os.environ.get("ONEFS_KERNEL_ADAPTER") == "pyfuse3"
    for module in IMPORTED_FIRST + (FOR_PYFUSE3 if through_pyfuse3 else ()):
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    _serve(socket.socket(fileno=int(sys.argv[1])))
    os._exit(_run())


if __name__ == "__main__":
    _main()
