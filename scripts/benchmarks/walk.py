"""Owns the work `walk`: find over a large tree, fresh and again, against a local disk and rclone over it."""

from pathlib import Path

from benchmarks.bench import Bench, run
from benchmarks.figures import ONEFS, Bar, at_least
from benchmarks.mounts import OnefsMount, RcloneMount
from benchmarks.tables import Made, paths, tables

WORK = "walk"
COLD = at_least(100_000)
AGAIN = at_least(200_000)
FLAT_FILES = 500
REAL_FILES = 50
REAL_ENTRIES = 1.17  # entries for each file, directories included


def measure(bench: Bench) -> None:
    """Both shapes: many files in a folder, and few in many."""
    entries = bench.sizes.entries
    sessions = max(1, entries // FLAT_FILES)
    _measure_shape(bench, Made("flat", sessions * FLAT_FILES, sessions))
    files = int(entries / REAL_ENTRIES)
    _measure_shape(bench, Made("real", files, max(1, files // REAL_FILES)))


def _measure_shape(bench: Bench, made: Made) -> None:
    source = tables(bench.kept_dir, made)
    home = bench.fresh(WORK)
    with OnefsMount(source, home):
        pass  # the index is made here
    shape = made.shape
    cold, again, sized = [], [], []
    entries = 0
    for _ in range(bench.sizes.repeat):
        with OnefsMount(source, home) as mount:
            first, entries = _find(bench, mount.path)
            cold.append(first)
            again.append(_find(bench, mount.path)[0])
            sized.append(_find(bench, mount.path, "-printf", "%s\n")[0])
    note = f"{entries} entries, {made.datasets} of them files"
    _add(bench, f"{shape}: fresh mount", ONEFS, cold, COLD, note)
    _add(bench, f"{shape}: again", ONEFS, again, AGAIN)
    _add(bench, f"{shape}: again, with sizes", ONEFS, sized)
    _measure_peers(bench, source, shape)


def _add(bench: Bench, what: str, who: str, rates: list[float], bar: Bar | None = None, note: str = "") -> None:
    bench.add(WORK, what, who, rates, "entries/s", bar, note)


def _find(bench: Bench, path: Path, *words: str) -> tuple[float, int]:
    """Entries per second, and how many there were."""
    out = bench.out_dir / "found"
    elapsed = run(["find", path, *words], out)
    entries = out.read_bytes().count(b"\n")
    out.unlink()
    return entries / elapsed, entries


def _measure_peers(bench: Bench, source: Path, shape: str) -> None:
    local = bench.fresh("local")
    bench.say(f"{WORK}: making {shape} on the disk")
    for path in paths(source):
        file = local / path
        try:
            file.touch()
        except FileNotFoundError:
            file.parent.mkdir(parents=True)
            file.touch()
    rates = [_find(bench, local)[0] for _ in range(bench.sizes.repeat)]
    _add(bench, f"{shape}: again", "local disk", rates)
    _add(bench, f"{shape}: again, with sizes", "local disk", [_find(bench, local, "-printf", "%s\n")[0]])
    if not bench.has("rclone", WORK):
        return
    cold, again, sized = [], [], []
    for _ in range(bench.sizes.repeat):
        with RcloneMount(local, bench.fresh("rclone")) as mount:
            cold.append(_find(bench, mount.path)[0])
            again.append(_find(bench, mount.path)[0])
            sized.append(_find(bench, mount.path, "-printf", "%s\n")[0])
    _add(bench, f"{shape}: fresh mount", "rclone", cold)
    _add(bench, f"{shape}: again", "rclone", again)
    _add(bench, f"{shape}: again, with sizes", "rclone", sized)
