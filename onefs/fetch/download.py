"""Downloading a file from one location into a partial file, and the check at its end."""

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from onefs.cache.partial import Partial
from onefs.cache.verify import Verdict, Verify, judge
from onefs.catalogue.records import Dataset
from onefs.errors import MismatchError
from onefs.fetch.cancel import CancelToken
from onefs.fetch.fetch import Fetch
from onefs.fetch.ranges import Ranges, Span, server_of
from onefs.text import counted
from onefs.transports.addresses import server_name, shown
from onefs.transports.base import Body, Location


@dataclass(frozen=True, slots=True)
class Found:
    """What was downloaded: its hash, and where it came from (without the query, which may hold a signature)."""

    md5: str
    source: str


class Downloader:
    """Downloads into partial files. Safe to use from several threads."""

    def __init__(self, ranges: Ranges, token: CancelToken) -> None:
        self._ranges = ranges
        self._token = token

    def download(self, location: Location, partial: Partial, fetch: Fetch, policy: Verify) -> Found:
        """Fill `partial` from a location and check it.

        Raises MismatchError (and then `partial` is empty), or what kept the server from giving the file.
        """
        dataset = fetch.dataset
        anew = False
        while True:
            if not partial.is_whole:
                self._ranges.fetch(location, _PartialSink(location, partial, fetch, policy), self._token)
            one_answer, size_bytes, md5 = partial.one_answer, partial.size_bytes, partial.md5()
            right = judge(dataset, size_bytes, md5, Verify.STRICT) is Verdict.RIGHT
            # A policy that accepts what differs is for what a server holds, not for halves put together.
            if right or ((one_answer or anew) and judge(dataset, size_bytes, md5, policy) is not Verdict.WRONG):
                return Found(md5, partial.source or shown(location.url))
            partial.restart()
            if anew or one_answer:
                raise mismatch(dataset, f"{giver(location)} gave", size_bytes, md5)
            anew = True  # once more, from the first byte


class _PartialSink:
    """Appends the answers of one location to a partial file."""

    def __init__(self, location: Location, partial: Partial, fetch: Fetch, policy: Verify) -> None:
        self._location = location
        self._source = shown(location.url)
        self._partial = partial
        self._fetch = fetch
        self._policy = policy
        self._is_whole = False

    def next_span(self) -> Span | None:
        partial, dataset = self._partial, self._fetch.dataset
        if self._is_whole:
            return None
        edition = partial.edition if partial.source == self._source else ""
        has_proof = dataset.md5 and self._policy in (Verify.AUTO, Verify.STRICT)
        if partial.size_bytes and not edition and not has_proof:
            partial.restart()  # nothing could tell that the rest belongs to what is there
        return Span(partial.size_bytes, None, edition)

    def opened(self, body: Body) -> bool:
        partial, fetch = self._partial, self._fetch
        agree(fetch.dataset, self._location, body.total_bytes, self._policy)
        if body.start != partial.size_bytes:
            partial.restart()
        partial.comes_from(self._source, body.edition)
        fetch.total_bytes = fetch.dataset.size_bytes if body.total_bytes is None else body.total_bytes
        fetch.done_bytes = partial.size_bytes
        return True

    def write(self, chunk: bytes, offset: int) -> bool:  # noqa: ARG002
        partial, dataset = self._partial, self._fetch.dataset
        partial.write(chunk)
        self._fetch.done_bytes = partial.size_bytes
        is_too_long = partial.size_bytes > (dataset.size_bytes or 0)
        if is_too_long and judge(dataset, partial.size_bytes, dataset.md5.lower(), self._policy) is Verdict.WRONG:
            partial.restart()
            server = server_of(self._location)
            raise MismatchError(f"{server} sends more than the {dataset.size_bytes} bytes of the file.")
        return True

    def closed(self, *, is_complete: bool) -> None:
        self._is_whole = is_complete


def agree(dataset: Dataset, location: Location, total_bytes: int | None, policy: Verify) -> None:
    """Refuse a file of another length than the catalogue's before its bytes are sent."""
    if total_bytes is None:
        return
    if judge(dataset, total_bytes, dataset.md5.lower(), policy) is Verdict.WRONG:
        raise mismatch(dataset, f"{giver(location)} gives", total_bytes, "")


def mismatch(dataset: Dataset, who: str, size_bytes: int, md5: str, remedy: str = "") -> MismatchError:
    """The error for wrong bytes, with both sizes and both hashes as far as they are known."""
    said = _described(dataset.size_bytes, dataset.md5)
    return MismatchError(f"{who} {_described(size_bytes, md5)}, but it should be {said}.", remedy)


def _described(size_bytes: int | None, md5: str) -> str:
    size = "" if size_bytes is None else counted(size_bytes, "byte")
    digest = f"MD5 {md5}" if md5 else ""
    return " with ".join(part for part in (size, digest) if part)


def giver(location: Location) -> str:
    """The server that gave wrong bytes, or the file on this machine that holds them, in the cache for one."""
    return server_name(location.url) or f"The file {unquote(urlsplit(location.url).path)}"
