"""The work `folder`: cache tables of a folder's files, beside those of ONE, a walk by find, and md5sum."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.bench import Bench, BenchFailedError, python, run
from benchmarks.figures import ONEFS, at_least, at_most

WORK = "folder"
INDEX = (sys.executable, "-m", "onefs", "index")
LABS = 20
SUBJECTS = 400
LARGE_MIB = 128
SMALL_BYTES = 20_000
SHARE_SMALL = 4
"""One in so many of the bytes that are hashed is in small files."""

LOOK_EVERY_S = 0.05
DASK_WORKERS = 4
NAMES = tuple(
    f"alf/probe0{probe}/{name}.npy"
    for probe in (0, 1)
    for name in (
        "spikes.times",
        "spikes.amps",
        "spikes.depths",
        "spikes.clusters",
        "clusters.metrics",
        "channels.rawInd",
    )
) + tuple(f"alf/_ibl_trials.{name}.npy" for name in ("choice", "intervals", "goCue_times", "rewardVolume"))


def measure(bench: Bench) -> None:
    """A large tree without hashes, and fewer bytes with."""
    _measure_listing(bench)
    _measure_hashing(bench)


def _measure_listing(bench: Bench) -> None:
    sizes = bench.sizes
    tree, size = bench.fresh("tree"), f"{sizes.tree_files:,} files".replace(",", " ")
    bench.say(f"{WORK}: making {size}")
    _make_tree(tree, sizes.tree_files, sizes.tree_sessions)
    find = ["find", tree, "-printf", r"%s %T@ %i\n"]
    run(find)  # so that the kernel has all in memory
    firsts, memories, agains, finds = [], [], [], []
    for _ in range(sizes.repeat):
        out = bench.fresh("out")
        seconds, memory_mb = _run_and_weigh([*INDEX, tree, "--out", out])
        firsts.append(seconds)
        memories.append(memory_mb)
        agains.append(run([*INDEX, tree, "--out", out]))
        finds.append(run(find))
    bench.add(WORK, f"index: {size}", ONEFS, firsts, "s", at_most(12.0))
    bench.add(WORK, f"memory of all its processes: {size}", ONEFS, memories, "MB", at_most(600.0))
    bench.add(WORK, f"index again, nothing changed: {size}", ONEFS, agains, "s")
    bench.add(WORK, f"index again, nothing changed: {size}", "find", finds, "s")
    ratios = [again / found for again, found in zip(agains, finds, strict=True)]
    bench.add(WORK, f"index again, to find: {size}", ONEFS, ratios, "× find", at_most(3.0))
    _measure_one(bench, tree)


def _measure_one(bench: Bench, tree: Path) -> None:
    """ONE's tables of the same files, or of those of one lab as it may take minutes."""
    what = "index" if bench.one_large else "index, one lab"
    root = tree if bench.one_large else tree / "lab00"
    try:
        theirs = run(python("one_index.py", root, bench.fresh("one")))
    except BenchFailedError as error:
        bench.report.note(f"{WORK}: ONE-api was not measured: {error}")
        return
    ours = run([*INDEX, root, "--out", bench.fresh("out")])
    bench.add(WORK, f"{what}, beside ONE", ONEFS, [ours], "s")
    bench.add(WORK, f"{what}, beside ONE", "ONE-api", [theirs], "s")
    bench.add(WORK, f"{what}: times as fast as ONE", ONEFS, [theirs / ours], "×", at_least(10.0))


def _measure_hashing(bench: Bench) -> None:
    total_mib = bench.sizes.hash_mib
    small, large = bench.out_dir / "small", bench.out_dir / "large"
    _make_files(small, (total_mib << 20) // SHARE_SMALL // SMALL_BYTES, SMALL_BYTES)
    _make_files(large, max(total_mib * (SHARE_SMALL - 1) // SHARE_SMALL // LARGE_MIB, 2), LARGE_MIB << 20)
    with _cluster(bench) as scheduler:
        _measure_hashes(bench, f"{SMALL_BYTES // 1000} kB", small, (), scheduler)
        _measure_hashes(bench, f"{LARGE_MIB} MiB", large, ("-n1",), scheduler)


def _measure_hashes(bench: Bench, size: str, tree: Path, per_call: Sequence[str], scheduler: str) -> None:
    """All files of a tree in turn by md5sum, by onefs, and by onefs on a Dask cluster of this machine."""
    peer = ["sh", "-c", f"find {tree} -type f -print0 | xargs -0 {' '.join(per_call)} -P2 md5sum"]
    run(peer)
    seconds: dict[str, list[float]] = {"md5sum": [], "onefs": [], "cluster": []}
    for _ in range(bench.sizes.repeat):
        seconds["md5sum"].append(run(peer))
        seconds["onefs"].append(run([*INDEX, tree, "--hash", "--out", bench.fresh("out")]))
        cluster = ("--scheduler", scheduler)
        seconds["cluster"].append(run([*INDEX, tree, "--hash", "--out", bench.fresh("out"), *cluster]))
    what = f"hash files of {size}"
    bench.add(WORK, what, ONEFS, seconds["onefs"], "s")
    bench.add(WORK, what, "xargs -P2 md5sum", seconds["md5sum"], "s")
    bench.add(WORK, what, f"onefs, {DASK_WORKERS} Dask workers", seconds["cluster"], "s")
    speeds = [theirs / ours for theirs, ours in zip(seconds["md5sum"], seconds["onefs"], strict=True)]
    bench.add(WORK, f"{what}: speed", ONEFS, speeds, "× md5sum", at_least(0.9))
    ratios = [cluster / ours for cluster, ours in zip(seconds["cluster"], seconds["onefs"], strict=True)]
    bench.add(WORK, f"{what}: on Dask", ONEFS, ratios, "× one process", at_most(1.15))


def _make_tree(root: Path, files: int, sessions: int) -> None:
    """Small files, as many in each session; some names come again in all sessions, others are of one."""
    for number in range(sessions):
        lab, subject, day = number % LABS, number % SUBJECTS, number // SUBJECTS
        date = f"2024-{day // 28 % 12 + 1:02d}-{day % 28 + 1:02d}"
        session = root / f"lab{lab:02d}/Subjects/SUBJECT-{subject:04d}/{date}/{day // 336 + 1:03d}"
        count = files * (number + 1) // sessions - files * number // sessions
        names = [
            *NAMES[:count],
            *(f"raw_ephys_data/_spikeglx_part{at}.t{number}.bin" for at in range(count - len(NAMES))),
        ]
        for folder in {os.path.dirname(name) for name in names}:
            (session / folder).mkdir(parents=True, exist_ok=True)
        for name in names:
            (session / name).write_bytes(b"x" * (number % 100))


def _make_files(root: Path, files: int, size_bytes: int) -> None:
    """Files of random bytes, 20 in each session."""
    data = os.urandom(size_bytes)
    for number in range(files):
        folder = root / f"S{number // 20 % 50}/2024-01-{number // 20 // 50 % 28 + 1:02d}/{number // 28_000 + 1:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"_spikeglx_part{number % 20}.data.bin").write_bytes(data)


def _run_and_weigh(command: Sequence[str | Path]) -> tuple[float, float]:
    """Seconds that a command takes, and the most memory that it and its processes have at a time, in MB."""
    most_kb, is_done = 0, threading.Event()
    started = time.perf_counter()
    with subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:

        def weigh() -> None:
            nonlocal most_kb
            while not is_done.wait(LOOK_EVERY_S):
                most_kb = max(most_kb, sum(map(_pss_kb, _family(process.pid))))

        watcher = threading.Thread(target=weigh)
        watcher.start()
        process.wait()
        seconds = time.perf_counter() - started
        is_done.set()
        watcher.join()
    if process.returncode:
        raise BenchFailedError(f"{' '.join(map(str, command))} failed with {process.returncode}")
    return seconds, most_kb * 1024 / 1e6


def _family(pid: int) -> Iterator[int]:
    """A process and its children."""
    yield pid
    try:
        yield from map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    except OSError:
        return


def _pss_kb(pid: int) -> int:
    """Memory of a process, with its share of what it shares."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


@contextmanager
def _cluster(bench: Bench) -> Iterator[str]:
    """The address of a Dask scheduler with workers, each a process of one thread."""
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    file = bench.fresh("dask") / "scheduler.json"
    with ExitStack() as stack:
        commands: list[list[str]] = [
            [*dask, "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)],
            *(
                [
                    sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(file),
                    "--nthreads", "1", "--no-nanny", "--no-dashboard",
                ]
                for _ in range(DASK_WORKERS)
            ),
        ]  # fmt: skip
        for command in commands:
            process = stack.enter_context(
                subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=file.parent)
            )
            stack.callback(process.terminate)
            _wait_until(file.exists)
        address = json.loads(file.read_text())["address"]
        from distributed import Client

        with Client(address) as client:
            client.wait_for_workers(DASK_WORKERS, timeout=60)
        yield address


def _wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        if time.monotonic() > deadline:
            raise BenchFailedError("the Dask scheduler did not start")
        time.sleep(0.05)
