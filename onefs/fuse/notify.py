"""Telling the kernel what changed, from threads of its own: whoever tells it may have to wait for the kernel."""

import contextlib
import functools
import itertools
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from typing import Protocol

from onefs.fuse.callers import is_answering
from onefs.vfs.staleness import ITSELF

_BATCH = 1000
_PATIENCE_S = 10.0
_END_S = 5.0
_log = logging.getLogger(__name__)


class Kernel(Protocol):
    """What the kernel can be told to forget. Not for the event loop: each call may wait for requests under way.

    Raises OSError; ENOENT: the kernel does not know the inode, or the name.
    """

    def invalidate_inode(self, ino: int, *, attributes_only: bool) -> None:
        """Forget the attributes of an inode, and its pages or its listing too unless `attributes_only`."""

    def invalidate_entry(self, parent: int, name: bytes) -> None:
        """Forget a name in a directory, one that is absent too."""


Tell = Callable[[Kernel], None]
"""Tells the kernel of one change, or of several."""
Change = tuple[Tell, threading.Event]


class Notifier:
    """Tells the kernel what to forget, as long as the file system is mounted. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _dropping
        self._dropping: dict[int, threading.Event] = {}
        self._attributes = _Queue("kernel-attributes")
        self._others = _Queue("kernel-notify")

    def start(self, kernel: Kernel) -> None:
        """Tell the kernel from now on: the file system is mounted."""
        self._attributes.start(kernel)
        self._others.start(kernel)

    def stop(self) -> None:
        """The file system is about to be unmounted: tell what is queued, and nothing more."""
        self._attributes.stop()
        self._others.stop()

    def attributes_changed(self, ino: int) -> None:
        """Forget the attributes of a node, though not its pages. Not for the event loop.

        It is done when this returns, whatever else the kernel is told meanwhile: names and pages wait for listings
        and reads, which may wait for whoever calls this. The limit is for a kernel that drops this very inode.
        """
        self._attributes.put(functools.partial(_forget_inode, ino, attributes_only=True)).wait(_PATIENCE_S)

    def pages_changed(self, ino: int) -> None:
        """Forget the pages of a node, soon: the kernel waits for the reads of it that are not answered yet."""
        told = self._others.put(functools.partial(_forget_inode, ino, attributes_only=False))
        with self._lock:
            others = {other: event for other, event in self._dropping.items() if not event.is_set()}
            self._dropping = {**others, ino: told}

    def has_old_pages(self, ino: int) -> bool:
        """Whether the kernel may still have pages of a node that it is to forget."""
        told = self._dropping.get(ino)
        return told is not None and not told.is_set()

    def names_changed(self, names: Iterable[tuple[int, str]]) -> None:
        """Forget entries, absent ones included, by directory and name; for `ITSELF`, the directory's attributes.

        Done when it returns, but for a thread that is answering the kernel. Not for the event loop.
        """
        for told in self._tell_in_batches(names):
            if not is_answering():
                told.wait(_PATIENCE_S)

    def tell_names(self, names: Iterable[tuple[int, str]]) -> None:
        """Forget the same, soon: the kernel forgets no entry of a directory while a listing of it is unanswered."""
        for _ in self._tell_in_batches(names):
            pass

    def _tell_in_batches(self, names: Iterable[tuple[int, str]]) -> Iterator[threading.Event]:
        remaining = iter(names)
        while batch := list(itertools.islice(remaining, _BATCH)):
            yield self._others.put(functools.partial(_forget_names, batch))


class _Queue:
    """Changes that a thread tells the kernel one after the other, from `start` until `stop`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()  # guards _thread
        self._thread: threading.Thread | None = None
        self._queue: SimpleQueue[Change | None] = SimpleQueue()

    def start(self, kernel: Kernel) -> None:
        with self._lock:
            self._thread = threading.Thread(target=self._run, args=(kernel,), name=self._name, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Tell what is queued, and nothing more."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            thread.join(_END_S)

    def put(self, change: Tell) -> threading.Event:
        """Queue a change; what is set once the kernel was told of it, or if there is nobody to tell."""
        told = threading.Event()
        with self._lock:
            if self._thread is None:
                told.set()
            else:
                self._queue.put((change, told))
        return told

    def _run(self, kernel: Kernel) -> None:
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


def _forget_inode(ino: int, kernel: Kernel, *, attributes_only: bool) -> None:
    kernel.invalidate_inode(ino, attributes_only=attributes_only)


def _forget_names(names: list[tuple[int, str]], kernel: Kernel) -> None:
    for parent, name in names:
        with contextlib.suppress(FileNotFoundError):
            if name == ITSELF:
                kernel.invalidate_inode(parent, attributes_only=True)
            else:
                kernel.invalidate_entry(parent, os.fsencode(name))
