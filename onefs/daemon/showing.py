"""`Showing`: what a mount shows: another forest whenever its tables, its mode or what it learned change."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from uuid import UUID

from onefs.alf import TABLE_NAMES, calendar_date
from onefs.archive.archive import DEFAULT_VIEW, rule_of
from onefs.archive.catalogues import Catalogues, Known
from onefs.archive.probes import Probes
from onefs.archive.searches import Searches, searches_of_database
from onefs.catalogue.changes import Changes, compare
from onefs.catalogue.interface import Catalogue
from onefs.catalogue.records import QC
from onefs.catalogue.revisions import Rule
from onefs.catalogue.snapshot import Snapshot
from onefs.digests import digest64
from onefs.errors import OnefsError
from onefs.fuse.notify import Notifier
from onefs.modes import ALLOWED, Abilities, Mode, check
from onefs.setting_values import revision_bound
from onefs.settings import Settings
from onefs.sources.releases import Releases
from onefs.vfs import inodes
from onefs.vfs.entered import Group, Numbers
from onefs.vfs.filesystem import FileSystem
from onefs.vfs.forest import Forest
from onefs.vfs.handles import DiskFile
from onefs.vfs.links import resolvers
from onefs.vfs.nodes import Directory, SpecialFile
from onefs.vfs.queries import Queries
from onefs.vfs.sessions import SessionsKept
from onefs.vfs.staleness import Name
from onefs.vfs.tree import Tree
from onefs.vfs.views import View

if TYPE_CHECKING:
    from onefs.alyx.client import AlyxClient
    from onefs.archive.database_searches import DatabaseSearches
    from onefs.archive.questions import AlyxQuestions

VIA, AS_OF, TAG = "via", "as-of", "tag"
DEFAULT_NUMBER = 8
TAG_NUMBERS, DATE_NUMBERS = range(16, 80), range(80, 1 << inodes.VIEW_BITS)
FOLDERS_KEPT_OF_EACH = 1000
WORK_S = REST_S = 0.002
SHORTEST_S = 1.0
"""How long even answers that are not to be kept are good for, lest every name of a listing asks."""
_log = logging.getLogger(__name__)


class Showing:
    """The catalogues of one mount as a forest. Safe to use from several threads.

    The file system's forest is replaced whole; programs that are inside the old one end there.
    """

    def __init__(
        self,
        tables: Snapshot,
        client: "AlyxClient | None",
        control: Directory,
        abilities: Abilities,
        mode: Callable[[], Mode],
        check_for_tables: Callable[[], None],
        heard: Callable[[OnefsError | None], None],
        file_system: Callable[[], FileSystem],
        notifier: Notifier,
        settings: Settings,
        releases: Releases,
        state_dir: Path,
    ) -> None:
        """`mode` is the one asked for; `check_for_tables` is called before a listing in mode refresh.

        `heard` is told that the database answered a question, or why not. Raises `CacheDamagedError`.
        """
        self._client = client
        self._control = control
        self._modes = [each for each in Mode if _is_possible(each, abilities)]
        self._mode = mode
        self._check_for_tables = check_for_tables
        self._file_system = file_system
        self._notifier = notifier
        self._releases = releases
        self._numbers = Numbers(self._too_many_entered)
        self._lists_control = settings.control_dir == "visible"
        questions = None if client is None else self._questions
        self.catalogues = Catalogues(tables, questions, self._learned, heard, expiry_s=self._expiry_s)
        self._database_searches = searches_of_database(client, self.catalogues)
        searches = Searches(lambda: self.catalogues.at_rest, state_dir, self._searches_asked)
        self._queries = Queries(control, searches)
        self._lock = threading.RLock()  # held while one forest takes another's place; guards those below
        self.rule = rule_of(settings)
        self._has_told_doubled = False
        self._files = _table_files(tables)
        self._shown_at_rest: Catalogue = tables
        _tell_left_out(tables)

    def forest(self) -> Forest:
        """What is to be shown now."""
        self._shown_at_rest = self.catalogues.at_rest
        rule, mode, kept = self.rule, self._mode(), SessionsKept()
        root = self._tree(View(0, rule), mode, kept)
        via = {each.value: self._tree(View(number, rule), each, kept) for number, each in enumerate(self._modes, 1)}
        default = self._tree(View(DEFAULT_NUMBER, replace(rule, default_only=True)), mode, kept)
        links = resolvers(root.catalogue, self._eid_of_pid)
        return Forest(
            root,
            self._control,
            {VIA: via, "": {DEFAULT_VIEW: default}},
            links,
            groups=(self._dates(root, rule, kept), self._tags(rule, kept)),
            numbers=self._numbers,
            queries=self._queries,
            lists_control=self._lists_control,
        )

    def facts(self) -> dict[str, Any]:
        """The rule of the mount's root, as JSON values."""
        rule = self.rule
        return {
            "view": DEFAULT_VIEW if rule.default_only else "full",
            "as_of": rule.as_of or None,
            "qc": rule.qc_limit.name,
            "ignore_qc_not_set": rule.ignore_qc_not_set,
        }

    def adopt(self, tables: Snapshot) -> Callable[[], None]:
        """Let new tables take the old ones' place. Gives what has the kernel forget what is different in them.

        That waits for the kernel, which may be waiting for a listing: call it while holding nothing that one needs.
        Raises `CacheDamagedError`; then the old ones stay.
        """
        with self._lock:
            files, changes = _table_files(tables), compare(self.catalogues.tables, tables)
            self.catalogues.adopt(tables)
            self._files = files
            self._has_told_doubled = False
            old, new = self._swap()
        _tell_left_out(tables)
        _log.info("The catalogue is of %s now; %d sessions changed", tables.metadata.created, len(changes.sessions))
        return lambda: self._notifier.names_changed(_giving_way(self._changed(new.stale_names(old, changes))))

    def renew(self) -> None:
        """Show what the mode asks for now. What is known stays the same."""
        with self._lock:
            old, new = self._swap()
            names = [*new.renewed_names(old), *self._file_system().absences.take()]
        self._notifier.names_changed(self._changed(names))

    def ask_again(self) -> None:
        """Expire all answers of the database, so that it is asked again for each folder that is listed."""
        if self._client is not None:
            self._client.expire_responses()
        self.catalogues.expire()
        if self._database_searches is not None:
            self._database_searches.expire()

    def show(self, *, as_of: str | None = None, qc_limit: QC | None = None) -> None:
        """Show the archive as of another date, "" for none, or up to another limit. Files that are open stay so."""
        with self._lock:
            changed = replace(self.rule, qc_limit=self.rule.qc_limit if qc_limit is None else qc_limit)
            self.rule = changed if as_of is None else replace(changed, as_of=as_of)
            old, new = self._swap()
        self._notifier.names_changed(self._changed(new.rule_changed_names(old)))

    def renew_files(self) -> None:
        """Show the files of the tables as they are now. Raises `CacheDamagedError`."""
        with self._lock:
            self._files = _table_files(self.catalogues.tables)
        self.renew()

    def _changed(self, names: Iterable[Name]) -> Iterator[Name]:
        """Names to invalidate in the kernel: their folders get new versions first."""
        return self._file_system().folders.changed(names)

    def _swap(self) -> tuple[Forest, Forest]:
        """The forest that was shown, and that which is from now on."""
        file_system = self._file_system()
        old, new = file_system.forest, self.forest()
        file_system.forest = new
        return old, new

    def _learned(self, edition: int, changes: Changes) -> None:
        """The database told something, to a thread that is answering the kernel: it may not wait for that."""
        with self._lock:
            if not self.catalogues.takes(edition):
                return
            names: list[Name] = []
            if self._shown_at_rest is not self.catalogues.at_rest:
                old, new = self._swap()  # the tables alone are no longer all that is known
                names += new.turned_live(old)
            names += self._file_system().learned(changes)
        names = list(self._changed(names))
        self._notifier.listings_changed({name.parent_ino for name in names})
        self._notifier.tell_names(names)

    def _tree(self, view: View, mode: Mode, kept: SessionsKept) -> Tree:
        catalogue = self.catalogues.asking if ALLOWED[mode].live_catalogue else self.catalogues.at_rest
        before_listing = self._check_for_tables if mode is Mode.REFRESH else None
        # A view of default editions has other names than the tables tell.
        files = {} if view.number and view.rule.default_only else self._files
        return Tree(catalogue, view, files, before_listing=before_listing, kept=kept, on_doubled=self._tell_doubled)

    def _dates(self, root: Tree, rule: Rule, kept: SessionsKept) -> Group:
        """The archive up to any date or other text, which counts in place of the mount's own."""
        catalogue, before_listing = root.catalogue, root.before_listing

        def make(name: str, number: int) -> Tree:
            view = View(number, replace(rule, as_of=_bound_of(name), default_only=True))
            return Tree(
                catalogue,
                view,
                {},
                before_listing=before_listing,
                kept=kept,
                folders_kept=FOLDERS_KEPT_OF_EACH,
            )

        def wanted(name: str) -> int | None:
            bound = _bound_of(name)
            day = calendar_date(bound)
            if day is not None:
                return day.toordinal()
            return digest64([bound.encode()]) if bound else None

        return Group(AS_OF, DATE_NUMBERS, wanted, make, lambda: sorted(catalogue.revision_dates), catalogue.may_ask)

    def _tags(self, rule: Rule, kept: SessionsKept) -> Group:
        """The datasets of each release, every edition that it has."""
        releases = self._releases

        def make(name: str, number: int) -> Tree:
            tables = releases.tables(name)
            view = View(number, replace(rule, default_only=False))
            return Tree(tables, view, _table_files(tables), kept=kept, folders_kept=FOLDERS_KEPT_OF_EACH)

        def wanted(name: str) -> int:
            return digest64([name.encode(errors="surrogateescape")])

        return Group(TAG, TAG_NUMBERS, wanted, make, releases.at_hand, may_ask=True, own_catalogues=True)

    def _too_many_entered(self, names: list[tuple[str, str]]) -> None:
        forest = self._file_system().forest
        self._notifier.tell_names([forest.name_in_group(group, name) for group, name in names])

    def _tell_doubled(self, path: str) -> None:
        """Once for each edition of the tables: who keeps them has more to look at than one file."""
        if not self._has_told_doubled:
            self._has_told_doubled = True
            _log.warning("Several editions of %s are marked as the default; the greatest is taken", path)

    def _expiry_s(self) -> float:
        """How long answers are good for: as long as the client would keep them."""
        client = self._client
        return max(client.default_expiry_s, SHORTEST_S) if client is not None and client.cache_rest else SHORTEST_S

    def _questions(self, known: Known) -> "AlyxQuestions":
        from onefs.archive.questions import AlyxQuestions

        assert self._client is not None
        return AlyxQuestions(self._client, known, self.catalogues.tag)

    def _searches_asked(self) -> "DatabaseSearches | None":
        """What answers searches in place of the catalogue, in the mode that is asked for."""
        return self._database_searches if ALLOWED[self._mode()].live_catalogue else None

    def _eid_of_pid(self, pid: UUID) -> UUID | None:
        found = Probes(self.catalogues.tables.insertions, self._client, self._mode()).find(pid)
        return None if found is None else found[0]


def _bound_of(name: str) -> str:
    """The bound of revisions that a folder of as-of is named by, with %2F for /; "" if it is no name of one."""
    if name.startswith("."):  # programs look for hidden files everywhere; %2E is a dot, too
        return ""
    try:
        return revision_bound(unquote(name, errors="surrogateescape"))
    except ValueError:
        return ""


def _giving_way(names: Iterator[Name]) -> Iterator[Name]:
    """The same names, with a pause after each bit of work: one thread at a time runs Python, and readers come first."""
    begun_s = time.monotonic()
    for name in names:
        yield name
        if time.monotonic() - begun_s > WORK_S:
            time.sleep(REST_S)
            begun_s = time.monotonic()


def _is_possible(mode: Mode, abilities: Abilities) -> bool:
    try:
        check(mode, "", abilities)
    except OnefsError:
        return False
    return True


def _tell_left_out(tables: Snapshot) -> None:
    for reason, left in tables.left_out.items():
        _log.warning(
            "Not in the tree as the tables have it: %d × %s, such as %s",
            left.count,
            reason,
            ", ".join(left.examples[:3]),
        )


def _table_files(tables: Snapshot) -> dict[str, SpecialFile]:
    """The tables as the root shows them. Their number is their edition's, so that a refresh cannot mix two."""
    files: dict[str, SpecialFile] = {}
    for name in TABLE_NAMES:
        file = DiskFile(tables.files.sessions.with_name(name))
        size_bytes, time_ns, _ = file.edition
        ino = inodes.special_ino(digest64([repr((name, file.edition)).encode()]))
        files[name] = SpecialFile(ino, name, name, file.again, size_bytes, time_ns // 1_000_000_000)
    return files
