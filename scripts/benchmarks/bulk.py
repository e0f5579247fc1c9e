"""The works `warm` and `large`: one large file from the kernel's cache, and one that has to be fetched."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.archive import Archive, make_archive
from benchmarks.bench import Bench, run
from benchmarks.figures import ONEFS, at_least, at_most
from benchmarks.mounts import Mount, OnefsMount, RcloneMount
from benchmarks.nginx import Nginx

WARM = "warm"
LARGE = "large"
MIB = 1 << 20
AS_FAST = at_least(0.91)  # of a local file's rate, so that it takes 1.1 times as long at most
BIG = "cp of a large file"


def measure_warm(bench: Bench) -> None:
    """A large file, read again."""
    if not bench.has("nginx", WARM):
        return
    home = bench.fresh(WARM)
    archive = make_archive(home, 1, bench.sizes.big_mib * MIB)
    (dataset,) = archive.datasets
    file = served_file(archive)
    with Nginx(archive.served) as server:
        local = _read_again(bench, "local disk", file)
        with OnefsMount(archive.tables, home, "--data-url", server.url) as mount:
            ours = _read_again(bench, ONEFS, mount.path / dataset.path)
        if bench.has("rclone", WARM):
            with RcloneMount(server.url, home) as peer:
                _read_again(bench, "rclone", peer.path / file.relative_to(archive.served))
    for name, rate in ours.items():
        bench.add(WARM, f"{name}, to the local disk's", ONEFS, [rate / local[name]], "×", AS_FAST)


def _read_again(bench: Bench, who: str, file: Path) -> dict[str, float]:
    """Medians in MB/s, by how it was read."""
    size_mb = bench.sizes.big_mib * MIB / 1e6
    run(["cat", file])
    commands: dict[str, Sequence[str | Path]] = {
        "cat": ["cat", file],
        "dd bs=1M": ["dd", f"if={file}", "of=/dev/null", "bs=1M", "status=none"],
    }
    medians = {}
    for name, command in commands.items():
        rates = [size_mb / run(command) for _ in range(max(5, bench.sizes.repeat))]
        figure = bench.add(WARM, f"{name}, second time", who, rates, "MB/s", note=f"{bench.sizes.big_mib} MiB")
        medians[name] = figure.value
    return medians


def measure_large(bench: Bench) -> None:
    """A large file through new mounts with an empty cache, in memory and on the disk, in turn with the peers."""
    if not bench.has("nginx", LARGE):
        return
    archive = make_archive(bench.fresh(LARGE), 1, bench.sizes.big_mib * MIB)
    file = served_file(archive)
    inside = file.relative_to(archive.served)
    out = bench.out_dir / "copy"
    has_curl, has_rclone = bench.has("curl", LARGE), bench.has("rclone", LARGE)
    in_memory, on_disk, curl, md5, rclone = Copies(), Copies(), Copies(), Copies(), Copies()
    run(["cat", file])
    with Nginx(archive.served) as server:
        for _ in range(bench.sizes.repeat):
            with _mounted(bench.fresh_in_memory(LARGE), archive, server.url) as mount:
                in_memory.copy(mount, mount.path / archive.datasets[0].path, out)
            if has_curl:
                curl.seconds.append(run(["curl", "-sSf", "-o", out, f"{server.url}/{inside}"]))
            md5.seconds.append(run(["md5sum", file]))
            os.sync()  # what was written before is not written now
            with _mounted(bench.fresh(LARGE), archive, server.url) as mount:
                on_disk.copy(mount, mount.path / archive.datasets[0].path, out)
            if has_rclone:
                os.sync()
                with RcloneMount(server.url, bench.fresh(LARGE)) as peer:
                    rclone.copy(peer, peer.path / inside, out)
            out.unlink()
    note = f"{bench.sizes.big_mib} MiB, to {bench.out_dir.parent}"
    in_memory.add(bench, f"{BIG}, cache in memory", ONEFS, note)
    curl.add(bench, f"{BIG}, cache in memory", "curl -o", note)
    md5.add(bench, f"{BIG}, cache in memory", "md5sum", "")
    slower = [max(pair) for pair in zip(curl.seconds, md5.seconds, strict=True)] if has_curl else md5.seconds
    name = "the slower of curl and md5sum"
    bench.add_ratio(LARGE, f"{BIG}, cache in memory, to {name}", in_memory.seconds, slower, at_most(1.35))
    on_disk.add(bench, f"{BIG}, cache on disk", ONEFS, note)
    rclone.add(bench, f"{BIG}, cache on disk", "rclone", note)
    if has_rclone:
        bench.add_ratio(LARGE, f"{BIG}, cache on disk, to rclone", on_disk.seconds, rclone.seconds, at_most(0.6))


@dataclass(slots=True)
class Copies:
    """Seconds of each copy of a large file, and CPU time of the mount's daemon for it."""

    seconds: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def copy(self, mount: Mount, file: Path, out: Path) -> None:
        """Copy a file of a mount to a new one."""
        out.unlink(missing_ok=True)
        before_s = mount.cpu_s()
        self.seconds.append(run(["cp", file, out]))
        self.cpu_s.append(mount.cpu_s() - before_s)

    def add(self, bench: Bench, what: str, who: str, note: str) -> None:
        """Report them, CPU time for each GiB."""
        if self.seconds:
            bench.add(LARGE, what, who, self.seconds, "s", note=note)
        if self.cpu_s:
            per_gib = [cpu_s * 1024 / bench.sizes.big_mib for cpu_s in self.cpu_s]
            bench.add(LARGE, f"{what}, CPU a GiB", who, per_gib, "s")


@contextmanager
def _mounted(home: Path, archive: Archive, url: str) -> Iterator[OnefsMount]:
    """A mount whose cache is removed at the end."""
    with OnefsMount(archive.tables, home, "--data-url", url) as mount:
        yield mount
    shutil.rmtree(home)


def served_file(archive: Archive) -> Path:
    """The only file of an archive, as the server has it."""
    return next(archive.served.rglob("*.*.*"))
