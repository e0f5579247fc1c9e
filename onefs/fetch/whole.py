"""`WholeFile`: a file that is fetched in one request, as it is small or its length is unknown."""

import os
from pathlib import Path
from uuid import uuid4

from onefs.cache.atomic import WITHOUT_NAMELESS, NamelessFile, reopened
from onefs.cache.beneath import DATA_MODE
from onefs.cache.layout import CacheLayout
from onefs.cache.quota import Reservation
from onefs.cache.state import URGENT_BYTES
from onefs.cache.usage import footprint
from onefs.cache.verify import Verdict, Verify, judge
from onefs.digests import new_md5
from onefs.errors import MismatchError
from onefs.fetch.failures import agree, giver, mismatch
from onefs.fetch.fetch import Fetch
from onefs.fetch.ranges import Ranges, Span, server_of
from onefs.fetch.storage import NamedByOtherError
from onefs.transports.addresses import shown
from onefs.transports.base import Body, Location

IN_MEMORY_BYTES = 1 << 20
STEP_BYTES = 4 << 20
"""Room is taken in such steps where nobody knows how long a file will be."""
NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


class WholeFile:
    """Bytes of a file from its first on: in memory while they are few, else in a new file. For one thread.

    A sink of `Ranges`: after a break it goes on where the edition allows that, or where the catalogue's hash will tell
    whether the halves belong together. `is_one_answer` says that all came in one answer, so that a mismatch is what
    the server holds.
    """

    def __init__(self, fetch: Fetch, layout: CacheLayout, reservation: Reservation) -> None:
        self._fetch = fetch
        self._reservation = reservation
        self._layout = layout
        self.path: Path | None = None
        """Of the part file, if there is one."""
        self._file = self._reader = -1
        self._nameless: NamelessFile | None = None
        self._location = Location("")
        self._policy = Verify.STRICT
        self._asked_edition = ""
        self._is_whole = self._is_named = False
        self._has_nameless = layout.is_local_disk
        self.source = ""
        self.restart()

    @property
    def may_replace(self) -> bool:
        """Whether it would take the place of a file that has its name by now.

        One of which a row is written before (see `State.expect`) may not find that out only then.
        """
        return not self._has_nameless or self.size_bytes >= URGENT_BYTES

    def restart(self) -> None:
        """Drop all bytes and begin at 0."""
        self._chunks: list[bytes] = []
        self._md5 = new_md5()
        self.size_bytes = 0
        self.edition = ""
        self.is_one_answer = True
        self._is_whole = False
        if self._file >= 0:
            os.ftruncate(self._file, 0)
            os.lseek(self._file, 0, os.SEEK_SET)

    def download(self, location: Location, policy: Verify, ranges: Ranges) -> str:
        """The MD5 of the file, once all of it has come from a location and agrees with the catalogue.

        Raises MismatchError, or what kept the server from giving the file.
        """
        dataset, is_anew = self._fetch.dataset, False
        self._location, self._policy = location, policy
        while True:
            if self.size_bytes != dataset.size_bytes or not self.size_bytes:
                self._is_whole = False
                ranges.fetch(location, self, self._fetch.token)
            one_answer, size_bytes, md5 = self.is_one_answer, self.size_bytes, self._md5.hexdigest()
            is_right = judge(dataset, size_bytes, md5, Verify.STRICT) is Verdict.RIGHT
            # A policy that accepts what differs is for what a server holds, not for halves put together.
            if is_right or ((one_answer or is_anew) and judge(dataset, size_bytes, md5, policy) is not Verdict.WRONG):
                self.source = self.source or shown(location.url)
                return md5
            self.restart()
            if is_anew or one_answer:
                raise mismatch(dataset, f"{giver(location)} gave", size_bytes, md5)
            is_anew = True  # once more, from the first byte

    def next_span(self) -> Span | None:
        """The file, or what is missing of it."""
        if self._is_whole:
            return None
        if not self.size_bytes:
            self._asked_edition = ""
            return Span(0)
        edition = self.edition if self.source == shown(self._location.url) else ""
        has_proof = self._fetch.dataset.md5 and self._policy in (Verify.AUTO, Verify.STRICT)
        if not edition and not has_proof:
            self.restart()  # nothing could tell that the rest belongs to what is there
        self._asked_edition = edition
        return Span(self.size_bytes, None, edition)

    def opened(self, body: Body) -> bool:
        """Begin anew unless the answer goes on where the bytes end. Raises MismatchError for another length."""
        fetch = self._fetch
        agree(fetch.dataset, self._location, body.total_bytes, self._policy)
        if body.start != self.size_bytes:
            self.restart()
        if self.size_bytes:
            self.is_one_answer = False
        self.source, self.edition = shown(self._location.url), body.edition
        fetch.total_bytes = fetch.dataset.size_bytes if body.total_bytes is None else body.total_bytes
        return True

    def write(self, chunk: bytes, offset: int) -> bool:
        """Keep bytes, and hash them. Raises MismatchError if there are more than the catalogue says, NoRoomError."""
        self.size_bytes = size_bytes = offset + len(chunk)
        dataset = self._fetch.dataset
        if size_bytes > (dataset.size_bytes or 0):
            if judge(dataset, size_bytes, dataset.md5.lower(), self._policy) is Verdict.WRONG:
                self.restart()
                server = server_of(self._location)
                raise MismatchError(f"{server} sends more than the {dataset.size_bytes} bytes of the file.")
            if size_bytes > self._reservation.size_bytes:
                self._reservation.reach(size_bytes + STEP_BYTES)
        self._md5.update(chunk)
        self._fetch.done_bytes = size_bytes
        if self._file < 0 and size_bytes <= IN_MEMORY_BYTES:
            self._chunks.append(chunk)
            return True
        self._write_chunks()
        _write(self._file, chunk)
        return True

    def closed(self, *, is_complete: bool) -> None:
        """Note whether all is there."""
        self._is_whole = is_complete

    def status(self) -> os.stat_result:
        """The file's status, once all of it is on disk. Raises OSError."""
        if self._file < 0 and self._nameless is None and not self.may_replace:
            self._write_nameless()
        if self._nameless is not None:
            return os.fstat(self._nameless.number)
        self._write_chunks()
        return os.fstat(self._file)

    def move_to(self, layout: CacheLayout) -> int:
        """Give the file its name, and return a descriptor to read it from. Can be tried again if it raises.

        Raises NamedByOtherError if there is another file, unless it `may_replace` that; OSError.
        """
        reader = self._move_part(layout) if self._nameless is None else self._move_nameless(self._nameless)
        self._is_named = True
        return reader

    def close(self) -> None:
        """Let go of it, and of what is not in the cache under its name. What is must have its row in the state by now.

        Until that row is put, the bytes count as reserved: else another process might take their room.
        """
        for number in (self._file, self._reader):
            if number >= 0:
                os.close(number)
        self._file = self._reader = -1
        if self.path is not None and not self._is_named:
            self.path.unlink(missing_ok=True)
        self._drop_nameless()
        self._reservation.end(footprint(self.size_bytes) if self._is_named else 0)

    def _move_nameless(self, file: NamelessFile) -> int:
        try:
            reader = file.give_name()
        except FileExistsError:
            self._has_nameless = False
            self._drop_nameless()
            raise NamedByOtherError from None
        except OSError:  # somebody removed the folder, there is no /proc, or links are forbidden
            self._has_nameless = False
            self._drop_nameless()
            self._write_chunks()
            return self._move_part(self._layout)
        self._drop_nameless()
        return reader

    def _move_part(self, layout: CacheLayout) -> int:
        self._write_chunks()
        if self._reader < 0:
            self._reader = reopened(self._file)
            number, self._file = self._file, -1
            os.close(number)  # where NFS tells that there was no room
        assert self.path is not None
        self._reader = layout.name_part(self.path.name, self._reader, self._fetch.dataset)
        reader, self._reader = self._reader, -1
        return reader

    def _write_nameless(self) -> None:
        """Write what is in memory to a file without a name, where the disk has such files."""
        try:
            self._nameless = file = self._layout.nameless(self._fetch.dataset)
        except OSError as error:
            if error.errno not in WITHOUT_NAMELESS:
                raise
            self._has_nameless = False
        else:
            _write(file.number, b"".join(self._chunks))

    def _drop_nameless(self) -> None:
        file, self._nameless = self._nameless, None
        if file is not None:
            file.close()

    def _write_chunks(self) -> None:
        """Have a part file, with what was in memory until now."""
        if self._file < 0 and self._reader < 0:
            self.path = path = self._layout.parts_dir() / f"{self._fetch.dataset.id}.{uuid4().hex[:8]}.part"
            try:
                self._file = os.open(path, NEW_FILE, DATA_MODE)
            except FileNotFoundError:
                self._layout.partials()
                self._file = os.open(path, NEW_FILE, DATA_MODE)
            _write(self._file, b"".join(self._chunks))
            self._chunks.clear()


def _write(number: int, chunk: bytes) -> None:
    written = os.write(number, chunk)
    while written < len(chunk):
        written += os.write(number, memoryview(chunk)[written:])
