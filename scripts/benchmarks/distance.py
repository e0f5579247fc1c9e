"""Servers that are not as near or as good as those of this machine: a small program stands between."""

import subprocess
from types import TracebackType
from typing import Self

from benchmarks.bench import BenchFailedError, python


class Between:
    """A context in which the server at `near_url` is reached at `url`, through a program that prints its port."""

    def __init__(self, near_url: str, program: str, *words: str) -> None:
        self.url = ""
        self._command = python(program, near_url.rpartition(":")[2], *words)

    def __enter__(self) -> Self:
        # In a session of its own: Ctrl-C must not end it before what is mounted over it.
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, text=True
        )
        assert self._process.stdout
        port = self._process.stdout.readline().strip()
        if not port:
            raise BenchFailedError(f"{self._command[1]} did not start.")
        self.url = f"http://127.0.0.1:{port}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate("")  # it ends with its input


class Distant(Between):
    """A server that is far away: the round trip to it takes as long as to another continent."""

    def __init__(self, near_url: str, round_trip_ms: int) -> None:
        super().__init__(near_url, "distant.py", str(round_trip_ms))


class Stalling(Between):
    """A server that says nothing any more once it is told to."""

    def __init__(self, near_url: str) -> None:
        super().__init__(near_url, "stalling.py")

    def stall(self) -> None:
        """Keep back all that comes from now on."""
        assert self._process.stdin
        self._process.stdin.write("stall\n")
        self._process.stdin.flush()
