"""The work `walk`: find over a large tree, three times, and ls -lR, against a local disk and rclone over it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.bench import Bench, run
from benchmarks.figures import ONEFS, Bar, at_most
from benchmarks.mounts import OnefsMount, RcloneMount
from benchmarks.tables import Made, paths, tables

WORK = "walk"
FIRST, SECOND, THIRD = (f"find, {nth} time" for nth in ("first", "second", "third"))
SIZED = "find with sizes, after that"
LONG = "ls -lR, after that"
FIND = ("find",)
WALKS: dict[str, tuple[str, ...]] = {
    FIRST: FIND, SECOND: FIND, THIRD: FIND, SIZED: ("find", "-printf", "%s\n"), LONG: ("ls", "-lR"),
}  # fmt: skip
BARS = {FIRST: at_most(15), SECOND: at_most(5), THIRD: at_most(1.5), LONG: at_most(5)}  # to the local disk's time
FLAT_FILES = 500
REAL_FILES = 50
REAL_ENTRIES = 1.26  # entries for each file, directories included


@dataclass(slots=True)
class Walks:
    """Seconds of each walk over a tree, by what was run."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def walk(self, bench: Bench, path: Path, whats: Sequence[str] = tuple(WALKS)) -> None:
        """Walk over a tree in each way."""
        for what in whats:
            program, *words = WALKS[what]
            elapsed = run(
                [program, path, *words] if program == "find" else [program, *words, path], bench.out_dir / "out"
            )
            self.seconds.setdefault(what, []).append(elapsed)


def measure(bench: Bench) -> None:
    """Both shapes: many files in a folder, and few in many."""
    entries = bench.sizes.entries
    sessions = max(1, entries // FLAT_FILES)
    _measure_shape(bench, Made("flat", sessions * FLAT_FILES, sessions), {})
    files = int(entries / REAL_ENTRIES)
    _measure_shape(bench, Made("real", files, max(1, files // REAL_FILES)), BARS)


def _measure_shape(bench: Bench, made: Made, bars: dict[str, Bar]) -> None:
    source = tables(bench.kept_dir, made)
    home = bench.fresh(WORK)
    with OnefsMount(source, home):
        pass  # the index is made here
    local = _on_disk(bench, source, made.shape)
    ours, theirs, rclones = Walks(), Walks(), Walks()
    run(["find", local])  # the disk's directories are in memory from here on
    for _ in range(bench.sizes.repeat):
        with OnefsMount(source, home) as mount:
            ours.walk(bench, mount.path)
        theirs.walk(bench, local, (THIRD, SIZED, LONG))
    if bench.has("rclone", WORK):
        for _ in range(bench.sizes.repeat):
            with RcloneMount(local, bench.fresh("rclone")) as peer:
                rclones.walk(bench, peer.path)
    run(["find", local], bench.out_dir / "out")
    entries = (bench.out_dir / "out").read_bytes().count(b"\n")
    note = f"{entries} entries, {made.datasets} of them files"
    for who, walks in ((ONEFS, ours), ("rclone", rclones), ("local disk", theirs)):
        for what, seconds in walks.seconds.items():
            rates = [entries / elapsed for elapsed in seconds]
            bench.add(WORK, f"{made.shape}: {what}", who, rates, "entries/s", note=note)
            note = ""
    for what, seconds in ours.seconds.items():
        disk = theirs.seconds[what if what in theirs.seconds else THIRD]
        bench.add_ratio(WORK, f"{made.shape}: {what}, time to the local disk's", seconds, disk, bars.get(what))


def _on_disk(bench: Bench, source: Path, shape: str) -> Path:
    """The same tree on the disk, of empty files."""
    local = bench.fresh("local")
    bench.say(f"{WORK}: making {shape} on the disk")
    for path in paths(source):
        file = local / path
        try:
            file.touch()
        except FileNotFoundError:
            file.parent.mkdir(parents=True)
            file.touch()
    return local
