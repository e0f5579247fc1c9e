"""The command line of scripts/bench: which works, how large, and where the report goes."""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from types import FrameType

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks import (
    again,
    blocked,
    bulk,
    code_size,
    dropped,
    folder,
    huge,
    index,
    opening,
    path,
    questions,
    refresh,
    roundtrip,
    small,
    walk,
)
from benchmarks.bench import ADAPTER_VARIABLE, ADAPTERS, QUICK, Bench, BenchFailedError, Sizes, machine
from benchmarks.figures import COLUMNS, Report

WORKS: dict[str, tuple[Callable[[Bench], None], str]] = {
    "index": (index.measure, "first and later mounts of large tables, and the daemon's memory"),
    "walk": (walk.measure, "find over a large tree, three times, and ls -lR"),
    "roundtrip": (roundtrip.measure, "questions to the daemon one after the other, against pyfuse3 without onefs"),
    "open": (opening.measure, "open, read 4 kB, close of many small verified files"),
    "warm": (bulk.measure_warm, "a large file from the kernel's cache"),
    "again": (again.measure, "a large verified file again, as root and as an ordinary user, through both adapters"),
    "blocked": (blocked.measure, "ls and a verified file beside many opens or reads that wait for a stalled server"),
    "cold": (small.measure_cold, "many small files that have to be fetched, one reader and several at once"),
    "far": (small.measure_far, "the same from a server that is far away, read and fetched by command"),
    "large": (bulk.measure_large, "a large file that has to be fetched"),
    "dropped": (dropped.measure, "the same files, verified, with the kernel's caches dropped (for root)"),
    "huge": (huge.measure, "a file of 100 GiB, of which little is read"),
    "questions": (questions.measure, "searches, lists and loads from Python, and lists on the command line"),
    "folder": (folder.measure, "tables of a folder's files, their hashes, and hashing on a Dask cluster"),
    "size": (code_size.measure, "lines of the code that fetches and keeps bytes, and of the repository"),
    "path": (path.measure, "functions of onefs that run while a small file is fetched for a read"),
    "refresh": (refresh.measure, "how long readers wait while newer tables are taken"),
}
SIZE_HELP = {
    "datasets": "rows of the large tables (index, questions, refresh)",
    "sessions": "their sessions",
    "fewer_datasets": "rows of the smaller tables (index, questions)",
    "fewer_sessions": "their sessions",
    "entries": "files and folders that find walks (walk)",
    "files": "small files (open, cold, far, dropped, refresh), and questions (roundtrip)",
    "file_bytes": "size of each",
    "big_mib": "size of the large file, in MiB (warm, again, large, dropped)",
    "blocked_opens": "opens that wait at once (blocked)",
    "blocked_reads": "reads that wait at once (blocked)",
    "readers": "programs that read at once (cold, refresh)",
    "changed": "datasets that are others in newer tables (refresh)",
    "repeat": "runs of each measurement; the median counts",
    "huge_gib": "size of the huge file, in GiB (huge)",
    "places": "places at which a MiB of it is read (huge)",
    "in_order_mib": "how much of it is read in order (huge)",
    "tree_files": "files of the folder that is indexed (folder)",
    "tree_sessions": "their sessions",
    "hash_mib": "size of the files that are hashed, in MiB (folder)",
    "far_files": "small files that are read from far away (far)",
    "round_trip_ms": "how far away, in ms (far)",
    "quiet_s": "seconds for which those programs read in peace first (refresh)",
}
RIGHT = ("figure", "bar", "onefs to this")
WIDTH = 200
SHARED_MEMORY = Path("/dev/shm")


def main() -> int:
    """Run the works that were asked for. 0 if all ran, whether or not their bars are met; 1 if one could not."""
    arguments = _parser().parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    sizes = _sizes(arguments)
    report = Report(machine(), asdict(sizes), judges=not arguments.quick)
    report.note("Servers have their files in memory, and local disks too, but for the work `dropped`.")
    if arguments.quick:
        report.note("These sizes are too small for the bars, which are not judged.")
    failure = None
    try:
        _run(arguments, sizes, report)
    except KeyboardInterrupt:
        print("Interrupted; everything is unmounted and removed.", file=sys.stderr)
        return 130
    except BenchFailedError as error:
        failure = f"scripts/bench: stopped before its end: {error}"
        report.note(failure)
    _print(report)
    if arguments.json:
        arguments.json.write_text(json.dumps(report.as_json(), indent=1) + "\n")
    if failure:
        print(failure, file=sys.stderr)
    return 1 if failure else 0


def _parser() -> argparse.ArgumentParser:
    works = "".join(f"\n  {name:<9} {text}" for name, (_, text) in WORKS.items())
    parser = argparse.ArgumentParser(
        "scripts/bench",
        description=f"Measure onefs and its peers on the same work. Works:{works}",
        epilog="Peers and the server are installed by: scripts/setup.sh bench",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("works", nargs="*", metavar="WORK", type=_work, help="all, if none is named")
    parser.add_argument("--quick", action="store_true", help="small sizes: whether it runs, not how fast")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON too")
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="where to work; made-up tables stay there for next time"
    )
    parser.add_argument("--one-large", action="store_true", help="have ONE-api load the large tables too: minutes")
    parser.add_argument(
        "--base", default="", metavar="REVISION", help="what the size of the code is compared with [the last tag]"
    )
    parser.add_argument(
        "--adapter",
        choices=(*ADAPTERS, "both"),
        help="the adapter to the kernel; both: all once more through pyfuse3, as a peer [auto, as onefs mount]",
    )
    for size in fields(Sizes):
        flag = "--" + size.name.replace("_", "-")
        help_text = f"{SIZE_HELP[size.name]} [{size.default}]"
        parser.add_argument(flag, type=_positive, metavar="N", help=help_text)
    return parser


def _work(text: str) -> str:
    if text not in WORKS:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(WORKS)}")
    return text


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _sizes(arguments: argparse.Namespace) -> Sizes:
    given = {size.name: getattr(arguments, size.name) for size in fields(Sizes)}
    return replace(QUICK if arguments.quick else Sizes(), **{name: n for name, n in given.items() if n is not None})


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise KeyboardInterrupt


def _run(arguments: argparse.Namespace, sizes: Sizes, report: Report) -> None:
    if arguments.work:
        arguments.work.mkdir(parents=True, exist_ok=True)
    run_dir = Path(tempfile.mkdtemp(prefix="onefs-bench-", dir=arguments.work)).resolve()
    kept_dir = arguments.work.resolve() if arguments.work else run_dir
    out_dir = _out_dir(run_dir, sizes)
    run_dir.chmod(0o711)  # some works have mounts of another user in it
    bench = Bench(run_dir, kept_dir, out_dir, sizes, arguments.one_large, arguments.base, report)
    try:
        for name in arguments.works or WORKS:
            for adapter, compared in _adapters(arguments.adapter):
                bench.say(f"{name}: {WORKS[name][1]}{f', through {adapter}' if adapter else ''}")
                bench.compared = adapter if compared else ""
                os.environ.pop(ADAPTER_VARIABLE, None)
                os.environ |= {ADAPTER_VARIABLE: adapter} if adapter else {}
                WORKS[name][0](bench)
                bench.clear()
    finally:
        shutil.rmtree(out_dir, ignore_errors=True)
        shutil.rmtree(run_dir, ignore_errors=True)


def _adapters(chosen: str | None) -> list[tuple[str, bool]]:
    """The adapters through which each work is run, "" for onefs's own choice, and whether that is to be compared."""
    return [("session", False), ("pyfuse3", True)] if chosen == "both" else [(chosen or "", False)]


def _out_dir(run_dir: Path, sizes: Sizes) -> Path:
    """In memory if there is room, so that the disk is not measured."""
    has_room = SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free > 4 * sizes.big_mib << 20
    return Path(tempfile.mkdtemp(prefix="onefs-bench-", dir=SHARED_MEMORY if has_room else run_dir))


def _print(report: Report) -> None:
    table = Table(box=SIMPLE_HEAD)
    for column in COLUMNS:
        table.add_column(column, no_wrap=True, justify="right" if column in RIGHT else "left")
    for row in report.rows():
        table.add_row(*row)
    console = Console()
    console.width = max(console.width, WIDTH)  # a pipe has no width, and a narrow table cannot be read
    console.print(table)
    for note in report.notes:
        print(f"Note: {note}")
    for title, lines in report.lists.items():
        print(f"\n{title}:", *lines, sep="\n  ")


if __name__ == "__main__":
    sys.exit(main())
