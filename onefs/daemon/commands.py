"""The commands that a mount obeys while it runs: one table from a word to what it does."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onefs.catalogue.records import QC
from onefs.daemon.file_commands import FileCommands
from onefs.daemon.logs import set_levels
from onefs.errors import UsageError
from onefs.modes import Mode, parse
from onefs.setting_values import LOG_LEVELS, duration_s, log_levels, revision_bound
from onefs.settings import qc_level
from onefs.vfs.control import Command

if TYPE_CHECKING:
    from onefs.alyx.client import AlyxClient

CLOBBER = "clobber"


@dataclass(frozen=True, slots=True)
class Controls:
    """What can be done to a running mount. Each returns when it is done, and raises an `OnefsError` if it cannot be.

    Directories are absolute, None the one that the tables in use are kept in. `save_tables` is also told whether to
    replace what is there. `ask_again` has the database asked anew as folders are listed. `database` is None for a
    source without one; `record` are the members of that family.
    """

    switch: Callable[[Mode], object]
    as_of: Callable[[str], object]
    limit_qc: Callable[[QC], object]
    refresh: Callable[[], object]
    ask_again: Callable[[], object]
    save_tables: Callable[[Path | None, bool], object]
    load_tables: Callable[[Path | None], object]
    use_tag: Callable[[str], object]
    reset_tables: Callable[[], object]
    database: "AlyxClient | None"
    record: list[Command]


def commands(files: FileCommands, controls: Controls) -> Mapping[str, Command]:
    """The commands of one mount."""

    def as_of(words: list[str]) -> None:
        controls.as_of(_parsed(revision_bound, words[0], "as-of D|none"))

    def limit_qc(words: list[str]) -> None:
        controls.limit_qc(QC[_parsed(qc_level, words[0], "qc LEVEL")])

    modes = "|".join(Mode)
    return {
        "mode": Command(
            f"mode {modes}", "where the catalogue comes from", lambda words: controls.switch(parse(words[0])), 1, 1
        ),
        "as-of": Command("as-of D|none", "show no editions later than a date, or after another text", as_of, 1, 1),
        "qc": Command("qc LEVEL", "show nothing of a worse quality control outcome", limit_qc, 1, 1),
        "refresh": Command(
            "refresh", "ask for newer tables now, or the database anew", lambda _: controls.refresh(), 0, 0
        ),
        **files.table(),
        "tables": _family("tables", _tables(controls)),
        "record": _family("record", controls.record),
        "rest-cache": rest_cache(controls.database, controls.ask_again),
        "log": Command(
            "log LEVEL", f"log from this level on: {', '.join(LOG_LEVELS)}; or as the setting log", _set_level, 1, 1
        ),
    }


def _tables(controls: Controls) -> list[Command]:
    def save(words: list[str]) -> None:
        replaces = words[-1:] == [CLOBBER]
        places = words[:-1] if replaces else words
        if len(places) > 1:
            raise UsageError(f"{words[-1]!r} is not {CLOBBER}.", "Write: tables save [DIR] [clobber]")
        controls.save_tables(_directory(places), replaces)

    def load(words: list[str]) -> None:
        controls.load_tables(_directory(words))

    def tag(words: list[str]) -> None:
        if not words[0].strip():
            raise UsageError(
                "The tag is empty.", "Give a tag; onefs tables reset goes back to the tables of the start."
            )
        controls.use_tag(words[0])

    return [
        Command("save [DIR] [clobber]", "write the tables with what was learned, or replace those there", save, 0, 2),
        Command("load [DIR]", "use the tables of a directory until the mount ends", load, 0, 1),
        Command("tag T", "use the tables of a release until the mount ends", tag, 1, 1),
        Command("reset", "use the tables of the start again", lambda _: controls.reset_tables(), 0, 0),
    ]


def rest_cache(client: "AlyxClient | None", ask_again: Callable[[], object]) -> Command:
    """The command that steers what is kept of a database's responses."""

    def database() -> "AlyxClient":
        if client is None:
            raise UsageError("Without a database there are no responses to keep.", "Mount a source that has one.")
        return client

    def turn(on: bool) -> Callable[[list[str]], None]:
        def run(_: list[str]) -> None:
            database().cache_rest = on

        return run

    def expire(words: list[str]) -> None:
        try:
            expiry_s = duration_s(words[0])
        except ValueError as error:
            raise UsageError(f"{words[0]!r} is not {error}.", "Write: rest-cache expiry DURATION") from error
        database().default_expiry_s = expiry_s

    def clear(_: list[str]) -> None:
        database().clear_responses()
        ask_again()

    members = [
        Command("on", "keep the database's responses and use them", turn(True), 0, 0),
        Command("off", "ask the database every time", turn(False), 0, 0),
        Command("clear", "drop the kept responses", clear, 0, 0),
        Command("expiry DURATION", "how long the kept responses are good for, such as 24h", expire, 1, 1),
    ]
    return _family("rest-cache", members)


def _family(name: str, members: list[Command]) -> Command:
    """One command of several: its first word says which."""
    by_word = {member.usage.split()[0]: member for member in members}
    usage = f"{name} {'|'.join(member.usage for member in members)}"

    def run(words: list[str]) -> None:
        member = by_word.get(words[0])
        if member is None:
            raise UsageError(f"{words[0]!r} is nothing that {name} does.", f"Write: {usage}")
        if not member.fewest <= len(words) - 1 <= member.most:
            raise UsageError(f"{name} {words[0]} has too few or too many words.", f"Write: {name} {member.usage}")
        member.run(words[1:])

    return Command(usage, "", run, 1, 1 + max(member.most for member in members), members)


def _parsed(parse: Callable[[str], str], word: str, usage: str) -> str:
    """A setting's value. Raises `UsageError`."""
    try:
        return parse(word)
    except ValueError as error:
        raise UsageError(f"{word!r} is not {error}.", f"Write: {usage}") from error


def _directory(words: list[str]) -> Path | None:
    if not words:
        return None
    directory = Path(words[0])
    if not directory.is_absolute():
        raise UsageError(f"{words[0]!r} is no whole path.", "Give the directory's path from / on.")
    return directory


def _set_level(words: list[str]) -> None:
    set_levels(_parsed(log_levels, words[0], "log LEVEL, such as info or info,transports=debug"))
