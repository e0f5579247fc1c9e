"""`mount.onefs`, the program by which mount(8) mounts an archive: `mount -t onefs SOURCE DIR -o …` and /etc/fstab."""

import difflib
import getopt
import re
import sys
from pathlib import Path
from urllib.parse import urlsplit

import click

from onefs import __version__
from onefs.cli.failures import Failure, report
from onefs.cli.printing import say
from onefs.errors import UsageError
from onefs.settings import Entry, table

USAGE = "Usage: mount.onefs SOURCE DIRECTORY [-fnsv] [-o OPTION[,OPTION…]]"
HELP = f"""{USAGE}

Called by mount(8) for the type onefs. Each setting of onefs is an option: cache_dir=/srv/ibl,allow_other,qc=WARNING.
onefs mount --help lists them.

  -o  options; a comma in a value is written \\, or the value is put in double quotes
  -f  check the options, but mount nothing
  -s  ignore options that are not known
  -v  say what was mounted"""
DONE = 0
EXIT_CODES = {Failure.WRONG_USE: 1, Failure.UNFORESEEN: 2, Failure.INTERRUPTED: 8, Failure.FAILED: 32}
"""Exit codes, as mount(8) has them."""
_OF_MOUNT = re.compile(
    "(no)?(atime|auto|dev|diratime|exec|iversion|lazytime|mand|relatime|strictatime|suid|symfollow|user|fail)"
    "|async|defaults|dirsync|group|loud|_netdev|owner|ro|rw|silent|sync|users|(x-|X-|comment=|user=|u?helper=).*"
)
"""Options of mount(8) and systemd, which are ignored: a mount of onefs is always read-only, nosuid and nodev."""


def main() -> None:
    """The program mount.onefs."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Mount as the arguments say, and return the exit code. Failures are written to standard error."""
    try:
        return _run(arguments)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - all are reported
        return EXIT_CODES[report(error)]


def _run(arguments: list[str]) -> int:
    try:
        flags, words = getopt.gnu_getopt(arguments, "fnsvhVrwo:t:N:", ["help", "version"])
    except getopt.GetoptError as error:
        raise UsageError(f"{error.msg}.", USAGE) from None
    names = {name for name, _ in flags}
    if names & {"-h", "--help", "-V", "--version"}:
        click.echo(HELP if names & {"-h", "--help"} else f"onefs {__version__}")
        return DONE
    if len(words) != 2:
        raise UsageError("A source and a directory are needed.", USAGE)
    options = ",".join(value for name, value in flags if name == "-o")
    given = settings_of(options, is_sloppy="-s" in names)
    _mount(words[0], Path(words[1]).absolute(), given, is_fake="-f" in names)
    if "-v" in names:
        say(f"{words[0]} is mounted at {words[1]}.")
    return DONE


def _mount(source: str, mountpoint: Path, given: dict[str, str], *, is_fake: bool) -> None:
    from onefs.cli.mount import mount
    from onefs.cli.options import settings_from
    from onefs.sources.names import look_up

    named = look_up(source)
    settings = settings_from(given, named.file)
    if not is_fake:
        # mount -a and umount compare what /etc/fstab says with the kernel's table, which everybody may read.
        shown_as = "" if _has_login(source) else source
        mount(named.source, settings, mountpoint, foreground=False, shown_as=shown_as)


def _has_login(source: str) -> bool:
    return "://" in source and "@" in urlsplit(source).netloc


def settings_of(options: str, *, is_sloppy: bool = False) -> dict[str, str]:
    """The settings among mount options, as text; options of mount(8) are left out. Raises `UsageError`."""
    known = {entry.key: entry for entry in table()}
    given: dict[str, str] = {}
    for option in split(options):
        name, equals, value = option.partition("=")
        entry = known.get(name.replace("-", "_"))
        if entry is not None:
            given[entry.key] = _value(entry, name, value if equals else None)
        elif name == "remount":
            raise UsageError(
                "Mounts of this type cannot be remounted.", "Unmount it, and mount it with the new options."
            )
        elif not (is_sloppy or _OF_MOUNT.fullmatch(option)):
            near = difflib.get_close_matches(name.replace("-", "_"), known, n=1)
            hint = f"Did you mean {near[0]}?" if near else "The settings that are options: onefs mount --help."
            raise UsageError(f"{name} is no mount option of onefs.", hint)
    return given


def _value(entry: Entry, name: str, value: str | None) -> str:
    if entry.secret:
        file = f"{entry.key}_file"
        raise UsageError(
            f"{name} as a mount option could be read by every user.",
            f"Put it in a file that root alone may read, and give {file}=FILE."
            if any(other.key == file for other in table())
            else f"Put {entry.key} into /etc/onefs/NAME.toml, which root alone may read, and mount NAME.",
        )
    if value is None and not isinstance(entry.default, bool):
        raise UsageError(f"The mount option {name} needs a value.", f"Write {name}=VALUE.")
    return "on" if value is None else value


def split(options: str) -> list[str]:
    """The options between commas. A backslash or double quotes keep a comma in a value; both are removed."""
    parts, is_quoted, letters = [""], False, iter(options)
    for letter in letters:
        if letter == '"':
            is_quoted = not is_quoted
        elif letter == "," and not is_quoted:
            parts.append("")
        elif letter == "\\":
            following = next(letters, "")
            parts[-1] += following if following in (",", '"', "\\") else f"\\{following}"
        else:
            parts[-1] += letter
    if is_quoted:
        raise UsageError("A double quote in the mount options is not closed.", "Close it.")
    return [part for part in parts if part]


if __name__ == "__main__":
    main()
