"""The client of an Alyx database that programs have as `one.alyx`, and the block `no_cache`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, NoReturn, Self
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from warnings import warn

from onefs.alyx import client as alyx
from onefs.alyx.credentials import Credentials
from onefs.alyx.filters import spelt
from onefs.alyx.pages import AlyxRecord, Listing
from onefs.alyx.rest import Page, Query
from onefs.alyx.schema import ACTIONS, LIST, READ, Schema
from onefs.api import endpoints, source_arguments
from onefs.api.downloads import (
    data_server_of,
    dataset_record_to_url,
    fetch_file,
    fetch_tables,
    file_record_to_url,
)
from onefs.api.login import LoggingIn
from onefs.api.pickling import OpenedAnew
from onefs.api.stale_answers import warns_when_stale
from onefs.errors import NotAllowedError, UsageError
from onefs.modes import Mode
from onefs.one_errors import api_errors
from onefs.sources.databases import open_database
from onefs.transports.addresses import shown

__all__ = ["AlyxClient", "dataset_record_to_url", "file_record_to_url", "no_cache"]

READ_ONLY = "onefs does not change records of the database."
USE_ANOTHER = "Use the package ONE-api, or the database's own pages."
CHANGES = {*ACTIONS.values()} - {LIST}
NOT_HERE = ("http_download_file", "http_download_file_list", "update_url_params")


class AlyxClient(OpenedAnew, LoggingIn):
    """Reads records of one Alyx database. `OneAlyx` has it as `alyx`. Safe to use from several threads.

    Connects to the database of a URL or name, ONE's default or the public one, with the login that is given or kept.
    `cache_dir` is the folder of fetched files. `silent`: nobody is asked for a password. `cache_rest` None: no answers
    are kept.
    """

    _copied: ClassVar = ("cache_mode", "default_expiry")

    @api_errors
    def __init__(
        self,
        base_url: str | None = None,
        username: str | None = None,
        password: str | None = None,
        cache_dir: str | Path | None = None,
        silent: bool = False,
        cache_rest: str | None = "GET",
        token: str | None = None,
    ) -> None:
        login = {"alyx_user": username, "alyx_password": password, "alyx_token": token}
        given = {name: value for name, value in login.items() if value}
        chosen = source_arguments.database(base_url, Mode.AUTO, cache_dir=cache_dir, login=given)
        self._take(_client_of(chosen), chosen.source.data_dir, source_arguments.data_url_of(chosen), silent=silent)
        self.cache_mode = cache_rest

    @classmethod
    def over(cls, client: alyx.AlyxClient, *, cache_dir: Path, data_url: str = "", silent: bool = False) -> Self:
        """The face of a client that others use too: its login and its cache of responses.

        `data_url` is the address of the database's data server, "" to have the database tell it.
        """
        face = cls.__new__(cls)
        face._take(client, cache_dir, data_url, silent=silent)
        return face

    def _take(self, client: alyx.AlyxClient, cache_dir: Path, data_url: str, *, silent: bool) -> None:
        self._client = client
        self._data_url = data_url.rstrip("/")
        self.cache_dir = cache_dir
        self.silent = silent

    def _opened_with(self, *, with_secrets: bool) -> dict[str, Any]:
        login = self._client.credentials
        return {
            "base_url": self.base_url,
            "login": login if with_secrets else Credentials(login.user),
            "cache_dir": self.cache_dir,
            "data_url": self._data_url if with_secrets else shown(self._data_url),
            "silent": self.silent,
        }

    @classmethod
    def _open_anew(  # type: ignore[override]
        cls, base_url: str, login: Credentials, cache_dir: Path, data_url: str, silent: bool
    ) -> Self:
        chosen = source_arguments.database_of_user(base_url, login, Mode.AUTO, cache_dir=cache_dir)
        return cls.over(_client_of(chosen), cache_dir=cache_dir, data_url=data_url, silent=silent)

    def __repr__(self) -> str:
        return f"AlyxClient({self.base_url!r})"

    # -- state -----------------------------------------------------------------------------------------------------

    @property
    def base_url(self) -> str:
        """The database's address, without a slash at its end."""
        return self._client.base_url

    @property
    def default_expiry(self) -> timedelta:
        """How long answers are good for."""
        return timedelta(seconds=self._client.default_expiry_s)

    @default_expiry.setter
    def default_expiry(self, expiry: timedelta) -> None:
        self._client.default_expiry_s = expiry.total_seconds()

    @property
    def cache_mode(self) -> str | None:
        """The requests whose answers are kept: `GET`, or None for none."""
        return "GET" if self._client.cache_rest else None

    @cache_mode.setter
    @api_errors
    def cache_mode(self, mode: str | None) -> None:
        if mode is not None and mode.upper() not in ("GET", "*"):
            raise UsageError(f"There is no cache mode {mode!r}.", "Use 'GET', or None to keep no answers.")
        self._client.cache_rest = mode is not None

    @property
    @api_errors
    def rest_schemes(self) -> Schema:
        """The endpoints of the database, their actions and arguments."""
        return self._client.schema()

    @property
    def _par(self) -> SimpleNamespace:
        """The parameters that programs read, under ONE's names; no secrets are among them."""
        return SimpleNamespace(
            ALYX_URL=self.base_url,
            ALYX_LOGIN=self.user,
            HTTP_DATA_SERVER=self._data_server(),
            CACHE_DIR=str(self.cache_dir),
        )

    # -- questions -------------------------------------------------------------------------------------------------

    @api_errors
    @warns_when_stale
    def rest(
        self,
        url: str | None = None,
        action: str | None = None,
        id: object = None,  # noqa: A002 - ONE's name
        data: object = None,
        files: object = None,
        no_cache: bool = False,
        **filters: Any,
    ) -> Any:
        """The records of a `list`, or the one record of a `read`. Without an action what there is, is printed.

        A list of several pages is a sequence that fetches them when touched. Lists in filters are joined by commas;
        `id` beside `list` asks for the record of that id.
        """
        if not url:
            return endpoints.print_endpoints(self.rest_schemes)
        endpoint, _, query = url.strip("/").partition("?")
        endpoint, _, rest_of_path = endpoint.partition("/")
        action = LIST if query else (action or "").replace("-", "_")
        if action in CHANGES or data is not None or files is not None:
            _refuse(action or "data")
        if not action:
            return endpoints.print_actions(self.rest_schemes, endpoint)
        endpoints.check(self.rest_schemes, endpoint, action)
        if action == READ:
            return self._read(endpoint, str(rest_of_path if id is None else id), no_cache=no_cache)
        return self._list(endpoint, parse_qsl(query), id, filters, no_cache=no_cache)

    @api_errors
    @warns_when_stale
    def get(self, query: str, expires: timedelta | bool | None = None, clobber: bool = False) -> Any:
        """The answer to any question, such as `/sessions?subject=KS014`; a list as `rest` gives it.

        The answer is kept for `expires` in place of the usual time; with True it is not used again. With `clobber`
        the server itself is asked.
        """
        parts = urlsplit(query.removeprefix(self.base_url))
        if parts.scheme or parts.netloc:
            raise UsageError(f"{query} is no question to {self.base_url}.", "Give a path such as /sessions.")
        path, filters = quote(unquote(parts.path.strip("/")), safe="/"), parse_qsl(parts.query, keep_blank_values=True)
        expiry_s = expires.total_seconds() if isinstance(expires, timedelta) else 0.0 if expires else None
        content = self._client.get(path, filters, no_cache=clobber, expiry_s=expiry_s)
        if isinstance(content, dict) and isinstance(content.get("results"), list) and "count" in content:
            first = Page(tuple(content["results"]), content["count"])
            return Listing(self._client, path, filters, no_cache=clobber).records(first)
        return content

    def _list(
        self, endpoint: str, query: Query, pk: object, filters: Mapping[str, Any], *, no_cache: bool
    ) -> Sequence[AlyxRecord]:
        given = {name: value for name, value in filters.items() if value is not None}
        unknown = sorted(given.keys() - set(self.rest_schemes.field_names(endpoint, LIST)))
        if unknown:
            warn(f"{endpoint} have no filter {', '.join(unknown)}: the database ignores it.", UserWarning, stacklevel=5)
        if pk is not None:
            given["django"] = ",".join(filter(None, (spelt(given.get("django", "")), f"pk,{pk}")))
        pairs = (*query, *((name, spelt(value)) for name, value in given.items()))
        return Listing(self._client, endpoint, pairs, no_cache=no_cache).records()

    def _read(self, endpoint: str, pk: str, *, no_cache: bool) -> Any:
        name = pk.rstrip("/").rpartition("/")[2]
        if not name:
            raise UsageError(f"A read of {endpoint} needs the id of a record.", "Give id.")
        return self._client.get(f"{endpoint}/{quote(name, safe='')}", no_cache=no_cache)

    def list_endpoints(self) -> list[str]:
        """Print and answer the names of all endpoints."""
        endpoints.print_endpoints(self.rest_schemes)
        return self.rest_schemes.endpoints

    @api_errors
    def print_endpoint_info(self, endpoint: str, action: str | None = None) -> None:
        """Print an endpoint's actions, or one of them, with their arguments."""
        endpoints.print_actions(self.rest_schemes, endpoint, action or "")

    @api_errors
    def clear_rest_cache(self) -> None:
        """Drop the kept answers."""
        self._client.clear_responses()

    # -- files -----------------------------------------------------------------------------------------------------

    @api_errors
    def rel_path2url(self, path: str | Path) -> str:
        """The URL of a path in the archive, on the database's data server, percent-encoded."""
        relative = str(path).strip("/")
        if re.match(r"\w+://", relative):
            raise UsageError(f"{path} is a URL already.", "Give a path relative to the archive.")
        server = self._data_server()
        if not server:
            raise UsageError(f"{self.base_url} tells of no data server.", "Set ONEFS_DATA_URL.")
        return f"{server}/{quote(relative)}"

    @api_errors
    def download_file(
        self, url: str | Sequence[str], target_dir: str | Path | None = None, clobber: bool = False
    ) -> Path | list[Path]:
        """Bring a file, or each of several, from the data server into a folder, `cache_dir` if none is given.

        A URL or a path in the archive will do. A file that is there stays, unless `clobber`. What is fetched so is
        not verified: `load_dataset` does that.
        """
        if not isinstance(url, str):
            return [Path(self.download_file(each, target_dir, clobber)) for each in url]  # type: ignore[arg-type]
        address = url if "://" in url else self.rel_path2url(url)
        return fetch_file(self.base_url, address, Path(target_dir or self.cache_dir), clobber=clobber)

    @api_errors
    def download_cache_tables(self, source: None = None, destination: str | Path | None = None) -> list[Path]:
        """Bring the database's cache tables into a folder, `cache_dir` if none is given; their paths.

        The database says where they are; a `source` is refused.
        """
        if source is not None:
            raise UsageError("Tables are fetched from where the database says.", "Leave out source.")
        return fetch_tables(self._client, Path(destination or self.cache_dir))

    def _data_server(self) -> str:
        if not self._data_url:
            self._data_url = data_server_of(self._client)
        return self._data_url

    # -- what would change the database ----------------------------------------------------------------------------

    @api_errors
    def post(self, *_: object, **__: object) -> NoReturn:
        """Refused: onefs does not change records."""
        _refuse("post")

    put = patch = delete = post
    json_field_write = json_field_update = json_field_remove_key = json_field_delete = post


@contextmanager
def no_cache(ac: AlyxClient | None = None) -> Iterator[AlyxClient]:
    """Ask the server itself within this block, in this thread alone; without a client, for that of `ONE()`."""
    if ac is None:
        ac = import_module("onefs.api.factory").ONE().alyx  # which imports this module
    with ac._client.no_cache():
        yield ac


def _client_of(chosen: source_arguments.Chosen) -> alyx.AlyxClient:
    source = chosen.source
    assert source.database is not None, "source_arguments.database gives nothing else"
    return open_database(source.database, chosen.settings, source.state_dir)


def _refuse(what: str) -> NoReturn:
    raise NotAllowedError(f"{what}: {READ_ONLY}", USE_ANOTHER)


def __getattr__(name: str) -> Any:
    if name in NOT_HERE:
        raise NotAllowedError(
            f"onefs.api.webclient has no {name}: files are fetched into the cache, and verified there.",
            "Use load_dataset with download_only=True.",
        )
    raise AttributeError(f"onefs.api.webclient has no {name!r}")
