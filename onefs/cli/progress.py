"""The display of progress: a bar on a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import click

from onefs.cli.printing import complain, ignore_output
from onefs.meter import Meter
from onefs.progress import Listener, Step
from onefs.text import counted, duration_text, size_text, visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

Facts = dict[str, Any]
PLAIN_EVERY_S = 5.0
PLAIN_STEP_EVERY_S = 30.0
"""How often a plain line is written: of jobs, and of the steps of mounting."""
FAILED_STAGES = ("failed", "stopped")
BAR_WIDTH, TITLE_WIDTH = 12, 16
"""In columns: the width of the bar, and the least width of a title that is longer."""


class Word(NamedTuple):
    """A part of the text beside the bar. On a narrow terminal those of the greatest rank are left out first."""

    text: str
    rank: int


class Display:
    """A context in which work is shown on standard error, from the first call of `show` or `step` on."""

    def __init__(self, *, is_quiet: bool = False) -> None:
        """`is_quiet`: nothing is shown."""
        self._is_quiet = is_quiet
        self._live: tuple[Progress, TaskID] | None = None
        self._shown_s = time.monotonic()
        self._step = ""
        self._meter = Meter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live[0].stop()
            self._live = None

    def show(self, jobs: Sequence[Facts]) -> None:
        """Show the progress of jobs."""
        self._show(_title(jobs), _words(jobs), _share(jobs), PLAIN_EVERY_S)

    def step(self, step: Step) -> None:
        """Show the progress of one step."""
        if step.what != self._step:
            self._step, self._meter = step.what, Meter()
        self._meter.reach(step.done)
        self._show(visible(step.what), _words_of_step(step, self._meter), step.share, PLAIN_STEP_EVERY_S)

    def _show(self, title: str, words: Sequence[Word], share: float | None, plain_every_s: float) -> None:
        if self._is_quiet:
            return
        if sys.stderr.isatty():
            progress, task = self._live = self._live or _begun()
            room = progress.console.width - BAR_WIDTH - min(len(title), TITLE_WIDTH) - 2
            is_new = progress.tasks[0].description != title
            progress.update(task, description=title, words=fitting(words, room), total=None if share is None else 1.0)
            progress.update(task, completed=share or 0.0, refresh=is_new)
        elif time.monotonic() > self._shown_s + plain_every_s:
            self._shown_s = time.monotonic()
            said = joined(words)
            self._write(f"{title}: {said}" if said else title)

    def _write(self, line: str) -> None:
        try:
            click.echo(line, err=True)
        except BrokenPipeError:  # nobody reads it any more, and the work goes on
            self._is_quiet = True
            ignore_output(sys.stderr)


class Shown(Listener):
    """A context in which the steps of this process are shown on standard error."""

    def __init__(self, *, is_quiet: bool = False) -> None:
        super().__init__()
        self._display = Display(is_quiet=is_quiet)

    def show(self, step: Step) -> None:
        """Show how far one step is."""
        self._display.step(step)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._display.__exit__(kind, error, trace)


def _words_of_step(step: Step, meter: Meter) -> list[Word]:
    rate = round(meter.rate_per_s)
    left_s = meter.left_s(max(step.total - step.done, 0)) if step.total else None
    words = [Word(step.amount, 1)] if step.done else []
    words += [Word(f"{step.text(rate)}/s", 2)] if rate else []
    return words + ([Word(f"{duration_text(left_s)} left", 0)] if left_s else [])


def _begun() -> "tuple[Progress, TaskID]":
    from rich.console import Console

    progress = moving_line(Console(stderr=True))
    task = progress.add_task("", total=None, words="")
    progress.start()
    return progress, task


def moving_line(console: "Console") -> "Progress":
    """A progress bar in one line as wide as the terminal: a title, cut if it is too long, the bar, and words."""
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    return Progress(
        TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
        BarColumn(BAR_WIDTH, table_column=Column(width=BAR_WIDTH)),
        TextColumn("{task.fields[words]}", markup=False, table_column=Column(no_wrap=True)),
        console=console,
        transient=True,
        expand=True,
        redirect_stdout=False,
        redirect_stderr=False,  # or a log that begins meanwhile would be broken into lines as wide as the terminal
    )


def fitting(words: Sequence[Word], width: int) -> str:
    """The words in one line of at most `width` columns: of those that do not all fit, the most important ones."""
    kept: list[Word] = []
    for word in sorted(words, key=lambda word: word.rank):
        more = [each for each in words if each in kept or each is word]
        if not kept or len(joined(more)) <= width:
            kept = more
    return joined(kept)


def joined(words: Iterable[Word]) -> str:
    """Words in one line."""
    return ", ".join(word.text for word in words)


def print_results(jobs: Sequence[Facts], *, is_verbose: bool = False) -> bool:
    """Print the results of jobs: failures on standard error, the rest on standard output; whether nothing failed.

    Files that failed for one cause share a line, unless `is_verbose`.
    """
    is_well = True
    for job in jobs:
        (_list_failures if is_verbose else _tell_causes)(job)
        is_well = is_well and not job["failures"] and job["stage"] not in FAILED_STAGES
        click.echo(visible(job["sentence"]), err=job["stage"] in FAILED_STAGES)
    return is_well


def _tell_causes(job: Facts) -> None:
    for cause in job["causes"]:
        sentence = f"{cause['reason']} {cause['remedy']}"
        if cause["files"] > 1:
            sentence = f"{cause['files']} files failed for one cause (--verbose lists them). The first: {sentence}"
        complain(sentence)


def _list_failures(job: Facts) -> None:
    for failure in job["failures"]:
        complain(f"{failure['reason']} {failure['remedy']}")
    untold = sum(cause["files"] for cause in job["causes"]) - len(job["failures"])
    if untold > 0:
        complain(f"{counted(untold, 'more file')} failed. The log has them all: onefs log.")


def _title(jobs: Sequence[Facts]) -> str:
    first = visible(str(jobs[0]["command"]))
    return first if len(jobs) == 1 else f"{first.partition(' ')[0]} many"


def _words(jobs: Sequence[Facts]) -> list[Word]:
    if any(job["total_files"] is None for job in jobs):
        return [Word("counting the files", 0)]
    done_files, total_files, done_bytes, total_bytes, rate = (
        sum(job[key] for job in jobs)
        for key in ("done_files", "total_files", "done_bytes", "total_bytes", "rate_bytes_per_s")
    )
    failed = sum(job["files"].get("failed", 0) for job in jobs)
    lasting = [job["left_s"] for job in jobs if job["left_s"] is not None]
    words = [
        Word(f"{done_files} of {counted(total_files, 'file')}", 2),
        Word(f"{size_text(done_bytes)} of {size_text(total_bytes)}", 3),
    ]
    words += [Word(f"{size_text(rate)}/s", 4)] if rate else []
    words += [Word(f"{duration_text(max(lasting))} left", 0)] if lasting else []
    return words + ([Word(f"{failed} failed", 1)] if failed else [])


def _share(jobs: Sequence[Facts]) -> float | None:
    """How much is done, of 1: by bytes where they are known, else by files."""
    if any(job["total_files"] is None for job in jobs):
        return None
    for done, total in (("done_bytes", "total_bytes"), ("done_files", "total_files")):
        whole = float(sum(job[total] for job in jobs))
        if whole:
            return float(min(sum(job[done] for job in jobs) / whole, 1.0))
    return None
