"""`has_same_edition`: whether another location can go on with a part file, as some of its blocks are the same there."""

from onefs.cache.verify import Verify
from onefs.fetch.failures import agree
from onefs.fetch.fetch import Fetch
from onefs.fetch.part_file import Gate, PartFile
from onefs.fetch.ranges import Ranges, Span
from onefs.transports.addresses import shown
from onefs.transports.base import Body, Location


def has_same_edition(fetch: Fetch, part: PartFile, location: Location, ranges: Ranges) -> bool:
    """Let a location go on with the file, if it has the same bytes where there are some; False if nothing tells.

    Raises what keeps the location from giving them, or the error of the fetch's token.
    """
    # Servers name editions each in its own way. So the length and some blocks are compared, which tells editions
    # apart; the catalogue's hash decides in the end, without which nothing is joined.
    storage = part.storage
    if part.gate is Gate.WHOLE and fetch.dataset.md5:  # nobody reads it before that
        with part.changed:
            part.streams = False
            storage.is_mixed = True
            storage.source = storage.edition = ""
        return True
    there = [block for block in range(storage.map.blocks) if storage.map.has(block)]
    if not fetch.dataset.md5 or not there:
        return False
    edition = ""
    for block in dict.fromkeys((there[0], there[len(there) // 2], there[-1])):
        sink = _BlockSink(fetch, location, storage.map.part(range(block, block + 1)), edition)
        ranges.fetch(location, sink, fetch.token)
        if not sink.edition or bytes(sink.content) != part.bytes_of(block):
            return False
        edition = sink.edition
    with part.changed:
        part.streams = False
        storage.is_mixed = True
        storage.comes_from(shown(location.url), edition)
    return True


class _BlockSink:
    """Takes one block into memory. `edition` is "" if the server gives no parts of an edition with a name."""

    def __init__(self, fetch: Fetch, location: Location, ends: tuple[int, int], edition: str) -> None:
        self._fetch = fetch
        self._location = location
        self._span: Span | None = Span(*ends, edition)
        self._asked = edition
        self.edition = ""
        self.content = bytearray()

    def next_span(self) -> Span | None:
        """The block, until an answer came to its end."""
        return self._span

    def opened(self, body: Body) -> bool:
        """Whether it is a part of the edition that was asked for."""
        agree(self._fetch.dataset, self._location, body.total_bytes, Verify.STRICT)
        self.content.clear()
        is_same = self._asked in ("", body.edition)
        self.edition = body.edition if body.is_part and body.total_bytes is not None and is_same else ""
        if not self.edition:
            self._span = None
        return bool(self.edition)

    def write(self, chunk: bytes, offset: int) -> bool:  # noqa: ARG002
        """Keep the bytes."""
        self.content += chunk
        return True

    def closed(self, *, is_complete: bool) -> None:
        """Note whether all is there."""
        if is_complete:
            self._span = None
