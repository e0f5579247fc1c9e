"""Owns how long work looks while it goes on: a moving line on a terminal, a plain one now and then elsewhere."""

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import click

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Facts = dict[str, Any]
PLAIN_EVERY_S = 5.0
FAILED_STAGES = ("failed", "stopped")


class Display:
    """A context in which jobs are shown on standard error, as what they tell of themselves says."""

    def __init__(self, *, is_quiet: bool = False) -> None:
        """`is_quiet`: nothing is shown."""
        self._is_quiet = is_quiet
        self._live: tuple[Progress, TaskID] | None = None
        self._shown_s = time.monotonic()

    def __enter__(self) -> Self:
        if sys.stderr.isatty() and not self._is_quiet:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            progress = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TextColumn("{task.fields[words]}", markup=False),
                console=Console(stderr=True),
                transient=True,
            )
            self._live = progress, progress.add_task("", total=None, words="")
            progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live[0].stop()

    def show(self, jobs: Sequence[Facts]) -> None:
        """Show how they are by now."""
        title, words, share = _title(jobs), _words(jobs), _share(jobs)
        if self._live is not None:
            progress, task = self._live
            progress.update(task, description=title, words=words, total=1.0 if share is not None else None)
            progress.update(task, completed=share or 0.0)
        elif not self._is_quiet and time.monotonic() > self._shown_s + PLAIN_EVERY_S:
            self._shown_s = time.monotonic()
            click.echo(f"{title}: {words}", err=True)


def told(jobs: Sequence[Facts]) -> bool:
    """Tell what became of jobs: failures on standard error, the rest on standard output. Whether all is well."""
    is_well = True
    for job in jobs:
        failed = job["files"].get("failed", 0)
        for failure in job["failures"]:
            click.echo(f"onefs: {failure['reason']} {failure['remedy']}".rstrip(), err=True)
        if failed > len(job["failures"]):
            click.echo(f"onefs: … and {failed - len(job['failures'])} more.", err=True)
        is_well = is_well and not job["failures"] and job["stage"] not in FAILED_STAGES
        click.echo(job["sentence"], err=job["stage"] in FAILED_STAGES)
    return is_well


def _title(jobs: Sequence[Facts]) -> str:
    return str(jobs[0]["command"]) if len(jobs) == 1 else f"{str(jobs[0]['command']).partition(' ')[0]} many"


def _words(jobs: Sequence[Facts]) -> str:
    from onefs.daemon.wording import duration_text, size_text

    done_files = sum(job["done_files"] for job in jobs)
    if any(job["total_files"] is None for job in jobs):
        return "counting the files"
    total_files, done_bytes, total_bytes, rate = (
        sum(job[key] for job in jobs) for key in ("total_files", "done_bytes", "total_bytes", "rate_bytes_per_s")
    )
    failed = sum(job["files"].get("failed", 0) for job in jobs)
    lasting = [job["left_s"] for job in jobs if job["left_s"] is not None]
    words = [f"{done_files} of {total_files} files", f"{size_text(done_bytes)} of {size_text(total_bytes)}"]
    words += [f"{size_text(rate)}/s"] if rate else []
    words += [f"{duration_text(max(lasting))} left"] if lasting else []
    return ", ".join([*words, *([f"{failed} failed"] if failed else [])])


def _share(jobs: Sequence[Facts]) -> float | None:
    """How much is done, of 1: by bytes where they are known, else by files."""
    if any(job["total_files"] is None for job in jobs):
        return None
    for done, total in (("done_bytes", "total_bytes"), ("done_files", "total_files")):
        whole = float(sum(job[total] for job in jobs))
        if whole:
            return float(min(sum(job[done] for job in jobs) / whole, 1.0))
    return None
