"""One session's datasets as the database told them: columns by the rules of the index, from values, not tables."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import numpy as np

from onefs import alf
from onefs.catalogue import arranging
from onefs.catalogue.arranging import DatasetColumns, Paths
from onefs.catalogue.dataset_rows import ABOVE_AGGREGATES
from onefs.catalogue.layout import (
    DEFAULT,
    EXISTS,
    HAS_DEFAULT,
    HAS_MD5,
    LARGEST_SIZE,
    UNKNOWN_SIZE,
    LeftOutTally,
    Reason,
    Strings,
)
from onefs.catalogue.mixing import text_digests
from onefs.catalogue.records import QC_CODES, Dataset
from onefs.catalogue.snapshot import DatasetRows

MD5 = re.compile(r"[0-9a-fA-F]{32}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
"""An MD5, with dashes as in a UUID or without."""


@dataclass(frozen=True, slots=True)
class Edition:
    """A session's datasets as columns, as `DatasetRows` has them. `digest` tells editions apart."""

    rel_paths: list[str]
    sizes: Sequence[int]
    exists: list[bool]
    qc: Sequence[int]
    content: Sequence[int]
    default_revision: list[bool | None]
    ids: list[UUID]
    md5s: list[str]
    digest: int

    @property
    def total_bytes(self) -> int:
        """Sum of the known sizes."""
        return sum(size for size in self.sizes if size > 0)


class EditionRows:
    """An edition in its session's place. Has what `DatasetRows` has."""

    __slots__ = (
        "_edition", "_eid", "_session_path", "content", "default_revision", "exists", "qc", "rel_paths", "session",
        "sizes",
    )  # fmt: skip

    def __init__(self, edition: Edition, session: int, eid: UUID | None, session_path: str) -> None:
        self._edition = edition
        self._eid = eid
        self._session_path = session_path
        self.session = session
        self.rel_paths = edition.rel_paths
        self.sizes = edition.sizes
        self.exists = edition.exists
        self.qc = edition.qc
        self.content = edition.content
        self.default_revision = edition.default_revision

    def __len__(self) -> int:
        return len(self.rel_paths)

    def id(self, i: int) -> UUID:
        """The id of the i-th dataset."""
        return self._edition.ids[i]

    def dataset(self, i: int) -> Dataset:
        """The i-th dataset in full."""
        size = self.sizes[i]
        return Dataset(
            id=self._edition.ids[i],
            eid=self._eid,
            session_path=self._session_path,
            rel_path=self.rel_paths[i],
            size_bytes=None if size == UNKNOWN_SIZE else size,
            md5=self._edition.md5s[i],
            exists=self.exists[i],
            qc=QC_CODES[self.qc[i]],
            default_revision=self.default_revision[i],
        )


def edition_of_rows(rows: DatasetRows, digest: int) -> Edition:
    """The edition that a snapshot holds."""
    datasets = [rows.dataset(i) for i in range(len(rows))]
    return Edition(
        rel_paths=rows.rel_paths,
        sizes=rows.sizes,
        exists=rows.exists,
        qc=rows.qc,
        content=rows.content,
        default_revision=rows.default_revision,
        ids=[dataset.id for dataset in datasets],
        md5s=[dataset.md5 for dataset in datasets],
        digest=digest,
    )


def edition_of(datasets: Iterable[Dataset], tally: LeftOutTally) -> Edition:
    """The edition that these datasets of one session make; what cannot stand in a tree is left out and counted."""
    rows = list(_readable(datasets, tally))
    texts = sorted({row.rel_path for row in rows}, key=str.encode)
    code = {text: at for at, text in enumerate(texts)}
    columns = _columns(rows, [code[row.rel_path] for row in rows])
    paths = _paths(texts)
    arranging.arrange(columns, paths, np.zeros(1, np.int32), tally)
    path_digests = text_digests(paths.texts.offsets, paths.texts.data)
    all_rows = np.array([0]), np.array([len(columns.path)])
    flags = columns.flags.tolist()
    return Edition(
        rel_paths=[texts[at] for at in columns.path.tolist()],
        sizes=columns.size.tolist(),
        exists=[bool(flag & EXISTS) for flag in flags],
        qc=columns.qc.tolist(),
        content=arranging.contents(columns, path_digests).tolist(),
        default_revision=[bool(flag & DEFAULT) if flag & HAS_DEFAULT else None for flag in flags],
        ids=[UUID(bytes=one.tobytes()) for one in columns.id],
        md5s=[md5.tobytes().hex() if flag & HAS_MD5 else "" for md5, flag in zip(columns.md5, flags, strict=True)],
        digest=int(arranging.session_digests(columns, path_digests, *all_rows)[0]),
    )


def is_text(text: str) -> bool:
    """Whether a text can be written down: JSON can hold halves of characters, tables and file systems cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def without_odd_hash(dataset: Dataset) -> Dataset:
    """The dataset, its MD5 unknown if what stands there is none."""
    return dataset if MD5.fullmatch(dataset.md5) else replace(dataset, md5="")


def _readable(datasets: Iterable[Dataset], tally: LeftOutTally) -> Iterable[Dataset]:
    for dataset in datasets:
        reason = None if dataset.id.int else Reason.DATASET_ID
        reason = reason or (None if is_text(dataset.rel_path) else Reason.DATASET_UNSAFE)
        if reason:
            tally.add(reason, 1, [f"{dataset.id} {dataset.rel_path!r}"])
            continue
        if (dataset.size_bytes or 0) > LARGEST_SIZE:
            tally.add(Reason.DATASET_SIZE, 1, [f"{dataset.id} {dataset.rel_path!r}"])
        if dataset.md5 and not MD5.fullmatch(dataset.md5):
            tally.add(Reason.DATASET_HASH, 1, [f"{dataset.id} {dataset.rel_path!r}, hash {dataset.md5!r}"])
        if dataset.eid is None:
            yield replace(dataset, rel_path=ABOVE_AGGREGATES.sub("", dataset.rel_path))
        else:
            yield dataset


def _columns(rows: Sequence[Dataset], codes: Sequence[int]) -> DatasetColumns:
    sizes = [UNKNOWN_SIZE if row.size_bytes is None else row.size_bytes for row in rows]
    md5s = [bytes.fromhex(row.md5.replace("-", "")) if MD5.fullmatch(row.md5) else b"" for row in rows]
    return DatasetColumns(
        session=np.zeros(len(rows), np.int32),
        path=np.array(codes, np.int32),
        id=_sixteens(row.id.bytes for row in rows),
        size=np.array([size if 0 <= size <= LARGEST_SIZE else UNKNOWN_SIZE for size in sizes], np.int64),
        md5=_sixteens(md5 or bytes(16) for md5 in md5s),
        flags=np.array([_flags(row, bool(md5)) for row, md5 in zip(rows, md5s, strict=True)], np.uint8),
        qc=np.array([QC_CODES.index(row.qc) for row in rows], np.uint8),
    )


def _sixteens(values: Iterable[bytes]) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    return np.frombuffer(b"".join(values), np.uint8).reshape(-1, 16)


def _flags(row: Dataset, has_md5: bool) -> int:
    default = 0 if row.default_revision is None else HAS_DEFAULT | DEFAULT * row.default_revision
    return EXISTS * row.exists | HAS_MD5 * has_md5 | default


def _paths(texts: Sequence[str]) -> Paths:
    safe = {text: at for at, text in enumerate(texts) if alf.is_safe_relative(text)}
    pairs = [(at, safe[folder]) for text, at in safe.items() for folder in _folders_above(text) if folder in safe]
    inside, folders = np.array(pairs, np.int64).reshape(-1, 2).T
    return Paths(
        texts=Strings.of(texts),
        depth=np.array([text.count("/") for text in texts], np.int32),
        unsafe=np.array([text not in safe for text in texts], bool),
        inside=inside,
        folder=folders,
    )


def _folders_above(path: str) -> Iterable[str]:
    parts = path.split("/")
    return ("/".join(parts[:depth]) for depth in range(1, len(parts)))
