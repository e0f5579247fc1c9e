"""`Growing`: a large file between its disk, those who read it and those who fetch it."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass

from onefs.cache.beside import BesideFile
from onefs.cache.blocks import BlockFile
from onefs.cache.floating import MORE_ROOM_OR_LIMIT, FloatingFile
from onefs.cache.hashing import FollowingDigest
from onefs.cache.sparse import SparseFile
from onefs.cache.verify import Signature
from onefs.errors import NoRoomError, OnefsError, again
from onefs.fetch.descriptors import Descriptor, Origin
from onefs.fetch.readahead import ReadAhead
from onefs.threads import Workers

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

    Readers `want` parts, and read what is there through `lend`. Whoever fetches takes blocks (`take`), writes them
    and tells (`arrived`), until it is whole, `fail`s, or is to `rest`. `refusal` says why nothing is to be asked for
    just now, `begin` lets somebody fetch, `help_wanted` tells that one more could.
    """

    def __init__(
        self,
        file: SparseFile | FloatingFile,
        rules: BlockRules,
        hashers: Workers,
        refusal: Callable[[], OnefsError | None],
        begin: Callable[[], None],
    ) -> None:
        self._file = file
        self.rules = rules
        self.streams = False
        """Whether the server gives it only from its beginning on."""
        self.is_served = False
        """Whether anybody may have read of it: then nothing else may take its place."""
        self.error: OnefsError | None = None
        self.help_wanted: Callable[[], None] = lambda: None
        self.is_right: Callable[[str], bool] | None = None
        """Judges it by its MD5. Until then nobody has all of it. None if nothing is to be judged."""
        self.changed = threading.Condition(threading.RLock())  # guards all of this, and the file's map
        self.origin = Origin()
        """Of all bytes that were read of it. Its edition stays unknown unless the file itself becomes the copy."""
        self._descriptor: Descriptor | None = None
        self.digest: FollowingDigest | None = None
        """None if it can never be whole."""
        if isinstance(file, SparseFile | BesideFile):
            number = file.reader()
            self._descriptor = Descriptor(number, Signature.of(os.fstat(number)))
            self.digest = FollowingDigest(number, hashers) if isinstance(file, SparseFile) else None
        self._refusal = refusal
        self._begin = begin
        self._is_closed = False
        self._is_resting = False
        self._readers: set[ReadAhead] = set()
        self._waiting: dict[int, Future[None]] = {}
        self._waiting_for_turn = _done()
        self._taken: set[int] = set()
        self._came_last = range(0)

    @property
    def file(self) -> BlockFile:
        """Where its blocks are."""
        return self._file

    @property
    def inode(self) -> int:
        """Of its file on disk; 0 if there is none."""
        return self._descriptor.signature.inode if self._descriptor is not None else 0

    @property
    def done_bytes(self) -> int:
        """How much is there."""
        return min(self.file.map.count * self.file.map.block_bytes, self.file.map.size_bytes)

    def want(self, reader: ReadAhead, offset: int, size: int) -> "Future[None] | None":
        """None if this part is there, else what ends when it is worth asking again. Raises why it cannot be had."""
        with self.changed:
            if self.error is not None and self.is_served:
                raise again(self.error)
            if self._is_closed or self.error is not None:
                return _done()  # something else takes its place
            blocks = self.file.map.over(offset, size)
            if isinstance(self._file, FloatingFile) and len(blocks) > self._file.most_blocks:
                raise _no_room("so much of a large file at once")
            missing = list(self.file.map.missing(blocks))
            more = reader.read(offset, size)
            if reader.end > reader.position:
                self._readers.add(reader)
            held = self._held(blocks)
            is_unjudged = self._is_resting and self.file.map.is_whole
            if not missing and not held and not more and not is_unjudged:
                return None
            refusal = self._refusal()
            if refusal is not None and (missing or (held and self._is_resting)):
                raise refusal
            waits = [self._waiting.setdefault(block, _pending()) for block in (*missing, *held)]
            begins = self._is_resting and refusal is None
            self._is_resting = self._is_resting and not begins
            self.changed.notify_all()
        if begins:
            self._begin()
        elif missing:
            self.help_wanted()  # not for what is read ahead: only a reader who waits shows that one is too few
        return waits[0] if waits else None

    def want_next(self, size: int) -> "Future[None] | None":
        """The same for so many bytes from its first gap on; None if all is there. Raises if it never can be."""
        if isinstance(self._file, BesideFile):
            return self._want_turn()
        if not self.file.is_kept:
            raise _no_room("all of a large file, parts of which come through memory")
        waiting = self.want(ReadAhead(0), self.file.map.front_bytes, size)
        refusal = self._refusal() if waiting is None and self._is_resting else None
        if refusal is not None:
            raise refusal
        return waiting

    def _want_turn(self) -> "Future[None]":
        """What ends when another process no longer fetches it, or when it is worth asking again."""
        with self.changed:
            if self._is_closed or self.error is not None:
                return _done()
            refusal = self._refusal()
            if refusal is not None:
                raise refusal
            begins, self._is_resting = self._is_resting, False
            if self._waiting_for_turn.done():
                self._waiting_for_turn = _pending()
            waiting = self._waiting_for_turn
        if begins:
            self._begin()
        return waiting

    def forget(self, reader: ReadAhead) -> None:
        """Read no longer ahead for one that closes its file."""
        with self.changed:
            self._readers.discard(reader)

    def lend(self, offset: int, size: int) -> Descriptor | bytes | None:
        """A share of the descriptor to read a part, or its bytes; None if it is not there. Raises why it must not."""
        with self.changed:
            if self.error is not None and self.is_served:
                raise again(self.error)
            if self._is_closed or self.error is not None:
                return None
            blocks = self.file.map.over(offset, size)
            if self._held(blocks) or not all(map(self.file.map.has, blocks)):
                return None
            self.is_served = True
            if isinstance(self._file, FloatingFile) and not self._file.is_on_disk(offset, size):
                return self._file.at_hand(offset, size)
            return self._descriptor if self._descriptor is not None and self._descriptor.share() else None

    def bytes_of(self, block: int) -> bytes | None:
        """What a block holds; None if it is not there."""
        begin, end = self.file.map.part(range(block, block + 1))
        with self.changed:
            if self._is_closed or not self.file.map.has(block):
                return None
            if isinstance(self._file, FloatingFile):
                return self._file.at_hand(begin, end - begin)
            return os.pread(self._descriptor.number, end - begin, begin) if self._descriptor is not None else None

    def may_go_on(self) -> bool:
        """Whether more may be asked for; if not, those who wait shall be woken to learn why."""
        return self._refusal() is None

    def take(self, *, all_at_once: bool = False) -> range:
        """Blocks to fetch now, which nobody else will be given; none if there is nothing to do.

        With `all_at_once`, all of a file that the server gives only from its beginning on.
        """
        with self.changed:
            blocks = self.file.map
            if self.streams:
                return range(blocks.blocks if all_at_once else 0)
            begin = next(filter(self._is_free, self._waiting), None)
            if begin is None:
                begin = next(filter(self._is_free, self._ahead()), None)
            if begin is None:
                return range(0)
            end = begin + 1
            while end < blocks.blocks and self._is_free(end) and self._is_wanted(end):
                end += 1
            share_bytes = max(LEAST_SHARE_BYTES, (end - begin) * blocks.block_bytes // self.rules.parts)
            share = max(1, min(share_bytes, LONGEST_SHARE_BYTES) // blocks.block_bytes)
            taken = range(begin, min(end, begin + share))
            self._taken.update(taken)
            return taken

    def give_back(self, blocks: range) -> None:
        """Whoever took them fetches them no longer."""
        with self.changed:
            self._taken.difference_update(blocks)
            self.changed.notify_all()

    @contextmanager
    def room_for(self, blocks: range) -> Iterator[None]:
        """Have room for those of these blocks that are missing. Raises NoRoomError."""
        self.file.take_room(self._missing_bytes(blocks))
        try:
            yield
        finally:
            self.file.give_back_room(self._missing_bytes(blocks))

    def stream(self, why: str) -> None:
        """It comes from its beginning on only. Raises NoRoomError if what is not read at once would go."""
        if not self.file.is_kept:
            raise _no_room(f"a large file that is read from its beginning on, as its server {why}")
        self.streams = True

    def has_same(self, chunk: bytes, offset: int) -> bool:
        """Whether what is there already of a part is the same. Raises OSError."""
        with self.changed:
            there = [block for block in self.file.map.over(offset, len(chunk)) if self.file.map.has(block)]
        for block in there:
            begin, end = self.file.map.part(range(block, block + 1))
            begin, end = max(begin, offset), min(end, offset + len(chunk))
            number = self._descriptor.number if self._descriptor is not None else -1
            if os.pread(number, end - begin, begin) != chunk[begin - offset : end - offset]:
                return False
        return True

    def arrived(self, blocks: range) -> int:
        """Note blocks that were written; gives how many of them are new."""
        with self.changed:
            count, front_bytes = self.file.map.count, self.file.map.front_bytes
            self.file.add(blocks.start, blocks.stop)
            reached_bytes = self.file.map.front_bytes
            here = [self._waiting.pop(block) for block in blocks if block in self._waiting]
            new = self.file.map.count - count
            if self.file.map.is_whole:
                self._came_last = blocks if new else self._came_last
                self.changed.notify_all()
        for future in here:
            future.set_result(None)
        if self.digest is not None and reached_bytes > front_bytes:
            self.digest.reach(reached_bytes)
        return new

    def hash(self) -> str:
        """The MD5 of the whole file, which is served to its end if it is right; "" if it has none. Raises OSError."""
        md5 = self.digest.hexdigest(self.file.map.size_bytes) if self.digest is not None else ""
        with self.changed:
            is_right = self.is_right is not None and self.is_right(md5)
            self.is_right = None if is_right else self.is_right
        if is_right:
            self.wake()
        return md5

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

    def look(self) -> None:
        """Have what another process fetched of it by now, beside which it is read. Raises OSError."""
        if isinstance(self._file, BesideFile):
            with self.changed:
                self._file.look()
            self.resumed()

    def became(self, copy: Signature) -> None:
        """The copy is there. To be told before `close`, as another file may have the inode's number afterwards."""
        if isinstance(self._file, SparseFile) and self.inode == copy.inode:
            self.origin.edition = copy.size_bytes, copy.mtime_ns, copy.inode

    def fail(self, error: OnefsError) -> None:
        """Serve no byte of it any more; those who wait learn of it when it is closed."""
        with self.changed:
            self.error = error

    def wake(self) -> None:
        """Let all who wait ask again."""
        with self.changed:
            waiting = [*self._waiting.values(), self._waiting_for_turn]
            self._waiting_for_turn = _done()
            self._waiting.clear()
            self.changed.notify_all()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def close(self) -> None:
        """Let go of the file once nobody reads it any more."""
        with self.changed:
            self._is_closed = True
        self.wake()
        if self.digest is not None:
            self.digest.close()
        self.file.close()
        if self._descriptor is not None:
            self._descriptor.release()

    def _held(self, blocks: range) -> range:
        """One of these blocks if it is held back: once all are there, the last, and those that came last."""
        # Whoever copies all of it, in whatever order, waits for one of those; who reads an end before does not.
        first, stop, whole = blocks.start, blocks.stop, self.file.map
        is_end = stop == whole.blocks or max(first, self._came_last.start) < min(stop, self._came_last.stop)
        if not blocks or not is_end or self.is_right is None or not whole.is_whole:
            return range(0)
        if isinstance(self._file, FloatingFile) and not self._file.is_on_disk(0, whole.size_bytes):
            return range(0)  # nobody may ever have all of it at once, so as to judge it
        return blocks[-1:]

    def _missing_bytes(self, blocks: range) -> int:
        with self.changed:
            return sum(1 for _ in self.file.map.missing(blocks)) * self.file.map.block_bytes

    def _is_free(self, block: int) -> bool:
        return block not in self._taken and not self.file.map.has(block)

    def _is_wanted(self, block: int) -> bool:
        begin_bytes = block * self.file.map.block_bytes
        return block in self._waiting or any(reader.position <= begin_bytes < reader.end for reader in self._readers)

    def _ahead(self) -> Iterator[int]:
        for reader in self._readers:
            yield from self.file.map.over(reader.position, reader.end - reader.position)


def _pending() -> "Future[None]":
    future: Future[None] = Future()
    future.set_running_or_notify_cancel()  # so that none of those who wait can cancel it for the rest
    return future


def _done() -> "Future[None]":
    future = _pending()
    future.set_result(None)
    return future


def _no_room(what: str) -> NoRoomError:
    return NoRoomError(f"The cache has no room for {what}.", MORE_ROOM_OR_LIMIT)
