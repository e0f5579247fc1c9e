"""Owns the rules of trust: when a copy is taken without hashing it, and what a hash says about it."""

import os
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from onefs.catalogue.records import Dataset


class Verify(StrEnum):
    """How strictly bytes are held to the catalogue. AUTO is STRICT for files that are fetched whole."""

    AUTO = "auto"
    STRICT = "strict"
    WARN = "warn"
    OFF = "off"


class Signature(NamedTuple):
    """What tells that a file on disk is still the one that was looked at."""

    size_bytes: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> "Signature":
        """The signature of a file from its `stat`."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


@dataclass(frozen=True, slots=True)
class Stamp:
    """A copy that was hashed, or (`md5` "") whose size alone was checked.

    `accepted` is the catalogue's hash and size that the copy was served against although they differ. `source` is
    the URL, without its query, that the bytes came from; "" if another program put them there.
    """

    signature: Signature
    md5: str
    accepted: str = ""
    source: str = ""


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
    if stamp is None or stamp.signature != signature or not stamp.md5:
        return None
    if judge(dataset, signature.size_bytes, stamp.md5, Verify.STRICT) is Verdict.RIGHT:
        return Verdict.RIGHT
    if policy is Verify.WARN and stamp.accepted == wanted(dataset):
        return Verdict.ACCEPTED
    return None
