"""Owns what each daemon has under way in a shared cache: room that it was granted, and files that it holds room for."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

from onefs.cache.atomic import make_folder
from onefs.cache.marks import is_open, mark_open


@dataclass(frozen=True, slots=True)
class Share:
    """Bytes granted and not used, and bytes by the dataset that they are held for."""

    granted_bytes: int
    held: dict[UUID, int] = field(default_factory=dict)


class Shares:
    """One small file for each process under `folder`. For whoever holds the ledger's lock. Raises OSError.

    `sees_all` tells whether marks of processes on other machines are seen here.
    """

    def __init__(self, folder: Path, sees_all: Callable[[], bool]) -> None:
        self._folder = folder
        self._path = folder / str(uuid4())
        self._sees_all = sees_all
        self._number = -1

    def publish(self, share: Share) -> None:
        """Say what this process has under way: until the next time, it can only become less."""
        if self._number < 0:
            make_folder(self._folder)
            self._number = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            mark_open(self._number)
        held = {str(dataset_id): size_bytes for dataset_id, size_bytes in share.held.items()}
        data = json.dumps({"granted": share.granted_bytes, "held": held}).encode()
        os.pwrite(self._number, data, 0)
        os.ftruncate(self._number, len(data))

    def others(self) -> list[Share]:
        """What other processes have under way; those that are no more have nothing."""
        found: list[Share] = []
        for path in self._folder.glob("*"):
            if path == self._path:
                continue
            with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
                if not is_open(path, sees_all=self._sees_all()):
                    path.unlink()
                    continue
                value = json.loads(path.read_bytes())
                held = {UUID(name): int(size_bytes) for name, size_bytes in value["held"].items()}
                found.append(Share(int(value["granted"]), held))
        return found

    def close(self) -> None:
        """This process has nothing under way any more."""
        if self._number >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._number)
            self._number = -1
