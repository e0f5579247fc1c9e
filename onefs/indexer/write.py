"""Writing the listings of a folder into cache tables."""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID, uuid3

import numpy as np
from numpy.typing import NDArray

from onefs import alf
from onefs.cache.sharing import make_state_folder
from onefs.catalogue.columns import Ids
from onefs.catalogue.saving import changing_tables
from onefs.catalogue.schema import QC_NAMES, TableFiles
from onefs.catalogue.tables import write_pair
from onefs.digests import new_md5
from onefs.indexer.listings import Listings
from onefs.indexer.scan import SessionKey, session_key
from onefs.indexer.session_folder import MD5_BYTES, FolderFiles
from onefs.progress import report
from onefs.table_times import table_time_text

if TYPE_CHECKING:
    import pyarrow as pa

NAMESPACE = UUID("5ba1f0a4-5fd5-4d0c-9a3c-0d6f7f3c8f6e")
"""The namespace of all ids. Never change it: the ids of every archive that was indexed depend on it."""

T = TypeVar("T")
ROWS_AT_ONCE = 1 << 17
"""How many rows of a table are in memory at once, and in a row group of its file."""

_HEX = np.frombuffer(b"".join(b"%02x" % number for number in range(256)), np.uint8).reshape(256, 2)
_DIGITS = np.array([at for at in range(36) if at not in (8, 13, 18, 23)])
"""Where the digits of an id stand in its text."""
_UUID_TEXT_BYTES = 36


def eid_of(session: SessionKey) -> UUID:
    """A session's id: of version 3, for ONE takes versions 3 and 4 only; the same at every run."""
    return uuid3(NAMESPACE, session.text)


def id_of(session: SessionKey, rel_path: str) -> UUID:
    """A dataset's id."""
    return uuid3(NAMESPACE, f"{session.text}/{rel_path}")


def key_of(folder: str, lab: str) -> SessionKey:
    """The session whose folder has this path; `lab` is its lab if the path has none."""
    key = session_key(folder)
    assert key is not None
    return key if key.lab else key._replace(lab=lab)


@dataclass(frozen=True, slots=True)
class IndexedSession:
    """A session with the files of all its folders. `defaults`: which are the defaults, if not the last revisions."""

    eid: UUID
    key: SessionKey
    paths: list[str]
    sizes: "array[int]"
    md5s: bytes
    defaults: Sequence[bool] | None = None

    def only(self, files: Sequence[int], eid: UUID) -> "IndexedSession":
        """Some of the files, by their numbers, with another eid for the session."""
        md5s = b"".join(self.md5s[at * MD5_BYTES : (at + 1) * MD5_BYTES] for at in files)
        sizes = array("Q", (self.sizes[at] for at in files))
        return IndexedSession(eid, self.key, [self.paths[at] for at in files], sizes, md5s)


def write_index(
    directory: Path, listings: Listings, *, origin: str, lab: str = "", hash_ids: bool = True
) -> TableFiles:
    """Write both tables, in place of those that are there, whole and under their lock.

    `lab` is that of sessions whose path tells none. Not `hash_ids`: without index, in the order of the paths, with the
    texts themselves that ids are made of as ids; that of a dataset is its path in the session. Raises `TableError`,
    `NoRoomError` or `BusyError`.
    """
    metadata = {"date_created": table_time_text(), "origin": origin}
    keys = session_keys(listings, lab, by_path=not hash_ids)
    merged = merged_sessions(listings, lab, by_path=not hash_ids)
    parts = _reported(in_parts(merged, lambda session: len(session.paths)), listings.n_files())
    with changing_tables(directory, make_state_folder(directory)):
        return write_pair(
            directory,
            (session_table(part, hash_ids=hash_ids) for part in in_parts(keys, lambda _: 1)),
            (dataset_table(part, hash_ids=hash_ids) for part in parts),
            metadata,
            is_indexed=hash_ids,
        )


def session_table(sessions: "Sequence[tuple[UUID, SessionKey]]", *, hash_ids: bool = True) -> "pa.Table":
    """Sessions as rows of the table."""
    import pyarrow as pa

    keys = [key for _, key in sessions]
    columns: dict[str, tuple[list[Any], pa.DataType]] = {
        "id": ([str(eid) if hash_ids else key.text for eid, key in sessions], pa.string()),
        "lab": ([key.lab for key in keys], pa.string()),
        "subject": ([key.subject for key in keys], pa.string()),
        "date": ([key.date for key in keys], pa.date32()),
        "number": ([key.number for key in keys], pa.uint16()),
        "task_protocol": ([""] * len(keys), pa.string()),
        "projects": ([""] * len(keys), pa.string()),
    }
    return pa.table({name: pa.array(values, kind) for name, (values, kind) in columns.items()})


def dataset_table(sessions: "Sequence[IndexedSession]", *, hash_ids: bool = True) -> "pa.Table":
    """The datasets of some sessions as rows of the table: by session as given, and there by id."""
    import pyarrow as pa

    counts = [len(session.paths) for session in sessions]
    of_session = np.repeat(np.arange(len(sessions)), counts)
    paths = [path for session in sessions for path in session.paths]
    md5s = np.frombuffer(b"".join(session.md5s for session in sessions), np.uint8).reshape(-1, MD5_BYTES)
    sizes = np.concatenate(
        [np.frombuffer(session.sizes, np.uint64) for session in sessions] or [np.empty(0, np.uint64)]
    )
    defaults = np.fromiter(chain.from_iterable(map(_defaults, sessions)), bool, len(paths))
    if hash_ids:
        ids = _dataset_ids(sessions)
        halves = ids.view(">u8")
        order = np.lexsort((halves[:, 1], halves[:, 0], of_session))
        eids = np.frombuffer(b"".join(session.eid.bytes for session in sessions), np.uint8).reshape(-1, 16)
        eid_texts, id_column = _uuid_texts(eids), _uuid_texts(ids[order])
    else:
        order = np.arange(len(paths))
        eid_texts = pa.array([session.key.text for session in sessions], pa.string())
        id_column = pa.array(paths, pa.string())
    qc = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(paths), np.int8)), pa.array(QC_NAMES), ordered=True)
    return pa.table(
        {
            "eid": eid_texts.take(pa.array(of_session)),
            "id": id_column,
            "rel_path": pa.array(paths, pa.string()).take(pa.array(order)),
            "file_size": pa.array(sizes[order]),
            "hash": md5_texts(md5s[order]),
            "exists": pa.array(np.ones(len(paths), bool)),
            "qc": qc,
            "default_revision": pa.array(defaults[order]),
        }
    )


def session_keys(listings: Listings, lab: str, *, by_path: bool = False) -> Iterator[tuple[UUID, SessionKey]]:
    """Each session once, in the order of the eids, or in that of the first of its folders."""
    for eid, folder in listings.first_folders(by_path=by_path):
        yield eid, key_of(folder, lab)


def merged_sessions(listings: Listings, lab: str, *, by_path: bool = False) -> Iterator[IndexedSession]:
    """Sessions in the same order, with the files of all their folders: of those with one path, the first."""
    found = listings.sessions()
    if by_path:
        found = chain.from_iterable(listings.sessions(eid) for eid, _ in listings.first_folders(by_path=True))
    for eid, group in groupby(found, attrgetter("eid")):
        first, *others = group
        files = first.files
        if others or by_path:
            by_name = dict(chain.from_iterable(each.files.by_path().items() for each in (*reversed(others), first)))
            files = FolderFiles.from_paths(dict(sorted(by_name.items(), key=lambda item: item[0].split("/"))))
        yield IndexedSession(eid, key_of(first.folder, lab), files.paths, files.sizes, files.md5s)


def in_parts(sessions: Iterable[T], rows_of: Callable[[T], int]) -> Iterator[list[T]]:
    """Lists of sessions that make about `ROWS_AT_ONCE` rows each; a single empty one if there are none."""
    part: list[T] = []
    n_rows, is_first = 0, True
    for session in sessions:
        part.append(session)
        n_rows += rows_of(session)
        if n_rows >= ROWS_AT_ONCE:
            yield part
            part, n_rows, is_first = [], 0, False
    if part or is_first:
        yield part


def _reported(parts: Iterable[list[IndexedSession]], n_files: int) -> Iterator[list[IndexedSession]]:
    """The same parts of `n_files` files; reports how many of these have been written."""
    n_written = 0
    for part in parts:
        yield part
        n_written += sum(len(session.paths) for session in part)
        report("writing the tables", n_written, n_files, "file")


def _dataset_ids(sessions: "Sequence[IndexedSession]") -> Ids:
    """The ids of all files, as `id_of` makes them, of shape (n, 16)."""
    digests = []
    for session in sessions:
        begun = new_md5()
        begun.update(NAMESPACE.bytes + f"{session.key.text}/".encode())
        for path in session.paths:
            digest = begun.copy()
            digest.update(path.encode())
            digests.append(digest.digest())
    ids = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16).copy()
    ids[:, 6] = ids[:, 6] & 0x0F | 0x30  # version 3
    ids[:, 8] = ids[:, 8] & 0x3F | 0x80  # of RFC 4122
    return ids


def _uuid_texts(ids: Ids) -> "pa.Array":
    """Ids as text with dashes."""
    texts = np.full((len(ids), _UUID_TEXT_BYTES), ord("-"), np.uint8)
    texts[:, _DIGITS] = _HEX[ids].reshape(-1, 32)
    return _fixed_texts(texts)


def md5_texts(md5s: Ids) -> "pa.Array":
    """MD5s as text, null where they are not known."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not md5s.any():
        return pa.nulls(len(md5s), pa.string())
    texts = _fixed_texts(np.ascontiguousarray(_HEX[md5s].reshape(-1, 32)))
    return pc.if_else(pa.array(md5s.any(axis=1)), texts, pa.scalar(None, pa.string()))


def _fixed_texts(texts: NDArray[np.uint8]) -> "pa.Array":
    """Texts of one length, from their bytes of shape (n, length)."""
    import pyarrow as pa

    n, length = texts.shape
    offsets = np.arange(n + 1, dtype=np.int32) * np.int32(length)
    return pa.StringArray.from_buffers(n, pa.py_buffer(offsets), pa.py_buffer(texts))


def _defaults(session: IndexedSession) -> Sequence[bool]:
    return defaults_of(session.paths) if session.defaults is None else session.defaults


def defaults_of(rel_paths: Sequence[str]) -> list[bool]:
    """Whether each of a session's files is the last revision of its dataset."""
    revised = [at for at, path in enumerate(rel_paths) if "#" in path]
    if not revised:
        return [True] * len(rel_paths)
    editions: dict[str, dict[str, int]] = {}  # the number of each file by its revision, by the path without it
    for at in revised:
        collection, revision, name = alf.split_relative(rel_paths[at])
        editions.setdefault(f"{collection}/{name}" if collection else name, {})[revision] = at
    defaults = [path not in editions for path in rel_paths]
    for by_revision in editions.values():
        greatest = max(by_revision)
        for revision, at in by_revision.items():
            defaults[at] = revision == greatest
    return defaults
