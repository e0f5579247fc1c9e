"""Owns `Growing`: a large file between its disk, those who read it and those who fetch it."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from onefs.content.descriptors import Descriptor
from onefs.content.failures import again
from onefs.content.hashing import FollowingDigest
from onefs.content.readahead import ReadAhead
from onefs.content.sparse import SparseFile
from onefs.content.verification import Signature
from onefs.content.workers import Workers
from onefs.errors import OnefsError

LEAST_SHARE_BYTES = 8 << 20
LONGEST_SHARE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class BlockRules:
    """Which files are fetched by blocks, how far ahead of their readers, and in how many parts at once."""

    whole_file_max_bytes: int = 64 << 20
    block_bytes: int = 512 << 10
    read_ahead_max_bytes: int = 64 << 20
    parts: int = 4


class Growing:
    """A file of which blocks are there and others are asked for. Safe to use from several threads.

    Readers `want` parts, and read what is there through `borrow`. Whoever fetches takes blocks (`take`), writes them
    and tells (`arrived`), until it is whole, `fail`s, or is to `rest`. `refusal` says why nothing is to be asked for
    just now, `begin` lets somebody fetch, `help_wanted` tells that one more could.
    """

    def __init__(
        self,
        file: SparseFile,
        rules: BlockRules,
        hashers: Workers,
        refusal: Callable[[], OnefsError | None],
        begin: Callable[[], None],
    ) -> None:
        self.file = file
        self.rules = rules
        self.streams = False
        """Whether the server gives it only from its beginning on."""
        self.is_served = False
        """Whether anybody may have read of it: then nothing else may take its place."""
        self.error: OnefsError | None = None
        self.help_wanted: Callable[[], None] = lambda: None
        self.changed = threading.Condition(threading.RLock())  # guards all of this, and the file's map
        number = file.reader()
        self._descriptor = Descriptor(number, Signature.of(os.fstat(number)))
        self.digest = FollowingDigest(number, hashers)
        self.inode = self._descriptor.signature.inode
        self._refusal = refusal
        self._begin = begin
        self._is_resting = False
        self._readers: set[ReadAhead] = set()
        self._waiting: dict[int, Future[None]] = {}
        self._taken: set[int] = set()

    @property
    def done_bytes(self) -> int:
        """How much is there."""
        return min(self.file.map.count * self.file.map.block_bytes, self.file.map.size_bytes)

    def want(self, reader: ReadAhead, offset: int, size: int) -> "Future[None] | None":
        """None if this part is there, else what ends when it is worth asking again. Raises why it cannot be had."""
        with self.changed:
            if self.error is not None:
                raise again(self.error)
            missing = list(self.file.map.missing(self.file.map.over(offset, size)))
            more = reader.read(offset, size)
            if reader.end > reader.position:
                self._readers.add(reader)
            if not missing and not more:
                return None
            refusal = self._refusal() if self._is_resting else None
            if missing and refusal is not None:
                raise refusal
            waits = [self._waiting.setdefault(block, _pending()) for block in missing]
            begins = self._is_resting and refusal is None
            self._is_resting = self._is_resting and not begins
            self.changed.notify_all()
        if begins:
            self._begin()
        elif missing:
            self.help_wanted()  # not for what is read ahead: only a reader who waits shows that one is too few
        return waits[0] if waits else None

    def forget(self, reader: ReadAhead) -> None:
        """Read no longer ahead for one that closes its file."""
        with self.changed:
            self._readers.discard(reader)

    def borrow(self) -> Descriptor | None:
        """A share of the descriptor to read what is there; None if it is closed. Raises why none may be read."""
        with self.changed:
            if self.error is not None:
                raise again(self.error)
            self.is_served = True
            return self._descriptor if self._descriptor.share() else None

    def take(self) -> range:
        """Blocks to fetch now, which nobody else will be given; none if there is nothing to do."""
        with self.changed:
            if self.streams:
                return range(0)
            begin = next(filter(self._is_free, self._waiting), None)
            if begin is None:
                begin = next(filter(self._is_free, self._ahead()), None)
            if begin is None:
                return range(0)
            end = begin + 1
            while end < self.file.map.blocks and self._is_free(end) and self._is_wanted(end):
                end += 1
            share_bytes = max(LEAST_SHARE_BYTES, (end - begin) * self.file.map.block_bytes // self.rules.parts)
            share = max(1, min(share_bytes, LONGEST_SHARE_BYTES) // self.file.map.block_bytes)
            blocks = range(begin, min(end, begin + share))
            self._taken.update(blocks)
            return blocks

    def give_back(self, blocks: range) -> None:
        """Whoever took them fetches them no longer."""
        with self.changed:
            self._taken.difference_update(blocks)
            self.changed.notify_all()

    def arrived(self, blocks: range) -> None:
        """Note blocks that were written."""
        with self.changed:
            front_bytes = self.file.map.front_bytes
            self.file.add(blocks.start, blocks.stop)
            reached_bytes = self.file.map.front_bytes
            here = [self._waiting.pop(block) for block in blocks if block in self._waiting]
            if self.file.map.is_whole:
                self.changed.notify_all()
        for future in here:
            future.set_result(None)
        if reached_bytes > front_bytes:
            self.digest.reach(reached_bytes)

    def rest(self) -> bool:
        """Let nobody fetch until something is wanted; False if something is."""
        with self.changed:
            if any(map(self._is_free, self._waiting)):
                return False
            self._is_resting = True
            return True

    def pause(self) -> None:
        """Nobody fetches any more, as it failed: those who wait shall ask again."""
        with self.changed:
            self._is_resting = True
        self.wake()

    def resumed(self) -> None:
        """Somebody fetches again; another process may have fetched some of it meanwhile."""
        with self.changed:
            self._is_resting = False
            here = [self._waiting.pop(block) for block in list(self._waiting) if self.file.map.has(block)]
        for future in here:
            future.set_result(None)

    def fail(self, error: OnefsError) -> None:
        """Serve no byte of it any more; those who wait learn of it when it is closed."""
        with self.changed:
            self.error = error

    def wake(self) -> None:
        """Let all who wait ask again."""
        with self.changed:
            waiting = list(self._waiting.values())
            self._waiting.clear()
            self.changed.notify_all()
        for future in waiting:
            future.set_result(None)

    def close(self) -> None:
        """Let go of the file once nobody reads it any more."""
        self.wake()
        self.digest.close()
        self.file.close()
        self._descriptor.release()

    def _is_free(self, block: int) -> bool:
        return block not in self._taken and not self.file.map.has(block)

    def _is_wanted(self, block: int) -> bool:
        begin_bytes = block * self.file.map.block_bytes
        return block in self._waiting or any(reader.position <= begin_bytes < reader.end for reader in self._readers)

    def _ahead(self) -> "list[int]":
        found: list[int] = []
        for reader in self._readers:
            found += self.file.map.over(reader.position, reader.end - reader.position)
        return found


def _pending() -> "Future[None]":
    future: Future[None] = Future()
    future.set_running_or_notify_cancel()  # so that none of those who wait can cancel it for the rest
    return future
