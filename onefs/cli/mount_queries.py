"""Queries of a mount: answered from its tables or, in mode remote, through the mount's own folders and links."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

from onefs import alf
from onefs.alf import STATE_FOLDER
from onefs.archive.saved_searches import SavedSearches
from onefs.archive.searches import Searches
from onefs.catalogue.filters import Filter, editions, matching
from onefs.catalogue.identifiers import identifier_of
from onefs.catalogue.records import QC, Dataset, Session
from onefs.catalogue.revisions import Rule
from onefs.catalogue.session_rows import AGGREGATES
from onefs.catalogue.snapshot import load_snapshot
from onefs.cli.mounts import said_of, status_of
from onefs.cli.options import settings_from
from onefs.cli.table_queries import TableQueries, no_session
from onefs.errors import MountError, NotInCatalogueError, OnefsError, UsageError
from onefs.fuse.mounting import Mount
from onefs.modes import Mode
from onefs.vfs.xattrs import PREFIX

Entry = tuple[str, Dataset]


def queries_of_mount(mount: Mount, flags: dict[str, Any]) -> "MountQueries | TableQueries":
    """The queries of a mount. `flags` may replace the mount's QC limit. Raises any `OnefsError`."""
    facts = status_of(mount)
    rule = _rule(facts["shown"], flags)
    state_dir = Path(facts["cache"]["state"])
    if Mode.REMOTE in (facts["mode"]["requested"], facts["mode"]["effective"]):
        _check_not_hidden(mount, facts["shown"], rule)
        return MountQueries(mount, state_dir, rule)
    tables = load_snapshot(Path(facts["tables"]["directory"]), state_dir)
    searches = Searches(lambda: tables, state_dir)
    return TableQueries(tables, state_dir, searches, rule, mountpoint=mount.mountpoint)


def _rule(shown: dict[str, Any], flags: dict[str, Any]) -> Rule:
    """The rule of what a mount shows, with the QC limits of a command's flags."""
    given = settings_from(flags)
    return Rule(
        QC[given.qc if flags.get("qc") is not None else shown["qc"]],
        given.ignore_qc_not_set if flags.get("ignore_qc_not_set") is not None else shown["ignore_qc_not_set"],
        shown["as_of"] or "",
        shown["view"] == "default",
    )


def _check_not_hidden(mount: Mount, shown: dict[str, Any], rule: Rule) -> None:
    """Raise `UsageError` if a mount in mode remote hides datasets that the rule shows."""
    if rule.qc_limit > QC[shown["qc"]] or (shown["ignore_qc_not_set"] and not rule.ignore_qc_not_set):
        raise UsageError(
            f"{mount.mountpoint} hides datasets of such QC, and in mode remote what it hides cannot be listed.",
            f"Show them: onefs qc {rule.qc_limit.name}; or give --source.",
        )


class MountQueries:
    """Queries through the folders, links and extended attributes of a mount, which asks its database."""

    def __init__(self, mount: Mount, state_dir: Path, rule: Rule) -> None:
        self.saved = SavedSearches(state_dir)
        self._mount = mount
        self._root = mount.mountpoint
        self._rule = rule

    def path(self, inside: str) -> str:
        """A path in the archive as it is printed: whole."""
        return f"{self._root}/{inside}"

    def search(self, words: Sequence[str]) -> list[Session]:
        """The sessions that meet all terms, newest first. Raises `UsageError`, or what the mount says went wrong."""
        for word in words:
            if not word.partition("=")[2]:
                raise UsageError(f"{word!r} is no search term.", "Write term=value, such as subject=KS014.")
        folder = self._folder(words)
        try:
            links = [entry.path for entry in os.scandir(folder)]
        except OSError as error:
            raise self._failure(error, folder, UsageError) from error
        found = [self._session(os.path.relpath(os.path.realpath(link), self._root)) for link in links]
        return [session for session in found if session is not None]

    def n_left_out(self, words: Sequence[str]) -> int:
        """The number of sessions that meet all terms and have no place in the tree."""
        return int(attributes(self._folder(words), "left_out")["left_out"] or 0)

    def _folder(self, words: Sequence[str]) -> Path:
        return self._root.joinpath(STATE_FOLDER, "query", *(quote(word, safe="=,|^$ ") for word in words))

    def named(self, word: str) -> list[Session]:
        """The sessions of an eid, a reference or a path. Raises `NotInCatalogueError`, `UsageError`."""
        identifier = identifier_of(word)
        if identifier is None:
            raise no_session(word)
        reference = identifier.reference or (identifier.place.session if identifier.place else None)
        if reference is not None:
            lab = identifier.place.lab if identifier.place else None
            sessions = [each for each in self.of_reference(reference) if lab in (None, each.lab)]
        else:
            sessions = self._of_id(identifier.id)
        if not sessions:
            raise NotInCatalogueError(f"There is no session {word}.", "Search for it: onefs search subject=…")
        return sessions

    def of_reference(self, reference: alf.Reference) -> list[Session]:
        """The sessions of a reference, one for each lab that has it."""
        day, number, subject = reference
        found = self.search([f"date={day}", f"number={number}", f"subject={subject}"])
        return [session for session in found if session.subject == subject]

    def _of_id(self, id_: UUID | None) -> list[Session]:
        for kind in ("by-eid", "by-id"):
            link = self._root / STATE_FOLDER / kind / str(id_)
            try:
                target = link.readlink()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise self._failure(error, link, MountError) from error
            place = alf.find_session(str(target))
            session = self._session(place[0]) if place else None
            return [] if session is None else [session]
        return []

    def _session(self, inside: str) -> Session | None:
        """The session at a path in the tree; None if there is none."""
        parts = alf.SESSION.fullmatch(inside)
        day = alf.calendar_date(parts["date"]) if parts else None
        if parts is None or day is None:
            return None
        known = attributes(self._root / inside, "eid", "task_protocol", "projects")
        return Session(
            UUID(known["eid"].partition(",")[0]),
            parts["lab"] or "",
            parts["subject"],
            day,
            int(parts["number"]),
            known["task_protocol"],
            known["projects"],
        )

    def lists(self, filter: Filter, *, default_only: bool) -> "MountLists":  # noqa: A002
        """The datasets that the tree shows and that pass the filter."""
        return MountLists(self._root, self._rule, filter, default_only)

    def _failure(self, error: OSError, path: Path, refusal: type[OnefsError]) -> OnefsError:
        inside = os.path.relpath(path, self._root)
        reason, remedy = said_of(self._mount, error, inside)
        return refusal(reason.rpartition(f"{STATE_FOLDER}/query/")[2].partition(": ")[2] or reason, remedy)


class MountLists:
    """The datasets that a mount's tree shows, as far as they pass a filter, a QC limit, and `default_only`."""

    def __init__(self, root: Path, rule: Rule, filter: Filter, default_only: bool) -> None:  # noqa: A002
        self._root = root
        self._rule = rule
        self._filter = filter
        self._default_only = default_only

    def datasets(self, sessions: Sequence[Session] | None) -> Iterator[Entry]:
        """Each dataset with its path as it is printed."""
        for folder in self._all_sessions("") if sessions is None else [session.path for session in sessions]:
            yield from self._passing(folder)

    def aggregates(self) -> Iterator[Entry]:
        """Each dataset of no session, with its path as it is printed."""
        if (self._root / AGGREGATES).is_dir():
            yield from self._passing(AGGREGATES)

    def blocks(self, sessions: Sequence[Session] | None, end: bytes) -> Iterator[bytes | memoryview]:
        """Blocks of paths as they are printed, each path followed by `end`."""
        for path, _ in self.datasets(sessions):
            yield os.fsencode(path) + end

    def rel_paths(self, sessions: Sequence[Session] | None) -> set[str]:
        """The distinct paths of datasets inside their sessions."""
        return {dataset.rel_path for _, dataset in self.datasets(sessions)}

    def names(self) -> tuple[set[str], set[str]]:
        """The names of all labs and of all subjects."""
        labs, subjects = set(), set()
        for name in set(self._folders("")) - {AGGREGATES}:
            inside = f"{name}/Subjects"
            if (self._root / inside).is_dir():
                labs.add(name)
                subjects |= set(self._folders(inside))
            else:
                subjects.add(name)
        return labs, subjects

    def _all_sessions(self, folder: str) -> Iterator[str]:
        for name in self._folders(folder):
            inside = f"{folder}/{name}" if folder else name
            if alf.SESSION.fullmatch(inside):
                yield inside
            elif inside != AGGREGATES:
                yield from self._all_sessions(inside)

    def _folders(self, folder: str) -> list[str]:
        return sorted(entry.name for entry in os.scandir(self._root / folder) if entry.is_dir(follow_symlinks=False))

    def _passing(self, folder: str) -> Iterator[Entry]:
        found = [each for each in self._in(folder) if self._is_within_limit(each[1].qc)]
        chosen = set(range(len(found)))
        if self._default_only:
            paths = [dataset.rel_path for _, dataset in found]
            marks = [dataset.default_revision for _, dataset in found]
            chosen = set(editions(paths, marks, self._rule.as_of or None).rows)
        passes = matching(self._filter, [dataset.rel_path for _, dataset in found]).tolist()
        yield from (each for place, each in enumerate(found) if place in chosen and passes[place])

    def _is_within_limit(self, qc: QC) -> bool:
        return qc <= self._rule.qc_limit and not (self._rule.ignore_qc_not_set and qc is QC.NOT_SET)

    def _in(self, folder: str) -> Iterator[Entry]:
        """All files of a session."""
        root = self._root / folder
        for above, folders, files in os.walk(root, onerror=_raise):
            folders.sort()
            for name in sorted(files):
                path = f"{above}/{name}"
                yield path, _dataset(path, folder, os.path.relpath(path, root))


def _raise(error: OSError) -> None:
    raise MountError(f"{error.filename} cannot be listed: {error.strerror}.", "See the mount's log: onefs log.")


def _dataset(path: str, folder: str, rel_path: str) -> Dataset:
    """What a mount knows of a file."""
    known = attributes(path, "id", "eid", "size", "hash", "qc", "revision", "default_revision")
    collection, revision, name = alf.split_relative(rel_path)
    if known["revision"] and not revision:  # a view of default editions leaves the folder out
        rel_path = "/".join(filter(None, (collection, f"#{known['revision']}#", name)))
    return Dataset(
        id=UUID(known["id"]),
        eid=UUID(known["eid"]) if known["eid"] else None,
        session_path=folder,
        rel_path=rel_path,
        size_bytes=int(known["size"]) if known["size"] else None,
        md5=known["hash"],
        exists=True,
        qc=QC[known["qc"]],
        default_revision={"true": True, "false": False}.get(known["default_revision"]),
    )


def attributes(path: str | Path, *names: str) -> dict[str, str]:
    """Extended attributes of a file or folder in a mount, by short name; "" for those that are not set."""
    found = dict.fromkeys(names, "")
    for name in names:
        with suppress(OSError):
            found[name] = os.getxattr(path, f"{PREFIX}{name}").decode(errors="surrogateescape")
    return found
