"""A server that is far away: the round trip to it takes as long as to another continent."""

import subprocess
from types import TracebackType
from typing import Self

from benchmarks.bench import BenchFailedError, python


class Distant:
    """A context in which the server at `near_url` is reached at `url` too, with each round trip so much longer."""

    def __init__(self, near_url: str, round_trip_ms: int) -> None:
        self.url = ""
        self._command = python("distant.py", near_url.rpartition(":")[2], str(round_trip_ms))

    def __enter__(self) -> Self:
        # In a session of its own: Ctrl-C must not end it before what is mounted over it.
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, text=True
        )
        assert self._process.stdout
        port = self._process.stdout.readline().strip()
        if not port:
            raise BenchFailedError("The program that delays connections did not start.")
        self.url = f"http://127.0.0.1:{port}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate("")  # it ends with its input
