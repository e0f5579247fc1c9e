"""`Collector`: the numbers of a mount as families of Prometheus metrics. Imports prometheus_client."""

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector as BaseCollector

from onefs import __version__, errors
from onefs.cache.quota import Usage
from onefs.fuse.counters import BOUNDS_S
from onefs.modes import Mode
from onefs.monitoring.measuring import Measurement
from onefs.monitoring.metrics import Measured
from onefs.monitoring.program_series import ProgramSeries
from onefs.text import visible
from onefs.transports.addresses import shown

LONGEST_S = 1.0
"""How long a disk is waited for. What it has to tell is left out then."""

# The most particular class stands first: the first one that fits counts.
KINDS: tuple[tuple[str, type[errors.OnefsError]], ...] = (
    ("time_out", errors.TimedOutError),
    ("unreachable", errors.UnreachableError),
    ("access_refused", errors.AccessRefusedError),
    ("missing", errors.MissingOnServerError),
    ("mismatch", errors.MismatchError),
    ("broken_answer", errors.BrokenAnswerError),
    ("no_room", errors.NoRoomError),
    ("cache_damaged", errors.CacheDamagedError),
    ("other", errors.OnefsError),
)

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily | InfoMetricFamily


@dataclass(frozen=True, slots=True)
class _OnDisk:
    """What has to be read from the disks of the cache and the tables."""

    usage: Usage
    pinned: int
    size_bytes: int
    free_bytes: int
    tables: dict[str, Any]


def registry(parts: Measured) -> CollectorRegistry:
    """All metrics of a mount, those of its process among them."""
    made = CollectorRegistry(auto_describe=False)
    made.register(Collector(parts))
    ProcessCollector(registry=made)
    return made


class Collector(BaseCollector):
    """Gathers the numbers when they are asked for. Safe to use from several threads."""

    def __init__(self, parts: Measured) -> None:
        self._parts = parts
        self._on_disk = Measurement(self._read_disks, LONGEST_S)
        self._program_series = ProgramSeries(parts.programs)

    def collect(self) -> Iterator[Family]:
        """Every family. Those that need a disk are left out while it does not answer."""
        on_disk = self._on_disk.take()  # first, so that the rest is of one moment
        yield from self._mount()
        yield from self._requests()
        yield from self._reads()
        yield from self._programs()
        yield from self._fetches()
        yield from self._prefetched()
        yield from self._servers()
        yield from self._work()
        yield _gauge("onefs_disk_responding", "1 if the disks of cache and tables answer, else 0.", on_disk is not None)
        if on_disk is not None:
            yield from _cache(on_disk)
            yield from self._tables(on_disk.tables)

    def _mount(self) -> Iterator[Family]:
        parts, state = self._parts, self._parts.archive.refresher.state
        python = ".".join(map(str, sys.version_info[:3]))
        yield InfoMetricFamily(
            "onefs_build", "The versions of Python and onefs.", {"version": __version__, "python": python}
        )
        yield InfoMetricFamily(
            "onefs_mount",
            "What is mounted, and where.",
            {"source": visible(shown(parts.archive.source.name)), "mountpoint": visible(str(parts.mountpoint))},
        )
        modes = GaugeMetricFamily(
            "onefs_mode", "1 for the mode that is requested, and for the one in effect.", labels=["kind", "mode"]
        )
        for kind, now in (("requested", state.requested), ("effective", state.effective)):
            for mode in Mode:
                modes.add_metric([kind, mode.value], mode is now)
        yield modes

    def _requests(self) -> Iterator[Family]:
        counters = self._parts.counters
        durations = HistogramMetricFamily(
            "onefs_request_duration_seconds",
            "How long the kernel's requests took to answer.",
            labels=["operation"],
            unit="seconds",
        )
        for operation, each in counters.durations():
            durations.add_metric([operation], _buckets(each.buckets), each.sum_s)
        yield durations
        failures = CounterMetricFamily(
            "onefs_request_errors", "Requests that failed, by the errno given.", labels=["operation", "errno"]
        )
        for operation, number, count in counters.failures():
            failures.add_metric([operation, number], count)
        yield failures
        yield _gauge("onefs_requests_in_progress", "Requests that are not answered yet.", counters.in_progress)

    def _reads(self) -> Iterator[Family]:
        counters = self._parts.counters
        read = CounterMetricFamily(
            "onefs_read_bytes", "Bytes given to programs, by where they came from.", labels=["source"], unit="bytes"
        )
        for source, size_bytes in counters.read_bytes().items():
            read.add_metric([source.value], size_bytes)
        yield read
        opened = CounterMetricFamily(
            "onefs_opened_files",
            "Files of the archive opened: hit if the verified copy was in the cache, else miss.",
            labels=["cache"],
        )
        opened.add_metric(["hit"], counters.hits)
        opened.add_metric(["miss"], counters.misses)
        yield opened
        passed = "Files of the archive opened that the kernel reads by itself."
        yield _counter("onefs_passthrough_opened_files", passed, counters.passed_through)

    def _programs(self) -> Iterator[Family]:
        opened, fetched, read = (
            CounterMetricFamily(f"onefs_program_{what}", f"{doc}.", labels=["program"], unit=unit)
            for what, doc, unit in (
                ("opened_files", "Files that a program opened", ""),
                ("fetched_files", "Files that were fetched for a program", ""),
                ("read_bytes", "Bytes given to a program", "bytes"),
            )
        )
        for program, did in self._program_series.now().items():
            opened.add_metric([program], did.opened_files)
            fetched.add_metric([program], did.fetched_files)
            read.add_metric([program], did.read_bytes)
        yield from (opened, fetched, read)

    def _fetches(self) -> Iterator[Family]:
        content = self._parts.archive.content
        totals, kinds = content.totals(), dict.fromkeys([name for name, _ in KINDS], 0)
        for error, count in content.failure_kinds().items():
            kinds[next(name for name, base in KINDS if issubclass(error, base))] += count
        yield _counter("onefs_fetched_bytes", "Bytes received from data servers.", totals.bytes_fetched, "bytes")
        yield _counter("onefs_fetched_files", "Files fetched and verified.", totals.files_fetched)
        failures = CounterMetricFamily("onefs_fetch_failures", "Fetches that failed, by why.", labels=["kind"])
        for kind, count in kinds.items():
            failures.add_metric([kind], count)
        yield failures
        yield _gauge("onefs_transfers_in_progress", "Files being fetched or verified now.", len(content.transfers()))

    def _prefetched(self) -> Iterator[Family]:
        counts = self._parts.prefetching.counts
        yield _counter("onefs_prefetched_files", "Files fetched before they were read.", counts.prefetched)
        yield _counter("onefs_prefetched_used_files", "Prefetched files that were read.", counts.used)
        yield _counter("onefs_prefetched_wasted_files", "Files that were prefetched in vain.", counts.wasted)

    def _servers(self) -> Iterator[Family]:
        archive = self._parts.archive
        requests = CounterMetricFamily(
            "onefs_server_requests", "Requests sent to the database and to data servers.", labels=["role"]
        )
        for role, count in archive.requests_sent().items():
            requests.add_metric([role], count)
        yield requests
        outages = GaugeMetricFamily(
            "onefs_server_outage_seconds",
            "How long a server has not answered, of those that are left alone now for that.",
            labels=["server", "role"],
            unit="seconds",
        )
        # One host may be known by several schemes, and no series may come twice.
        since_s: dict[tuple[str, str], float] = {}
        for each in archive.content.passed_over():
            key = (each.server, "database" if each.role == "database" else "data")
            since_s[key] = max(each.since_s, since_s.get(key, 0.0))
        for labels, duration_s in since_s.items():
            outages.add_metric(list(labels), duration_s)
        yield outages

    def _work(self) -> Iterator[Family]:
        n_jobs = self._parts.jobs.n_under_way
        yield _gauge("onefs_jobs_in_progress", "Jobs under way, such as those of onefs fetch.", n_jobs)
        is_on = self._parts.recorder.turn
        yield _gauge("onefs_recording", "1 while reads are recorded, else 0.", bool(is_on))

    def _tables(self, facts: dict[str, Any]) -> Iterator[Family]:
        refresher = self._parts.archive.refresher
        yield _gauge(
            "onefs_tables_created_timestamp_seconds", "When the tables in use were made.", refresher.made_s, "seconds"
        )
        if refresher.checked_s:
            yield _gauge(
                "onefs_tables_checked_timestamp_seconds",
                "When the server was last asked for newer tables.",
                refresher.checked_s,
                "seconds",
            )
        yield _gauge("onefs_tables_expired", "1 if the tables are older than cache_expiry, else 0.", facts["expired"])
        yield _gauge("onefs_tables_sessions", "Sessions in the tables.", facts["sessions"])
        yield _gauge("onefs_tables_datasets", "Datasets in the tables.", facts["datasets"])

    def _read_disks(self) -> _OnDisk:
        archive = self._parts.archive
        keeping, disk = archive.content.keeping, shutil.disk_usage(archive.source.data_dir)
        return _OnDisk(keeping.usage(), len(keeping.pinned()), disk.total, disk.free, archive.refresher.facts())


def _cache(on_disk: _OnDisk) -> Iterator[Family]:
    usage, limits = on_disk.usage, on_disk.usage.limits
    if usage.used_bytes is not None:
        yield _gauge(
            "onefs_cache_used_bytes", "Disk space of the fetched files in the cache.", usage.used_bytes, "bytes"
        )
    if usage.files is not None:
        yield _gauge("onefs_cache_files", "Fetched files in the cache.", usage.files)
    if limits.cache_size_bytes:
        yield _gauge("onefs_cache_limit_bytes", "The setting cache_size.", limits.cache_size_bytes, "bytes")
    yield _gauge("onefs_cache_min_free_bytes", "The setting cache_min_free.", limits.min_free_bytes, "bytes")
    yield _gauge("onefs_cache_disk_size_bytes", "Size of the cache's disk.", on_disk.size_bytes, "bytes")
    yield _gauge("onefs_cache_disk_free_bytes", "Bytes free on the cache's disk.", on_disk.free_bytes, "bytes")
    yield _gauge("onefs_cache_pinned_files", "Files that are pinned.", on_disk.pinned)
    yield _counter(
        "onefs_cache_evicted_bytes", "Bytes evicted from the cache by this mount.", usage.evicted_bytes, "bytes"
    )
    yield _counter("onefs_cache_evicted_files", "Files evicted from the cache by this mount.", usage.evicted_files)


def _buckets(counts: list[int]) -> list[tuple[str, float]]:
    """Upper bounds, each with how many are not above it."""
    total, buckets = 0, []
    for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    return buckets


def _gauge(name: str, doc: str, value: float, unit: str = "") -> GaugeMetricFamily:
    return GaugeMetricFamily(name, doc, float(value), unit=unit)


def _counter(name: str, doc: str, value: float, unit: str = "") -> CounterMetricFamily:
    return CounterMetricFamily(name, doc, float(value), unit=unit)
