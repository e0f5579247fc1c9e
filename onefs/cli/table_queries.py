"""`TableQueries`: queries answered from tables: those of a source without a mount, or those that a mount uses."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onefs.alf import Reference
from onefs.archive.saved_searches import SavedSearches
from onefs.archive.searches import Searches
from onefs.catalogue.filters import Filter
from onefs.catalogue.identifiers import FORMS, identifier_of, resolve
from onefs.catalogue.interface import Catalogue
from onefs.catalogue.records import Dataset, Session
from onefs.catalogue.revisions import Rule
from onefs.catalogue.shown_datasets import ShownDatasets
from onefs.errors import NotInCatalogueError, UsageError

if TYPE_CHECKING:
    from uuid import UUID

    from onefs.archive.reading import Reading
    from onefs.catalogue.insertions import Insertion


class TableQueries:
    """Queries of a catalogue, which asks its database in mode remote."""

    def __init__(
        self, catalogue: Catalogue, state_dir: Path, searches: Searches, rule: Rule, *, mountpoint: Path | None = None
    ) -> None:
        """`rule` says what the tree shows; `mountpoint`, if given, is printed before paths."""
        self.saved = SavedSearches(state_dir)
        self._catalogue = catalogue
        self._searches = searches
        self._rule = rule
        self._mountpoint = mountpoint

    def path(self, inside: str) -> str:
        """A path in the archive as it is printed: in a mount, whole."""
        return inside if self._mountpoint is None else f"{self._mountpoint}/{inside}"

    def search(self, words: Sequence[str]) -> list[Session]:
        """The sessions that meet all terms, newest first."""
        found = self._searches.search(words)
        return [found.catalogue.session(row) for row in found.rows.tolist()]

    def n_left_out(self, words: Sequence[str]) -> int:
        """The number of sessions that meet all terms and have no place in the tree."""
        return self._searches.search(words).n_left_out

    def named(self, word: str) -> list[Session]:
        """The sessions of an eid, a reference or a path. Raises `NotInCatalogueError`, `UsageError`."""
        identifier = identifier_of(word)
        if identifier is None:
            raise no_session(word)
        found = resolve(self._catalogue, identifier, _no_insertion)
        rows = found.sessions or [
            row for each in found.datasets if each.eid and (row := self._catalogue.session_of_eid(each.eid)) is not None
        ]
        if not rows:
            raise NotInCatalogueError(f"There is no session {word}.", "Search for it: onefs search subject=…")
        return [self._catalogue.session(row) for row in rows]

    def of_reference(self, reference: Reference) -> list[Session]:
        """The sessions of a reference, one for each lab that has it."""
        return [self._catalogue.session(row) for row in self._catalogue.sessions_of_ref(*reference)]

    def lists(self, filter: Filter, *, default_only: bool) -> "TableLists":  # noqa: A002
        """The datasets that the tree shows and that pass the filter."""
        prefix = "" if self._mountpoint is None else f"{self._mountpoint}/"
        return TableLists(ShownDatasets(self._catalogue, self._rule, filter, default_only), prefix)


@dataclass(frozen=True, slots=True)
class TableLists:
    """The datasets that are shown of a catalogue. `prefix` is printed before paths."""

    shown: ShownDatasets
    prefix: str

    def datasets(self, sessions: Sequence[Session] | None) -> Iterator[tuple[str, Dataset]]:
        """Each dataset with its path as it is printed."""
        rows = self._rows(sessions)
        for path, dataset in self.shown.datasets(self.shown.all_sessions() if rows is None else rows):
            yield f"{self.prefix}{path}", dataset

    def aggregates(self) -> Iterator[tuple[str, Dataset]]:
        """Each dataset of no session, with its path as it is printed."""
        catalogue = self.shown.catalogue
        if catalogue.may_ask:
            catalogue.folders(0)  # asks the database for aggregates, too
        row = catalogue.aggregates
        for path, dataset in self.shown.datasets([] if row is None else [row]):
            yield f"{self.prefix}{path}", dataset

    def blocks(self, sessions: Sequence[Session] | None, end: bytes) -> Iterator[bytes | memoryview]:
        """Blocks of paths as they are printed, each path followed by `end`."""
        return self.shown.blocks(self._rows(sessions), self.prefix.encode(errors="surrogateescape"), end)

    def rel_paths(self, sessions: Sequence[Session] | None) -> set[str]:
        """The distinct paths of datasets inside their sessions."""
        return self.shown.rel_paths(self._rows(sessions))

    def names(self) -> tuple[set[str], set[str]]:
        """The names of all labs and of all subjects."""
        return self.shown.names()

    def _rows(self, sessions: Sequence[Session] | None) -> list[int] | None:
        if sessions is None:
            return None
        rows = (self.shown.catalogue.session_of_eid(session.eid) for session in sessions)
        return [row for row in rows if row is not None]


def queries_of_source(found: "Reading", rule: Rule) -> TableQueries:
    """The queries of a source without a mount."""
    return TableQueries(found.catalogue, found.archive.source.state_dir, found.searches, rule)


def no_session(word: str) -> UsageError:
    """The error for a word that is neither a search term nor an identifier of a session."""
    return UsageError(
        f"{word!r} is neither a search term nor an identifier of a session.", f"Write TERM=VALUE. {FORMS}"
    )


def _no_insertion(pid: "UUID") -> "Insertion | None":
    del pid
    return None
