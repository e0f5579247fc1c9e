"""`Notifier`: has the kernel forget (invalidate) attributes, listings, pages and names that changed.

Notifications are sent by threads of their own, never by the event loop, since the kernel may hold one up until requests
are answered:

- one for attributes, or for a kept listing, waits for no request, unless the kernel is dropping that inode just then;
- one for the pages of a file waits for the reads of it that are not answered yet;
- one for a name waits for the lookups and listings under way in its directory, and holds up new ones.

So attributes and listings have a queue of their own, and a thread that is answering the kernel never waits for names.
"""

import contextlib
import functools
import itertools
import logging
import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from queue import SimpleQueue
from typing import Protocol

from onefs.fuse.callers import is_answering
from onefs.vfs.staleness import ITSELF

_BATCH = 1000
_NOTIFY_TIMEOUT_S = 10.0
_STOP_TIMEOUT_S = 5.0
_NO_ENTRY = b"-"
"""A name that no entry has: to forget it waits for the lookups and listings under way in its directory."""
_log = logging.getLogger(__name__)


class KernelCaches(Protocol):
    """What the kernel caches of a mount. Not for the event loop: each call may wait for requests under way.

    Raises OSError, with ENOENT if the kernel does not know the inode or the name.
    """

    def invalidate_inode(self, ino: int, *, attributes_only: bool) -> None:
        """Forget the attributes of an inode, and its pages or its listing too unless `attributes_only`."""

    def invalidate_entry(self, parent: int, name: bytes) -> None:
        """Forget a name in a directory, one that is absent too."""


Tell = Callable[[KernelCaches], None]
"""Tells the kernel of one change, or of several."""
Change = tuple[Tell, threading.Event]


class Notifier:
    """Tells the kernel what to forget, as long as the file system is mounted. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _dropping
        self._dropping: dict[int, threading.Event] = {}
        self._attributes = _Queue("kernel-attributes")
        self._names_and_pages = _Queue("kernel-notify")

    def start(self, kernel: KernelCaches) -> None:
        """Tell the kernel from now on: the file system is mounted."""
        self._attributes.start(kernel)
        self._names_and_pages.start(kernel)

    def stop(self) -> None:
        """Send what is queued, and nothing more. Call it before unmounting."""
        self._attributes.stop()
        self._names_and_pages.stop()

    def attributes_changed(self, ino: int) -> None:
        """Forget the attributes of a node, though not its pages. Not for the event loop.

        It is done when this returns: it does not wait behind names and pages, which wait for listings and reads, which
        may wait for the caller. Times out if the kernel is dropping this very inode.
        """
        self._attributes.put(functools.partial(_forget_inode, ino, attributes_only=True)).wait(_NOTIFY_TIMEOUT_S)

    def pages_changed(self, ino: int) -> None:
        """Forget the pages of a node, soon: the kernel waits for the reads of it that are not answered yet."""
        told = self._names_and_pages.put(functools.partial(_forget_inode, ino, attributes_only=False))
        with self._lock:
            others = {other: event for other, event in self._dropping.items() if not event.is_set()}
            self._dropping = {**others, ino: told}

    def has_old_pages(self, ino: int) -> bool:
        """Whether the kernel may still have pages of a node that it is to forget."""
        told = self._dropping.get(ino)
        return told is not None and not told.is_set()

    def listings_changed(self, folders: Collection[int]) -> None:
        """Forget the attributes and the kept listings of directories. Not for the event loop.

        It is done when this returns: it does not wait behind names and pages.
        """
        self._attributes.put(functools.partial(forget_listings, folders)).wait(_NOTIFY_TIMEOUT_S)

    def names_changed(self, names: Iterable[tuple[int, str]]) -> None:
        """Forget entries, absent ones included, by directory and name, and the listings of these directories.

        Done when it returns, but for a thread that is answering the kernel. Not for the event loop.
        """
        waits = not is_answering()
        for batch in _batches(names):
            self.listings_changed({parent for parent, _ in batch})
            told = self._names_and_pages.put(functools.partial(forget_names, batch))
            waits = waits and told.wait(_NOTIFY_TIMEOUT_S)

    def tell_names(self, names: Iterable[tuple[int, str]]) -> None:
        """Queue the same, without waiting. The kernel forgets no name of a directory while a listing is unanswered."""
        for batch in _batches(names):
            self._names_and_pages.put(functools.partial(forget_names, batch))


class _Queue:
    """Changes that a thread tells the kernel one after the other, from `start` until `stop`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()  # guards _thread
        self._thread: threading.Thread | None = None
        self._queue: SimpleQueue[Change | None] = SimpleQueue()

    def start(self, kernel: KernelCaches) -> None:
        with self._lock:
            self._thread = threading.Thread(target=self._run, args=(kernel,), name=self._name, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Tell what is queued, and nothing more."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            thread.join(_STOP_TIMEOUT_S)

    def put(self, change: Tell) -> threading.Event:
        """Queue a change. Returns an event that is set once the kernel was told, or at once if nothing is mounted."""
        told = threading.Event()
        with self._lock:
            if self._thread is None:
                told.set()
            else:
                self._queue.put((change, told))
        return told

    def _run(self, kernel: KernelCaches) -> None:
        while (change := self._queue.get()) is not None:
            tell, told = change
            try:
                # The kernel answers ENOENT for what it does not know: nothing to forget then.
                with contextlib.suppress(FileNotFoundError):
                    tell(kernel)
            except OSError as error:
                _log.warning("The kernel could not be told of a change: %s", error)
            finally:
                told.set()


def _forget_inode(ino: int, kernel: KernelCaches, *, attributes_only: bool) -> None:
    kernel.invalidate_inode(ino, attributes_only=attributes_only)


def _batches(names: Iterable[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    remaining = iter(names)
    while batch := list(itertools.islice(remaining, _BATCH)):
        yield batch


def forget_names(names: list[tuple[int, str]], kernel: KernelCaches) -> None:
    """Have the kernel forget entries; then the listings of their directories: those under way have ended by then.

    To forget an entry, even one that is not there, the kernel waits for the listings under way in the directory.
    """
    for parent, name in names:
        with contextlib.suppress(FileNotFoundError):
            kernel.invalidate_entry(parent, _NO_ENTRY if name == ITSELF else os.fsencode(name))
    forget_listings({parent for parent, _ in names}, kernel)


def forget_listings(folders: Collection[int], kernel: KernelCaches) -> None:
    """Have the kernel forget the attributes and the listings of directories. It waits for nothing that is under way."""
    for ino in folders:
        with contextlib.suppress(FileNotFoundError):
            kernel.invalidate_inode(ino, attributes_only=False)
