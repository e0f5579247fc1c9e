"""Having a mount do long work, and following that to its end."""

import json
import shlex
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

import click

from onefs.cli.mounts import order, status_of
from onefs.cli.printing import complain
from onefs.cli.progress import Display, Facts, print_results
from onefs.errors import BadCommandError, OnefsError
from onefs.exit_codes import FAILED
from onefs.fuse.mounting import Health, Mount, health

FIRST_LOOK_S = 0.05
LOOK_EVERY_S = 0.5
SILENT_LOOKS = 20
"""So often a daemon may be found silent, for seconds each, before it is given up."""
LONGEST_LINE = 60_000


def have_done(
    mount: Mount, verb: str, paths: Sequence[str], *, as_json: bool = False, is_verbose: bool = False
) -> None:
    """Have a mount do something to paths, and return at its end. Exits with 1 if any of it failed."""
    from onefs.daemon.work import key_of

    keys: list[str] = []
    try:
        for words in _in_lines(verb, paths):
            with _interrupted_later():
                _order(mount, verb, words, key_of(verb, words))
                keys.append(key_of(verb, words))
        jobs = _followed(mount, keys, is_quiet=as_json)
    except KeyboardInterrupt:
        _leave(mount, verb, keys)
        raise
    report(jobs, as_json=as_json, is_verbose=is_verbose)


@contextmanager
def _interrupted_later() -> Iterator[None]:
    """A block at whose end Ctrl-C counts: what has been begun must be known, or nobody would stop it."""
    came: list[tuple[int, FrameType | None]] = []  # a mask would not do: any other thread takes the signal then
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came and callable(before):
            before(*came[0])


def _leave(mount: Mount, verb: str, keys: Sequence[str]) -> None:
    """Want jobs no more, and tell what becomes of them. One may end, and be gone, at any time."""
    for job in _under_way(mount, keys):
        with suppress(BadCommandError):
            order(mount, f"stop {job['number']} mine", BadCommandError)
    click.echo(err=True)  # behind the ^C
    wanted = [str(job["number"]) for job in _under_way(mount, keys)]
    if wanted:
        how = " ".join(f"onefs stop {number};" for number in wanted).rstrip(";")
        complain(f"{verb} goes on, as somebody else asked for the same. To end it all the same: {how}")
    else:
        complain(f"{verb} was stopped. What is done stays; the same again goes on from there.")


def _under_way(mount: Mount, keys: Sequence[str]) -> list[Facts]:
    return [job for job in _found(mount, keys) if job["ended"] is None]


def give(mount: Mount, verb: str, paths: Sequence[str]) -> None:
    """Have a mount do something to paths that takes no time."""
    for words in _in_lines(verb, paths):
        order(mount, shlex.join([verb, *words]), OnefsError)


def report(jobs: Sequence[Facts], *, as_json: bool, is_verbose: bool) -> None:
    """Print the results of jobs; with `is_verbose` every file that failed. Exits with 1 if any of it failed."""
    if as_json:
        click.echo(json.dumps(jobs, indent=1))
        is_well = all(not job["failures"] and job["stage"] == "done" for job in jobs)
    else:
        is_well = print_results(jobs, is_verbose=is_verbose)
    if not is_well:
        click.get_current_context().exit(FAILED)


def _order(mount: Mount, verb: str, words: Sequence[str], key: str) -> None:
    """Give a command. One about a single file may have failed by now: then its job tells why."""
    before = {job["number"] for job in _found(mount, [key])}
    try:
        order(mount, shlex.join([verb, *words]), OnefsError)
    except OnefsError:
        if {job["number"] for job in _found(mount, [key])} <= before:
            raise


def _followed(mount: Mount, keys: Sequence[str], *, is_quiet: bool) -> list[Facts]:
    pause_s = FIRST_LOOK_S
    known: dict[str, Facts] = {}  # what has ended is told of for a while only
    with Display(is_quiet=is_quiet) as display:
        while True:
            _await_answer(mount)
            known |= {job["key"]: job for job in _found(mount, keys)}
            if len(known) < len(set(keys)):
                raise OnefsError(
                    f"{mount.mountpoint} no longer lists the job that it was given.",
                    "See its log with onefs log, and try again.",
                )
            jobs = [known[key] for key in dict.fromkeys(keys)]
            if all(job["ended"] is not None for job in jobs):
                return jobs
            display.show(jobs)
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, LOOK_EVERY_S)


def _await_answer(mount: Mount) -> None:
    """Give a daemon time that has much to do: what it was asked for goes on meanwhile."""
    for _ in range(SILENT_LOOKS):
        if health(mount.mountpoint) is not Health.SILENT:
            return


def _found(mount: Mount, keys: Sequence[str]) -> list[Facts]:
    """The newest job of each key."""
    if not keys:
        return []
    newest = {job["key"]: job for job in status_of(mount)["jobs"]}
    return [newest[key] for key in dict.fromkeys(keys) if key in newest]


def _in_lines(verb: str, paths: Sequence[str]) -> Iterator[list[str]]:
    """Paths in as many command lines as one write each can carry."""
    words: list[str] = []
    length = len(verb)
    for path in paths:
        quoted = len(shlex.quote(path).encode(errors="surrogateescape")) + 1
        if words and length + quoted > LONGEST_LINE:
            yield words
            words, length = [], len(verb)
        words.append(path)
        length += quoted
    if words or not paths:
        yield words
