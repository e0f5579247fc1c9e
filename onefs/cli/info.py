"""`onefs info`: all that is known of a file, session or probe, by any of its identifiers."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import click

from onefs import alf
from onefs.alf import STATE_FOLDER
from onefs.catalogue.identifiers import Identifier, Place, identifier_of
from onefs.catalogue.session_rows import AGGREGATES
from onefs.cli.mounts import check_alive, mount_at, place_in, said_of, status_of
from onefs.cli.options import PATTERN, CommandWithSettings
from onefs.cli.printing import complain, print_facts
from onefs.cli.queries import opened_source, print_json, print_json_list, refuse_both, refuse_settings, with_archive
from onefs.cli.verb_settings import INFO
from onefs.errors import MountError, NotInCatalogueError, OnefsError
from onefs.exit_codes import FAILED
from onefs.fuse.mounting import Mount, mount_of
from onefs.text import counted

Facts = dict[str, object]

_COUNTS = ("size", "datasets", "cached")
_FLAGS = ("default_revision", "pinned")
_MAY_BE_UNKNOWN = ("eid", "hash", "source", "error", "cache_path")
_PREFIX = "user.onefs."
_VIEWS = (STATE_FOLDER, "via")
_LINKS = ("by-eid", "by-id", "by-pid")


@click.command("info", cls=CommandWithSettings)
@click.argument("names", metavar="ANY…", nargs=-1, required=True, type=PATTERN)
@click.option("--json", "as_json", is_flag=True, help="print JSON, for programs")
@with_archive(INFO)
def command(names: tuple[str, ...], as_json: bool, source: str | None, place: Path | None, **flags: Any) -> None:
    """Print what is known of ANY: its identifiers, size, hash and state, its source and its place in the cache.

    ANY is an eid, the id of a dataset or of a probe, a reference such as 2020-07-01_1_KS014, a path in a mount or in a
    cache directory, or the URL of a file on a server. If several labs have a reference, all of their
    sessions are printed; --json then prints a list. Of several names, --json prints one list, and those that name
    nothing are told on standard error, with exit code 1.
    """
    refuse_both(source, place)
    with ExitStack() as stack:
        archive: Knowledge
        if source is None:
            refuse_settings(flags)
            archive = MountInfo(place)
        else:
            from onefs.cli.info_sources import SourceInfo

            archive = SourceInfo(*stack.enter_context(opened_source(source, flags)))
        answers = _Answers(archive, names)
        if not as_json:
            _print(answers)
        elif len(names) > 1:
            print_json_list(facts for _, found in answers for facts in found)
        else:
            ((_, found),) = answers
            print_json(found[0] if len(found) == 1 else found)
    if answers.are_incomplete:
        click.get_current_context().exit(FAILED)


class Knowledge(Protocol):
    """Tells all that a mount or a source knows."""

    def facts_of(self, word: str) -> list[Facts]:
        """The facts of each thing that a word names. Raises any `OnefsError`."""


class _Answers:
    """What is known of each of several names, as it is found. Tells on standard error what failed, and goes on.

    The failure of a name that is alone is raised.
    """

    def __init__(self, archive: Knowledge, names: Sequence[str]) -> None:
        self._archive = archive
        self._names = names
        self.are_incomplete = False

    def __iter__(self) -> Iterator[tuple[str, list[Facts]]]:
        for name in self._names:
            try:
                found = self._archive.facts_of(name)
            except OnefsError as error:
                if len(self._names) == 1:
                    raise
                complain(str(error))
                self.are_incomplete = True
            else:
                yield name, found


def _print(answers: _Answers) -> None:
    """Print facts for people, with an empty line between one thing and the next."""
    is_first = True
    for name, found in answers:
        title = ""
        if len(found) > 1:
            title = f"{name} is the name of {counted(len(found), 'session')}:" if _are_sessions(found) else f"{name}:"
        for facts in found:
            if not is_first:
                click.echo()
            print_facts(((name, _text(value)) for name, value in facts.items()), title)
            is_first, title = False, ""


def _text(value: object) -> str:
    """A fact for people; what is not known is empty."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case list():
            return ", ".join(value)
    return str(value)


def _are_sessions(found: list[Facts]) -> bool:
    return not any("id" in facts for facts in found)


class MountInfo:
    """Tells all that mounts know: of a path the mount that holds it, of other names the mount at `place`."""

    def __init__(self, place: Path | None) -> None:
        self._place = place

    def facts_of(self, word: str) -> list[Facts]:
        """The facts of each thing that a word names. Raises any `OnefsError`."""
        return _in_a_mount(word, self._place)


def _in_a_mount(name: str, place: Path | None) -> list[Facts]:
    """The facts of what a path in a mount, or another identifier, names."""
    identifier = identifier_of(name)
    is_path = "://" not in name and (identifier is None or not (identifier.id or identifier.reference) or "/" in name)
    if is_path and (identifier is None or mount_of(Path(name)) is not None) and place is None:
        return [facts_of(Path(name))]
    if identifier is None:
        return [facts_of(mount_at(place).mountpoint / name)]
    mount = mount_at(place, "onefs info ANY --mount PATH")
    check_alive(mount)
    found = dict.fromkeys(_paths(mount, identifier))
    if not found:
        from onefs.cli.info_sources import unknown

        raise unknown(name, identifier, mount.mountpoint)
    return [_with_probe(identifier, facts_of(mount.mountpoint / inside)) for inside in found]


def _paths(mount: Mount, identifier: Identifier) -> Iterator[str]:
    """The paths in the tree of a mount that an identifier stands for."""
    if identifier.id is not None:
        for folder in _LINKS:
            inside = _target(mount, f"{STATE_FOLDER}/{folder}/{identifier.id}")
            if inside is not None:
                yield inside
                return
    if identifier.reference is not None:
        yield from _sessions(mount, Place(None, identifier.reference, ""))
    elif identifier.place is not None:
        folder, slash, name = identifier.place.rest.rpartition("/")
        rest = f"{folder}{slash}{alf.without_uuid(name)}"
        yield from ("/".join(filter(None, (session, rest))) for session in _sessions(mount, identifier.place))
    elif identifier.aggregate:
        yield f"{AGGREGATES}/{identifier.aggregate}"


def _target(mount: Mount, link: str) -> str | None:
    """Where a link of a mount leads, as a path from its root; None if there is no such link."""
    try:
        target = (mount.mountpoint / link).readlink()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise MountError(*said_of(mount, error, link)) from error
    return os.path.normpath(f"{os.path.dirname(link)}/{target}")  # noqa: PTH120


def _sessions(mount: Mount, place: Place) -> list[str]:
    """Paths of the sessions of a reference, in the lab that is named."""
    from onefs.cli.mount_queries import queries_of_mount

    found = queries_of_mount(mount, {}).of_reference(place.session)
    return [session.path for session in found if place.lab in (None, session.lab)]


def _with_probe(identifier: Identifier, facts: Facts) -> Facts:
    """The facts, with the probe's name before them if it was asked for."""
    for probe in str(facts.get("probes", "")).split(", "):
        name, _, pid = probe.rpartition(" (")
        if identifier.id is not None and pid == f"{identifier.id})":
            return {"probe": name, "pid": str(identifier.id), **facts}
    return facts


def facts_of(path: Path) -> Facts:
    """What a mount knows of a path. Links below `.onefs` are followed into the tree."""
    mount = mount_at(path)
    check_alive(mount)
    inside = place_in(mount, path)
    whole = mount.mountpoint / inside
    try:
        texts = {name.removeprefix(_PREFIX): os.getxattr(whole, name).decode() for name in os.listxattr(whole)}
    except (FileNotFoundError, NotADirectoryError):
        raise _absent(mount, inside) from None
    except OSError as error:
        raise MountError(*said_of(mount, error, str(inside))) from error
    known = {name: _value(name, text) for name, text in texts.items()}
    return {
        **_place(inside),
        "mountpoint": str(mount.mountpoint),
        **_reference(inside),
        **known,
        **_kept(mount, inside, known),
    }


def _value(name: str, text: str) -> object:
    """The value that the text of an extended attribute stands for; None if it is not known."""
    if name in _COUNTS:
        return int(text) if text else None
    if name in _FLAGS:
        return text == "true" if text else None
    if name == "urls":
        return text.split("\n") if text else []
    return None if not text and name in _MAY_BE_UNKNOWN else text


def _reference(inside: Path) -> Facts:
    """The reference of the session that a path in a mount is in."""
    found = alf.find_session(str(inside))
    return {"reference": f"{found['date']}_{int(found['number'])}_{found['subject']}"} if found else {}


def _kept(mount: Mount, inside: Path, known: Facts) -> Facts:
    """Where a session is kept in the cache directory."""
    found = alf.SESSION.fullmatch(_place(inside)["path"])
    if found is None or "eid" not in known:
        return {}
    return {"cache_folder": f"{status_of(mount)['cache']['directory']}/{found[0]}"}


def _absent(mount: Mount, inside: Path) -> NotInCatalogueError:
    """The error for what is not in a mount: it may be hidden, which the folder of its session knows."""
    for above in inside.parents:
        try:
            name = f"{_PREFIX}hidden:{inside.relative_to(above)}"
            reason, remedy = os.getxattr(mount.mountpoint / above, name).decode(errors="replace").split("\n")
        except OSError:  # also of a name that is longer than an attribute's can be
            continue
        return NotInCatalogueError(f"{inside} is in the catalogue of {mount.mountpoint}, but {reason}.", remedy)
    return NotInCatalogueError(
        f"{inside} is not in the catalogue of {mount.mountpoint}.", "Look for its name with ls in the folder above."
    )


def _place(inside: Path) -> dict[str, str]:
    """A path in the tree, and the view through which it is looked at, if it is one."""
    if inside.parts[:2] != _VIEWS:
        return {"path": str(inside)}
    view, rest = inside.parts[2:3], inside.parts[3:]
    return {"path": str(Path(*rest)), "view": "/".join(("via", *view))}
