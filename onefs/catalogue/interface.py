"""Protocols: what the tree asks of a catalogue, and what a catalogue without tables asks of a database."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import NamedTuple, Protocol
from uuid import UUID

from onefs.catalogue.records import Dataset, Session
from onefs.catalogue.snapshot import Folder, LeftOut, TableMetadata

__all__ = ["Catalogue", "Folder", "Learned", "Questions", "Rows"]


class Learned(NamedTuple):
    """What a database told, for the tables."""

    sessions: list[Session]
    datasets: list[Dataset]


class Rows(Protocol):
    """A session's datasets, existing or not, as columns of equal length, sorted by `rel_paths`.

    `sizes` are in bytes, -1 if unknown. `qc` holds codes 0 to 4. `content` is a 64-bit number that changes if and
    only if the bytes under the name do.
    """

    session: int
    rel_paths: list[str]

    @property
    def sizes(self) -> Sequence[int]: ...
    @property
    def exists(self) -> list[bool]: ...
    @property
    def qc(self) -> Sequence[int]: ...
    @property
    def content(self) -> Sequence[int]: ...
    @property
    def default_revision(self) -> list[bool | None]: ...

    def __len__(self) -> int: ...

    def id(self, i: int) -> UUID:
        """The id of the i-th dataset."""

    def dataset(self, i: int) -> Dataset:
        """The i-th dataset in full."""


class Catalogue(Protocol):
    """What is known of the archive: folders, sessions, datasets. `Snapshot` describes its members.

    What a session's row tells of its datasets never changes: where something else is learned of them, `newest` gives
    another row. If `may_ask`, then `newest`, `datasets`, `folders`, `child`, `sessions_of_ref`, `find_session` and
    `find_dataset` may ask a database: they may block, and raise what the database raises.
    """

    @property
    def may_ask(self) -> bool: ...
    @property
    def metadata(self) -> TableMetadata: ...
    @property
    def left_out(self) -> Mapping[str, LeftOut]: ...
    @property
    def n_sessions(self) -> int: ...
    @property
    def n_datasets(self) -> int: ...
    @property
    def total_bytes(self) -> int: ...
    @property
    def revision_dates(self) -> frozenset[str]: ...
    @property
    def aggregates(self) -> int | None: ...

    @property
    def largest_folder(self) -> int: ...
    def n_below(self, folder: Folder) -> int: ...
    def folder(self, row: int) -> Folder: ...
    def folders(self, row: int) -> list[Folder]: ...
    def child(self, row: int, name: str) -> Folder | None: ...
    def folder_path(self, row: int) -> str: ...
    def folder_key(self, row: int) -> int: ...
    def folder_of_key(self, key: int) -> Folder | None: ...

    def session(self, row: int) -> Session: ...
    def session_key(self, row: int) -> int: ...
    def session_of_key(self, key: int) -> int | None: ...
    def session_of_eid(self, eid: UUID) -> int | None: ...
    def find_session(self, eid: UUID) -> int | None: ...
    def sessions_of_ref(self, day: date, number: int, subject: str) -> list[int]: ...
    def newest(self, row: int) -> int: ...
    def session_digest(self, row: int) -> int: ...
    def session_folder(self, row: int) -> Folder: ...
    def session_path(self, row: int) -> str: ...

    def datasets(self, row: int) -> Rows: ...
    def dataset_in(self, session: int, i: int) -> Dataset: ...
    def ids_from(self, session: int, i: int, count: int) -> list[UUID]: ...
    def dataset_of_id(self, id: UUID) -> Dataset | None: ...  # noqa: A002
    def probes_of(self, eid: UUID) -> list[tuple[str, UUID]]: ...
    def find_dataset(self, id: UUID) -> Dataset | None: ...  # noqa: A002


class Questions(Protocol):
    """What a database is asked. Each may block, and raise an `OnefsError`."""

    def labs(self) -> list[str]:
        """Names of all labs; "" among them if there are subjects without a lab."""

    def subjects(self, lab: str) -> list[str]:
        """Names of the subjects that have sessions in a lab."""

    def sessions(self, lab: str, subject: str) -> list[Session]:
        """A subject's sessions; others among them are ignored."""

    def session(self, eid: UUID) -> Session | None:
        """The session of this eid, None if there is none."""

    def sessions_of_ref(self, day: date, number: int, subject: str) -> list[Session]:
        """The sessions of this date, number and subject."""

    def datasets(self, session: Session) -> list[Dataset]:
        """A session's datasets. Raises `UnknownRecordError` if there is no such session any more."""

    def beside(self, id: UUID) -> tuple[Session | None, list[Dataset]] | None:  # noqa: A002
        """The session of a dataset (None for an aggregate) and all datasets there; None if there is no such dataset."""

    def aggregates(self) -> list[Dataset]:
        """The datasets of no session."""
