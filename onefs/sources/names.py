"""The names of sources: a file of settings each, the user's own or the system's."""

import difflib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from onefs.configuration import MOUNTPOINT_KEY, SOURCE_KEY, config_file, read_file
from onefs.errors import CacheDamagedError, SourceError, UsageError

SYSTEM_FOLDER = Path("/etc/onefs")
DEMO, OPENALYX = "demo", "openalyx"
OPENALYX_URL = "https://openalyx.internationalbrainlab.org"
BUILT_IN = (DEMO, OPENALYX)
TAKEN = (*BUILT_IN, "config", "credentials")
"""What can name no source: what is one already, and the other files that stand beside those of the names."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ENDING = ".toml"


@dataclass(frozen=True, slots=True)
class Named:
    """What is to be mounted, the file of settings that holds for it alone, if it has one, and where that mounts it."""

    source: str
    file: Path | None
    mountpoint: Path | None = None


def is_name(source: str) -> bool:
    """Whether a SOURCE on a command line could be a name that somebody gave."""
    return source not in BUILT_IN and _NAME.fullmatch(source) is not None


def look_up(source: str) -> Named:
    """What a SOURCE on a command line means: what its name stands for, or itself if it is no name.

    A name counts before a folder of that name in the working directory, which `./NAME` means.
    Raises `UsageError` for a name's file that says no source, `SourceError` for a name that is nearly one.
    """
    file = file_of(source) if is_name(source) else None
    if file is not None:
        known = read_file(file)
        if not known.get(SOURCE_KEY):
            raise UsageError(f"{file} does not say what to mount.", f'Add a line to it: {SOURCE_KEY} = "https://…".')
        where = known.get(MOUNTPOINT_KEY)
        return Named(known[SOURCE_KEY], file, Path(where).expanduser().absolute() if where else None)
    if not is_name(source) or os.path.isdir(source):  # noqa: PTH112
        return Named(source, None)
    near = difflib.get_close_matches(source, [*known_names(), *BUILT_IN], n=1)
    if near:
        raise SourceError(f"{source!r} is not a source that onefs knows.", f"Did you mean {near[0]}?")
    return Named(source, None)


def check_name(name: str) -> None:
    """Raise `UsageError` if no source can be given a name."""
    if name in TAKEN or not _NAME.fullmatch(name):
        why = "is taken" if name in TAKEN else "cannot be a name: it takes letters, digits, dots, dashes and underlines"
        raise UsageError(f"{name!r} {why}.", "Give another name.")


def own_file(name: str) -> Path:
    """Where a user's name is kept, whether it is there or not."""
    return config_file().with_name(f"{name}{_ENDING}")


def file_of(name: str) -> Path | None:
    """The file of a name: the user's, else the system's; None if there is none."""
    return next((file for file in (own_file(name), SYSTEM_FOLDER / f"{name}{_ENDING}") if file.exists()), None)


def source_of(name: str) -> str:
    """The source that a name stands for; "" if there is none."""
    file = file_of(name)
    return read_file(file).get(SOURCE_KEY, "") if file else ""


def known_names() -> list[str]:
    """The names that were given and whose files this user may read, in order."""
    files = [file for folder in (config_file().parent, SYSTEM_FOLDER) for file in folder.glob(f"*{_ENDING}")]
    return sorted({file.stem for file in files if os.access(file, os.R_OK)} - set(TAKEN))


def remove_name(name: str) -> bool:
    """Remove a user's name; whether there was one. Raises `CacheDamagedError` if that fails."""
    try:
        own_file(name).unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise CacheDamagedError(
            f"{own_file(name)} cannot be removed: {error.strerror}.", "Make the folder writable."
        ) from error
    return True


def save_name(name: str, changes: Mapping[str, str]) -> None:
    """Give a source a name, or change what stands under it; other lines of its file stay as they are.

    Raises `CacheDamagedError` if that cannot be written.
    """
    from onefs.alyx.credentials import write_whole

    file, lines = own_file(name), []
    before = file_of(name)
    try:
        if before is not None:
            told = re.compile(rf"\s*(?:{'|'.join(map(re.escape, changes))})\s*=")
            lines = [line for line in before.read_text(encoding="utf-8").splitlines() if not told.match(line)]
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # JSON's strings are TOML's, for what stands in addresses and paths.
        changed = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in changes.items()]
        write_whole(file, "\n".join([*changed, *lines, ""]))
    except OSError as error:
        raise CacheDamagedError(
            f"The name {name} could not be kept in {file}: {error.strerror}.", "Make the folder writable."
        ) from error


def named(source: str) -> Named:
    """As `look_up`, and for the URL of a source that was given a name what holds for that name."""
    found = look_up(source)
    if found.file is not None:
        return found
    return next((look_up(name) for name in known_names() if source_of(name).rstrip("/") == source.rstrip("/")), found)
