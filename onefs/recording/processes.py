"""Who reads: what the system tells of a process, and of those that it descends from."""

import functools
import os
import pwd
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from weakref import finalize

PROC = Path("/proc")
_OVER = "ZX"
_MOST_ANCESTORS = 1000
_INTERPRETER = re.compile(r"(python|pypy|perl|ruby|node|Rscript|R|julia|octave|(ba|da|k|z)?sh)[\d.]*(-cli)?")
# Options that are followed by a program's text or a module: nothing behind them is a script's path.
_INLINE = re.compile(r"--?(eval|exec|print|command|batch)(=.*)?|-[a-zA-Z]*[ceEpr]")
_SCRIPT = re.compile(r"[\w.~/+-][\w./~+ -]*")
_TGID = re.compile(r"^Tgid:\s*(\d+)$", re.MULTILINE)
_LONGEST_STAT_BYTES = 4096
_STAT_FILES_KEPT = 64
_LONGEST_ARGUMENTS_BYTES = 8192
_LONGEST_PROGRAM = 100


class Identity(NamedTuple):
    """A process for good: its number comes again, but never with the same start (clock ticks since the boot)."""

    pid: int
    started: int


@dataclass(frozen=True, slots=True)
class Process:
    """A process as /proc shows it. `group` and `session` are the numbers of the processes that lead them.

    `stack` is where its memory's stack begins, 0 if that is not told: another place for each program that it becomes.
    """

    identity: Identity
    parent: int
    group: int
    session: int
    name: str
    stack: int


ProgramKey = tuple[int, str, str, str]
"""A thread's number, its name, when it started, and where its stack begins."""


class Caller(NamedTuple):
    """Who asks the mount: the process that a thread belongs to, None if it cannot be seen, and its program's name."""

    process: Identity | None
    program: str
    uid: int


@dataclass(frozen=True, slots=True)
class Reader:
    """Who has a file open. `program` is "" if the system does not tell.

    `ancestors` are the process itself and those above it, `leaders` lead its group and its session: an orphan is
    still in those of the program that started it.
    """

    pid: int
    program: str
    user: str
    ancestors: frozenset[Identity]
    leaders: frozenset[int]

    def descends_from(self, root: Identity) -> bool:
        """Whether it is this process, or was started by it, or by what that started."""
        return root in self.ancestors or root.pid in self.leaders


class _StatFile:
    """`/proc/PID/stat` of a process or thread, kept open: opening it costs more than reading it again."""

    def __init__(self, pid: int) -> None:
        """Raises OSError."""
        self._number = os.open(f"{PROC}/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        finalize(self, os.close, self._number)

    def read(self) -> tuple[str, list[str]] | None:
        """The name, and the fields from the state on; None once it is over, though another may have its number."""
        try:
            text = os.pread(self._number, _LONGEST_STAT_BYTES, 0).decode(errors="replace")
        except OSError:
            return None
        head, _, rest = text.rpartition(") ")
        fields = rest.split(" ", 26)  # those behind the stack's beginning are of no use
        if len(fields) < 26 or fields[0] in _OVER:
            return None
        return head.partition("(")[2], fields


_open_stat = functools.lru_cache(_STAT_FILES_KEPT)(_StatFile)


def _stat(pid: int) -> tuple[str, list[str]] | None:
    """The name of a process or thread, and its fields from the state on; None if it is over."""
    try:
        found = _open_stat(pid).read()
        if found is None:
            _open_stat.cache_clear()
            found = _open_stat(pid).read()  # another may have its number by now
    except OSError:
        return None
    return found


def process(pid: int) -> Process | None:
    """A process that runs; None for one that is over, though its parent may not know yet."""
    found = _stat(pid)
    if found is None:
        return None
    name, fields = found
    parent, group, session = map(int, fields[1:4])
    return Process(Identity(pid, int(fields[19])), parent, group, session, name, int(fields[25]))


def program_key(pid: int) -> ProgramKey | None:
    """What tells the program that a thread runs now from all others; None if it is over, or cannot be seen.

    After exec it has another name, or another place of the stack.
    """
    found = _stat(pid) if pid else None
    return None if found is None else (pid, found[0], found[1][19], found[1][25])


def reader(thread: int, uid: int, *, in_full: bool = True) -> Reader:
    """Who the thread `thread` of the user `uid` belongs to.

    Unless `in_full`, only what never waits is asked: the process has the name that it gives itself, the user none.
    """
    found = process(process_of(thread))
    user = _user_name(uid) if in_full else str(uid)
    if found is None:
        return Reader(thread, "", user, frozenset(), frozenset())
    ancestors = frozenset(each.identity for each in (found, *_above(found)))
    leaders = frozenset({found.group, found.session} - {0})
    return Reader(found.identity.pid, _program(found) if in_full else found.name, user, ancestors, leaders)


def process_of(thread: int) -> int:
    """The process that a thread belongs to."""
    try:
        found = _TGID.search((PROC / str(thread) / "status").read_text(errors="replace"))
    except OSError:
        return thread
    return int(found[1]) if found is not None else thread


def _above(child: Process) -> Iterator[Process]:
    for _ in range(_MOST_ANCESTORS):
        parent = process(child.parent) if child.parent else None
        if parent is None:
            return
        yield parent
        child = parent


def file_name(found: Process) -> str:
    """The name of the program's file; where that may not be seen, as another user's, the one it gives itself."""
    try:
        path = os.readlink(PROC / str(found.identity.pid) / "exe")  # noqa: PTH115
    except OSError:
        return found.name
    return path.removesuffix(" (deleted)").rpartition("/")[2]


def is_interpreter(name: str) -> bool:
    """Whether a program of this name runs scripts."""
    return _INTERPRETER.fullmatch(name) is not None


def program_in_short(found: Process) -> str:
    """The program's name without the script's folder: `python3.12 fit.py`, `python3.12 -m analysis`.

    Long names are cut.
    """
    name, _, script = _program(found).partition(" ")
    return f"{name} {script.rpartition('/')[2]}"[:_LONGEST_PROGRAM].rstrip()


def _program(found: Process) -> str:
    """The name of the program's file; behind an interpreter's also the script or the module that it runs."""
    place = PROC / str(found.identity.pid)
    name = file_name(found)
    if not is_interpreter(name):
        return name
    try:
        with (place / "cmdline").open("rb") as stream:
            arguments = stream.read(_LONGEST_ARGUMENTS_BYTES).decode(errors="replace").split("\0")
    except OSError:
        return name
    script = _script(arguments[1:])
    if script and not script.startswith(("/", "-m ")):
        with suppress(OSError):  # another user's folder may not be seen
            script = os.path.normpath(Path(os.readlink(place / "cwd")) / script)  # noqa: PTH115
    return f"{name} {script}".rstrip()


def _script(arguments: list[str]) -> str:
    """The script in an interpreter's arguments, or "". Whatever else stands there may be secret."""
    for position, word in enumerate(arguments):
        argument = word.removeprefix("--file=")
        if argument == "-m" and arguments[position + 1 :]:
            module = arguments[position + 1]
            return f"-m {module}" if re.fullmatch(r"[\w.]+", module) else ""
        if _INLINE.fullmatch(argument):
            return ""
        if not argument.startswith("-") and ("/" in argument or "." in argument):
            return argument if _SCRIPT.fullmatch(argument) else ""
    return ""


@functools.lru_cache(maxsize=1000)
def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
