"""`ReadReporter`: tells the recorder who reads what, also of reads that the kernel answers by itself."""

from collections.abc import Mapping

from onefs.fuse.opened import Handle, Pages
from onefs.fuse.process_lookup import ProcessLookup
from onefs.recording.recorder import Recorder


class ReadReporter:
    """Tells the recorder of reads.

    The kernel asks for bytes that it has no pages of, and does not tell of those that it has. So a program counts as
    a reader when its file is asked for bytes, and when it has the file open while the kernel has pages of it, or reads
    it by itself (passthrough). A file that was passed through, mapped, and closed before the recording is not seen.
    """

    def __init__(self, recorder: Recorder, pages: Pages, files: Mapping[int, Handle], processes: ProcessLookup) -> None:
        """`files` are those that are open now."""
        self._recorder = recorder
        self._pages = pages
        self._files = files
        self._processes = processes
        self._turn = recorder.turn

    def opened(self, handle: Handle) -> None:
        """A dataset was opened by `handle.reader`, while something is recorded."""
        is_empty = handle.opened.size_bytes == 0  # the kernel never asks for bytes of one
        if is_empty or (handle.has_pages and self._pages.were_read(handle.inode)):
            self._count(handle)

    async def passed_through(self, handle: Handle) -> None:
        """The kernel reads a file by itself, while something is recorded: nobody can tell whether it was read."""
        await self._find_reader(handle)
        self._count(handle)

    async def switched(self) -> None:
        """Count all files that the kernel reads by itself, if a recording began or was cleared since the last call."""
        if self._turn == self._recorder.turn:
            return
        self._turn = self._recorder.turn
        for handle in list(self._files.values()) if self._turn else ():
            if handle.backing_id:
                await self.passed_through(handle)

    async def read(self, handle: Handle, *, are_new: bool) -> None:
        """Bytes of a file were read by request, while something is recorded.

        `are_new` says that the kernel had no pages of it before, so that others can read it without asking from now on.
        """
        turn = self._recorder.turn
        await self._find_reader(handle)
        handle.turn = turn
        self._count(handle)
        for other in list(self._files.values()) if are_new else ():
            if other.inode == handle.inode and other.has_pages:
                self._count(other)

    async def _find_reader(self, handle: Handle) -> None:
        """Have a handle of a dataset know who opened it."""
        if handle.reader is None and handle.opened.dataset is not None:
            handle.reader = await self._processes.reader(handle.pid, handle.uid)

    def _count(self, handle: Handle) -> None:
        if handle.reader is not None and handle.opened.dataset is not None:
            self._recorder.count(handle.opened.dataset, handle.opened.file.edition, handle.reader)
