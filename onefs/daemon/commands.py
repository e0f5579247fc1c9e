"""Owns the commands that a mount obeys while it runs: one table from a word to what it does."""

import logging
from collections.abc import Callable, Mapping

from onefs.content.access import Content
from onefs.errors import UsageError
from onefs.modes import Mode, parse
from onefs.vfs.control import Command
from onefs.vfs.filesystem import FileSystem

LEVELS = ("debug", "info", "warning", "error")


def commands(
    file_system: Callable[[], FileSystem],
    content: Content,
    switch: Callable[[Mode], None],
    refresh: Callable[[], bool],
) -> Mapping[str, Command]:
    """The commands of one mount. `switch` changes its mode, `refresh` renews its tables; both raise `OnefsError`s."""

    def retry(words: list[str]) -> None:
        if not words:
            content.retry(None)
            return
        for dataset in file_system().datasets_at(words[0]):
            content.retry(dataset)

    return {
        "mode": Command("mode local|auto", "fetch files, or do not", lambda words: switch(parse(words[0])), 1, 1),
        "refresh": Command("refresh", "ask for newer tables now", lambda _: refresh(), 0, 0),
        "retry": Command("retry [PATH]", "forget that a file, those of a folder, or any could not be had", retry, 0, 1),
        "log": Command("log LEVEL", f"log from this level on: {', '.join(LEVELS)}", _set_level, 1, 1),
    }


def _set_level(words: list[str]) -> None:
    level = words[0].lower()
    if level not in LEVELS:
        raise UsageError(f"{words[0]!r} is no level.", f"Give one of {', '.join(LEVELS)}.")
    logging.getLogger("onefs").setLevel(level.upper())
