"""`Refresher`: which tables a mount serves, and when to renew them: by the clock, before a listing, or as told."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onefs.archive.effect import ModeInEffect
from onefs.catalogue.snapshot import Snapshot, load_snapshot
from onefs.catalogue.table_facts import table_facts
from onefs.errors import BusyError, NewerTablesError, OfflineError, OnefsError, UsageError
from onefs.forks import new_lock
from onefs.jitter import EXPIRY_SHARE, Jitter
from onefs.modes import Mode, ModeState
from onefs.progress import warn
from onefs.sources.origins import Origin
from onefs.sources.source import Source
from onefs.sources.table_index import index_tables_in_child
from onefs.sources.tables import ensure_tables, fetch_again, fetch_if_newer, open_tables
from onefs.sources.tables_at_hand import (
    Place,
    are_at_hand,
    are_saved,
    check_loadable,
    load_tables,
    minute_of,
    version_warning,
)
from onefs.text import moment

if TYPE_CHECKING:
    from onefs.sources.folder_tables import TablesNote

LONGEST_LOOK_S = 5.0
"""How soon it is seen that the mode, or the tables, have become others."""

WAIT_S = 30.0
"""How long whoever wants something of the tables waits for a renewal, or a change, that is under way."""

DOUBT_PAUSE_S = 10.0
"""How long a server that answered is trusted, whatever files it does not give."""

SET_BACK_S = 1.0
"""By how much the clock must have been set back for that to count."""

_log = logging.getLogger(__name__)


class Refresher:
    """The tables of one mount, as its `mode` allows. Safe to use from several threads.

    `origin_of` makes where newer tables come from, of all datasets or of a tag; None without a server for them.
    `adopt` puts each new snapshot in use, one at a time; what it gives tells the kernel, and is called when the next
    may come. Any failure leaves the old one serving.
    """

    def __init__(
        self,
        source: Source,
        origin_of: Callable[[str], Origin] | None,
        snapshot: Callable[[], Snapshot],
        adopt: Callable[[Snapshot], Callable[[], None]],
        *,
        expiry_s: float,
        interval_s: float,
        on_recovery: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
        jitter: Jitter | None = None,
    ) -> None:
        """Asks nobody yet. Raises `UsageError` if the source's tag can be none.

        `jitter` delays checks, so that many mounts do not ask together: the first one after the start a little, each
        later one by up to a tenth of `expiry_s`.
        """
        self._source = source
        self._origin_of = origin_of
        self._snapshot = snapshot
        self._adopt = adopt
        self.expiry_s = expiry_s  # may be set
        self._interval_s = interval_s
        self._clock = clock
        self._jitter = jitter or Jitter()
        self._drawn = self._jitter.draw()  # anew for each check
        self._begun_s = float("-inf")  # when the first tables were opened
        self._busy = new_lock()  # held while tables are renewed, changed or saved; guards all below
        self._tell: Callable[[], None] | None = None  # what the kernel is to be told of
        self._home = self._full().of_tag(source.tag)
        self._place = self._home
        self._is_loaded = False  # whether a user's own tables are in use, which no newer ones may replace
        self._asked_s = 0.0  # when the server last said that these are its newest
        self.checked_s = 0.0
        """When the server was last asked for newer tables, whatever came of it; 0 for never."""
        self._taken_s = 0.0
        self._saved_s = 0.0
        self._is_doubted = False
        self._difference = ""
        self._of_files: TablesNote | None = None  # the note of the tables in use, if they were made of a folder's files
        self.refused = ""  # why the server's newest tables were not taken; "" if they were
        self.mode = ModeInEffect(source.mode, clock, on_recovery, self._jitter, renews_in_any_mode=source.is_indexed)

    @property
    def state(self) -> ModeState:
        """The mode that was asked for, and that in effect."""
        return self.mode.state

    def switch(self, mode: Mode) -> None:
        """Be in another mode from now on."""
        self.mode.switch(mode)

    # What the mount calls

    def open_tables(self) -> Snapshot:
        """The tables to begin with: those at hand, for which no network is needed, else the server's or the folder's.

        Raises `OfflineError` if there are none in mode local, `TableError`, or what is wrong with the server.
        """
        with self.alone():
            origin = self._origin(self._place)
            if self._origin_of is not None and origin is None and not are_at_hand(self._place):
                raise OfflineError(
                    f"There are no cache tables of {self._source.name} in {self._place.tables_dir}, "
                    "and mode local asks no server.",
                    "Mount it once with --mode auto.",
                )
            snapshot = self._kept_tables() if self._source.is_indexed else open_tables(self._place, origin)
            self._taken_s = self._begun_s = self._clock()
            warning = version_warning(snapshot.metadata)
            if warning:
                warn(_log, warning)
            return snapshot

    def begin_with(self, tables: Snapshot) -> Snapshot:
        """The same tables, opened by the caller, such as those of a folder, or ones without rows."""
        self._taken_s = self._begun_s = self._clock()
        return tables

    def refresh(self) -> bool:
        """Ask for newer tables now, or look for changes in the folder, and take them; whether there were any.

        Waits for a renewal that is under way. Raises `BusyError`; `UsageError` where there is nobody to ask or nothing
        is to be asked for; `OfflineError` in mode local; or what went wrong.
        """
        self._check_may_renew()
        with self.alone():
            self._check_may_renew()  # the mode, or the tables, may have become others
            return self._renew()

    def take_newest(self) -> bool:
        """Ask for newer tables now, whatever the mode, and take them if there are; whether there were.

        Raises `BusyError`; `UsageError` where there is nobody to ask or tables are not to be replaced; or what went
        wrong.
        """
        self._check_replaceable()
        with self.alone():
            self._check_replaceable()
            return self._renew(in_any_mode=True)

    @property
    def is_expired(self) -> bool:
        """Whether the tables in use are older than `expiry_s`, or a server that did not answer may be asked again."""
        now_s = self._clock()
        return self._due_s() <= now_s or self._was_set_back(now_s)

    def refresh_if_due(self) -> float:
        """Renew the tables if the mode asks for it and they have expired; seconds until this should be asked again."""
        if not self._renews_itself():
            return LONGEST_LOOK_S
        self._renew_if(lambda: self._renews_itself() and self.is_expired)
        return min(max(self._due_s() - self._clock(), 0.0), LONGEST_LOOK_S)

    def check_before_listing(self) -> None:
        """Before a listing in mode refresh: ask for newer tables, at most every `interval_s`. Failures are told.

        Such a listing may be one in `via/refresh`, whatever the mount's mode; but in those that take no new tables
        nobody is asked.
        """
        self._renew_if(lambda: self._renews_itself() and self._may_check() and not self._source.is_indexed)

    def doubt(self) -> None:
        """A server did not give a file: it is asked for tables soon, so that the mode in effect is told as it is."""
        now_s = self._clock()
        self._is_doubted |= now_s >= self.checked_s + DOUBT_PAUSE_S or self._was_set_back(now_s)

    def look_soon(self) -> None:
        """Have newer tables asked for, or the folder's files looked at, at the next check, however new the tables."""
        self._is_doubted = True

    # What a user tells it

    @property
    def tag(self) -> str:
        """The release that the tables in their place are restricted to, "" if to none."""
        return self._place.tag

    def reopen(self, *, clobber: bool = False) -> None:
        """Serve the tables as they stand in their place now; with `clobber` the server's, whatever stands there.

        Raises what is wrong with the server or with the tables; then those in use stay.
        """
        with self.alone():
            origin = self._origin(self._place, in_any_mode=clobber)
            if clobber and origin is not None:
                fetch_again(self._place, origin)
            else:
                ensure_tables(self._place, origin)
            self._take(self._place)

    def use_tag(self, tag: str) -> None:
        """Serve the tables restricted to a tag: those at hand, else the database's. "": those of all datasets.

        Raises `UsageError` if there can be no such tables, `OfflineError`, or what is wrong with the server.
        """
        if not self._source.abilities.has_database:
            raise UsageError(f"{self._source.name} has no database that knows tags.", "Mount a source that has one.")
        with self.alone():
            place = self._full().of_tag(tag)
            origin = self._origin(place)
            if origin is None and not are_at_hand(place):
                raise OfflineError(
                    f"The tables of the tag {tag} are not at hand, and mode local asks no server.",
                    "Switch to mode auto first: onefs mode auto.",
                )
            ensure_tables(place, origin)
            self._take(place)

    def load(self, directory: Path | None = None) -> None:
        """Serve the tables of a directory, such as saved ones; None: those that stand in the cache now.

        They stay until `reset`, or `use_tag`. Raises `TableError` if they cannot be used.
        """
        with self.alone():
            place = self._place if directory is None else replace(self._full(), tables_dir=directory)
            check_loadable(place.tables_dir)
            self._take(place, is_loaded=True)

    def reset(self) -> None:
        """Serve the downloaded tables again, as at the start. Saved results among them are replaced, if possible."""
        with self.alone():
            if self._source.is_indexed:
                self._of_files = None  # whatever was saved into the tables
                self._look_at_files()
                return
            origin = self._origin(self._home)
            ensure_tables(self._home, origin)
            if self._origin_of is not None and are_saved(self._home):
                self._replace_saved(origin)
            self._take(self._home)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """A block in which nobody else renews, changes or saves tables. Raises `BusyError`.

        The kernel is told at its end, and not before others may go on: it may itself be waiting for their answers.
        """
        if not self._busy.acquire(timeout=WAIT_S):
            raise BusyError(
                "The tables are being renewed, changed or saved.", "Try again once that is done: onefs status shows it."
            )
        try:
            yield
        finally:
            tell, self._tell = self._tell, None
            self._busy.release()
            if tell is not None:
                tell()

    def noted_saved(self) -> None:
        """The tables have been saved just now."""
        self._saved_s = self._clock()

    def facts(self) -> dict[str, Any]:
        """What status says of the tables."""
        snapshot = self._snapshot()
        expires_s = max(self._asked_s, self.made_s) + self.expiry_s
        facts: dict[str, Any] = {
            "directory": str(snapshot.files.sessions.parent),
            "tag": ", ".join(snapshot.metadata.tags),
            "loaded": moment(self._taken_s),
            "checked": moment(self.checked_s),
            "saved": moment(self._saved_s),
            "expired": self._clock() > expires_s,
            "indexed": self._source.is_indexed and not self._is_loaded,
            **table_facts(snapshot),
        }
        if self._source.is_frozen:
            facts["resting"] = "these are the tables of a replay"
        elif self._is_loaded:
            facts["resting"] = "these tables stay until they are reset"
        return facts | ({"warning": self.warning} if self.warning else {})

    @property
    def warning(self) -> str:
        """What is odd about the tables in use: they are from elsewhere, or for a newer reader; "" if nothing is."""
        left_out = "" if self._of_files is None else self._of_files.warning
        return " ".join(filter(None, (left_out, self._difference, version_warning(self._snapshot().metadata))))

    # How it is done

    def _renew_if(self, is_wanted: Callable[[], bool]) -> None:
        """Renew, unless whoever had to be waited for did that, or changed mode or tables. Failures are told."""
        if not is_wanted():
            return
        try:
            with self.alone():
                if is_wanted():
                    self._renew()
        except BusyError as error:
            _log.info("%s", error)
        except OnefsError as error:
            _log.warning("The tables could not be renewed: %s", error)

    def _renew(self, *, in_any_mode: bool = False) -> bool:
        """Ask, and take what is newer; whether there was something. Failures go into the state, and are raised."""
        origin = self._origin(self._place, in_any_mode=in_any_mode)
        if origin is None and not self._source.is_indexed:
            return False
        try:
            is_new = self._look_at_files() if origin is None else self._fetch_newer(origin, in_any_mode=in_any_mode)
            self.refused = ""
        except NewerTablesError as error:
            self.refused, is_new = str(error), False
        except OnefsError as error:
            self.mode.failed(error)
            raise
        finally:
            self.checked_s, self._is_doubted, self._drawn = self._clock(), False, self._jitter.draw()
            self._begun_s = min(self._begun_s, self.checked_s)
        self._asked_s = self.checked_s
        self.mode.recovered()
        return is_new

    def _fetch_newer(self, origin: Origin, *, in_any_mode: bool) -> bool:
        """Take the origin's tables if they are newer; whether they were."""
        if not fetch_if_newer(self._place, origin, self._snapshot().metadata.created):
            return False
        snapshot = self._indexed(self._place)
        if in_any_mode or self.mode.renews:
            self._use(snapshot, self._place)
            return True
        _log.info("There are newer tables; mode %s takes none", self.state.requested)
        return False

    def _kept_tables(self) -> Snapshot:
        """The tables that are kept of the folder's files, as if they had been made just now by this."""
        from onefs.sources.folder_tables import kept_tables  # what indexes is no use for other sources

        snapshot, noted = kept_tables(self._source)
        self._asked_s = self.checked_s = noted.looked_s
        self._of_files = noted
        return snapshot

    def _look_at_files(self) -> bool:
        """Take tables of the folder's files as they are now; whether anything had changed."""
        from onefs.sources.folder_tables import renewed_tables

        before = self._of_files
        snapshot, self._of_files = renewed_tables(self._source)
        is_new = before is None or before.stats != self._of_files.stats
        if is_new:
            self._use(snapshot, self._place)
        return is_new

    def _take(self, place: Place, *, is_loaded: bool = False) -> None:
        self._use(self._indexed(place, is_loaded=is_loaded), place, is_loaded=is_loaded)

    def _indexed(self, place: Place, *, is_loaded: bool = False) -> Snapshot:
        index_tables_in_child(place.tables_dir, place.state_dir)
        return load_snapshot(place.tables_dir, place.state_dir) if is_loaded else load_tables(place)

    def _use(self, snapshot: Snapshot, place: Place, *, is_loaded: bool = False) -> None:
        difference = _difference(self._snapshot(), snapshot)
        self._tell = self._adopt(snapshot)
        self._difference = difference
        if self.warning:
            _log.warning("%s", self.warning)
        self._taken_s = self._clock()
        if (place, is_loaded) != (self._place, self._is_loaded):
            self._asked_s = self.checked_s = 0.0
        self._place = place if not is_loaded else self._place
        self._is_loaded = is_loaded

    def _full(self) -> Place:
        return Place(self._source.tables_dir, self._source.tables_state_dir)

    def _replace_saved(self, origin: Origin | None) -> None:
        try:
            if origin is None:
                raise OfflineError("Mode local asks no server.", "Switch to mode auto first: onefs mode auto.")
            fetch_again(self._home, origin)
        except OnefsError as error:
            _log.warning("The saved tables stay, as those of the server cannot be had: %s", error)

    def _origin(self, place: Place, *, in_any_mode: bool = False) -> Origin | None:
        """Where tables are to be had, None if there is no such server, or none may be asked."""
        if self._origin_of is None or (self.state.requested is Mode.LOCAL and not in_any_mode):
            return None
        return self._origin_of(place.tag)

    def _check_may_renew(self) -> None:
        self._check_replaceable()
        mode = self.state.requested
        if self.mode.renews:
            return
        if mode is Mode.LOCAL:
            raise OfflineError(
                "Mode local asks no server for newer tables.", "Switch to mode auto first: onefs mode auto."
            )
        raise UsageError(f"Mode {mode} takes no new tables.", "Switch to mode auto first: onefs mode auto.")

    def _check_replaceable(self) -> None:
        if self._source.is_frozen:
            raise UsageError(
                "These are the tables of a replay, and stay as they are.", f"Mount {self._source.name} for newer ones."
            )
        if self._origin_of is None and not self._source.is_indexed:
            raise UsageError(
                f"{self._source.name} has no server to ask for newer tables.", "Put new ones there, and mount it again."
            )
        if self._is_loaded:
            raise UsageError(
                "The tables in use were loaded from a directory, and stay.",
                "Go back to the server's: onefs tables reset.",
            )

    def _renews_itself(self) -> bool:
        has_newer = self._origin_of is not None or self._source.is_indexed
        return self.mode.renews and has_newer and not self._is_loaded

    def _may_check(self) -> bool:
        now_s = self._clock()
        return now_s >= self.checked_s + self._interval_s or self._was_set_back(now_s)

    def _was_set_back(self, now_s: float) -> bool:
        """Whether the clock shows a time before the last check or the start: then no time that was set in it holds."""
        return now_s < max(self.checked_s, self._begun_s) - SET_BACK_S

    def _due_s(self) -> float:
        if self.state.reason:
            return self.state.retry_s  # however new the tables are
        if self._is_doubted:
            return 0.0
        longest_s = self.expiry_s * EXPIRY_SHARE
        first_s = self._begun_s + min(self._jitter.first_max_s, longest_s) * self._drawn
        return max(first_s, max(self._asked_s, self.made_s) + self.expiry_s + longest_s * self._drawn)

    @property
    def made_s(self) -> float:
        """When the tables in use were made: not after they were taken, even if the server's clock is ahead of UTC."""
        return min(minute_of(self._snapshot().metadata.created).timestamp(), self._taken_s)


def _difference(old: Snapshot, new: Snapshot) -> str:
    """A warning if tables are from elsewhere than those before; "" if not."""
    before, after = old.metadata, new.metadata
    if not before.origin or not after.origin or set(before.origin.split(", ")) & set(after.origin.split(", ")):
        return ""
    return f"The tables in use are from {after.origin}, those of {before.created} were from {before.origin}."
