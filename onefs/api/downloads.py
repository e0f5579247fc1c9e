"""Files of a database's data server, and its cache tables, fetched into a folder that the caller names."""

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from onefs.alf import is_safe_part
from onefs.alyx import fields
from onefs.alyx.client import AlyxClient
from onefs.api.source_arguments import settings_in_force
from onefs.archive.archive import make_http, make_ranges, make_transport
from onefs.cache.atomic import cache_errors
from onefs.cache.sharing import make_state_folder
from onefs.catalogue.saving import changing_tables
from onefs.errors import UsageError
from onefs.fetch.ranges import Ranges
from onefs.settings import Settings
from onefs.sources.databases import data_login_of
from onefs.sources.origins import DatabaseOrigin, download
from onefs.sources.repositories import data_servers
from onefs.transports.base import Location

BELOW_ROOT = re.compile(r"(/[^/]+/Subjects|/aggregates)?/*$")
"""Where a repository's own folder begins on a data server that holds those of several labs."""


def file_record_to_url(file_records: Sequence[Mapping[str, Any]]) -> list[str]:
    """The URLs of file records; those without one are left out."""
    return [record["data_url"] for record in file_records if record.get("data_url")]


def dataset_record_to_url(dataset_record: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> list[str]:
    """The URLs of all copies of a dataset, or of several."""
    records = [dataset_record] if isinstance(dataset_record, Mapping) else dataset_record
    return [url for record in records for url in file_record_to_url(record.get("file_records") or ())]


def data_server_of(client: AlyxClient) -> str:
    """The address of the data server that a database names first, "" if it names none."""
    known = data_servers(client.repositories())
    return BELOW_ROOT.sub("", known[0]) if known else ""


def fetch_tables(client: AlyxClient, folder: Path) -> list[Path]:
    """Bring the cache tables of a database into a folder, in place of those there; their paths, sorted."""
    settings = settings_in_force()
    with _ranges(settings) as ranges, _folder_within(folder) as fresh:
        DatabaseOrigin(client, ranges).download(fresh)
        with changing_tables(folder, make_state_folder(folder)):
            return sorted(table.replace(folder / table.name) for table in fresh.glob("*.pqt"))


def fetch_file(base_url: str, url: str, folder: Path, *, clobber: bool) -> Path:
    """Bring a file from a database's data server into a folder. One that is there stays, unless `clobber`."""
    address = fields.web_address({"": url}, "")
    name = unquote(urlsplit(address).path).rpartition("/")[2]
    if not address or not is_safe_part(name):
        raise UsageError(f"{url} is no URL of a file.", "Give one such as file_record_to_url has.")
    target = folder / name
    if target.exists() and not clobber:
        return target
    settings = settings_in_force()
    login = data_login_of(base_url, settings).at(address)
    with _ranges(settings) as ranges, _folder_within(folder) as fresh:
        return download(ranges, Location(address, login), fresh / name).replace(target)


@contextmanager
def _ranges(settings: Settings) -> Iterator[Ranges]:
    http = make_http(settings)
    try:
        yield make_ranges(make_transport(http), settings)
    finally:
        http.close()


@contextmanager
def _folder_within(folder: Path) -> Iterator[Path]:
    """A new folder within another: what is fetched there is moved when it is whole."""
    with cache_errors("What is fetched", folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder) as fresh:
            yield Path(fresh)
