"""`Counters`: the requests that a mount answered, by operation, with their durations and failures."""

import errno
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from onefs.fetch.descriptors import Source

OPERATIONS = (
    "lookup", "getattr", "readlink", "opendir", "readdir", "releasedir", "open", "read", "release", "write", "setattr",
    "statfs", "access", "getxattr", "listxattr", "modify",
)  # fmt: skip
"""What the kernel asks for. `modify` is all that would change the archive, such as mkdir and unlink."""

BOUNDS_S = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""Upper bounds of the histograms' buckets. One more bucket holds what took longer."""


@dataclass(frozen=True, slots=True)
class Durations:
    """How long the requests of one operation took: their sum, and how many fall into each bucket."""

    sum_s: float
    buckets: list[int]


class Counters:
    """Counts since the mount began. One thread counts; any thread may read.

    Plain numbers, since each request passes here: counting one costs about a microsecond.
    """

    def __init__(self) -> None:
        self.in_progress = 0
        """Requests that are not answered yet."""
        self.hits = 0
        """Opens of datasets whose verified copy was in the cache."""
        self.misses = 0
        """Opens of datasets that had to be fetched, or whose copy had to be hashed first."""
        self.passed_through = 0
        """Opens of files that the kernel reads by itself."""
        self._read_bytes = dict.fromkeys(Source, 0)
        # For each operation the buckets' counts, then the sum of seconds: one list, which is copied at once.
        self._durations: Mapping[str, list[float]] = {name: [0.0] * (len(BOUNDS_S) + 2) for name in OPERATIONS}
        self._failures: dict[tuple[str, int], int] = {}

    def answered(self, operation: str, duration_s: float, number: int) -> None:
        """Count the answer to a request that began `in_progress`. `number` is the errno, 0 for success."""
        self.in_progress -= 1
        row = self._durations[operation]
        row[bisect_left(BOUNDS_S, duration_s)] += 1
        row[-1] += duration_s
        if number:
            self._failures[operation, number] = self._failures.get((operation, number), 0) + 1

    def opened(self, *, is_hit: bool) -> None:
        """Count the opening of a dataset."""
        if is_hit:
            self.hits += 1
        else:
            self.misses += 1

    def read(self, source: Source, size_bytes: int) -> None:
        """Count bytes that were given to a program."""
        self._read_bytes[source] += size_bytes

    def durations(self) -> Iterable[tuple[str, Durations]]:
        """The durations of each operation."""
        for operation, row in self._durations.items():
            *buckets, sum_s = row.copy()
            yield operation, Durations(sum_s, [int(count) for count in buckets])

    def failures(self) -> Iterable[tuple[str, str, int]]:
        """Operation, errno's name, and how often that was the answer."""
        for (operation, number), count in self._failures.copy().items():
            yield operation, errno.errorcode.get(number, str(number)), count

    def read_bytes(self) -> dict[Source, int]:
        """Bytes that were given to programs, by where they came from."""
        return self._read_bytes.copy()
