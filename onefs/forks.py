"""What goes on in processes that are forked off, which have none of their parent's other threads.

Locks made here are free there, whoever held them, and `begin_anew` is called of what registered for that. A fork waits
for what cannot be mended afterwards: modules that are being imported, and locks around libraries with locks of their
own or data that a thread would leave half changed (`held_at_forks`).
"""

import contextlib
import ctypes
import functools
import importlib
import logging
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

IMPORTED_LATE = {
    "botocore", "dask", "distributed", "filelock", "numpy", "onefs", "pandas", "platformdirs", "prometheus_client",
    "pyarrow", "requests", "requests_cache", "rich", "sparse", "tomllib", "yaml",
}  # fmt: skip
"""Packages that are imported only when they are needed, in whichever thread that is."""
LONGEST_WAIT_S = 10.0
"""How long a fork waits for one lock: it may be the forking thread itself that holds it."""

_PR_SET_PDEATHSIG = 1

Lock: TypeAlias = "threading.Lock | threading.RLock"

_log = logging.getLogger(__name__)
T = TypeVar("T")


class BeginsAnew(Protocol):
    """Something that has threads or connections, or state that a thread may have been changing at the fork."""

    def begin_anew(self) -> None: ...


@runtime_checkable
class PreparesForks(Protocol):
    """Something that must not be open in two processes. Called in the forking thread, which holds the locks."""

    def before_fork(self) -> None: ...


class _Held(threading.local):
    """The locks that this thread holds while it forks."""

    def __init__(self) -> None:
        self.locks: list[Lock] = []


_registered: weakref.WeakSet[BeginsAnew] = weakref.WeakSet()
_locks: weakref.WeakSet[Any] = weakref.WeakSet()
_waited_for: weakref.WeakKeyDictionary[Any, None] = weakref.WeakKeyDictionary()
"""The keys are locks. Unlike a `WeakSet` it can be listed while other threads add to it."""
_held = _Held()


def begins_anew_in_children(thing: BeginsAnew) -> None:
    """Have `begin_anew` called in every process that is forked off, as long as the object is there."""
    _registered.add(thing)


def new_lock(*, held_at_forks: bool = False) -> threading.Lock:
    """A lock that is free in every process that is forked off. With `held_at_forks` a fork waits until it is free."""
    lock = threading.Lock()
    _locks.add(lock)
    if held_at_forks:
        _waited_for[lock] = None
    return lock


def new_rlock(*, held_at_forks: bool = False) -> "threading.RLock":
    """A re-entrant lock that is free in every process that is forked off, unless the forking thread holds it.

    With `held_at_forks` a fork waits until it is free. Whoever holds such a lock takes no other that forks wait for.
    """
    lock = threading.RLock()
    _locks.add(lock)
    if held_at_forks:
        _waited_for[lock] = None
    return lock


class cached_property(functools.cached_property[T]):  # noqa: N801 - as the class that it stands in for
    """A cached property whose lock, which it has before Python 3.12, is free in processes that are forked off."""

    def __init__(self, function: Callable[[Any], T]) -> None:
        super().__init__(function)
        self.lock = new_rlock()


def end_with_parent(parent: int, signal_number: int) -> bool:
    """Have the kernel send this process a signal when its parent, or the thread that forked, ends.

    False if the process `parent` has ended already.
    """
    with contextlib.suppress(AttributeError):  # a C library without prctl
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    return os.getppid() == parent


def _wait() -> None:
    """Wait for what must not be under way in other threads at a fork."""
    # Locks first: whoever holds one may be importing. Between the last look at the imports and the fork is no wait.
    for ref in _waited_for.keyrefs():
        lock = ref()
        if lock is not None and lock.acquire(timeout=LONGEST_WAIT_S):
            _held.locks.append(lock)  # at once: an interrupt may end this
    for each in list(_registered):
        if isinstance(each, PreparesForks):
            each.before_fork()
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in IMPORTED_LATE and getattr(
            getattr(module, "__spec__", None), "_initializing", False
        ):
            _imported(name)


def _imported(name: str) -> None:
    try:
        importlib.import_module(name)
    except Exception as error:  # noqa: BLE001 - whoever imports it is told
        _log.info("%s cannot be imported: %s", name, error)


def _go_on() -> None:
    while _held.locks:
        _held.locks.pop().release()


def _begin_anew() -> None:
    _go_on()
    for lock in list(_locks):
        if not getattr(lock, "_is_owned", bool)():
            lock._at_fork_reinit()
    for each in list(_registered):
        try:
            each.begin_anew()
        except Exception:  # noqa: BLE001 - the others go on
            _log.exception("%r cannot be used in this process", each)


os.register_at_fork(before=_wait, after_in_parent=_go_on, after_in_child=_begin_anew)
