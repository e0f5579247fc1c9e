"""The work `again`: a large verified file read again, and with the kernel's caches dropped, by root and by another."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.archive import Archive, make_archive
from benchmarks.bench import ADAPTERS, Bench, drop_caches, run, through
from benchmarks.bulk import MIB
from benchmarks.figures import ONEFS, at_most
from benchmarks.mounts import NobodysMount, OnefsMount
from benchmarks.nginx import Nginx

WORK = "again"
AGAIN = "read again"
DROPPED = "kernel cache dropped"
ROOT, ANOTHER = "as root", "as an ordinary user"
ROOTS_BARS = {AGAIN: at_most(1.1), DROPPED: at_most(1.15)}  # to the local disk's time
ANOTHERS_BAR = at_most(1.05)  # to the time through pyfuse3


@dataclass(slots=True)
class Times:
    """Seconds of each read through a mount, and of the same file in its cache just before."""

    ours: list[float] = field(default_factory=list)
    local: list[float] = field(default_factory=list)


def measure(bench: Bench) -> None:
    """Through both adapters, over the same cache."""
    if bench.compared or not bench.has("nginx", WORK):
        return
    ways = [AGAIN, DROPPED]
    if bench.is_quick or not drop_caches():
        bench.report.note(f"{WORK}: the kernel's caches were not dropped: only root can, and not with --quick.")
        ways.remove(DROPPED)
    for user, mount_type in _users(bench).items():
        home = bench.fresh(WORK)
        archive = make_archive(home, 1, bench.sizes.big_mib * MIB)
        with Nginx(archive.served) as server:
            times = {
                adapter: _read(
                    bench, mount_type(archive.tables, home, "--data-url", server.url, "--kernel-adapter", adapter),
                    archive, ways,
                )
                for adapter in ADAPTERS
            }  # fmt: skip
        for way in ways:
            _report(bench, f"{user}, {way}", *(times[adapter][way] for adapter in ADAPTERS), user, way)
        bench.clear()


def _users(bench: Bench) -> dict[str, type[OnefsMount]]:
    if os.geteuid():
        return {ANOTHER: OnefsMount}
    if why_not := NobodysMount.why_not(bench.run_dir):
        bench.report.note(f"{WORK}: {ANOTHER} nothing was measured: {why_not}")
        return {ROOT: OnefsMount}
    return {ROOT: OnefsMount, ANOTHER: NobodysMount}


def _read(bench: Bench, mount: OnefsMount, archive: Archive, ways: Sequence[str]) -> dict[str, Times]:
    """Mount, have the file verified, then read it in each way, in turn with the copy in the cache."""
    times = {way: Times() for way in ways}
    (dataset,) = archive.datasets
    with mount:
        through_mount: list[str | Path] = [*mount.as_user, "cat", mount.path / dataset.path]
        from_cache: list[str | Path] = [*mount.as_user, "cat", mount.cache / dataset.path]
        run(through_mount)
        mount.settle()
        for way in ways:
            for _ in range(bench.sizes.repeat):
                for command, found in ((from_cache, times[way].local), (through_mount, times[way].ours)):
                    if way == DROPPED:
                        drop_caches()
                    found.append(run(command))
    return times


def _report(bench: Bench, what: str, session: Times, pyfuse3: Times, user: str, way: str) -> None:
    bench.add(WORK, what, ONEFS, session.ours, "s", note=f"{bench.sizes.big_mib} MiB, {ADAPTERS[0]}")
    bench.add(WORK, what, through(ADAPTERS[1]), pyfuse3.ours, "s")
    bench.add(WORK, what, "local disk", session.local, "s", note="the file in onefs's cache")
    bar = ROOTS_BARS[way] if user == ROOT else None
    bench.add_ratio(WORK, f"{what}, to the local disk's", session.ours, session.local, bar)
    if user != ROOT:
        bench.add_ratio(WORK, f"{what}, to pyfuse3's", session.ours, pyfuse3.ours, ANOTHERS_BAR)
