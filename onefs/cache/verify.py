"""How copies are verified: when a copy is taken without hashing it, what a hash says about it, and what is recorded."""

import os
import zlib
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from onefs import alf
from onefs.catalogue.records import QC, Dataset


class Verify(StrEnum):
    """How strictly bytes are held to the catalogue. AUTO is STRICT for files that are fetched whole."""

    AUTO = "auto"
    STRICT = "strict"
    WARN = "warn"
    OFF = "off"


class Signature(NamedTuple):
    """What tells that a file on disk is still the one that was looked at, and was not touched since."""

    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> "Signature":
        """The signature of a file from its `stat`."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)

    @property
    def edition(self) -> tuple[int, int, int]:
        """Size (bytes), mtime (ns) and inode: the same after a rename, a hard link or a change of mode."""
        return self.size_bytes, self.mtime_ns, self.inode


@dataclass(frozen=True, slots=True)
class Stamp:
    """A copy that was hashed, or (`md5` "") whose size alone was checked.

    `accepted` is the catalogue's hash and size that the copy was served against although they differ. `source` is
    the URL, without its query, that the bytes came from; "" if another program put them there. One that does not
    count is of a file that may have lost bytes since, when the machine was started anew.
    """

    signature: Signature
    md5: str
    accepted: str = ""
    source: str = ""
    counts: bool = True


@dataclass(frozen=True, slots=True)
class CopyRecord:
    """What is known of a complete file. `dataset` is as the catalogue had it when the file was verified."""

    dataset: Dataset
    stamp: Stamp
    last_use_s: float

    @property
    def is_fetched(self) -> bool:
        """Whether onefs fetched the file, so that it may evict it."""
        return bool(self.stamp.source)

    def find_file(self, root: str) -> tuple[str, os.stat_result] | None:
        """Path and status of the file below a cache directory, under either name; None if it is another by now."""
        plain = f"{root}/{self.dataset.path}"
        for path in (plain, alf.archive_path(plain, self.dataset.id)):
            with suppress(OSError):
                status = os.stat(path)  # noqa: PTH116  (a Path costs more than the call)
                if Signature.of(status).edition == self.stamp.signature.edition:
                    return path, status
        return None


def row_of(record: CopyRecord, run: str, *, synced: bool = False) -> tuple[Any, ...]:
    """A row of the table `copies`. `run` names the boot and the mount in which the file was written."""
    dataset, stamp = record.dataset, record.stamp
    size_bytes, mtime_ns, ctime_ns, inode = stamp.signature
    eid = None if dataset.eid is None else dataset.eid.bytes
    checked = (
        dataset.id.bytes, eid, dataset.session_path, dataset.rel_path, size_bytes, mtime_ns, ctime_ns,
        inode - (inode >> 63 << 64), stamp.md5, stamp.accepted, stamp.source, run, int(synced),
    )  # fmt: skip
    return *checked, zlib.crc32(repr(checked).encode()), record.last_use_s


def stamp_of(row: tuple[Any, ...], run: str) -> Stamp | None:
    """What a row of the table `copies` says of a file to those who are in `run`; None if it is damaged.

    A file that was not synced in another run may have lost bytes since.
    """
    if zlib.crc32(repr(row[:13]).encode()) != row[13]:
        return None
    size_bytes, mtime_ns, ctime_ns, inode, md5, accepted, source, its_run, synced = row[4:13]
    signature = Signature(size_bytes, mtime_ns, ctime_ns, inode % (1 << 64))
    return Stamp(signature, md5, accepted, source, bool(synced) or its_run == run != "")


def record_of(row: tuple[Any, ...], run: str) -> CopyRecord | None:
    """All that a row says, as `stamp_of`."""
    stamp, (dataset_id, eid, session, path), last_use_s = stamp_of(row, run), row[:4], row[14]
    if stamp is None or not isinstance(last_use_s, float) or not alf.is_safe_relative(f"{session}/{path}"):
        return None
    eid = None if eid is None else UUID(bytes=eid)
    size_bytes = stamp.signature.size_bytes
    dataset = Dataset(UUID(bytes=dataset_id), eid, session, path, size_bytes, stamp.md5, True, QC.NOT_SET, None)
    return CopyRecord(dataset, stamp, last_use_s)


class Verdict(StrEnum):
    """What is thought of a copy: ACCEPTED is served only if the policy is to warn, UNKNOWN changed under the look."""

    RIGHT = "right"
    ACCEPTED = "accepted"
    WRONG = "wrong"
    UNKNOWN = "unknown"


def wanted(dataset: Dataset) -> str:
    """The catalogue's hash and size of a dataset, as one word."""
    return f"{dataset.md5.lower()}:{'' if dataset.size_bytes is None else dataset.size_bytes}"


def judge(dataset: Dataset, size_bytes: int, md5: str, policy: Verify) -> Verdict:
    """Compare bytes with what the catalogue says of them; what it does not know cannot be wrong."""
    same_size = dataset.size_bytes is None or dataset.size_bytes == size_bytes
    same_hash = policy is Verify.OFF or not dataset.md5 or dataset.md5.lower() == md5
    if same_size and same_hash:
        return Verdict.RIGHT
    return Verdict.ACCEPTED if policy is Verify.WARN else Verdict.WRONG


def trusted(dataset: Dataset, signature: Signature, stamp: Stamp | None, policy: Verify) -> Verdict | None:
    """What is known of a copy without reading it; None if it must be hashed first."""
    if policy is Verify.OFF:
        right = dataset.size_bytes is None or dataset.size_bytes == signature.size_bytes
        return Verdict.RIGHT if right else None
    if stamp is None or stamp.signature != signature or not (stamp.md5 and stamp.counts):
        return None
    if judge(dataset, signature.size_bytes, stamp.md5, Verify.STRICT) is Verdict.RIGHT:
        return Verdict.RIGHT
    if policy is Verify.WARN and stamp.accepted == wanted(dataset):
        return Verdict.ACCEPTED
    return None
