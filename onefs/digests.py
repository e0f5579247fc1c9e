"""Owns the digests: MD5 of contents as the archive records it, and the short fingerprints of which inodes are made."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash

CHUNK_BYTES = 1 << 20


def new_md5() -> "_Hash":
    """A running MD5. The archive's choice: it guards against damage, not against malice."""
    return hashlib.md5(usedforsecurity=False)


def md5_of_file(path: Path) -> str:
    """MD5 of a file's bytes, as 32 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, new_md5).hexdigest()


def digest64(parts: Iterable[bytes]) -> int:
    """A 64-bit number that tells different sequences of byte strings apart."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return int.from_bytes(digest.digest(), "little")
