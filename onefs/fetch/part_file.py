"""`PartFile`: a large file that is not whole: its readers wait for blocks, and workers fetch what they wait for."""

import os
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from onefs.cache.verify import Signature
from onefs.errors import NoRoomError, OnefsError, again
from onefs.fetch.descriptors import Descriptor, Origin
from onefs.fetch.hashing import FollowingDigest
from onefs.fetch.scheduler import ReadAhead, Scheduler
from onefs.fetch.storage import MORE_ROOM_OR_LIMIT, DiskBlocks, MemoryBlocks
from onefs.threads import Workers

CLAIMED_S = 3.0
"""So long blocks are left to another process that fetches them."""


class Gate(StrEnum):
    """What readers may have before the whole file is verified."""

    WHOLE = "whole"
    """Nothing."""
    END = "end"
    """All but the blocks that complete the file."""
    OPEN = "open"
    """All."""


@dataclass(frozen=True, slots=True)
class BlockRules:
    """Which files are read before they are whole, how far ahead of their readers, and in how many requests at once."""

    whole_file_max_bytes: int = 64 << 20
    block_bytes: int = 512 << 10
    read_ahead_max_bytes: int = 64 << 20
    parts: int = 4


class PartWorker(Protocol):
    """Fetches what is wanted of a part file."""

    def refusal(self) -> OnefsError | None:
        """Why nothing can be asked for just now; None if it can."""

    def begin(self) -> None:
        """Go on fetching."""


class Helped(Protocol):
    """What fills a part file now."""

    def help(self) -> None:
        """Have one more request under way, if one is wanted."""


class PartFile:
    """Blocks of a file, of which some are there and others are asked for. Safe to use from several threads.

    Readers `want` parts, and read what is there through `lend`. Whoever fetches takes spans (`next_span`), writes them
    and tells (`arrived`), until it is whole, `fail`s, or is to `rest`.
    """

    def __init__(
        self, storage: DiskBlocks | MemoryBlocks, rules: BlockRules, gate: Gate, worker: PartWorker, hashers: Workers
    ) -> None:
        self.storage = storage
        """Where its blocks are."""
        self.rules = rules
        self.gate = gate
        self.streams = False
        """Whether the server gives it only from its beginning on."""
        self.is_served = False
        """Whether anybody may have read of it: then nothing else may take its place."""
        self.error: OnefsError | None = None
        self.is_verified = False
        """Whether its hash was found right, so that its end is held back no longer."""
        self.changed = threading.Condition(threading.RLock())  # guards all of this, and the storage's map
        self.origin = Origin()
        """Of all bytes that were read of it. Its edition stays unknown unless the file itself becomes the copy."""
        self._descriptor: Descriptor | None = None
        self.digest: FollowingDigest | None = None
        """None if it can never be whole."""
        if isinstance(storage, DiskBlocks):
            number = storage.reader()
            self._descriptor = Descriptor(number, Signature.of(os.fstat(number)))
            self.digest = FollowingDigest(number, hashers)
        self._worker = worker
        self.filling: Helped | None = None
        self._scheduler = Scheduler(storage.map, rules.parts, wants_all=gate is Gate.WHOLE)
        self._is_closed = False
        self._is_resting = False
        self._claimed_s = 0.0  # since when the next span is left to another process; 0 if it is not
        self.awaits_others = False
        """Whether what is wanted next is left to another process, which fetches it."""
        self._waiting: dict[int, Future[None]] = {}
        self._came_last = range(0)

    @property
    def inode(self) -> int:
        """Of its file on disk; 0 if there is none."""
        return self._descriptor.signature.inode if self._descriptor is not None else 0

    @property
    def done_bytes(self) -> int:
        """How much is there."""
        blocks = self.storage.map
        return min(blocks.count * blocks.block_bytes, blocks.size_bytes)

    def want(self, reader: ReadAhead, offset: int, size: int) -> "Future[None] | None":
        """None if readable now, else a future that completes when the caller should retry. Raises why it cannot be."""
        with self.changed:
            if self.error is not None and self.is_served:
                raise again(self.error)
            if self._is_closed or self.error is not None:
                return _done()  # something else takes its place
            blocks = self.storage.map.over(offset, size)
            if isinstance(self.storage, MemoryBlocks) and len(blocks) > self.storage.most_blocks:
                raise _no_room("so much of a large file at once")
            missing = list(self.storage.map.missing(blocks))
            more = reader.read(offset, size)
            if reader.end > reader.position:
                self._scheduler.readers.add(reader)
            held = self._held_back(blocks)
            is_unjudged = self._is_resting and self.storage.map.is_whole
            if not missing and not held and not more and not is_unjudged:
                return None
            refusal = self._worker.refusal()
            if refusal is not None and (missing or (held and self._is_resting)):
                raise refusal
            waits = [self._waiting.setdefault(block, pending()) for block in (*missing, *held)]
            begins = self._is_resting and refusal is None
            self._is_resting = self._is_resting and not begins
            self.changed.notify_all()
        if begins:
            self._worker.begin()
        elif missing and (filling := self.filling) is not None:
            filling.help()  # not for what is read ahead: only a reader who waits shows that one is too few
        return waits[0] if waits else None

    def want_next(self, size: int) -> "Future[None] | None":
        """The same for so many bytes from its first gap on; None if all is there. Raises if it never can be."""
        if not self.storage.is_kept:
            raise _no_room("all of a large file, parts of which come through memory")
        waiting = self.want(ReadAhead(0), self.storage.map.front_bytes, size)
        refusal = self._worker.refusal() if waiting is None and self._is_resting else None
        if refusal is not None:
            raise refusal
        return waiting

    def forget(self, reader: ReadAhead) -> None:
        """Stop reading ahead for a reader that closes its file."""
        with self.changed:
            self._scheduler.readers.discard(reader)

    def lend(self, offset: int, size: int, *, may_wait: bool = True) -> Descriptor | bytes | None:
        """A share of the descriptor to read a part, or its bytes; None if it is not there. Raises why it must not.

        Without `may_wait`, None as well if the disk must be asked first.
        """
        blocks = self.storage.map.over(offset, size)
        if may_wait:
            self._check(blocks)
        with self.changed:
            if self.error is not None and self.is_served:
                raise again(self.error)
            if self._is_closed or self.error is not None:
                return None
            if self._held_back(blocks) or not self._are_there(blocks):
                return None
            self.is_served = True
            if isinstance(self.storage, MemoryBlocks):
                return self.storage.bytes_at(offset, size)
            return self._descriptor if self._descriptor is not None and self._descriptor.share() else None

    def bytes_of(self, block: int) -> bytes | None:
        """What a block holds; None if it is not there."""
        blocks = range(block, block + 1)
        begin, end = self.storage.map.part(blocks)
        self._check(blocks)
        with self.changed:
            if self._is_closed or not self._are_there(blocks):
                return None
            if isinstance(self.storage, MemoryBlocks):
                return self.storage.bytes_at(begin, end - begin)
            descriptor = self._descriptor
            if descriptor is None or not descriptor.share():
                return None
        try:
            return os.pread(descriptor.number, end - begin, begin)
        finally:
            descriptor.release()

    def next_span(self, *, all_at_once: bool = False) -> range:
        """Blocks to fetch now, which nobody else is given; none if nothing is wanted.

        With `all_at_once`, all of a file that the server gives only from its beginning on.
        """
        with self.changed:
            if self.streams:
                return range(self.storage.map.blocks if all_at_once else 0)
            span = self._scheduler.next_span(self._waiting)
            mine = self.storage.claim(span)
            if span and not mine:  # another process fetches them: wait for that, but not for ever
                now_s = time.monotonic()
                self._claimed_s = self._claimed_s or now_s
                mine = span if now_s - self._claimed_s > CLAIMED_S else mine
            else:
                self._claimed_s = 0.0
            self._scheduler.give_back(range(mine.stop, span.stop) if mine else span)
            self.awaits_others = bool(span) and not mine
            return mine

    def give_back(self, span: range) -> None:
        """Free blocks that `next_span` gave, so that others fetch them."""
        with self.changed:
            self._scheduler.give_back(span)
            self.storage.release(span)
            self.changed.notify_all()

    def reserve(self, blocks: range) -> None:
        """Reserve room for those of these blocks that are missing. Raises NoRoomError."""
        self.storage.reserve(self._missing_bytes(blocks))

    def give_back_room(self, blocks: range) -> None:
        """Return the room for those of these blocks that did not come."""
        self.storage.give_back(self._missing_bytes(blocks))

    def may_go_on(self) -> bool:
        """Whether more may be asked for; if not, those who wait shall be woken to learn why."""
        return self._worker.refusal() is None

    def stream(self, why: str) -> None:
        """Note that the server gives it only from its beginning on. Raises NoRoomError if its blocks are in memory."""
        if not self.storage.is_kept:
            raise _no_room(f"a large file that is read from its beginning on, as its server {why}")
        self.streams = True

    def has_same(self, chunk: bytes, offset: int) -> bool:
        """Whether what is there already of a part is the same. Raises OSError."""
        with self.changed:
            there = [block for block in self.storage.map.over(offset, len(chunk)) if self.storage.map.has(block)]
        for block in there:
            begin, end = self.storage.map.part(range(block, block + 1))
            begin, end = max(begin, offset), min(end, offset + len(chunk))
            number = self._descriptor.number if self._descriptor is not None else -1
            if os.pread(number, end - begin, begin) != chunk[begin - offset : end - offset]:
                return False
        return True

    def arrived(self, blocks: range) -> int:
        """Note blocks that were written; gives how many of them are new."""
        with self.changed:
            count, front_bytes = self.storage.map.count, self.storage.map.front_bytes
            self.storage.add(blocks.start, blocks.stop)
            reached_bytes = self.storage.map.front_bytes
            here = [self._waiting.pop(block) for block in blocks if block in self._waiting]
            new = self.storage.map.count - count
            if self.storage.map.is_whole:
                self._came_last = blocks if new else self._came_last
                self.changed.notify_all()
        for future in here:
            future.set_result(None)
        if self.digest is not None and reached_bytes > front_bytes:
            self.digest.reach(reached_bytes)
        return new

    def hash(self) -> str:
        """The MD5 of the whole file; "" if it has none. Raises OSError."""
        return self.digest.hexdigest(self.storage.map.size_bytes) if self.digest is not None else ""

    def verified(self) -> None:
        """Open the gate: its hash is right."""
        with self.changed:
            self.is_verified = True
        self.wake()

    def rest(self) -> bool:
        """Mark it as idle, with no worker, until a reader wants more; False if one already does."""
        with self.changed:
            if any(map(self._scheduler.is_free, self._waiting)):
                return False
            self._is_resting = True
            return True

    def pause(self) -> None:
        """Note that the fetch failed and no worker is left, and wake the readers, so that they ask again."""
        with self.changed:
            self._is_resting = True
        self.wake()

    def resume(self) -> None:
        """Note that a worker fetches again."""
        with self.changed:
            self._is_resting = False

    def refresh(self) -> None:
        """Add the blocks that other processes fetched, and wake their readers. Waits for the disk."""
        news = self.storage.news()
        with self.changed:
            self.storage.merge(news)
            front_bytes = self.storage.map.front_bytes
            here = [self._waiting.pop(block) for block in list(self._waiting) if self.storage.map.has(block)]
        for future in here:
            future.set_result(None)
        if self.digest is not None and news:
            self.digest.reach(front_bytes)

    def became(self, copy: Signature) -> None:
        """Note the copy that it became. Call it before `close`, as the inode number may be reused afterwards."""
        if isinstance(self.storage, DiskBlocks) and self.inode == copy.inode:
            self.origin.edition = copy.size_bytes, copy.mtime_ns, copy.inode

    def fail(self, error: OnefsError) -> None:
        """Stop serving it; readers that wait get the error when it is closed."""
        with self.changed:
            self.error = error

    def wake(self) -> None:
        """Wake all readers that wait, so that they ask again."""
        with self.changed:
            waiting = list(self._waiting.values())
            self._waiting.clear()
            self.changed.notify_all()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def close(self) -> None:
        """Close the file once no reader uses it."""
        with self.changed:
            self._is_closed = True
        self.wake()
        if self.digest is not None:
            self.digest.close()
        self.storage.close()
        if self._descriptor is not None:
            self._descriptor.release()

    def _held_back(self, blocks: range) -> range:
        """One of these blocks if it is held back: once all are there, the last, and those that came last."""
        # Whoever copies all of it, in whatever order, waits for one of those; who reads an end before does not.
        whole = self.storage.map
        came_last = self._came_last
        is_end = blocks.stop == whole.blocks or max(blocks.start, came_last.start) < min(blocks.stop, came_last.stop)
        if not blocks or not is_end or self.gate is Gate.OPEN or self.is_verified or not whole.is_whole:
            return range(0)
        return blocks[-1:] if self.storage.is_kept else range(0)  # nobody ever has all of what is in memory

    def _are_there(self, blocks: range) -> bool:
        """Whether these blocks are there, and were found right if an earlier process left them."""
        storage = self.storage
        are_checked = not isinstance(storage, DiskBlocks) or all(map(storage.is_checked, blocks))
        return are_checked and all(map(storage.map.has, blocks))

    def _check(self, blocks: range) -> None:
        """Compare blocks that an earlier process left with their checksums. Waits for the disk, without the lock."""
        storage, descriptor = self.storage, self._descriptor
        if not isinstance(storage, DiskBlocks) or descriptor is None:
            return
        for block in blocks:
            if storage.is_checked(block) or not descriptor.share():
                continue
            try:
                is_right = storage.is_right(block, descriptor.number)
            finally:
                descriptor.release()
            with self.changed:
                storage.checked(block, is_right=is_right)

    def _missing_bytes(self, blocks: range) -> int:
        with self.changed:
            return sum(1 for _ in self.storage.map.missing(blocks)) * self.storage.map.block_bytes


def pending() -> "Future[None]":
    """A future that has not completed, and that nobody can cancel."""
    future: Future[None] = Future()
    future.set_running_or_notify_cancel()  # so that none of those who wait can cancel it for the rest
    return future


def _done() -> "Future[None]":
    future = pending()
    future.set_result(None)
    return future


def _no_room(what: str) -> NoRoomError:
    return NoRoomError(f"The cache has no room for {what}.", MORE_ROOM_OR_LIMIT)
