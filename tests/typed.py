"""A command `onefs` for scripts of the shell that tests run: it runs in the processes that tests fork, which is faster.

This file is what tests import, and also the program that such scripts run.
"""

import json
import os
import shlex
import socket
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

LARGEST_REQUEST = 1 << 20


class TypedCommands:
    """Answers the command `onefs` that it puts into a folder for programs. Use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self._address = str(folder / "socket")
        self._listener = socket.socket(socket.AF_UNIX)
        self._thread = threading.Thread(target=self._serve)
        command = folder / "onefs"
        words = shlex.join([sys.executable, "-IS", __file__, self._address, _mounts_seen()])
        command.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        command.chmod(0o700)

    def __enter__(self) -> Self:
        self._listener.bind(self._address)
        self._listener.listen()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # it is shut down
                return
            threading.Thread(target=_run, args=[connection]).start()


def _run(connection: socket.socket) -> None:
    from mounted import FORK_SERVER

    with connection:
        request, fds, _, _ = socket.recv_fds(connection, LARGEST_REQUEST, 4)
        while not request.endswith(b"\n"):
            request += connection.recv(LARGEST_REQUEST)
        try:
            arguments, environment = json.loads(request)
            code = FORK_SERVER.run_on(arguments, environment, fds[3], fds[:3])
        finally:
            for fd in fds:
                os.close(fd)
        connection.sendall(str(code).encode())


def _mounts_seen() -> str:
    """Which namespace of mounts this process is in."""
    return str(Path("/proc/self/ns/mnt").readlink())


def _main() -> int:
    """Have the command line run on the streams and in the folder of this process; its exit code."""
    _, address, mounts_seen, *arguments = sys.argv
    if _mounts_seen() != mounts_seen:  # what is forked elsewhere sees other mounts
        os.execv(sys.executable, [sys.executable, "-m", "onefs", *arguments])
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        request = json.dumps([arguments, dict(os.environ)]).encode() + b"\n"
        folder = os.open(".", os.O_PATH)
        sent = socket.send_fds(connection, [request], [0, 1, 2, folder])
        connection.sendall(request[sent:])
        return int(connection.recv(16))


if __name__ == "__main__":
    sys.exit(_main())
