"""Owns what the demo's server does wrong when it is told to: error pages, or no answer until it is let go."""

import threading
from dataclasses import dataclass, field

from werkzeug.wrappers import Response

ERROR_PAGE = "<!doctype html>\n<html><head><title>Error</title></head><body><h1>Bad gateway</h1></body></html>\n"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Below `path` there is an error page of this status instead of an answer; or, `held`, nothing until it ends."""

    path: str = "/"
    status: int = 502
    held: bool = False
    over: threading.Event = field(default_factory=threading.Event)


class Troubles:
    """The trouble there is now, if any. For several threads at once: it is replaced whole."""

    def __init__(self) -> None:
        self._now: Trouble | None = None

    def begin(self, trouble: Trouble) -> None:
        """Have this one, in place of the one before."""
        self.end()
        self._now = trouble

    def end(self) -> None:
        """Have none; what was held goes on."""
        before, self._now = self._now, None
        if before is not None:
            before.over.set()

    def answer(self, path: str) -> Response | None:
        """The error page for a path, or None when there is no trouble there (any more)."""
        trouble = self._now
        if trouble is None or not path.startswith(trouble.path):
            return None
        if trouble.held:
            trouble.over.wait()
            return None
        return Response(ERROR_PAGE, trouble.status, content_type="text/html; charset=utf-8")
