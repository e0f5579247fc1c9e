"""`onefs record`: record what is read from a mount, and by whom."""

import os
import shlex
import sys
from pathlib import Path

import click

from onefs.cli.attended import keep_orphans, run_program
from onefs.cli.mounts import mount_at, order, status_of
from onefs.cli.options import PATH, with_place
from onefs.cli.printing import complain, print_lines, say
from onefs.errors import OnefsError, UsageError
from onefs.fuse.mounting import Mount, mounts
from onefs.text import counted

_label = click.option("--label", metavar="NAME", help="a recording of its own, beside all others")


@click.group("record")
def command() -> None:
    """Record what is read from a mount, in whatever language, and by which program and user.

    A dataset counts once bytes of it were read, also if the kernel still had them from a reader before. What was
    recorded can be read at any time in .onefs/recorded of the mount, and is kept until it is saved or cleared.
    """


@command.command("on")
@_label
@click.option("--pid", type=click.IntRange(1), help="only what this process and its descendants read, until it ends")
@with_place
def _on(label: str | None, pid: int | None, place: Path | None) -> None:
    """Begin to record: all that is read, or what is read while a label is on."""
    if pid is not None and label is None:
        raise UsageError("What one process reads is recorded under a label of its own.", "Give --label NAME, too.")
    mount = _mount(place, "on")
    _order(mount, "on", *_option("--label", label), *_option("--pid", pid))
    say(f"{mount.mountpoint} records what is read{_under(label)} now.")


@command.command("off")
@_label
@with_place
def _off(label: str | None, place: Path | None) -> None:
    """Record no more under a label, or at all. What was recorded is kept."""
    mount = _mount(place, "off")
    _order(mount, "off", *_option("--label", label))
    say(f"{mount.mountpoint} records no more{_under(label)}.")


@command.command("save")
@click.option("--sessions", is_flag=True, help="the ids of the sessions rather than those of the datasets")
@click.option("--keep", is_flag=True, help="do not clear what is saved")
@click.option("--to", "directory", type=PATH, metavar="DIR", help="where to; else to where the tables are")
@_label
@with_place
def _save(sessions: bool, keep: bool, directory: Path | None, label: str | None, place: Path | None) -> None:
    """Write the ids of what was read into a file, as ONE does, and a manifest beside it; then clear the list.

    Prints the paths of both. Their names have the label, or the labels, under which it was recorded.
    """
    mount = _mount(place, "save")
    words = [*(["sessions"] if sessions else []), *(["keep"] if keep else [])]
    to = os.path.abspath(directory) if directory else None
    _order(mount, "save", *words, *_option("--label", label), *_option("--to", to))
    recording = status_of(mount)["recording"]
    if recording["saved"] is None:
        complain("nothing was recorded, so nothing is saved. Begin to record with: onefs record on")
    else:
        print_lines(f"{recording['saved']}\n{recording['manifest']}\n")


@command.command("clear")
@_label
@with_place
def _clear(label: str | None, place: Path | None) -> None:
    """Forget what was recorded under a label, or all. What is on stays on."""
    mount = _mount(place, "clear")
    _order(mount, "clear", *_option("--label", label))
    say(f"What {mount.mountpoint} recorded{_under(label)} is forgotten.")


@command.command("status")
@with_place
def _status(place: Path | None) -> None:
    """Tell what is on, and how much was recorded."""
    mount = _mount(place, "status")
    recordings = status_of(mount)["recording"]["recordings"]
    for each in recordings:
        whose = f" for process {', '.join(map(str, each['pids']))}" if each["pids"] else ""
        name = each["label"] or "(no label)"
        click.echo(f"{name}\t{'on' if each['on'] else 'off'}{whose}\t{counted(each['datasets'], 'dataset')}")
    if not recordings:
        click.echo("Nothing is recorded.")


@command.command("run", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--label", metavar="NAME", required=True, help="the recording that it is counted in")
@with_place
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED)
def _run(label: str, place: Path | None, program: tuple[str, ...]) -> None:
    """Run PROGRAM, and record what it and all that it starts read, until it ends. Its exit code is passed on.

    Not counted: what it has others do that run already, such as a cluster's workers, a container or a service.
    """
    mount = _mount(place, "run")
    me = _option("--pid", os.getpid())
    keep_orphans()
    _order(mount, "on", *_option("--label", label), *me)
    try:
        code = run_program(program)
    finally:
        _end(mount, *_option("--label", label), *me)
    sys.exit(code)


def _end(mount: Mount, *words: str) -> None:
    """Record no more. Whatever stands in the way is told only: the program has done its work all the same."""
    try:
        _order(mount, "off", *words)
    except OnefsError as error:
        is_there = mount in mounts()
        gone = f"{mount.mountpoint} was unmounted meanwhile; what was recorded is kept for its next mount there."
        complain(f"{error if is_there else gone}")


def _mount(place: Path | None, verb: str) -> Mount:
    return mount_at(place, f"onefs record {verb} --mount PATH")


def _order(mount: Mount, *words: str) -> None:
    order(mount, shlex.join(["record", *words]), OnefsError)


def _option(name: str, value: object) -> list[str]:
    return [] if value is None else [name, str(value)]


def _under(label: str | None) -> str:
    return "" if label is None else f" under the label {label}"
