"""Owns the works `warm` and `cold`: one large file from the kernel's cache, and files that are not here yet."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.archive import Archive, make_archive
from benchmarks.bench import Bench, run
from benchmarks.figures import ONEFS, at_least, at_most
from benchmarks.mounts import OnefsMount, RcloneMount
from benchmarks.nginx import Nginx

WARM = "warm"
COLD = "cold"
MIB = 1 << 20
AS_FAST = at_least(0.91)  # of a local file's rate, so that it takes 1.1 times as long at most
BIG = "cp of a large file"
SMALL = "find -exec cat of small files"


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


def measure_cold(bench: Bench) -> None:
    """A large file, then many small ones, each through a new mount with an empty cache."""
    if bench.has("nginx", COLD):
        _measure_big(bench)
        _measure_small(bench)


def _measure_big(bench: Bench) -> None:
    home = bench.fresh(COLD)
    archive = make_archive(home, 1, bench.sizes.big_mib * MIB)
    (dataset,) = archive.datasets
    file = served_file(archive)
    inside = file.relative_to(archive.served)
    out = bench.out_dir / "copy"
    times: dict[str, list[float]] = {"curl -o": [], "md5sum": [], ONEFS: [], "rclone": []}
    with Nginx(archive.served) as server:
        run(["cat", file])
        for _ in range(bench.sizes.repeat):
            if bench.has("curl", COLD):
                times["curl -o"].append(run(["curl", "-sSf", "-o", out, f"{server.url}/{inside}"]))
            times["md5sum"].append(run(["md5sum", file]))
            with OnefsMount(archive.tables, bench.fresh("big"), "--data-url", server.url) as mount:
                times[ONEFS].append(_copy(mount.path / dataset.path, out))
            if bench.has("rclone", COLD):
                with RcloneMount(server.url, bench.fresh("big")) as peer:
                    times["rclone"].append(_copy(peer.path / inside, out))
            out.unlink(missing_ok=True)
    for who, samples in times.items():
        if samples:
            bench.add(COLD, BIG, who, samples, "s", note=f"{bench.sizes.big_mib} MiB, to {bench.out_dir.parent}")
    if times["curl -o"]:
        ratios = [
            ours / max(curl, md5)
            for ours, curl, md5 in zip(times[ONEFS], times["curl -o"], times["md5sum"], strict=True)
        ]
        bench.add(COLD, f"{BIG}, to the slower of curl and md5sum", ONEFS, ratios, "×", at_most(1.25))
    if times["rclone"]:
        ratios = [theirs / ours for theirs, ours in zip(times["rclone"], times[ONEFS], strict=True)]
        bench.add(COLD, f"{BIG}, times faster than rclone", ONEFS, ratios, "×", at_least(3))


def _copy(file: Path, out: Path) -> float:
    out.unlink(missing_ok=True)
    return run(["cp", file, out])


def _measure_small(bench: Bench) -> None:
    home = bench.fresh(COLD)
    archive = make_archive(home, bench.sizes.files, bench.sizes.file_bytes)
    count = len(archive.datasets)
    ours, theirs = [], []
    with Nginx(archive.served) as server:
        for _ in range(bench.sizes.repeat):
            with OnefsMount(archive.tables, bench.fresh("small"), "--data-url", server.url) as mount:
                ours.append(count / cat_all(mount.path))
            if bench.has("rclone", COLD):
                with RcloneMount(server.url, bench.fresh("small"), leaves_cache=True) as peer:
                    theirs.append(count / cat_all(peer.path))
    note = f"{count} files of {bench.sizes.file_bytes} bytes"
    bench.add(COLD, SMALL, ONEFS, ours, "files/s", at_least(1_000, is_aim=True), note)
    if theirs:
        bench.add(COLD, SMALL, "rclone", theirs, "files/s")
        ratios = [our / their for our, their in zip(ours, theirs, strict=True)]
        bench.add(COLD, f"{SMALL}, times faster than rclone", ONEFS, ratios, "×", at_least(1))


def cat_all(path: Path) -> float:
    """Seconds to read all files below a path."""
    return run(["find", path, "-name", "*.npy", "-exec", "cat", "{}", "+"])


def served_file(archive: Archive) -> Path:
    """The only file of an archive, as the server has it."""
    return next(archive.served.rglob("*.*.*"))
