"""What is said of bytes that differ from the catalogue."""

from urllib.parse import unquote, urlsplit

from onefs.cache.verify import Verdict, Verify, judge
from onefs.catalogue.records import Dataset
from onefs.errors import MismatchError
from onefs.text import counted
from onefs.transports.addresses import server_name
from onefs.transports.base import Location


def agree(dataset: Dataset, location: Location, total_bytes: int | None, policy: Verify) -> None:
    """Refuse a file of another length than the catalogue's before its bytes are sent. Raises MismatchError."""
    if total_bytes is None or total_bytes == dataset.size_bytes:
        return
    if judge(dataset, total_bytes, dataset.md5.lower(), policy) is Verdict.WRONG:
        raise mismatch(dataset, f"{giver(location)} gives", total_bytes, "")


def mismatch(dataset: Dataset, who: str, size_bytes: int, md5: str, remedy: str = "") -> MismatchError:
    """The error for wrong bytes, with both sizes and both hashes as far as they are known."""
    said = _described(dataset.size_bytes, dataset.md5)
    return MismatchError(f"{who} {_described(size_bytes, md5)}, but it should be {said}.", remedy)


def giver(location: Location) -> str:
    """The server that gave wrong bytes, or the file on this machine that holds them, in the cache for one."""
    return server_name(location.url) or f"The file {unquote(urlsplit(location.url).path)}"


def _described(size_bytes: int | None, md5: str) -> str:
    size = "" if size_bytes is None else counted(size_bytes, "byte")
    digest = f"MD5 {md5}" if md5 else ""
    return " with ".join(part for part in (size, digest) if part)
