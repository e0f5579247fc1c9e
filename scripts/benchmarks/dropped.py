"""The work `dropped`: verified files, the kernel's caches dropped, so that they come from the disk again."""

from pathlib import Path

from benchmarks.archive import make_archive
from benchmarks.bench import Bench, cat_all, drop_caches, run
from benchmarks.bulk import MIB, served_file
from benchmarks.figures import ONEFS, at_least, at_most
from benchmarks.mounts import OnefsMount, RcloneMount
from benchmarks.nginx import Nginx

WORK = "dropped"
BIG = "cat of a large file"
SMALL = "cat of small files"


def measure(bench: Bench) -> None:
    """A large file against a local one, then many small ones against rclone."""
    if not bench.has("nginx", WORK):
        return
    if not drop_caches():
        bench.report.note(f"{WORK}: only root can drop the kernel's caches, so it was not measured.")
        return
    _measure_big(bench)
    _measure_small(bench)


def _measure_big(bench: Bench) -> None:
    home = bench.fresh(WORK)
    archive = make_archive(home, 1, bench.sizes.big_mib * MIB)
    (dataset,) = archive.datasets
    ours, local, theirs = [], [], []
    with Nginx(archive.served) as server:
        with OnefsMount(archive.tables, home, "--data-url", server.url) as mount:
            run(["cat", mount.path / dataset.path])
            mount.settle()
            for _ in range(bench.sizes.repeat):
                local.append(_dropped(mount.cache / dataset.path))
                ours.append(_dropped(mount.path / dataset.path))
        if bench.has("rclone", WORK):
            with RcloneMount(server.url, home) as peer:
                file = peer.path / served_file(archive).relative_to(archive.served)
                run(["cat", file])
                theirs = [_dropped(file) for _ in range(bench.sizes.repeat)]
    bench.add(WORK, BIG, ONEFS, ours, "s", note=f"{bench.sizes.big_mib} MiB")
    bench.add(WORK, BIG, "local disk", local, "s", note="the file in onefs's cache")
    if theirs:
        bench.add(WORK, BIG, "rclone", theirs, "s")
    ratios = [our / their for our, their in zip(ours, local, strict=True)]
    bench.add(WORK, f"{BIG}, to the local disk's", ONEFS, ratios, "×", at_most(1.15))


def _dropped(file: Path) -> float:
    drop_caches()
    return run(["cat", file])


def _measure_small(bench: Bench) -> None:
    home = bench.fresh(WORK)
    archive = make_archive(home, bench.sizes.files, bench.sizes.file_bytes)
    count = len(archive.datasets)
    with Nginx(archive.served) as server:
        with OnefsMount(archive.tables, home, "--data-url", server.url) as mount:
            cat_all(mount.path, count)
            mount.settle()
            ours = _rates(mount.path, count, bench.sizes.repeat)
            local = _rates(mount.cache, count, bench.sizes.repeat)
        theirs = []
        if bench.has("rclone", WORK):
            with RcloneMount(server.url, home) as peer:
                cat_all(peer.path, count)
                theirs = _rates(peer.path, count, bench.sizes.repeat)
    note = f"{count} files of {bench.sizes.file_bytes} bytes"
    bench.add(WORK, SMALL, ONEFS, ours, "files/s", at_least(3_500), note)
    bench.add(WORK, SMALL, "local disk", local, "files/s", note="the files in onefs's cache")
    if theirs:
        bench.add(WORK, SMALL, "rclone", theirs, "files/s")
        ratios = [our / their for our, their in zip(ours, theirs, strict=True)]
        bench.add(WORK, f"{SMALL}, times faster than rclone", ONEFS, ratios, "×", at_least(2))


def _rates(path: Path, count: int, repeat: int) -> list[float]:
    found = []
    for _ in range(repeat):
        drop_caches()
        found.append(count / cat_all(path, count))
    return found
