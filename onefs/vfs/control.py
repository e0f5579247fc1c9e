"""The control directory `.onefs`: one table from a file to what it says, one from a command to what it does."""

import difflib
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from onefs.alf import STATE_FOLDER
from onefs.errors import BadCommandError, OnefsError, UsageError
from onefs.recording.recorder import Recorder
from onefs.text import visible
from onefs.vfs import inodes
from onefs.vfs.handles import GeneratedText
from onefs.vfs.journal import Journal
from onefs.vfs.nodes import Directory, Node, SpecialFile, Text
from onefs.vfs.recordings import recorded_folder

NAME = STATE_FOLDER
_DIRECTORY_INO = 2

README = """\
This directory tells about the mount, and steers it. It can be entered by name; the directory above lists it only with
the setting control_dir = visible. Only the user who mounted, and root, may write here.

  README       this text
  mode         the mode: read it, or write another, one word: echo local > mode
  control      the settings in force and the commands; write one command a line: echo refresh > control
  status       what is mounted, from which tables, what is being fetched, and the last failures
  status.json  the same for programs
  metrics      numbers for Prometheus, as OpenMetrics text: onefs help metrics
  errors       the last failures: time, path, errno (- for a warning), reason and remedy, one a line, newest last
  pinned       the files that stay in the cache, one a line
  log          the daemon's log, which grows: tail -f log

A write returns when the command is done, or fails as it does; errors has the sentence. What takes long goes on
afterwards, as a job in status. PATH is a file, or a folder and all below, or a pattern: * does not cross a /, ** does.

The modes are
  local        what is known and what is in the cache; nothing is fetched
  auto         files are fetched; new tables are, too, in the background, when those at hand have grown old
  refresh      files are fetched; whether there are new tables is asked before a directory is listed
  remote       files are fetched; the database is asked about each directory as it is listed
A mount without a database has the first two only.

  recorded/datasets.csv           ids of the datasets that were read while recording was on, as ONE writes them
  recorded/sessions.csv           ids of the sessions that they are of
  recorded/manifest.jsonl         one JSON object a line: what was read, its hash, when, by which program and user
  recorded/LABEL/…                the same three of what was read under a label: record on --label LABEL
Nothing is recorded before record on. A dataset counts once bytes of it were read; if the kernel still has them from an
earlier reader, as it is opened. record save writes the ids and the manifest into files and clears the list; what was
not saved is here again at the next mount. onefs replay MANIFEST checks, mounts or fetches exactly what was read.

  default/…                       the whole tree without #revision# folders: of each file its default edition
  as-of/YYYY-MM-DD/…              the same as it was on that date, whichever as-of date the mount has; or any text
  tag/TAG/…                       the datasets of a release, from its own tables
  via/MODE/…                      the whole tree as that mode lists it; the mount's own mode decides on fetching
  by-id/UUID                      a symbolic link to the dataset with that id
  by-eid/UUID                     to the session with that eid
  by-pid/UUID                     to the session in which the probe insertion with that id was made
  by-ref/DATE_NUMBER_SUBJECT      to that session: by-ref/2020-07-01_1_KS014
  query/TERM=VALUE/…              links to the sessions that meet all terms, newest first: query/lab=main/subject=^KS0
  query/saved/NAME                links to the sessions that onefs search … --save NAME found
A text is part of the session's, or a regular expression: subject=^KS0, lab=a|b. date=2020-07-01, or 2020-01-01.. or
2020-01-01..2020-06-30 · number=1,2 · dataset=spikes.times · dataset_qc_lte=PASS. Terms may be shortened: subj=KS. A /
in a value is written %2F, a % is %25. ls query shows the terms; errors says what is wrong with one that is not found.
The by-* directories list nothing: links are found by their names; as-of lists the dates that revisions have, tag the
releases whose tables are at hand, and any other can be entered. Revisions are compared as texts, so any text can be
entered in as-of, with %2F for / and %25 for %; one that begins with a dot is written %2E….

The command as-of hides editions that are later than a date, or another text, in the tree itself, which keeps its
#revision# folders, and in via and tag; what default shows is then the greatest edition at or before it. The command qc
hides what is worse than an outcome, in the tree and in every view; an edition that it hides is not the default of its
file, the next one is.

Every file of the archive also tells about itself in extended attributes: getfattr -d FILE
"""


@dataclass(frozen=True, slots=True)
class Command:
    """One command. `run` takes its words, does it, and raises an `OnefsError` if it cannot be done.

    What it returns is dropped: a control file gives no answer but done. A family of commands is told of by its
    `members`, whose usages leave out its name.
    """

    usage: str
    doc: str
    run: Callable[[list[str]], object]
    fewest: int = 0
    most: int = 0
    members: Sequence["Command"] = ()


@dataclass(frozen=True, slots=True)
class Daemon:
    """What the running daemon says of itself, and what it does when it is told to."""

    status: Callable[[], str]
    status_json: Callable[[], str]
    metrics: Callable[[], str]
    settings: Callable[[], str]
    log: Text
    mode: Callable[[], str]
    pinned: Callable[[], str]
    commands: Mapping[str, Command]


def control_directory(daemon: Daemon, journal: Journal, recorder: Recorder | None = None) -> Directory:
    """The node of `.onefs` with its files; with a `recorder`, what it counted stands in a folder."""
    readers: Mapping[str, Callable[[], str]] = {
        "README": lambda: README,
        "mode": lambda: daemon.mode() + "\n",
        "control": lambda: daemon.settings() + _help(daemon.commands),
        "status": daemon.status,
        "status.json": daemon.status_json,
        "metrics": daemon.metrics,
        "errors": lambda: errors_text(journal),
        "pinned": daemon.pinned,
    }
    texts: dict[str, Text] = {**{name: GeneratedText(make) for name, make in readers.items()}, "log": daemon.log}
    writers: Mapping[str, Callable[[], Callable[[str], None]]] = {
        "mode": lambda: _mode_writer(daemon.commands, journal),
        "control": lambda: lambda text: _obey(daemon.commands, text.splitlines(), f"{NAME}/control", journal),
    }
    children: dict[str, Node] = {}
    directory = Directory(_DIRECTORY_INO, inodes.ROOT, NAME, NAME, 0, children=children)
    for ino, (name, text) in enumerate(texts.items(), _DIRECTORY_INO + 1):
        children[name] = SpecialFile(ino, name, f"{NAME}/{name}", text.open, writer=writers.get(name), text=text)
    if recorder is not None:
        folder = recorded_folder(recorder, directory)
        children[folder.name] = folder
    return directory


def _help(commands: Mapping[str, Command]) -> str:
    rows = [
        row
        for name, command in commands.items()
        for row in [(f"{name} {member.usage}", member.doc) for member in command.members]
        or [(command.usage, command.doc)]
    ]
    width = max(len(usage) for usage, _ in rows)
    return "\ncommands:\n" + "".join(f"  {usage:<{width}}  {doc}\n" for usage, doc in rows)


def _mode_writer(commands: Mapping[str, Command], journal: Journal) -> Callable[[str], None]:
    """What takes a mode: one word, even of a shell that writes two lines one after the other."""
    said: list[str] = []

    def write(text: str) -> None:
        words = text.split()
        if words or not said:
            said.extend(words)
            _obey(commands, [" ".join(["mode", *said])], f"{NAME}/mode", journal)

    return write


def _obey(commands: Mapping[str, Command], lines: Sequence[str], path: str, journal: Journal) -> None:
    """Carry out one command a line, written to the file at `path`. The first that fails ends it."""
    for line in filter(None, map(str.strip, lines)):
        try:
            _run(commands, line)
        except OnefsError as error:
            journal.record(path, error)
            raise


def _run(commands: Mapping[str, Command], line: str) -> None:
    try:
        name, *words = shlex.split(line)
    except ValueError as error:
        raise BadCommandError(f"{line!r} cannot be read: {error}.", "Close the quotes.") from error
    command = commands.get(name)
    if command is None:
        near = difflib.get_close_matches(name, commands, n=1)
        remedy = f"Did you mean {near[0]}?" if near else f"Commands: {', '.join(commands)}."
        raise BadCommandError(f"{name!r} is no command.", remedy)
    if not command.fewest <= len(words) <= command.most:
        raise BadCommandError(f"{line!r} has too few or too many words.", f"Write: {command.usage}")
    try:
        command.run(words)
    except UsageError as error:
        raise BadCommandError(error.reason, error.remedy) from error


def errors_text(journal: Journal) -> str:
    """The last failures, one a line with tabs between its fields, newest last."""
    lines = [
        "\t".join(
            (
                _utc(failure.time_s),
                failure.errno_name,
                visible(failure.path),
                visible(failure.reason),
                visible(failure.remedy),
                f"×{failure.count}",
            )
        )
        for failure in journal.failures()
    ]
    return "".join(line + "\n" for line in lines)


def _utc(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
