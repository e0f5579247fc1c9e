"""The works `cold` and `far`: many small files that have to be fetched, from a near server and from a distant one."""

import shutil
from dataclasses import dataclass, field

from benchmarks.archive import PER_SESSION, Archive, make_archive
from benchmarks.bench import Bench, cat_all, run
from benchmarks.distance import Distant
from benchmarks.figures import ONEFS, Bar, at_least, at_most
from benchmarks.mounts import ONEFS_PROGRAM, Mount, OnefsMount, RcloneMount
from benchmarks.nginx import Nginx

COLD = "cold"
FAR = "far"
ONE = "one reader of small files"
IN_FOLDERS = f"one reader of small files in folders of {PER_SESSION}"
FETCHED = "onefs fetch of small files"
CPU_BAR = at_most(1.0)


@dataclass(slots=True)
class Runs:
    """Seconds of each run, and CPU time of the mount's daemon in it, in ms for each file."""

    seconds: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    def read(self, mount: Mount, count: int, readers: int) -> None:
        """Have all files of a mount read."""
        before_s = mount.cpu_s()
        self.seconds.append(cat_all(mount.path, count, readers))
        self.cpu_ms.append((mount.cpu_s() - before_s) * 1e3 / count)

    def fetch(self, mount: Mount, count: int) -> None:
        """Have all files of a mount fetched by the command for that."""
        before_s = mount.cpu_s()
        self.seconds.append(run([ONEFS_PROGRAM, "fetch", mount.path]))
        self.cpu_ms.append((mount.cpu_s() - before_s) * 1e3 / count)

    def add(
        self, bench: Bench, work: str, what: str, who: str, bar: Bar | None, cpu_bar: Bar | None, note: str
    ) -> None:
        """Report them."""
        if self.seconds:
            bench.add(work, what, who, self.seconds, "s", bar, note)
            bench.add(work, f"{what}, CPU a file", who, self.cpu_ms, "ms", cpu_bar)


def measure_cold(bench: Bench) -> None:
    """One reader and several at once, each through a new mount with an empty cache, in turn with rclone."""
    if not bench.has("nginx", COLD):
        return
    archive = make_archive(bench.fresh(COLD), bench.sizes.files, bench.sizes.file_bytes)
    has_rclone = bench.has("rclone", COLD)
    ours, theirs = ({readers: Runs() for readers in (1, bench.sizes.readers)} for _ in range(2))
    with Nginx(archive.served) as server:
        for _ in range(bench.sizes.repeat):
            for readers in ours:
                _read_both(
                    bench, archive, server.url, readers, (ours[readers], theirs[readers] if has_rclone else None)
                )
    note = f"{len(archive.datasets)} files of {bench.sizes.file_bytes} bytes, cache in {bench.out_dir.parent}"
    one, several = ours.values()
    name = f"{bench.sizes.readers} readers of small files"
    one.add(bench, COLD, ONE, ONEFS, None, CPU_BAR, note)
    theirs[1].add(bench, COLD, ONE, "rclone", None, None, "")
    if has_rclone:
        bench.add_ratio(COLD, f"{ONE}, times faster than rclone", theirs[1].seconds, one.seconds, at_least(1.5))
    several.add(bench, COLD, name, ONEFS, None, None, note)
    theirs[bench.sizes.readers].add(bench, COLD, name, "rclone", None, None, "")
    bench.add_ratio(COLD, f"{name}, to the time of one", several.seconds, one.seconds, at_most(1.05))
    bench.add_ratio(COLD, f"{name}, CPU a file to that of one", several.cpu_ms, one.cpu_ms, at_most(1.2))


def _read_both(bench: Bench, archive: Archive, url: str, readers: int, runs: tuple[Runs, Runs | None]) -> None:
    count = len(archive.datasets)
    ours, theirs = runs
    home = bench.fresh_in_memory(COLD)
    with OnefsMount(archive.tables, home, "--data-url", url) as mount:
        ours.read(mount, count, readers)
    if theirs is not None:
        with RcloneMount(url, home) as peer:
            theirs.read(peer, count, readers)
    shutil.rmtree(home)


def measure_far(bench: Bench) -> None:
    """A reader of some folders, then the command that fetches, each through a new mount with an empty cache."""
    if not bench.has("nginx", FAR):
        return
    sizes = bench.sizes
    read, fetched = Runs(), Runs()
    folders = make_archive(bench.fresh(FAR), sizes.far_files, sizes.file_bytes)
    with Nginx(folders.served) as server, Distant(server.url, sizes.round_trip_ms) as far:
        for _ in range(sizes.repeat):
            with OnefsMount(folders.tables, bench.fresh_in_memory(FAR), "--data-url", far.url) as mount:
                read.read(mount, sizes.far_files, 1)
    many = make_archive(bench.fresh(FAR), sizes.files, sizes.file_bytes)
    with Nginx(many.served) as server, Distant(server.url, sizes.round_trip_ms) as far:
        for _ in range(sizes.repeat):
            with OnefsMount(many.tables, bench.fresh_in_memory(FAR), "--data-url", far.url) as mount:
                fetched.fetch(mount, sizes.files)
    each = f"files of {sizes.file_bytes} bytes, {sizes.round_trip_ms} ms away"
    read.add(bench, FAR, IN_FOLDERS, ONEFS, at_most(4), None, f"{sizes.far_files} {each}")
    fetched.add(bench, FAR, FETCHED, ONEFS, at_most(2.5), None, f"{sizes.files} {each}")
