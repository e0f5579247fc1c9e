"""A service manager for tests: a socket that takes the messages of sd_notify(3)."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from mounted import ONEFS
from waiting import PATIENCE_S


class NotifySocket:
    """A context with a socket at `address`, as in the environment variable NOTIFY_SOCKET."""

    def __init__(self, address: str | Path) -> None:
        self.address = str(address)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._messages: list[list[str]] = []

    def __enter__(self) -> Self:
        self._socket.bind(f"\0{self.address[1:]}" if self.address.startswith("@") else self.address)
        self._socket.settimeout(PATIENCE_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def next(self) -> list[str]:
        """The assignments of the next message."""
        return self._socket.recv(4096).decode().split("\n")

    def pending(self) -> list[list[str]]:
        """The messages that have come, and were not taken yet."""
        self._socket.setblocking(False)
        found = []
        try:
            while True:
                found.append(self.next())
        except BlockingIOError:
            return found
        finally:
            self._socket.settimeout(PATIENCE_S)

    def until(self, start: str) -> str:
        """The first assignment to come that starts so; what comes before it is dropped."""
        while True:
            for assignment in self.next():
                if assignment.startswith(start):
                    return assignment


@contextmanager
def supervised(
    home: Path, *words: str | Path, **environment: str
) -> "Iterator[tuple[subprocess.Popen[str], NotifySocket]]":
    """A mount in the foreground at `home`/mnt, as a unit with Type=notify starts it."""
    (home / "mnt").mkdir(exist_ok=True)
    command = [*ONEFS, "mount", "--foreground", *words, home / "mnt", "--cache-dir", home / "cache"]
    with NotifySocket(home / "notify") as listener:
        surroundings = {**os.environ, "HOME": str(home), "NOTIFY_SOCKET": listener.address, **environment}
        daemon = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=surroundings
        )
        try:
            yield daemon, listener
        finally:
            daemon.terminate()
            daemon.communicate(timeout=PATIENCE_S)
