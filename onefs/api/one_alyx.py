"""`OneAlyx`: sessions, datasets and their contents, from an Alyx database and its cache tables."""

import logging
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

from onefs.alyx.client import AlyxClient
from onefs.alyx.credentials import Credentials
from onefs.api import source_arguments
from onefs.api.alyx_queries import AlyxQueries
from onefs.api.alyx_tables import AlyxTables
from onefs.api.database_mixin import DatabaseMixin
from onefs.api.loading_aggregates import AggregateLoadingMixin
from onefs.api.one import One
from onefs.api.source_arguments import Chosen, PathLike
from onefs.api.warning import warn
from onefs.api.webclient import AlyxClient as AlyxFace
from onefs.archive.archive import Archive, Hooks
from onefs.catalogue.empty_snapshot import empty_snapshot
from onefs.catalogue.interface import Catalogue
from onefs.catalogue.schema import TableMetadata
from onefs.catalogue.snapshot import Snapshot
from onefs.catalogue.tables import read_metadata, tables_in
from onefs.errors import (
    AccessRefusedError,
    ContentError,
    NewerTablesError,
    OnefsError,
    UnknownRecordError,
    UnreachableError,
    UsageError,
)
from onefs.modes import ALLOWED, Mode, check
from onefs.one_errors import SeveralTagsError, api_errors
from onefs.outages import PAUSE_S
from onefs.sources.source import prepare
from onefs.sources.tables_at_hand import Place, are_at_hand, check_understood

_log = logging.getLogger(__name__)


class OneAlyx(DatabaseMixin, AggregateLoadingMixin, One):
    """The catalogue of an Alyx database and its files, which are fetched as they are loaded.

    In modes `auto` and `refresh`, tables that are missing or due are fetched now. If that fails, or the kept login is
    refused, warns with a `RuntimeWarning` and works as `local`. Raises `ValueError` for invalid arguments, and an HTTP
    error if a login that is given is refused.
    """

    @api_errors
    def __init__(
        self,
        username: str | None = None,
        password: str | None = None,
        base_url: str | None = None,
        cache_dir: PathLike | None = None,
        mode: str = "auto",
        wildcards: bool = True,
        tables_dir: PathLike | None = None,
        *,
        token: str | None = None,
        cache_rest: str | None = "GET",
        silent: bool = False,
    ) -> None:
        login = {"alyx_user": username, "alyx_password": password, "alyx_token": token}
        given = {name: value for name, value in login.items() if value}
        asked = source_arguments.mode_of(mode)
        chosen = source_arguments.database(
            base_url, asked, cache_dir=cache_dir, tables_dir=tables_dir, login=given, cache_rest=cache_rest
        )
        self._open(chosen, wildcards, silent=silent)
        if given and asked is not Mode.LOCAL:
            self._check_login()
        self._renew_if_due(stacklevel=4)

    def _open(self, chosen: Chosen, wildcards: bool, *, silent: bool) -> None:
        self._begin(chosen, wildcards)
        self._cache_expiry = timedelta(seconds=self._settings.cache_expiry_s)
        self._is_fall_back_told = False
        self._refused_told = ""
        self._renewing_threads: set[int] = set()
        prepare(self._source)
        archive = self._archive
        _check_one_tag(archive.tables.metadata)
        self._in_use = AlyxTables(archive.tables, self._client, self._heard)
        self._remote = AlyxQueries(self._client, self._in_use)
        self._face = AlyxFace.over(
            self._client, cache_dir=self.cache_dir, data_url=self._settings.data_url, silent=silent
        )

    def _opened_with(self, *, with_secrets: bool) -> dict[str, Any]:
        source, login, tag = self._source, self._client.credentials, self._archive.refresher.tag
        in_place = Place(source.tables_dir, source.tables_state_dir).of_tag(tag).tables_dir
        return {
            "source": {
                "base_url": self._client.base_url,
                "login": login if with_secrets else Credentials(login.user),
                "mode": Mode(self.requested_mode),
                "cache_dir": source.data_dir,
                "tables_dir": source.tables_dir,
            },
            "wildcards": self.wildcards,
            "silent": self._face.silent,
            "tag": tag,
            "loaded_dir": self._tables_dir if self._tables_dir != in_place else None,
            "responses": self._face._attributes(),
        }

    @classmethod
    def _open_anew(  # type: ignore[override]
        cls,
        source: Mapping[str, Any],
        *,
        wildcards: bool,
        silent: bool,
        tag: str,
        loaded_dir: Path | None,
        responses: Mapping[str, Any],
    ) -> Self:
        made = cls.__new__(cls)
        made._open(source_arguments.database_of_user(**source), wildcards, silent=silent)
        if tag != made._archive.refresher.tag:  # the settings may be others here
            made._archive.refresher.use_tag(tag)
        if loaded_dir is not None:
            made._archive.refresher.load(loaded_dir)
        for name, value in responses.items():
            setattr(made._face, name, value)
        return made

    def __repr__(self) -> str:
        return f"One ({'offline' if self.offline else 'online'}, {self._client.base_url})"

    # -- properties ------------------------------------------------------------------------------------------------

    @property
    def alyx(self) -> AlyxFace:
        """The client of the database."""
        return self._face

    @property
    def mode(self) -> str:
        """The mode in effect: `local` after a fall-back. Set it to request another mode."""
        return self._archive.refresher.state.effective.value

    @mode.setter
    @api_errors
    def mode(self, mode: str) -> None:
        asked = source_arguments.mode_of(mode)
        check(asked, self._source.name, self._source.abilities)
        self._archive.refresher.switch(asked)
        self._is_fall_back_told = False

    @property
    def requested_mode(self) -> str:
        """The mode that was requested."""
        return self._archive.refresher.state.requested.value

    @property
    def offline(self) -> bool:
        """Whether the mode in effect is `local`."""
        return self.mode == Mode.LOCAL

    @property
    def cache_expiry(self) -> timedelta:
        """The age at which newer tables are asked for."""
        return self._cache_expiry

    @cache_expiry.setter
    def cache_expiry(self, expiry: timedelta) -> None:
        self._cache_expiry = expiry
        self._archive.refresher.expiry_s = expiry.total_seconds()

    # -- tables ----------------------------------------------------------------------------------------------------

    @api_errors
    def load_cache(
        self, tables_dir: PathLike | None = None, clobber: bool = False, tag: str | None = None
    ) -> datetime | None:
        """Load the tables of a directory or of a tag, else those in the cache. Returns the time.

        Newer ones are fetched first if those at hand are expired, or always with `clobber`. Those of a directory stay
        until `reset_cache`. Raises `TableError` for tables that cannot be used, `NotImplementedError` for those of two
        tags, and what is wrong with the server; then those in use stay.
        """
        try:
            self._load_tables(tables_dir, clobber=clobber, tag=tag)
        except NewerTablesError as error:
            warn(str(error), UserWarning)
            return self._loaded_time
        self._warn_of_tables(stacklevel=4)
        self._loaded_time = datetime.now()
        return self._loaded_time

    def _load_tables(self, tables_dir: PathLike | None, *, clobber: bool, tag: str | None) -> None:
        """What `load_cache` does. Raises `NewerTablesError` for tables that are for a newer onefs."""
        refresher = self._archive.refresher
        if tables_dir is not None:
            directory = source_arguments.path_of(tables_dir)
            files = tables_in(directory)
            for file in (files.sessions, files.datasets):
                if file.exists():
                    _check_one_tag(read_metadata(file))
                    check_understood(f"The tables in {directory}", read_metadata(file).min_api_version)
            refresher.load(directory)
        elif tag is not None and tag != refresher.tag:
            refresher.use_tag(tag)
        else:
            refresher.reopen(clobber=clobber)
            self._renew_if_due(stacklevel=6)

    @api_errors
    def reset_cache(self) -> None:
        """Forget what was learned, edited or loaded by hand: back to the tables as downloaded."""
        self._archive.refresher.reset()
        self._loaded_time = datetime.now()

    @api_errors
    def refresh_cache(self, mode: str = "auto") -> datetime | None:
        """Fetch newer tables, if there are any: for `auto` if those in use are expired, for `refresh` always.

        For `local` and `remote` nothing is done. Returns the time when the tables in use were loaded.
        """
        asked = source_arguments.mode_of(mode)
        if asked is Mode.REFRESH or (asked is Mode.AUTO and self._archive.refresher.is_expired):
            self._renew(stacklevel=5)
        return self._loaded_time

    @classmethod
    @api_errors
    def setup(  # type: ignore[override]
        cls,
        base_url: str | None = None,
        silent: bool = False,
        make_default: bool | None = None,
        username: str | None = None,
        cache_dir: PathLike | None = None,
    ) -> "OneAlyx":
        """Try the login of a database, keep it, and return a `OneAlyx` of it. Asks for arguments that are missing.

        With `make_default`, `ONE()` opens this database from now on. Raises an HTTP error if the login is refused.
        """
        from onefs.api.setup import set_up_database

        url = set_up_database(base_url, username, cache_dir, silent=silent, make_default=make_default)
        return OneAlyx(base_url=url, cache_dir=cache_dir, silent=silent)

    def _set_cache_dir(self, directory: PathLike) -> None:
        raise AttributeError(f"cache_dir of a database's object cannot be set: make OneAlyx(cache_dir={directory!r}).")

    # -- inside ----------------------------------------------------------------------------------------------------

    @property
    def _client(self) -> AlyxClient:
        client = self._archive.client
        assert client is not None, "a source with a database has a client"
        return client

    @property
    def _home(self) -> Place:
        """Where the database's tables are."""
        return Place(self._source.tables_dir, self._source.tables_state_dir).of_tag(self._source.tag)

    def _open_archive(self) -> Archive:
        """The archive with the tables at hand or, if the mode takes new ones, the server's; else without any."""
        adopt = weakref.WeakMethod(self._adopt)  # the object goes when its program lets it go
        hooks = Hooks(on_tables=lambda tables: _adopted(adopt(), tables))
        failure: OnefsError | None = None
        takes_new = ALLOWED[self._source.mode].new_tables
        if takes_new or are_at_hand(self._home):
            try:
                return Archive(self._source, self._settings, hooks, understood_only=True)
            except NewerTablesError as error:
                self._refused_told = str(error)
                warn(self._refused_told, UserWarning)
            except (UnreachableError, AccessRefusedError, ContentError, UnknownRecordError) as error:
                failure = error
        without = empty_snapshot(self._home.tables_dir)
        archive = Archive(self._source, self._settings, hooks, tables=without, understood_only=True)
        if failure is not None:
            archive.refresher.mode.failed(failure)
        elif self._source.mode is Mode.LOCAL:
            text = f"There are no cache tables in {self._home.tables_dir}, and mode local fetches none."
            warnings.warn(text, UserWarning, stacklevel=6)
        return archive

    def _check_login(self) -> None:
        """Raise `AccessRefusedError` if the login is refused."""
        if self._client.requests_sent and not self._archive.refresher.state.reason:
            return
        try:
            self._client.tables_info()
        except AccessRefusedError:
            raise
        except OnefsError as error:
            _log.info("The login could not be tried: %s", error.reason)

    def _adopt(self, tables: Snapshot) -> None:
        self._in_use.adopt(tables, keeps_edits=threading.get_ident() in self._renewing_threads)
        self._loaded_time = datetime.now()

    def _heard(self, error: OnefsError | None) -> None:
        """Note whether the database answered. `error` says why it did not, or why a cached answer was used."""
        self._archive.refresher.mode.heard(error or self._client.outage, self._client.left_alone_s or PAUSE_S)

    # -- for the mixins --------------------------------------------------------------------------------------------

    def _further_tables(self, query_type: str | None) -> Catalogue | None:
        """The catalogue that asks the database for what the tables do not know; None if it must not be asked."""
        mode = self._answering(query_type)
        return None if mode in (Mode.LOCAL, Mode.REMOTE) else self._in_use.asking

    def _mode_of(self, query_type: str | None) -> Mode:
        """The mode that answers one call. Raises `UsageError` for no mode."""
        return Mode(self.requested_mode) if query_type is None else source_arguments.mode_of(query_type)

    def _tables(self, query_type: str | None = None) -> Catalogue:
        """The catalogue that answers one call; newer tables are taken first if they are due."""
        mode = self._mode_of(query_type)
        if mode is Mode.REMOTE:
            return self._in_use.asking
        is_due = mode is Mode.AUTO and self.requested_mode == Mode.REMOTE and self._archive.refresher.is_expired
        if is_due or (mode is Mode.REFRESH and query_type is not None):
            self._renew(stacklevel=6)
        elif mode is not Mode.LOCAL:
            self._renew_if_due(stacklevel=6)
        return self._in_use.catalogue

    def _renew_if_due(self, stacklevel: int) -> None:
        """Look for newer tables if they are due in the object's mode. Warns of a failure once."""
        refresher = self._archive.refresher
        with self._renewing(stacklevel + 1):
            if refresher.state.requested is Mode.REFRESH:
                refresher.check_before_listing()
            elif refresher.state.requested is Mode.AUTO:
                refresher.refresh_if_due()
        self._tell_of_refused_tables()
        self._tell_of_fall_back(stacklevel + 1)

    def _renew(self, stacklevel: int) -> None:
        """Look for newer tables now; if that fails, those at hand stay, with a warning."""
        try:
            with self._renewing(stacklevel + 1):
                self._archive.refresher.take_newest()
            self._tell_of_refused_tables()
        except UsageError as error:
            _log.info("%s", error.reason)  # those that were loaded by hand stay
        except OnefsError as error:
            warnings.warn(f"{error.reason} {self._what_answers()}.", RuntimeWarning, stacklevel=stacklevel)
            self._is_fall_back_told = True

    @contextmanager
    def _renewing(self, stacklevel: int) -> Iterator[None]:
        """A block in which this thread may take newer tables: edits in frames are kept."""
        self._renewing_threads.add(threading.get_ident())
        before = self._loaded_time
        try:
            yield
        finally:
            self._renewing_threads.discard(threading.get_ident())
        if self._loaded_time != before:
            self._warn_of_tables(stacklevel + 2)

    def _warn_of_tables(self, stacklevel: int) -> None:
        warning = self._archive.refresher.warning
        if warning:
            warnings.warn(warning, UserWarning, stacklevel=stacklevel)

    def _tell_of_refused_tables(self) -> None:
        """Warn once of tables that are for a newer onefs."""
        refused = self._archive.refresher.refused
        if refused and refused != self._refused_told:
            warn(refused, UserWarning)
        self._refused_told = refused

    def _what_answers(self) -> str:
        """What is said of the tables while newer ones cannot be had."""
        if self._in_use.tables.n_sessions:
            return "The tables at hand are used"
        return f"There are no tables in {self._home.tables_dir} yet, so nothing is found"

    def _tell_of_fall_back(self, stacklevel: int) -> None:
        state = self._archive.refresher.state
        if state.reason and not self._is_fall_back_told:
            text = f"{state.reason} {self._what_answers()}; onefs tries again by itself."
            warnings.warn(text, RuntimeWarning, stacklevel=stacklevel)
        self._is_fall_back_told = bool(state.reason)


def _check_one_tag(metadata: TableMetadata) -> None:
    """Raise `SeveralTagsError` for tables that are restricted to several tags."""
    if len(metadata.tags) > 1:
        raise SeveralTagsError(f"The cache tables are restricted to the tags {', '.join(metadata.tags)}.")


def _adopted(adopt: Callable[[Snapshot], None] | None, tables: Snapshot) -> Callable[[], None]:
    if adopt is not None:
        adopt(tables)
    return _nothing


def _nothing() -> None:
    """Do nothing: there is no mount whose kernel caches need invalidating."""
