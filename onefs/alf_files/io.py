"""Reading and writing ALF files and objects on disk, by themselves, without a catalogue."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onefs.alf_files.bunch import AlfBunch, check_dimensions, dataframe, ts2vec
from onefs.alf_files.contents import load_file_content
from onefs.alf_files.folders import (
    exists,
    filter_by,
    find_variants,
    iter_datasets,
    iter_sessions,
    listed,
    matching,
    next_num_folder,
    parsed,
    remove_empty_folders,
)
from onefs.alf_files.objects import assemble, object_files
from onefs.alf_files.parts import AnyPath
from onefs.alf_files.path import ALFPath
from onefs.alf_files.spec import to_alf
from onefs.one_errors import ALFObjectNotFound, UsageError

__all__ = [
    "AlfBunch", "assemble", "check_dimensions", "dataframe", "exists", "filter_by", "find_variants", "iter_datasets",
    "iter_sessions", "load_file_content", "load_object", "next_num_folder", "object_files", "read_ts",
    "remove_empty_folders", "save_metadata", "save_object_npy", "ts2vec",
]  # fmt: skip


def load_object(
    alfpath: AnyPath | Iterable[AnyPath],
    object: str | None = None,  # noqa: A002 - ONE's name
    short_keys: bool = False,
    wildcards: bool = True,
    *,
    allow_pickle: bool = False,
    **parts: Any,
) -> AlfBunch:
    """The object that files make up: a list of them, one and the others of its object beside it, or of a folder.

    `parts` are those of `filter_by`; `short_keys` leaves the extra parts out of the keys. Raises `UsageError` for a
    folder without object, and `ALFObjectNotFound` if nothing is there.
    """
    if isinstance(alfpath, str | os.PathLike):
        files = _of_folder(Path(alfpath), object, wildcards, parts)
    else:
        files = [os.fspath(file) for file in alfpath]
    if not files:
        raise ALFObjectNotFound("An empty list of files makes no object.")
    together = dict.fromkeys([*files, *_metadata_beside(files)])
    return assemble(together, short_keys=short_keys, allow_pickle=allow_pickle)


def _of_folder(path: Path, name: str | None, wildcards: bool, parts: dict[str, Any]) -> list[str]:
    folder = path
    if path.is_file():
        name, folder = parsed(path).object, path.parent
    elif name is None and path.is_dir():
        raise UsageError(f"{path} is a folder.", "Give the name of an object in it too.")
    found = matching(listed(folder), wildcards, {"object": name, **parts})
    if not found:
        raise ALFObjectNotFound(f"{folder} has no files of an object {name!r} with the parts that were given.")
    return [os.path.join(folder, each.file) for each in found]  # noqa: PTH118 - texts, as numpy opens them


def _metadata_beside(files: Iterable[str]) -> list[str]:
    places = [f"{os.path.splitext(file)[0]}.metadata.json" for file in files]  # noqa: PTH122
    return [place for place in places if os.path.isfile(place)]  # noqa: PTH113


def read_ts(filename: AnyPath) -> tuple[Any, Any]:
    """The times and the values of a file: times of the same object's `times…` file, interpolated if need be."""
    path = ALFPath(filename)
    own = parsed(path)
    beside = listed(path.parent)
    times = matching(beside, True, {"object": own.object, "attribute": "times*", "extension": own.extension})
    same = [each for each in times if (each.name.namespace, each.name.timescale) == (own.namespace, own.timescale)]
    chosen = times if len(times) == 1 else same
    if len(chosen) != 1:
        found = ", ".join(each.file for each in chosen) or "none"
        raise FileNotFoundError(f"{path} needs one file of times beside it ({own.object}.times…), there are: {found}.")
    values = load_file_content(path)
    return ts2vec(load_file_content(path.parent / chosen[0].file), len(values)), values


def save_object_npy(
    alfpath: AnyPath,
    dico: Mapping[str, Any],
    object: str,  # noqa: A002
    parts: str | list[str] | None = None,
    namespace: str | None = None,
    timescale: str | None = None,
) -> list[ALFPath]:
    """Write each array as the attribute of its key, and return the files. `parts` are the names' extra parts."""
    if check_dimensions(dico):
        shapes = ", ".join(f"{key} {np.shape(values)}" for key, values in dict(dico).items())
        raise UsageError(f"Arrays of several lengths make no object: {shapes}.", "Save them as several objects.")
    files = []
    for key, values in dict(dico).items():
        name = to_alf(object, key, "npy", namespace=namespace, timescale=timescale, extra=parts)
        file = ALFPath(alfpath, name)
        np.save(file, values)
        files.append(file)
    return files


def save_metadata(file_alf: AnyPath, dico: Mapping[str, Any]) -> ALFPath:
    """Write what describes a file (`columns`, `unit` …) as `….metadata.json` beside it, and return that path."""
    path = ALFPath(file_alf)
    parsed(path)
    metadata = ALFPath(path.parent, f"{path.stem}.metadata.json")
    metadata.write_text(json.dumps(dict(dico), indent=1))
    return metadata
