"""Owns whether another location holds the very edition that a growing file was begun from, so that it can go on."""

from onefs.catalogue.records import Dataset
from onefs.fetch.download import Attempts, agree, persist
from onefs.fetch.growing import Growing
from onefs.fetch.parts import Means
from onefs.transports.addresses import shown
from onefs.transports.base import Location


def join(means: Means, location: Location, growing: Growing, dataset: Dataset) -> bool:
    """Let a location go on with the file, if it has the same bytes where there are some; False if nothing tells.

    Raises what keeps the location from giving them, or StoppedError.
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
    begin, end = growing.file.map.part(range(block, block + 1))
    found = ""

    def ask(attempts: Attempts) -> None:
        nonlocal found
        with means.transport.open(location, begin, edition, end) as body:
            attempts.opened = attempts.answered = True
            means.health.reached(location)
            agree(dataset, location, body.total_bytes, means.length)
            if body.is_part and body.total_bytes is not None and edition in ("", body.edition):
                content = b"".join(body.chunks)
                means.received(len(content))
                found = body.edition if content == growing.bytes_of(block) else ""

    persist(ask, Attempts(means.patience, 0), lambda: 0, means.health, location, means.stop)
    return found
