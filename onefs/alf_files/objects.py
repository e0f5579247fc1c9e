"""An ALF object assembled of its files: their keys, contents, metadata, dissolved tables and interpolated times."""

import os
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from onefs import alf
from onefs.alf import FileName
from onefs.alf_files.bunch import AlfBunch, common_length, is_timestamps, ts2vec, warn_of_lengths
from onefs.alf_files.contents import load, load_file_content
from onefs.alf_files.folders import parsed, parsed_or_none
from onefs.alf_files.parts import AnyPath
from onefs.one_errors import ALFMultipleObjectsFound

PARALLEL_FROM_BYTES = 4 << 20
"""Of all files but the largest. What is smaller is read about as fast by one thread."""

_TABLE = re.compile(r"table([_.].*)?")
_NUMBERED = re.compile(r"(.+)(_[01])")
_METADATA_END = ".metadata.json"


class ObjectFiles(NamedTuple):
    """The paths of an object's files by their keys, and of the `.metadata.json` beside them by the same keys."""

    object: str
    contents: dict[str, str]
    metadata: dict[str, str]


def object_files(files: Iterable[AnyPath], *, short_keys: bool = False) -> ObjectFiles:
    """The files of one object by key: `attribute[_timescale][.extra]`, without `extra` if `short_keys`.

    Raises `ALFMultipleObjectsFound` for two files of one key, or of two objects. Looks at names only.
    """
    names = {os.fspath(file): parsed(alf.without_uuid(os.fspath(file))) for file in files}
    objects = sorted({name.object for name in names.values()})
    if len(objects) > 1:
        raise ALFMultipleObjectsFound(*objects)
    found = ObjectFiles("".join(objects), {}, {})
    described = {}
    for path, name in names.items():
        if (of := _described(path)) is not None:
            described[_identity(of)] = path
            continue
        key = _key(name, short_keys)
        if key in found.contents:
            raise _two_files(key, found.contents[key], path)
        found.contents[key] = path
    for key, path in found.contents.items():
        metadata = described.get(_identity(names[path]))
        if metadata is not None:
            found.metadata[key] = metadata
    return found


def assemble(files: Iterable[AnyPath], *, short_keys: bool = False, allow_pickle: bool = False) -> AlfBunch:
    """The object that files make up; large ones are read in parallel. Logs a warning if their lengths disagree."""
    found = object_files(files, short_keys=short_keys)
    result = AlfBunch(_contents(found.contents, allow_pickle))
    for key, path in found.metadata.items():
        _describe(result, key, load_file_content(path))
    for key in [key for key in result if _TABLE.fullmatch(key)]:
        _dissolve(result, key)
    _interpolate(result)
    warn_of_lengths(result, found.object)
    return result


def _contents(paths: Mapping[str, str], allow_pickle: bool) -> dict[str, Any]:
    sizes = [os.stat(path).st_size for path in paths.values()]  # noqa: PTH116 - cheaper than a Path
    read = partial(load, allow_pickle=allow_pickle)
    beside_largest = sum(sizes) - max(sizes, default=0)
    run = _threads().map if beside_largest >= PARALLEL_FROM_BYTES else map
    return dict(zip(paths, run(read, paths.values(), sizes), strict=True))


@lru_cache(1)
def _threads() -> ThreadPoolExecutor:
    """The threads of all calls; a forked process has none of them, and starts its own."""
    return ThreadPoolExecutor(min(os.cpu_count() or 1, 8), "onefs-load")


os.register_at_fork(after_in_child=_threads.cache_clear)


def _key(name: FileName, short_keys: bool) -> str:
    key = f"{name.attribute}_{name.timescale}" if name.timescale else name.attribute
    return f"{key}.{name.extra}" if name.extra and not short_keys else key


def _identity(name: FileName) -> tuple[str, ...]:
    return name.namespace, name.attribute, name.timescale, name.extra


def _described(path: str) -> FileName | None:
    """The name of the file that a `.metadata.json` describes; None for other files."""
    plain = alf.without_uuid(path)
    if not plain.endswith(_METADATA_END):
        return None
    return parsed_or_none(alf.without_uuid(f"{plain.removesuffix(_METADATA_END)}.json").rpartition("/")[2])


def _two_files(key: str, first: str, second: str) -> ALFMultipleObjectsFound:
    """The error for two files of a key, with what tells them apart."""
    one, other = parsed(alf.without_uuid(first)), parsed(alf.without_uuid(second))
    parts = [each.name for each in fields(FileName) if getattr(one, each.name) != getattr(other, each.name)]
    choices = [f"{part}={getattr(one, part)!r} or {part}={getattr(other, part)!r}" for part in parts]
    how = f"Give {', '.join(choices)}." if choices else "They are in different folders: give one of these."
    return ALFMultipleObjectsFound(f"Two files have the key {key!r}: {first} and {second}. {how}", terse=True)


def _describe(result: AlfBunch, key: str, metadata: Any) -> None:
    """Split an array into the columns that its metadata name, and keep what else these say."""
    columns = metadata.get("columns") if isinstance(metadata, dict) else None
    content = result[key]
    names = [str(name) for name in columns] if isinstance(columns, list) else []
    if names and len(set(names)) == len(names) == _width(content):
        del result[key]
        wide = content.reshape(-1, 1) if content.ndim == 1 else content
        dict.update(result, {name: wide[..., place] for place, name in enumerate(names)})
        metadata = {name: value for name, value in metadata.items() if name != "columns"}
    if metadata:
        result[f"{key}metadata"] = metadata


def _width(content: Any) -> int:
    """The length of an array's last dimension, 0 for what is no array. A vector was an array of one column."""
    if not isinstance(content, np.ndarray) or not content.ndim:
        return 0
    return content.shape[-1] if content.ndim > 1 else 1


def _dissolve(result: AlfBunch, key: str) -> None:
    """Replace a table by its columns, with the table's timescale and extra after their names."""
    suffix = key.removeprefix("table")
    if not hasattr(result[key], "columns"):  # of 0 bytes, or in a format of no columns
        return
    frame = dict.pop(result, key)
    frame.columns = [_suffixed(str(name), suffix) for name in frame.columns]
    dict.update(result, AlfBunch.from_df(frame))


def _suffixed(name: str, suffix: str) -> str:
    numbered = _NUMBERED.fullmatch(name)
    return f"{numbered[1]}{suffix}{numbered[2]}" if numbered else f"{name}{suffix}"


def _interpolate(result: AlfBunch) -> None:
    """Make vectors of timestamps that are given as two (sample, time) rows."""
    length = common_length(result)
    for key, values in dict(result).items():
        if length is not None and is_timestamps(key) and isinstance(values, np.ndarray) and values.shape == (2, 2):
            result[key] = ts2vec(values, length)
