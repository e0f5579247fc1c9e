"""Settings as flags: one flag for each row of the table of settings."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from onefs.cli.completion import complete
from onefs.configuration import config_file, merge
from onefs.settings import PREFIX, Settings, table

Command = Callable[..., None]


class _Path(click.Path):
    """A path that is not empty, as an unset variable's is, which would mean the working directory.

    Whatever else is wrong with it is for the verb to say: a dead mountpoint, for one, cannot even be looked at.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The word as a `Path`."""
        if value == "":
            self.fail("it is empty: give a path, such as . for the working directory.", param, ctx)
        return super().convert(value, param, ctx)


PATH = _Path(path_type=Path, readable=False)
PATTERN = _Path(path_type=str, readable=False)


def with_place(command: Command) -> Command:
    """Give a command the flag that says which mount it is about, for verbs whose own words could be taken for it."""
    return click.option("--mount", "place", type=PATH, metavar="PATH", help="the mount that holds PATH")(command)


def with_report(command: Command) -> Command:
    """Give a command the flags --json and --verbose."""
    command = click.option("--verbose", "-v", "is_verbose", is_flag=True, help="list every file that failed")(command)
    return click.option("--json", "as_json", is_flag=True, help="print JSON, for programs")(command)


def with_settings(command: Command) -> Command:
    """Give a command a flag for every setting that may stand on a command line. Secrets may not."""
    for entry in reversed(table()):
        if entry.secret:
            continue
        default = entry.default if entry.default not in (None, "") else entry.unit
        if isinstance(default, bool):
            default = "on" if default else "off"
        elif entry.unit == "s":
            default = f"{default:g}s"
        doc = entry.doc + (f"  [{default}]" if default else "")
        metavar = "|".join(entry.words) or _metavar(entry.default)
        completer = complete(*entry.words) if entry.words else None
        command = click.option(entry.flag, entry.key, metavar=metavar, help=doc, shell_complete=completer)(command)
    return command


def _metavar(default: object) -> str:
    return {bool: "on|off", float: "DURATION", int: "N"}.get(type(default), "TEXT")


def settings_from(flags: dict[str, Any], named: Path | None = None) -> Settings:
    """The settings in force for a command, from its flags, the environment and the files of configuration.

    Passwords leave the environment with that: no program that is started later has to know them.
    """
    given = {key: value for key, value in flags.items() if value is not None}
    settings = merge(given, os.environ, config_file(), named)
    for entry in table():
        if entry.secret:
            os.environ.pop(f"{PREFIX}{entry.key.upper()}", None)
    return settings
