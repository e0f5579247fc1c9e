"""Owns having a mount do what takes long, and following that to its end."""

import json
import shlex
import time
from collections.abc import Iterator, Sequence

import click

from onefs.cli.mounts import order, status_of
from onefs.cli.progress import Display, Facts, told
from onefs.errors import OnefsError
from onefs.fuse.mounting import Mount

FIRST_LOOK_S = 0.05
LOOK_EVERY_S = 0.5
LONGEST_LINE = 60_000
FAILED = 1


def have_done(mount: Mount, verb: str, paths: Sequence[str], *, as_json: bool = False) -> None:
    """Have a mount do something to paths, and return at its end. Exits with 1 if any of it failed."""
    from onefs.daemon.work import key_of

    keys: list[str] = []
    try:
        for words in _in_lines(verb, paths):
            _order(mount, verb, words, key_of(verb, words))
            keys.append(key_of(verb, words))
        jobs = _followed(mount, keys, is_quiet=as_json)
    except KeyboardInterrupt:
        for job in _found(mount, keys):
            if job["ended"] is None:
                order(mount, f"stop {job['number']}", OnefsError)
        click.echo(f"\nonefs: {verb} was stopped. What is done stays; the same again goes on from there.", err=True)
        raise
    report(jobs, as_json=as_json)


def give(mount: Mount, verb: str, paths: Sequence[str]) -> None:
    """Have a mount do something to paths that takes no time."""
    for words in _in_lines(verb, paths):
        order(mount, shlex.join([verb, *words]), OnefsError)


def report(jobs: Sequence[Facts], *, as_json: bool) -> None:
    """Tell what became of jobs. Exits with 1 if any of it failed."""
    if as_json:
        click.echo(json.dumps(jobs, indent=1))
    is_well = all(not job["failures"] and job["stage"] == "done" for job in jobs) if as_json else told(jobs)
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
    with Display(is_quiet=is_quiet) as display:
        while True:
            jobs = _found(mount, keys)
            if len(jobs) < len(set(keys)):
                raise OnefsError(f"{mount.mountpoint} tells no more of what it was to do.", "Look into its log.")
            if all(job["ended"] is not None for job in jobs):
                return jobs
            display.show(jobs)
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, LOOK_EVERY_S)


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
