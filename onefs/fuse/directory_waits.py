"""`DirectoryWaits`: which requests wait in which directory, so that the kernel can be told to forget names of it.

To forget a name, the kernel takes the lock of its directory. Lookups and listings hold that lock until they are
answered. Meanwhile new ones queue behind the kernel's own wait, where not even SIGKILL ends the programs. So names are
forgotten once the requests that wait in the directory are answered, and what delays the kernel after all is refused.
"""

import errno
import threading
from collections import Counter
from collections.abc import Collection, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from math import inf
from typing import Any, TypeVar

import trio

from onefs.fuse.errnos import FuseError
from onefs.fuse.protocol import MODIFYING, Opcode

LOCKING = frozenset({Opcode.LOOKUP, Opcode.READDIR, Opcode.READDIRPLUS, Opcode.SETATTR, *MODIFYING})
"""Requests during which the kernel may hold the lock of their inode."""
_LISTING = frozenset({Opcode.READDIR, Opcode.READDIRPLUS})
POSTPONED_S = 30.0
"""How long a name may stay known because requests wait in its directory. A server that is silent for longer is down."""
DELAY_S = 5.0
"""How long programs may be held up, out of reach of signals, before the lookups that delay them are refused."""
LISTING_DELAY_S = 10.0
"""The same for listings; longer, since the kernel never repeats one."""
REPEATED_S = 0.05
"""How long the kernel may take to look up again what was refused."""

R = TypeVar("R")


@dataclass(eq=False)
class _Wait:
    """A request that waits, and the scope to cancel it."""

    is_listing: bool
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    def limit(self) -> None:
        """Refuse the request if it waits for much longer."""
        delay_s = LISTING_DELAY_S if self.is_listing else DELAY_S
        self.scope.deadline = min(self.scope.deadline, trio.current_time() + delay_s)

    def lift_limit(self) -> None:
        """Let the request wait for as long as it takes."""
        self.scope.deadline = inf


class DirectoryWaits:
    """The requests that wait in directories. `answer` is for the event loop, `forgetting` for other threads.

    A refused request fails with ESTALE. The kernel then walks the whole path once more, at least, before the program
    gets that error. The repeated lookup may take the lock first, and be refused too; no listing is repeated. So names
    rather wait long, which holds up nobody, than that requests are refused.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()  # guards all below
        self._waiting: dict[int, list[_Wait]] = {}
        self._forgetting: Counter[int] = Counter()
        self._refused: set[int] = set()
        self._token: trio.lowlevel.TrioToken | None = None

    def answer(self, opcode: int, folder: int, rest: Coroutine[Any, Any, R]) -> Coroutine[Any, Any, R]:
        """The answer to a request that waits in a directory from now on. Raises `FuseError` if it is refused."""
        wait = _Wait(is_listing=opcode in _LISTING)
        with self._changed:
            self._token = self._token or trio.lowlevel.current_trio_token()
            self._waiting.setdefault(folder, []).append(wait)
            if folder in self._forgetting:
                wait.limit()
            self._changed.notify_all()
        return self._answer(folder, wait, rest)

    async def _answer(self, folder: int, wait: _Wait, rest: Coroutine[Any, Any, R]) -> R:
        try:
            with wait.scope:
                return await rest
        finally:
            with self._changed:
                self._waiting[folder].remove(wait)
                if not self._waiting[folder]:
                    del self._waiting[folder]
                if wait.scope.cancelled_caught:
                    self._refused.add(folder)
                self._changed.notify_all()
        raise FuseError(errno.ESTALE)

    @contextmanager
    def forgetting(self, folder: int) -> Iterator[None]:
        """A block in which the kernel may wait for the lock of a directory. It may begin later, and end later."""
        with self._changed:
            before = list(self._waiting.get(folder, ()))
            self._changed.wait_for(lambda: not self._is_postponed(folder, before), POSTPONED_S)
            self._forgetting[folder] += 1
        self._update(folder)
        try:
            yield
        finally:
            with self._changed:
                self._forgetting[folder] -= 1
                if not self._forgetting[folder]:
                    del self._forgetting[folder]
            self._update(folder)
            self._await_repetition(folder)

    def _is_postponed(self, folder: int, before: Collection[_Wait]) -> bool:
        """Whether a listing still waits, or one of the requests `before`: always to wait for new ones might not end."""
        return any(wait.is_listing or wait in before for wait in self._waiting.get(folder, ()))

    def _await_repetition(self, folder: int) -> None:
        """If a request was refused, wait until it comes again: the next name then waits for it, else refuses it too."""
        with self._changed:
            if folder in self._refused:
                self._refused.remove(folder)
                self._changed.wait_for(lambda: folder in self._waiting, REPEATED_S)

    def _update(self, folder: int) -> None:
        """Have the event loop limit how long requests may wait in a directory, or lift that, if there are any."""
        with self._changed:
            token = self._token if folder in self._waiting else None
        if token is not None:
            with suppress(trio.RunFinishedError):  # the mount has ended, and with it whatever waited
                token.run_sync_soon(self._set_limits, folder)

    def _set_limits(self, folder: int) -> None:
        with self._changed:
            for wait in self._waiting.get(folder, ()):
                if folder in self._forgetting:
                    wait.limit()
                else:
                    wait.lift_limit()
