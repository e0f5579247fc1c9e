"""Owns the ledger of a shared cache: how many bytes all daemons together keep in it."""

import json
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

from onefs.cache.atomic import make_folder

LENGTH_BYTES = 256
"""A record is written over the one before, so that it can be where the disk is full."""
LOCK_ID = UUID("6f3b7c58-0b1c-4d9c-8f0e-9a4a64f8a001")
FOR_ALL_USERS = 0o666


@dataclass(frozen=True, slots=True)
class Account:
    """What is in the cache, by the count begun at `counted_s` that took `took_s`, and what came since.

    Room that a daemon took ahead of its use is included.
    """

    used_bytes: int
    files: int
    counted_s: float
    took_s: float


class Ledger:
    """One small file under `folder`. Safe to use from several threads, and by several processes at once."""

    def __init__(self, folder: Path, hold: Callable[[UUID, threading.Event], AbstractContextManager[None]]) -> None:
        self._path = folder / "ledger"
        self._hold = hold

    @property
    def exists(self) -> bool:
        """Whether anybody counts."""
        return self._path.exists()

    def read(self) -> Account | None:
        """The account as it is now; None if nobody counted yet."""
        try:
            return _parse(self._path.read_bytes())
        except OSError:
            return None

    def change(self, update: Callable[[Account | None], Account | None], stop: threading.Event) -> None:
        """Replace the account by what `update` makes of it, unless that is None. Raises OSError, StoppedError."""
        make_folder(self._path.parent)
        with self._hold(LOCK_ID, stop):
            number = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FOR_ALL_USERS)
            try:
                if not os.fstat(number).st_size and os.fstat(number).st_uid == os.geteuid():
                    os.fchmod(number, FOR_ALL_USERS)
                before = _parse(os.pread(number, LENGTH_BYTES, 0))
                after = update(before)
                if after is not None and after != before:
                    os.pwrite(number, json.dumps(asdict(after)).ljust(LENGTH_BYTES).encode(), 0)
            finally:
                os.close(number)


def _parse(data: bytes) -> Account | None:
    try:
        value = json.loads(data)
        return Account(
            int(value["used_bytes"]),
            int(value["files"]),
            float(value["counted_s"]),
            float(value["took_s"]),
        )
    except (ValueError, KeyError, TypeError):
        return None
