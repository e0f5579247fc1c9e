"""Files and sessions in folders on disk: found by the parts of their names, listed, counted, cleared away."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, fields
from fnmatch import translate
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from onefs import alf
from onefs.alf import FileName
from onefs.alf_files.parts import FILE, AnyPath
from onefs.alf_files.path import ALFPath
from onefs.alf_files.spec import is_session_path
from onefs.one_errors import ALFInvalid, UsageError

PARTS = tuple(field.name for field in fields(FileName))
Parts = tuple[str | None, ...]
_LARGEST_NUMBER = 999


class Listed(NamedTuple):
    """A file of a folder: its name and the parts of that."""

    file: str
    name: FileName


def parsed(path: AnyPath) -> FileName:
    """The parts of a path's file name. Raises `ALFInvalid` if that is none of ALF."""
    name = parsed_or_none(os.fspath(path).rpartition("/")[2])
    if name is None:
        raise ALFInvalid(f"{os.fspath(path)} is no file name of ALF.")
    return name


@lru_cache(1 << 12)  # sessions have the same names
def parsed_or_none(file: str) -> FileName | None:
    """The parts of a file name, also of an old one (`channels._phy_ids.csv`); None if it is none of ALF."""
    match = FILE.fullmatch(file)
    return FileName(**{part: value or "" for part, value in match.groupdict().items()}) if match else None


def listed(folder: AnyPath) -> list[Listed]:
    """The files of a folder whose names are ALF, sorted; none if there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.is_file())
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [Listed(file, name) for file in names if (name := parsed_or_none(file)) is not None]


def matching(files: Iterable[Listed], wildcards: bool, parts: dict[str, Any]) -> list[Listed]:
    """Those whose parts match all that is given: a pattern, a list of them, None or '' for an absent part."""
    unknown = sorted(parts.keys() - set(PARTS))
    if unknown:
        raise TypeError(f"{unknown[0]!r} is no part of a file name. The parts are {', '.join(PARTS)}.")
    tests = {part: _test(part, wanted, wildcards) for part, wanted in parts.items()}
    return [each for each in files if all(test(getattr(each.name, part)) for part, test in tests.items())]


def _test(part: str, wanted: Any, wildcards: bool) -> Callable[[str], bool]:
    if part == "extra" and wanted:
        required = set(wanted.split(".") if isinstance(wanted, str) else filter(None, wanted))
        return partial(_has_all, required)
    several = [wanted] if wanted is None or isinstance(wanted, str) else wanted
    patterns = [re.compile(translate(each) if wildcards else each) for each in several if each]
    return partial(_meets, patterns, any(not each for each in several))


def _has_all(required: set[str], value: str) -> bool:
    return required <= set(value.split("."))


def _meets(patterns: list[re.Pattern[str]], may_be_absent: bool, value: str) -> bool:
    return any(each.fullmatch(value) for each in patterns) if value else may_be_absent


def filter_by(alf_path: AnyPath, wildcards: bool = True, **parts: Any) -> tuple[list[ALFPath], list[Parts]]:
    """The ALF files of a folder, relative to it, and the parts of each, None where absent.

    Each of `parts` (`namespace`, `object`, `attribute`, `timescale`, `extra`, `extension`) is a shell pattern, or a
    regular expression for the whole part if not `wildcards`; of a list one must match; None stands for an absent part.
    Of `extra` all given parts must be there, literally.
    """
    found = matching(listed(alf_path), wildcards, parts)
    return [ALFPath(each.file) for each in found], [tuple(p or None for p in astuple(each.name)) for each in found]


def exists(alfpath: AnyPath, object: str, attributes: str | Iterable[str] | None = None, **parts: Any) -> bool:  # noqa: A002
    """Whether a folder holds files of an object, with all of the attributes if any are given."""
    _, found = filter_by(alfpath, object=object, **parts)
    wanted = [attributes] if isinstance(attributes, str) else attributes or ()
    return bool(found) and set(wanted) <= {parts_of_file[PARTS.index("attribute")] for parts_of_file in found}


def iter_datasets(session_path: AnyPath) -> Iterator[ALFPath]:
    """The ALF files in a session's folder and below it, relative to it, in order of their paths."""
    for path in ALFPath(session_path).iter_datasets(recursive=True):
        yield path.relative_to(session_path)


def iter_sessions(root_dir: AnyPath, pattern: str = "*") -> Iterator[ALFPath]:
    """The session folders in a folder and below it, or the folder itself, in order of their paths.

    `pattern` is the shell pattern of the paths to look at: `*/*/????-??-??/*` looks into fewer folders than all.
    """
    root = Path(root_dir)
    if is_session_path(root):
        yield ALFPath(root)
    elif pattern == "*":
        yield from _sessions_below(root)
    else:
        yield from (ALFPath(path) for path in sorted(root.rglob(pattern)) if is_session_path(path) and path.is_dir())


def _sessions_below(root: Path) -> Iterator[ALFPath]:
    """The session folders below a folder, without looking into them."""
    for folder, below, _ in os.walk(root):
        paths = [ALFPath(folder, name) for name in sorted(below)]
        sessions = [path for path in paths if is_session_path(path)]
        yield from sessions
        below[:] = [path.name for path in paths if path not in sessions]


def find_variants(
    file_list: Iterable[AnyPath],
    namespace: bool = True,
    timescale: bool = True,
    extra: bool = True,
    extension: bool = True,
) -> dict[ALFPath, list[ALFPath]]:
    """For each file the others of its collection, in any revision, that have its object and attribute.

    They must agree in `namespace`, `timescale`, `extra` and `extension` too, except where that is False.
    """
    compared = {"namespace": namespace, "timescale": timescale, "extra": extra, "extension": extension}
    parts = ["object", "attribute", *(part for part, counts in compared.items() if counts)]
    return {path: list(_variants(path, parts)) for path in map(ALFPath, file_list)}


def _variants(path: ALFPath, parts: list[str]) -> Iterator[ALFPath]:
    own = parsed(path)
    collection = path.parent.parent if alf.REVISION_FOLDER.fullmatch(path.parent.name) else path.parent
    revisions = sorted(each for each in collection.glob("#*#") if alf.REVISION_FOLDER.fullmatch(each.name))
    for folder in (collection, *revisions):
        for each in listed(folder):
            other = ALFPath(folder, each.file)
            if other != path and all(getattr(each.name, part) == getattr(own, part) for part in parts):
                yield other


def next_num_folder(session_date_folder: AnyPath) -> str:
    """The number, of three digits, that follows the largest of the sessions in the folder of a day."""
    folder = Path(session_date_folder)
    names = [path.name for path in folder.iterdir() if path.is_dir()] if folder.exists() else []
    number = max((int(name) for name in names if name.isdecimal()), default=0) + 1
    if number > _LARGEST_NUMBER:
        raise UsageError(f"{folder} has a session {_LARGEST_NUMBER}, the largest number.", "Use another day.")
    return f"{number:03d}"


def remove_empty_folders(folder: AnyPath) -> None:
    """Remove the folders below a folder that hold no file, at any depth."""
    for path, _, _ in os.walk(folder, topdown=False):
        if path != os.fspath(folder) and not os.listdir(path):  # noqa: PTH208 - os.walk gives texts
            os.rmdir(path)  # noqa: PTH106
