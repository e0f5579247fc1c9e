"""`CancelToken`: tells whoever fetches to stop, and why."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from onefs.errors import OnefsError, again


class Abortable(Protocol):
    """Something under way that another thread can break off."""

    def abort(self) -> None:
        """Break it off. It may have ended already."""


class CancelToken:
    """Cancels work in other threads: once, for good, with the error that the work shall raise.

    A token is cancelled with its parent too. Safe to use from several threads. The error must not be one that servers
    cause (UnreachableError, AccessRefusedError, ContentError): nobody shall try the next server for it.
    """

    __slots__ = ("_abortable", "_error", "_parent")

    def __init__(self, parent: "CancelToken | None" = None) -> None:
        self._parent = parent
        self._error: OnefsError | None = None
        self._abortable: set[Abortable] = set()  # changed by one operation at a time, each of them atomic

    def cancel(self, error: OnefsError) -> None:
        """Cancel the work that has this token or a child of it. The first error counts."""
        if self._error is None:
            self._error = error
        for each in tuple(self._abortable):
            each.abort()

    @property
    def error(self) -> OnefsError | None:
        """Why the work is cancelled; None if it is not."""
        token: CancelToken | None = self
        while token is not None:
            if token._error is not None:
                return token._error
            token = token._parent
        return None

    @property
    def is_cancelled(self) -> bool:
        """Whether the work is to stop."""
        return self.error is not None

    def raise_if_cancelled(self) -> None:
        """Raise the error that it was cancelled with."""
        error = self.error
        if error is not None:
            raise again(error)

    def wait(self, seconds: float) -> None:
        """Sleep. Raises the error as soon as the token is cancelled."""
        sleeper = _Sleeper()
        with self.aborting(sleeper):
            sleeper.woken.wait(seconds)
        self.raise_if_cancelled()

    @contextmanager
    def aborting(self, work: Abortable) -> Iterator[None]:
        """A block during which cancelling breaks `work` off. Raises the error if the token is cancelled already."""
        tokens = [self]
        while (parent := tokens[-1]._parent) is not None:
            tokens.append(parent)
        for token in tokens:
            token._abortable.add(work)
        try:
            self.raise_if_cancelled()
            yield
        finally:
            for token in tokens:
                token._abortable.discard(work)


class _Sleeper:
    def __init__(self) -> None:
        self.woken = threading.Event()

    def abort(self) -> None:
        self.woken.set()
