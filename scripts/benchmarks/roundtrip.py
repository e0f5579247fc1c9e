"""The work `roundtrip`: one program asks the daemon one question after the other, and waits for each answer."""

import subprocess
from pathlib import Path

from benchmarks.archive import make_archive
from benchmarks.bench import Bench, python
from benchmarks.figures import ONEFS, at_most
from benchmarks.mounts import Mount, OnefsMount, ToyMount

WORK = "roundtrip"
ABSENT = "stat of a name that is absent"
TOY = "pyfuse3 alone"
BAR = at_most(0.75)
WARM_UPS = 200


def measure(bench: Bench) -> None:
    """Names that are absent, each new to the kernel, in turn with the smallest file system that pyfuse3 can serve."""
    home = bench.fresh(WORK)
    archive = make_archive(home, 1, 1_000)
    ours, theirs, our_cpu, their_cpu = [], [], [], []
    with OnefsMount(archive.tables, home) as mount, ToyMount(home) as toy:
        for number in range(bench.sizes.repeat):
            for peer, times_us, cpu_us in ((mount, ours, our_cpu), (toy, theirs, their_cpu)):
                _ask(bench, peer, number, times_us, cpu_us)
    bench.add(WORK, ABSENT, ONEFS, ours, "µs", note=f"{bench.sizes.files} names in the root, one after the other")
    bench.add(WORK, ABSENT, TOY, theirs, "µs", note="an empty folder")
    bench.add(WORK, f"{ABSENT}, CPU", ONEFS, our_cpu, "µs")
    bench.add(WORK, f"{ABSENT}, CPU", TOY, their_cpu, "µs")
    bench.add_ratio(WORK, f"{ABSENT}, to {TOY}", ours, theirs, BAR)


def _ask(bench: Bench, mount: Mount, number: int, times_us: list[float], cpu_us: list[float]) -> None:
    count = bench.sizes.files
    _absent_s(mount.path, f"first-{number}-", min(count, WARM_UPS))
    before_s = mount.cpu_s()
    times_us.append(_absent_s(mount.path, f"absent-{number}-", count) * 1e6 / count)
    cpu_us.append((mount.cpu_s() - before_s) * 1e6 / count)


def _absent_s(folder: Path, beginning: str, count: int) -> float:
    """Seconds that one program takes to ask for so many names."""
    done = subprocess.run(
        python("absent.py", folder, str(count), beginning), capture_output=True, text=True, check=True
    )
    return float(done.stdout)
