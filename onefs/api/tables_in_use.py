"""`TablesInUse`: the tables of a `One`: an index with what was learned, or, once they are used, pandas frames."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from onefs.archive.catalogues import Catalogues, Known
from onefs.catalogue.interface import Catalogue, Learned, Questions
from onefs.catalogue.query import Columns, columns_of
from onefs.catalogue.records import Dataset, Session
from onefs.catalogue.snapshot import Snapshot
from onefs.errors import OnefsError
from onefs.forks import new_rlock
from onefs.frames.cache import Cache
from onefs.frames.further import FurtherColumns, FurtherOfFile, FurtherOfFrame
from onefs.memory import without_pandas

if TYPE_CHECKING:
    from onefs.catalogue.silent import SilentSnapshot


@dataclass(frozen=True, slots=True)
class Database:
    """A database that adds to the tables. `questions` makes the object that asks it.

    `on_answer` is called after each answer, with the error or None. `expiry_s` gives how long an answer is good for.
    """

    questions: Callable[[Known], Questions]
    on_answer: Callable[[OnefsError | None], None]
    expiry_s: Callable[[], float]


class TablesInUse:
    """The tables of one object. Safe to use from several threads.

    Until a frame is touched the index answers, with what the database told; from then on the frames do, edits included.
    """

    def __init__(self, tables: Snapshot, database: Database | None = None) -> None:
        self._catalogues = Catalogues(
            tables,
            database.questions if database else None,
            lambda edition, changes: self._note_learned(edition),  # noqa: ARG005
            database.on_answer if database else _ignore,
            expiry_s=database.expiry_s if database else _never,
        )
        self._lock = new_rlock()  # guards those below
        self._cache: Cache | None = None
        self._columns: tuple[Catalogue, Columns] | None = None
        self._further: dict[str, FurtherOfFile] = {}  # by table
        self._insertions: list[Mapping[str, Any]] = []  # learned, and in no frame yet

    @property
    def tables(self) -> Snapshot:
        """The tables as they were read."""
        return self._catalogues.tables

    @property
    def catalogue(self) -> Catalogue:
        """The catalogue of what is known. Asks no database."""
        cache = self._cache
        if cache is None or not cache.is_touched:
            return self._catalogues.at_rest
        return cast("Catalogue", cache.catalogue())  # it has the methods that are used here

    @property
    def asking(self) -> Catalogue:
        """The catalogue that asks the database."""
        return self._catalogues.asking

    def columns_of(self, catalogue: Catalogue) -> Columns:
        """The columns of one of the catalogues above, to search in."""
        if not isinstance(catalogue, Snapshot):
            return cast("SilentSnapshot", catalogue).columns()
        known = self._columns
        if known is None or known[0] is not catalogue:
            known = self._columns = catalogue, columns_of(catalogue)
        return known[1]

    def further(self, table: str) -> FurtherColumns:
        """The columns of `sessions` or `datasets` that the index does not keep."""
        with self._lock:
            if self._cache is not None and self._cache.is_touched:
                return FurtherOfFrame(self._cache[table], table)
            known = self._further.get(table)
            if known is None:
                file = getattr(self.tables.files, table) if self.tables.metadata.created else None
                known = self._further[table] = FurtherOfFile(file, table)
            return known

    @property
    def cache(self) -> Cache:
        """The frames. Each is made when it is first touched."""
        with self._lock:
            if self._cache is None:
                tables = self.tables
                directory = tables.files.sessions.parent if tables.metadata.created else None
                with without_pandas():
                    self._cache = Cache(directory, self)
            self._merge_insertions()
            return self._cache

    @cache.setter
    def cache(self, cache: Cache) -> None:
        with self._lock:
            self._cache = cache

    def use_frames_of(self, directory: Path) -> None:
        """Answer from the frames of a directory, whose tables no index is made of."""
        with self._lock:
            self._cache = Cache(directory, self)
            self._cache["sessions"]  # touched

    @property
    def is_touched(self) -> bool:
        """Whether the frames answer, no longer the index."""
        return self._cache is not None and self._cache.is_touched

    def adopt(self, tables: Snapshot, *, keeps_edits: bool = False) -> None:
        """Use other tables. Forget what was learned or edited, but with `keeps_edits` keep the edits.

        Edits are rows that were changed or added in frames.
        """
        with self._lock:
            edits = self._cache.changed() if keeps_edits and self._cache is not None and self.is_touched else {}
            self._catalogues.adopt(tables)
            self._cache = self._columns = None
            self._further = {}
            self._insertions = []
            if edits:
                self.cache.merge(**edits)

    def take(self, sessions: Iterable[Session], datasets: Iterable[Dataset]) -> None:
        """Add sessions and datasets that the database told of to the catalogue and to the frames."""
        sessions, datasets = list(sessions), list(datasets)
        self._catalogues.learn(sessions, datasets)
        self.merge(sessions, datasets)

    def take_insertions(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Add rows to the table of insertions. Each has `eid`, `id` and `name`."""
        records = list(records)
        for record in records:
            self.tables.insertions.learn(UUID(record["id"]), UUID(record["eid"]), record["name"])
        with self._lock:
            self._insertions += records
            if self.is_touched:
                self._merge_insertions()

    def _merge_insertions(self) -> None:
        """Merge the learned insertions into their frame."""
        records, self._insertions = self._insertions, []
        if records and self._cache is not None:
            import pandas as pd

            self._cache.merge(insertions=pd.DataFrame(records).set_index(["eid", "id"]))

    def merge(self, sessions: Sequence[Session], datasets: Sequence[Dataset]) -> None:
        """Add sessions and datasets to the frames, if these are in use."""
        with self._lock:
            if self._cache is None or not self._cache.is_touched:
                return
            from onefs.frames.reading import datasets_frame, sessions_frame

            self._cache.merge(
                sessions=sessions_frame(sessions) if sessions else None,
                datasets=datasets_frame(datasets) if datasets else None,
            )

    def learned(self) -> Learned:
        """What the database told beyond the tables, for frames that are made."""
        return self._catalogues.learned()

    def _note_learned(self, edition: int) -> None:
        self._catalogues.takes(edition)


def _ignore(error: OnefsError | None) -> None:
    """Do nothing: there is no database."""


def _never() -> float:
    return 0.0
