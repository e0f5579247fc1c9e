"""`SessionFolder` and `FolderFiles`: what is known of a session's folder and the files in it."""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self
from uuid import UUID

from onefs.indexer.scan import FACTS

MD5_BYTES = 16
FACTS_BYTES = 8 * len(FACTS)
UNKNOWN = bytes(MD5_BYTES)
"""Stored where the MD5 of a file is not known."""


@dataclass(frozen=True, slots=True)
class FolderFiles:
    """The files in a session's folder: paths, facts and MD5s in the same order. An MD5 may be `UNKNOWN`."""

    paths: list[str]
    facts: bytes
    md5s: bytes

    @classmethod
    def of(cls, paths: str, facts: bytes, md5s: bytes = b"") -> Self:
        """The files in a listing."""
        return cls(paths.split("\n") if paths else [], facts, md5s or UNKNOWN * (len(facts) // FACTS_BYTES))

    def facts_of(self, at: int) -> bytes:
        """The facts of a file."""
        return self.facts[at * FACTS_BYTES : (at + 1) * FACTS_BYTES]

    def md5_of(self, at: int) -> bytes:
        """The MD5 of a file, `UNKNOWN` if it is not known."""
        return self.md5s[at * MD5_BYTES : (at + 1) * MD5_BYTES]

    def by_path(self) -> dict[str, tuple[bytes, bytes]]:
        """The facts and MD5 of each."""
        return {path: (self.facts_of(at), self.md5_of(at)) for at, path in enumerate(self.paths)}

    @classmethod
    def from_paths(cls, files: Mapping[str, tuple[bytes, bytes]]) -> Self:
        """From the result of `by_path`."""
        return cls(
            list(files), b"".join(facts for facts, _ in files.values()), b"".join(md5 for _, md5 in files.values())
        )

    @property
    def sizes(self) -> "array[int]":
        """The sizes in bytes."""
        return array("Q", self.facts)[:: len(FACTS)]

    @property
    def inodes(self) -> "array[int]":
        """The inode numbers."""
        return array("Q", self.facts)[2 :: len(FACTS)]


class SessionFolder(NamedTuple):
    """A session folder, by its absolute path, and the files in it."""

    number: int
    folder: str
    eid: UUID
    files: FolderFiles
