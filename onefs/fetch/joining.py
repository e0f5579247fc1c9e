"""Owns whether another location holds the very edition that a growing file was begun from, so that it can go on."""

from onefs.catalogue.records import Dataset
from onefs.fetch.download import agree
from onefs.fetch.growing import Growing
from onefs.fetch.parts import Means
from onefs.fetch.ranges import Span
from onefs.transports.addresses import shown
from onefs.transports.base import Body, Location


def join(means: Means, location: Location, growing: Growing, dataset: Dataset) -> bool:
    """Let a location go on with the file, if it has the same bytes where there are some; False if nothing tells.

    Raises what keeps the location from giving them.
    """
    # Servers name editions each in its own way. So the length and some blocks are compared, which tells editions
    # apart; the catalogue's hash decides in the end, without which nothing is joined.
    there = [block for block in range(growing.file.map.blocks) if growing.file.map.has(block)]
    if not dataset.md5 or not there:
        return False
    edition = ""
    for block in dict.fromkeys((there[0], there[len(there) // 2], there[-1])):
        found = _edition_if_same(means, location, growing, dataset, block, edition)
        if not found:
            return False
        edition = found
    with growing.changed:
        growing.streams = False
        growing.file.is_mixed = True
        growing.file.comes_from(shown(location.url), edition)
    return True


def _edition_if_same(
    means: Means, location: Location, growing: Growing, dataset: Dataset, block: int, edition: str
) -> str:
    """The location's name of its edition, if the block is the same there; "" if not."""
    sample = _Sample(means, location, dataset, Span(*growing.file.map.part(range(block, block + 1)), edition))
    means.ranges.fetch(location, sample, means.token)
    return sample.edition if sample.content == growing.bytes_of(block) else ""


class _Sample:
    """Takes one block of an edition, if the location has it."""

    def __init__(self, means: Means, location: Location, dataset: Dataset, span: Span) -> None:
        self._means = means
        self._location = location
        self._dataset = dataset
        self._span = span
        self._is_asked = False
        self.content: bytes | None = None
        self.edition = ""

    def next_span(self) -> Span | None:
        return None if self._is_asked else self._span

    def opened(self, body: Body) -> bool:
        agree(self._dataset, self._location, body.total_bytes, self._means.length)
        self._is_asked = not (
            body.is_part and body.total_bytes is not None and self._span.edition in ("", body.edition)
        )
        self.content, self.edition = b"", body.edition
        return True

    def write(self, chunk: bytes, offset: int) -> bool:  # noqa: ARG002
        self.content = (self.content or b"") + chunk
        return not self._is_asked

    def closed(self, *, is_complete: bool) -> None:
        if self._is_asked:
            self.content = None
        self._is_asked = self._is_asked or is_complete
