"""The work `roundtrip`: one program asks the daemon one question after the other, and waits for each answer."""

import itertools
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.archive import make_archive
from benchmarks.bench import Bench, python
from benchmarks.figures import ONEFS, at_most
from benchmarks.mounts import Mount, OnefsMount, ToyMount

WORK = "roundtrip"
TOY = "pyfuse3 alone"
BAR = at_most(0.75)
WARM_UPS = 200
_numbers = itertools.count()


@dataclass(slots=True)
class Asked:
    """Microseconds for a question in each run: of the clock, and of the daemon's processors."""

    times_us: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)

    def ask(self, mount: Mount, kind: str, path: Path, count: int) -> None:
        """Ask so many questions of a kind about a path, after some to warm up."""
        _ask_s(kind, path, min(count, WARM_UPS))
        before_s = mount.cpu_s()
        self.times_us.append(_ask_s(kind, path, count) * 1e6 / count)
        self.cpu_us.append((mount.cpu_s() - before_s) * 1e6 / count)


def measure(bench: Bench) -> None:
    """Attributes, and names that are absent, in turn with the smallest file system that pyfuse3 can serve."""
    home = bench.fresh(WORK)
    archive = make_archive(home, 1, 1_000)
    count = 10 * bench.sizes.files
    with OnefsMount(archive.tables, home) as mount, ToyMount(home) as toy:
        file = mount.path / archive.datasets[0].path
        for what, kind, path in (
            ("stat of a folder", "stat", mount.path),
            ("stat of a file", "stat", file),
            ("stat of a name that is absent", "absent", file.parent),
        ):
            ours, theirs = Asked(), Asked()
            for _ in range(bench.sizes.repeat):
                ours.ask(mount, kind, path, count)
                theirs.ask(toy, kind, toy.path, count)
            _report(bench, what, ours, theirs, f"{count} questions, one after the other")


def _report(bench: Bench, what: str, ours: Asked, theirs: Asked, note: str) -> None:
    bench.add(WORK, what, ONEFS, ours.times_us, "µs", note=note)
    bench.add(WORK, what, TOY, theirs.times_us, "µs", note="of an empty folder")
    bench.add(WORK, f"{what}, CPU", ONEFS, ours.cpu_us, "µs")
    bench.add(WORK, f"{what}, CPU", TOY, theirs.cpu_us, "µs")
    bench.add_ratio(WORK, f"{what}, to {TOY}", ours.times_us, theirs.times_us, BAR)


def _ask_s(kind: str, path: Path, count: int) -> float:
    """Seconds that a program takes to ask. Names that are absent are others each time."""
    command = python("one_by_one.py", kind, path, str(count), f"absent-{next(_numbers)}-")
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
