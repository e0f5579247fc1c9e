"""`ReadReporter`: tells the recorder who reads what, also of reads that the kernel answers by itself."""

import functools
from collections.abc import Mapping

import trio
from cachetools import LRUCache

from onefs.fuse.opened import Handle, Pages
from onefs.recording.processes import Reader, process, reader
from onefs.recording.recorder import Recorder

LONGEST_LOOK_S = 1.0
LOOK_THREADS = 16
READERS_KEPT = 10_000


class ReadReporter:
    """Tells the recorder of reads.

    The kernel asks for bytes that it has no pages of, and does not tell of those that it has. So a program counts as
    a reader when its file is asked for bytes, and when it has the file open while the kernel has pages of it.
    """

    def __init__(self, recorder: Recorder, pages: Pages, files: Mapping[int, Handle]) -> None:
        """`files` are those that are open now."""
        self._recorder = recorder
        self._pages = pages
        self._files = files
        self._readers: LRUCache[object, Reader] = LRUCache(READERS_KEPT)
        self._looks = trio.CapacityLimiter(LOOK_THREADS)  # apart: a directory of users may never answer

    async def who(self, pid: int, uid: int) -> Reader:
        """Who the thread `pid` of the user `uid` belongs to, in full if that can be learned soon."""
        thread = process(pid)
        # A program that takes another's place in the same process has a name of its own, or a stack.
        key = thread and (thread.identity, thread.name, thread.stack, uid)
        known = self._readers.get(key)
        if known is not None:
            return known
        look = functools.partial(reader, pid, uid)
        with trio.move_on_after(LONGEST_LOOK_S):
            found = await trio.to_thread.run_sync(look, limiter=self._looks, abandon_on_cancel=True)
            if key is not None:
                self._readers[key] = found
            return found
        return reader(pid, uid, in_full=False)

    def opened(self, handle: Handle) -> None:
        """A dataset was opened by `handle.reader`, while something is recorded."""
        is_empty = handle.opened.size_bytes == 0  # the kernel never asks for bytes of one
        if is_empty or (handle.has_pages and self._pages.were_read(handle.inode)):
            self._count(handle)

    async def read(self, handle: Handle) -> None:
        """Bytes of a file were read by request, for the first time in the recorder's turn."""
        turn = self._recorder.turn
        if turn and handle.reader is None and handle.opened.dataset is not None:
            handle.reader = await self.who(handle.pid, handle.uid)
        handle.turn = turn
        are_new = handle.has_pages and not self._pages.were_read(handle.inode)
        if are_new:
            self._pages.read(handle.inode)
        if turn:
            self._count(handle)
            for other in list(self._files.values()) if are_new else ():
                if other.inode == handle.inode and other.has_pages:
                    self._count(other)

    def _count(self, handle: Handle) -> None:
        if handle.reader is not None and handle.opened.dataset is not None:
            self._recorder.count(handle.opened.dataset, handle.opened.file.edition, handle.reader)
