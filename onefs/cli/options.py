"""Settings as flags, shown by group: one flag for each setting that a verb uses."""

import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import click

from onefs.cli.completion import complete, complete_mounts, complete_paths
from onefs.cli.verb_settings import ALL
from onefs.configuration import config_file, merge
from onefs.setting_values import FORMS
from onefs.settings import Entry, Group, Settings, table

Command = Callable[..., None]
ELSEWHERE = (
    "A setting may also stand in the environment (ONEFS_CACHE_DIR=PATH) and in ~/.config/onefs/config.toml "
    '(cache_dir = "PATH"). A flag counts before the environment, the environment before the file. '
    "See: onefs help settings"
)
"""Where else settings may stand; the end of a verb's help."""


class _Path(click.Path):
    """A path that is not empty. An unset variable gives an empty one, which would mean the working directory.

    The verb reports whatever else is wrong with it.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The word as a path. Does not access it: a daemon that does not answer would block that."""
        if value == "":
            self.fail("it is empty: give a path, such as . for the working directory.", param, ctx)
        return self.coerce_path_result(value)


PATH = _Path(path_type=Path, readable=False)
PATTERN = _Path(path_type=str, readable=False)


def with_place(command: Command) -> Command:
    """Give a command the flag --mount, for verbs whose arguments could be mistaken for a mount's path."""
    return click.option(
        "--mount", "place", type=PATH, metavar="PATH", shell_complete=complete_mounts, help="the mount that holds PATH"
    )(command)


def with_report(command: Command) -> Command:
    """Give a command the flags --json and --verbose."""
    command = click.option("--verbose", "-v", "is_verbose", is_flag=True, help="list every file that failed")(command)
    return click.option("--json", "as_json", is_flag=True, help="print JSON, for programs")(command)


class SettingOption(click.Option):
    """The flag of a setting."""

    def __init__(self, entry: Entry) -> None:
        default = f"  [default: {entry.default_text}]" if entry.default_text else ""
        super().__init__(
            [entry.flag, entry.key],
            metavar=entry.metavar,
            help=entry.doc.replace("`", "") + default,
            shell_complete=complete(*entry.words) if entry.words else complete_paths if _is_path(entry) else None,
        )
        self.group = entry.group


class CommandWithSettings(click.Command):
    """A verb whose help shows its settings by group, below its other options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options that are no settings, then the settings of each group, then what sizes look like."""
        rows: dict[str, list[tuple[str, str]]] = {title: [] for title in ("Options", *(group.value for group in Group))}
        options = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
        for option in options:
            row = option.get_help_record(ctx)
            if row is not None:
                rows[option.group.value if isinstance(option, SettingOption) else "Options"].append(row)
        for title, found in rows.items():
            if found:
                with formatter.section(title):
                    formatter.write_dl(found)
        forms = {option.metavar for option in options}
        for name, form in FORMS.items():
            if name in forms:
                formatter.write_paragraph()
                formatter.write_text(f"{name} is {form}.")
        formatter.write_paragraph()
        formatter.write_text(ELSEWHERE)


def with_settings(command: Command) -> Command:
    """Give a command a flag for every setting that may stand on a command line. Secrets may not."""
    return with_settings_of(ALL)(command)


def with_settings_of(keys: Collection[str]) -> Callable[[Command], Command]:
    """Give a command the flags of the settings that it uses."""

    def decorate(command: Command) -> Command:
        for entry in reversed(table()):
            if entry.key in keys and not entry.secret:
                command = _with_setting(command, entry)
        return command

    return decorate


def _with_setting(command: Command, entry: Entry) -> Command:
    """Add one flag, as click's decorators do."""
    params = command.__dict__.setdefault("__click_params__", [])
    params.append(SettingOption(entry))
    return command


def _is_path(entry: Entry) -> bool:
    return entry.metavar == "PATH"


def settings_from(flags: dict[str, Any], named: Path | None = None) -> Settings:
    """The settings in force for a command, from its flags, the environment and the files of configuration.

    Passwords leave the environment with that: no program that is started later has to know them.
    """
    given = {key: value for key, value in flags.items() if value is not None}
    settings = merge(given, os.environ, config_file(), named)
    for entry in table():
        if entry.secret:
            os.environ.pop(entry.variable, None)
    return settings
