"""`One`: sessions, datasets and their contents, from the cache tables and files of a folder."""

import logging
import warnings
import weakref
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from onefs.alf import TABLE_NAMES
from onefs.api import source_arguments
from onefs.api.converters import ConversionMixin
from onefs.api.listing import ListingMixin
from onefs.api.loading import LoadingMixin
from onefs.api.pickling import OpenedAnew
from onefs.api.recording import RecordingMixin
from onefs.api.source_arguments import Chosen, PathLike
from onefs.api.tables_in_use import TablesInUse
from onefs.catalogue.empty_snapshot import empty_snapshot
from onefs.catalogue.interface import Catalogue
from onefs.catalogue.known import Stat, stat_of
from onefs.catalogue.query import Columns
from onefs.catalogue.records import Dataset
from onefs.catalogue.snapshot import Snapshot, load_snapshot
from onefs.catalogue.tables import tables_in
from onefs.forks import begins_anew_in_children, new_rlock
from onefs.memory import without_pandas
from onefs.modes import ALLOWED, Mode
from onefs.one_errors import NoDatabaseError, UsageError, api_errors
from onefs.sources.source import prepare
from onefs.sources.table_index import index_tables_in_child
from onefs.sources.tables_at_hand import Place, check_loadable, load_indexed_tables, usable_tables

if TYPE_CHECKING:
    from onefs.archive.archive import Archive
    from onefs.frames.cache import Cache

_log = logging.getLogger(__name__)
CACHE_EXPIRY = timedelta(hours=24)
INDEXED_HERE_BYTES = 4 << 20
"""Size of a table up to which it is indexed in this process: larger ones need memory that stays with it."""

WITHOUT_DATABASE = (Mode.LOCAL, Mode.AUTO)


class _Found(NamedTuple):
    """The tables of a directory. `names` are those that can be used; where one cannot, `tables` have no rows.

    `edition` is as `_edition_of` gives it, from before the tables were read.
    """

    edition: tuple[Stat, ...] | None
    names: tuple[str, ...]
    tables: Snapshot


class One(OpenedAnew, ConversionMixin, ListingMixin, LoadingMixin, RecordingMixin):
    """The catalogue and the files of a folder with cache tables. Safe to use from several threads.

    If the folder has no tables, warns with a `UserWarning` and finds nothing. Raises `ValueError` for a mode that needs
    a database, or if there is no such folder; `TableError` for tables that cannot be used.
    """

    _copied: ClassVar = ("uuid_filenames", "allow_pickle", "cache_expiry", "record_loaded", "_default_revision")

    @api_errors
    def __init__(
        self,
        cache_dir: PathLike | None = None,
        mode: str = "auto",
        wildcards: bool = True,
        tables_dir: PathLike | None = None,
    ) -> None:
        _check_local(source_arguments.mode_of(mode))
        chosen = source_arguments.folder(
            source_arguments.default_cache_dir() if cache_dir is None else cache_dir, tables_dir
        )
        self._begin(chosen, wildcards)
        found = self._find_tables(chosen.source.tables_dir)
        self._in_use = TablesInUse(found.tables)
        self._use(found, stacklevel=4)

    def _begin(self, chosen: Chosen, wildcards: bool) -> None:
        self._source, self._settings = chosen
        self.wildcards = wildcards
        self.uuid_filenames = self._settings.uuid_filenames
        self.allow_pickle = False
        self._cache_expiry = CACHE_EXPIRY
        self._default_revision = source_arguments.last_before()
        self._opening = new_rlock()  # held while the archive is opened
        self._opened: Archive | None = None
        self._closing: weakref.finalize[[], One] | None = None
        begins_anew_in_children(self)
        self._loaded_time: datetime | None = datetime.now()
        self._edition: tuple[Stat, ...] | None = None  # of the tables in use, None if they are no files

    def _opened_with(self, *, with_secrets: bool) -> dict[str, Any]:  # noqa: ARG002 - of OneAlyx
        source, in_use = self._source, self._tables_dir
        return {
            "cache_dir": source.data_dir,
            "tables_dir": source.tables_dir,
            "wildcards": self.wildcards,
            "loaded_dir": None if in_use == source.tables_dir else in_use,
        }

    @classmethod
    def _open_anew(  # type: ignore[override]
        cls, cache_dir: Path, tables_dir: Path, wildcards: bool, loaded_dir: Path | None
    ) -> Self:
        made = cls(cache_dir, wildcards=wildcards, tables_dir=tables_dir)
        if loaded_dir is not None:
            made.load_cache(loaded_dir)
        return made

    def __repr__(self) -> str:
        return f"One ({'offline' if self.offline else 'online'}, {self.cache_dir})"

    # -- properties ------------------------------------------------------------------------------------------------

    @property
    def cache_dir(self) -> Path:
        """The root of the files."""
        return self._source.data_dir

    @cache_dir.setter
    @api_errors
    def cache_dir(self, directory: PathLike) -> None:
        self._set_cache_dir(directory)

    @property
    def mode(self) -> str:
        """The mode in effect: `local` after a fall-back. Set it to request another mode."""
        return Mode.LOCAL.value

    @mode.setter
    @api_errors
    def mode(self, mode: str) -> None:
        _check_local(source_arguments.mode_of(mode))

    @property
    def requested_mode(self) -> str:
        """The mode that was requested."""
        return Mode.LOCAL.value

    @property
    def offline(self) -> bool:
        """Whether the mode in effect is `local`, or there is no database."""
        return True

    @property
    def cache_expiry(self) -> timedelta:
        """The age at which tables are expired."""
        return self._cache_expiry

    @cache_expiry.setter
    def cache_expiry(self, expiry: timedelta) -> None:
        self._cache_expiry = expiry

    # -- tables ----------------------------------------------------------------------------------------------------

    @api_errors
    def load_cache(
        self,
        tables_dir: PathLike | None = None,
        clobber: bool = False,  # noqa: ARG002 - of OneAlyx
        tag: str | None = None,
    ) -> datetime | None:
        """Load the tables of a directory, or again those in use. Returns the time; None if there are no tables.

        Raises `TableError` if they cannot be used; then those in use stay.
        """
        if tag is not None:
            raise NoDatabaseError("The tables of a tag come from a database, and One has none.")
        return self._load(
            self._tables_dir if tables_dir is None else source_arguments.path_of(tables_dir), stacklevel=4
        )

    @api_errors
    def save_cache(self, save_dir: PathLike | None = None, clobber: bool = False, *, force: bool = False) -> None:
        """Save the tables to a directory, else where they are from, merged with those there.

        If nothing was learned or edited, nothing is done. With `clobber` (or `force`) the tables there are replaced.
        Raises `TableError`, `NoRoomError`, or `BusyError` while another process changes them.
        """
        directory = self._tables_dir if save_dir is None else source_arguments.path_of(save_dir)
        self._cache.save(directory, clobber=clobber or force)

    @api_errors
    def reset_cache(self) -> None:
        """Forget what was learned, edited or loaded by hand: back to the tables in the default place."""
        self._load(self._source.tables_dir, stacklevel=4)

    @api_errors
    def refresh_cache(self, mode: str = "auto") -> datetime | None:
        """Read the tables again: for `auto` if they expired, for `refresh` always. Returns the time of loading."""
        asked = source_arguments.mode_of(mode)
        if asked is Mode.REFRESH or (asked is Mode.AUTO and self._is_expired()):
            self._read_again()
        return self._loaded_time

    @classmethod
    @api_errors
    def setup(cls, cache_dir: PathLike | None = None, silent: bool = False, **kwargs: Any) -> "One":
        """Make the tables of a folder, and return a `One` on it; `kwargs` go to `make_parquet_db`.

        Unless `silent`, asks for the folder, and before it replaces tables. Raises `FileNotFoundError` if there is
        no such folder.
        """
        from onefs.api.setup import set_up_folder

        return One(set_up_folder(cache_dir, silent=silent, **kwargs))

    @property
    def _cache(self) -> "Cache":
        cache = self._in_use.cache
        cache.set_expired(self.cache_expiry)
        return cache

    @_cache.setter
    def _cache(self, cache: "Cache") -> None:
        self._in_use.cache = cache

    @property
    def _tables_dir(self) -> Path:
        return self._in_use.tables.files.sessions.parent

    def _reset_cache(self) -> None:
        """Empty the tables."""
        self._in_use.adopt(empty_snapshot(self._tables_dir))
        self._edition = None

    def _update_cache_from_records(self, strict: bool = False, **tables: Any) -> datetime | None:
        """Merge records into the frames, by name of the table. Returns the time; None if there was nothing to merge."""
        return self._cache.merge(strict=strict, **tables)

    def _is_expired(self) -> bool:
        return self._loaded_time is None or datetime.now() - self._loaded_time > self.cache_expiry

    def _load(self, directory: Path, stacklevel: int) -> datetime | None:
        """Use the tables of a directory; ones without rows, and a warning, if there are none there."""
        found = self._find_tables(directory)
        self._in_use.adopt(found.tables)
        return self._use(found, stacklevel + 1)

    def _find_tables(self, directory: Path) -> "_Found":
        """The tables of a directory, indexed. Raises `TableError`."""
        place = Place(directory, self._source.tables_state_dir)
        edition = _edition_of(directory)
        at_hand = load_indexed_tables(place)
        if at_hand is not None:
            return _Found(edition, TABLE_NAMES, at_hand)
        names = usable_tables(place)
        return _Found(edition, names, self._read(place) if names == TABLE_NAMES else empty_snapshot(directory))

    def _use(self, found: "_Found", stacklevel: int) -> datetime | None:
        """Answer from tables that were taken. Where only one can be used, that answers as a frame.

        Warns if there is none. Returns the time of loading.
        """
        directory = found.tables.files.sessions.parent
        if not found.names:
            text = f"There are no cache tables in {directory}, so nothing is found. Make some with One.setup."
            warnings.warn(text, UserWarning, stacklevel=stacklevel)
        elif found.names != TABLE_NAMES:
            self._in_use.use_frames_of(directory)
        self._edition = found.edition
        self._loaded_time = datetime.now() if found.names else None
        return self._loaded_time

    def _read_again(self) -> None:
        """Read the tables again, unless their files are the same."""
        edition = _edition_of(self._tables_dir)
        if edition is not None and edition == self._edition:
            self._loaded_time = datetime.now()
        else:
            self._load(self._tables_dir, stacklevel=5)

    def _read(self, place: Place) -> Snapshot:
        """The two tables in a place, which have no index yet. Raises `TableError`."""
        prepare(self._source)
        with without_pandas():
            check_loadable(place.tables_dir)
            if tables_in(place.tables_dir).datasets.stat().st_size > INDEXED_HERE_BYTES:
                index_tables_in_child(place.tables_dir, place.state_dir)
            return load_snapshot(place.tables_dir, place.state_dir)

    # -- for the mixins --------------------------------------------------------------------------------------------

    def _tables(self, query_type: str | None = None) -> Catalogue:
        """The catalogue that answers one call. Raises `NoDatabaseError` for `remote`, `UsageError` for no mode."""
        mode = Mode.LOCAL if query_type is None else source_arguments.mode_of(query_type)
        if mode is Mode.REMOTE:
            raise NoDatabaseError("A remote query needs a database, and One has none.", "Use OneAlyx.")
        if mode is Mode.REFRESH:
            self._read_again()
        return self._in_use.catalogue

    def _columns(self, query_type: str | None = None) -> Columns:
        """The columns of the catalogue that answers one call, to search in."""
        return self._in_use.columns_of(self._tables(query_type))

    @property
    def _may_fetch(self) -> bool:
        """Whether files may be fetched."""
        return ALLOWED[Mode(self.requested_mode)].fetching

    @property
    def _archive(self) -> "Archive":
        """The files, opened when they are first needed."""
        with self._opening:
            if self._opened is None:
                self._opened = self._open_archive()
            if self._closing is None:
                self._closing = weakref.finalize(self, self._opened.content.close)  # writes down what was verified
            return self._opened

    def begin_anew(self) -> None:
        """Go on in a process that was forked off; what the parent has under way stays its own."""
        if self._closing is not None:
            self._closing.detach()
            self._closing = None
        if self._opened is not None:
            self._opened.begin_anew()
        self._recording = None

    def _open_archive(self) -> "Archive":
        from onefs.archive.archive import Archive

        prepare(self._source)
        return Archive(self._source, self._settings, tables=self._in_use.tables)

    def _urls(self, dataset: Dataset) -> list[str]:
        """Where a dataset can be fetched. Raises `NoDatabaseError` if there is no server."""
        if not self._source.abilities.has_server:
            raise NoDatabaseError(f"{self.cache_dir} is a folder without a server, so there are no URLs.")
        found = [each for each in self._archive.locations.of(dataset) if not each.instead_of]
        urls = [each.url for each in found if each.bucket is None] or [each.url for each in found]
        return [url for url in urls if str(dataset.id) in url] or urls

    def _set_cache_dir(self, directory: PathLike) -> None:
        """Use the files of another folder from now on."""
        chosen = source_arguments.folder(directory, self._tables_dir)
        with self._opening:
            if self._opened is not None:
                self._opened.close()
            if self._closing is not None:
                self._closing.detach()
            self._opened = self._closing = None
            self._source, self._settings = chosen


def _check_local(mode: Mode) -> None:
    if mode not in WITHOUT_DATABASE:
        raise UsageError(f"Mode {mode} needs a database, and One has none.", "Use OneAlyx, or leave the mode out.")


def _edition_of(directory: Path) -> tuple[Stat, ...] | None:
    """Stats of the tables of a directory, to see whether they changed; None if there are none."""
    files = tables_in(directory)
    try:
        return stat_of(files.sessions), stat_of(files.datasets)
    except OSError:
        return None
