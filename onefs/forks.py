"""What begins anew in processes that are forked off: threads, and turns on connections, stay with the parent."""

import os
import weakref
from typing import Protocol


class BeginsAnew(Protocol):
    """Something that has threads, connections, or a lock that one of those threads may hold."""

    def begin_anew(self) -> None: ...


_registered: weakref.WeakSet[BeginsAnew] = weakref.WeakSet()


def begins_anew_in_children(thing: BeginsAnew) -> None:
    """Have `begin_anew` called in every process that is forked off, as long as the object is there."""
    _registered.add(thing)


def _begin_anew() -> None:
    for each in list(_registered):
        each.begin_anew()


os.register_at_fork(after_in_child=_begin_anew)
