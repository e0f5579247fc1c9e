"""Where newer cache tables come from: a folder on a server, or a database that says where they are."""

import json
import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

from onefs.alf import INSERTIONS_NAME, TABLE_NAMES
from onefs.alyx.records import TablesInfo
from onefs.errors import (
    AccessRefusedError,
    BrokenAnswerError,
    MismatchError,
    MissingOnServerError,
    SourceError,
    TableError,
    UnknownRecordError,
)
from onefs.fetch.cancel import CancelToken
from onefs.fetch.ranges import FileSink, MemorySink, Ranges
from onefs.progress import report
from onefs.sources.tables_at_hand import check_understood
from onefs.sources.unpacking import unpack
from onefs.table_times import table_time
from onefs.transports.addresses import shown
from onefs.transports.base import Body, Location

if TYPE_CHECKING:
    from onefs.alyx.client import AlyxClient

INFO = "cache_info.json"
ZIP = "cache.zip"
LONGEST_INFO_BYTES = 1 << 20
ASK_MAINTAINERS = "Ask the archive's maintainers."
_log = logging.getLogger(__name__)


class Offer(NamedTuple):
    """What an origin says of its tables, before they are fetched. `created` has no zone; absent texts are ""."""

    created: datetime
    min_api_version: str
    origin: str


class Origin(Protocol):
    """Where tables come from. One is made for one renewal. Raises what is wrong with the server as `OnefsError`s."""

    @property
    def name(self) -> str:
        """What to call it in a sentence; no secret in it."""

    def offered(self) -> Offer:
        """What its tables are now: one request."""

    def download(self, into: Path) -> None:
        """Bring both tables into an empty folder, and that of insertions if there is one. Other files are of no use."""


class FolderOrigin:
    """A folder that holds `cache_info.json`, and `cache.zip` or the two tables."""

    def __init__(self, location: Location, ranges: Ranges) -> None:
        self._location = location
        self._ranges = ranges
        self.name = shown(location.url)

    def offered(self) -> Offer:
        """What `cache_info.json` says. Raises `SourceError` if there is none."""
        try:
            raw = read_whole(self._ranges, self._at(INFO), LONGEST_INFO_BYTES)
        except MissingOnServerError as error:
            raise SourceError(
                f"{self.name} holds no {INFO}, so it is no folder of cache tables.",
                "Give the URL of the folder in which the tables stand.",
            ) from error
        try:
            info = json.loads(raw)
            created = table_time(info["date_created"])
        except (ValueError, KeyError, TypeError, RecursionError):
            created = None
        if created is None:
            raise BrokenAnswerError(f"{self.name}/{INFO} does not tell when the tables were made.", ASK_MAINTAINERS)
        return Offer(created, _text(info.get("min_api_version")), _text(info.get("origin")))

    def download(self, into: Path) -> None:
        """Bring the zip's tables, else those beside each other. Raises `SourceError` if neither are there."""
        try:
            archive = download(self._ranges, self._at(ZIP), into / ZIP)
        except (MissingOnServerError, AccessRefusedError):
            # S3 refuses what is not there to those who may not list the bucket.
            self._download_each(into)
        else:
            unpack(archive, into)

    def _download_each(self, into: Path) -> None:
        for table in TABLE_NAMES:
            try:
                download(self._ranges, self._at(table), into / table)
            except MissingOnServerError as error:
                raise SourceError(
                    f"{self.name} holds neither {ZIP} nor {table}.", f"{ASK_MAINTAINERS[:-1]}, or give another URL."
                ) from error
        _download_insertions(self._ranges, self._at(INSERTIONS_NAME), into)

    def _at(self, name: str) -> Location:
        return self._location.below(name)


class DatabaseOrigin:
    """An Alyx database, which says where its tables, or those restricted to a tag, are to be had."""

    def __init__(self, client: "AlyxClient", ranges: Ranges, tag: str = "") -> None:
        self._client = client
        self._ranges = ranges
        self._tag = tag
        self._info: TablesInfo | None = None
        self.name = client.base_url

    def offered(self) -> Offer:
        """What `cache/info` says: always asked of the server itself."""
        try:
            info = self._info = self._client.tables_info(self._tag or None)
        except UnknownRecordError as error:
            if not self._tag:
                raise
            raise UnknownRecordError(
                f"{self.name} has no tables of a release {self._tag}.",
                "Look its tag up where the release is described, such as the paper; ls .onefs/tag in a mount lists the "
                "releases that are at hand.",
            ) from error
        except BrokenAnswerError as error:  # Alyx fails over a tag that it knows, if no tables of it were exported
            if not self._tag:
                raise
            raise BrokenAnswerError(
                f"The tag {self._tag} has no tables on {self.name} ({error.reason.rstrip('.')}).",
                "Give another tag, or ask the database's maintainers to export the tables of this one.",
            ) from error
        return Offer(info.created, info.min_api_version, info.origin)

    def download(self, into: Path) -> None:
        """Bring the tables from where the database said they are."""
        info = self._info or self._client.tables_info(self._tag or None)
        locations = info.locations or ()
        if not locations or locations == (f"{self.name}/{ZIP}",):
            self._download_own(into)
            return
        for url in locations:
            self._download_from(Location(url), into)

    def _download_own(self, into: Path) -> None:
        """Those that the server keeps itself; it gives away the full ones only."""
        if self._tag:
            raise TableError(
                f"{self.name} does not say where the tables of the tag {self._tag} are, and gives only the full ones.",
                "Ask the database's maintainers.",
            )
        report(f"downloading {ZIP}")
        with (into / ZIP).open("wb") as stream:
            self._client.write_tables(stream)
        unpack(into / ZIP, into)

    def _download_from(self, location: Location, into: Path) -> None:
        name = unquote(urlsplit(location.url).path).rpartition("/")[2]
        try:
            if name in TABLE_NAMES:
                download(self._ranges, location, into / name)
            elif name == INSERTIONS_NAME:
                _download_insertions(self._ranges, location, into)
            elif name.endswith(".pqt"):
                _log.info("%s has a table %s, of which onefs makes no use", self.name, name)
            else:
                unpack(download(self._ranges, location, into / ZIP), into)
        except MissingOnServerError as error:
            raise MissingOnServerError(
                f"{self.name} says that its tables are at {shown(location.url)}, and they are not there.",
                "Ask the database's maintainers.",
            ) from error


class UnderstoodOrigin:
    """An origin whose tables are not fetched if they are for a newer reader than this."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._offer: Offer | None = None
        self.name = origin.name

    def offered(self) -> Offer:
        """What its tables are now."""
        self._offer = self._origin.offered()
        return self._offer

    def download(self, into: Path) -> None:
        """Bring the tables. Raises `NewerTablesError`."""
        offer = self._offer or self.offered()
        check_understood(f"The tables of {self.name}", offer.min_api_version)
        self._origin.download(into)


def origins(tables_url: Location | None, client: "AlyxClient | None", ranges: Ranges) -> Callable[[str], Origin] | None:
    """What makes the origin of a source's tables, of all datasets or of a tag; None where there is no server for them.

    A database knows best; a folder has but one pair of tables, whatever the tag.
    """
    if client is not None:
        return lambda tag: DatabaseOrigin(client, ranges, tag)
    if tables_url is not None:
        return lambda _: FolderOrigin(tables_url, ranges)
    return None


def read_whole(ranges: Ranges, location: Location, most_bytes: int) -> bytes:
    """The content of a small file. Raises `BrokenAnswerError` if it is none."""
    sink = MemorySink(most_bytes)
    try:
        ranges.fetch(location, sink, CancelToken())
    except MismatchError as error:
        raise BrokenAnswerError(
            f"{shown(location.url)} is far too long for what it should be.", ASK_MAINTAINERS
        ) from error
    return sink.content


def download(ranges: Ranges, location: Location, target: Path) -> Path:
    """Fetch a file. Returns `target`."""
    with target.open("wb") as out:
        ranges.fetch(location, _ReportingSink(target.name, out), CancelToken())
    return target


class _ReportingSink(FileSink):
    """Writes to a file, and reports the progress."""

    def __init__(self, name: str, out: BinaryIO) -> None:
        super().__init__(out)
        self._name = name
        self._total_bytes: int | None = None

    def opened(self, body: Body) -> bool:
        self._total_bytes = body.total_bytes
        return super().opened(body)

    def write(self, chunk: bytes, offset: int) -> bool:
        is_wanted = super().write(chunk, offset)
        report(f"downloading {self._name}", offset + len(chunk), self._total_bytes)
        return is_wanted


def _download_insertions(ranges: Ranges, location: Location, into: Path) -> None:
    """Fetch the table of insertions, if it is there: few archives have it."""
    try:
        download(ranges, location, into / INSERTIONS_NAME)
    except (MissingOnServerError, AccessRefusedError):
        (into / INSERTIONS_NAME).unlink(missing_ok=True)


def _text(value: object) -> str:
    """Exports write one text or a list of them."""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value or "")
