"""`Metrics`: the numbers of a mount as OpenMetrics text, and for whoever scrapes them over HTTP."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from onefs.archive.archive import Archive
from onefs.fuse.counters import Counters
from onefs.recording.program_usage import Programs
from onefs.recording.recorder import Recorder
from onefs.setting_values import Address
from onefs.vfs.prefetching import Prefetching

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class Jobs(Protocol):
    """The long work that people started, such as that of `onefs fetch`."""

    @property
    def n_under_way(self) -> int:
        """How many jobs have not ended."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The parts of a mount that are measured."""

    mountpoint: Path
    archive: Archive
    counters: Counters
    jobs: Jobs
    recorder: Recorder
    programs: Programs
    prefetching: Prefetching


class Metrics:
    """The metrics of one mount. Safe to use from several threads.

    Imports prometheus_client once they are asked for: most mounts never need it.
    """

    def __init__(self, parts: Measured) -> None:
        self._parts = parts
        self._lock = threading.Lock()  # guards _registry
        self._registry: CollectorRegistry | None = None

    @property
    def registry(self) -> "CollectorRegistry":
        """The registry of prometheus_client that has them all."""
        from onefs.monitoring.collector import registry

        with self._lock:
            if self._registry is None:
                self._registry = registry(self._parts)
            return self._registry

    def text(self) -> str:
        """OpenMetrics text."""
        from prometheus_client.openmetrics.exposition import generate_latest

        text: bytes = generate_latest(self.registry)  # type: ignore[no-untyped-call]
        return text.decode()

    @contextmanager
    def served_at(self, address: Address | None) -> Iterator[None]:
        """A block in which they are served over HTTP, if an address is given. Raises `MountError`."""
        if address is None:
            yield
            return
        from onefs.monitoring.scraping import serving

        with serving(self.registry, address):
            yield
