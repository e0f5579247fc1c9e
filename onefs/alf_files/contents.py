"""The content of a file by its extension: arrays, frames, JSON, YAML … and the path of what is none of these."""

import json
import math
import os
import warnings
import zipfile
import zlib
from collections.abc import Callable
from functools import lru_cache, partial
from io import BytesIO, FileIO
from pickle import UnpicklingError
from typing import Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.lib.npyio import NpzFile

from onefs import alf
from onefs.alf_files.bunch import Bunch
from onefs.alf_files.parts import AnyPath
from onefs.alf_files.path import ALFPath
from onefs.one_errors import UsageError

_MAGIC = npy_format.magic(1, 0)
_MAGIC_BYTES = len(_MAGIC)
_DAMAGE = (ValueError, EOFError, KeyError, RecursionError, UnpicklingError, zipfile.BadZipFile, zlib.error)


class PickledError(UsageError):
    """The file holds pickled objects, which run any code when they are loaded."""

    default_remedy = "Load it with allow_pickle (one.allow_pickle = True) if you trust who made it."


class DamagedFileError(UsageError):
    """The file is not what its extension says."""

    default_remedy = "Remove the file and load it again; if that does not help, tell those who made it."


class Arrays(Bunch):
    """The arrays of an `npz` file by their names, which are in `files` too, as with numpy."""

    __slots__ = ()

    @property
    def files(self) -> list[str]:
        """The names of the arrays."""
        return list(self)


def load_file_content(path: AnyPath | None, *, allow_pickle: bool = False) -> Any:
    """The content of a file: an array, frame, list, value or path, as its extension says; None if it has 0 bytes.

    Raises `PickledError` for pickled objects, unless `allow_pickle`, and `DamagedFileError` for what cannot be read.
    """
    if not path:
        return None
    place = os.fspath(path)
    return load(place, os.stat(place).st_size, allow_pickle=allow_pickle)  # noqa: PTH116 - cheaper than a Path


def load(path: str, size_bytes: int, *, allow_pickle: bool = False) -> Any:
    """The content of a file whose size is known; see `load_file_content`."""
    if not size_bytes:
        return None
    extension = os.path.splitext(path)[1][1:]  # noqa: PTH122
    try:
        if extension in _OF_NUMPY:
            return _OF_NUMPY[extension](path, allow_pickle)
        return _OTHERS[extension](path) if extension in _OTHERS else ALFPath(path)
    except _DAMAGE as error:
        raise _as_told(path, extension, error) from error
    except OSError as error:
        if error.errno is not None:  # the system's; pyarrow tells of damage by one that has no number
            raise
        raise _as_told(path, extension, error) from error


def _as_told(path: str, extension: str, error: Exception) -> UsageError:
    why = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
    if why.startswith("Object arrays"):
        return PickledError(f"{path} holds pickled objects.")
    return DamagedFileError(f"{path} cannot be read as {extension}: {why}.")


def _npy(path: str, allow_pickle: bool) -> Any:
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - as os.stat above
        array = _plain_array(file)
        if array is None:
            file.seek(0)
            array = npy_format.read_array(file, allow_pickle=allow_pickle)
    return array.reshape(-1) if array.ndim == 2 and array.shape[1] == 1 else array


def _plain_array(file: FileIO) -> "np.ndarray[Any, Any] | None":
    """The array of a file of version 1.0 that holds no Python objects; None for all others.

    Most of the time that numpy takes for a small file goes into its header, a Python literal. The attributes of an
    object mostly have the same one, so it is parsed once.
    """
    begin = file.read(_MAGIC_BYTES + 2)
    if begin[:_MAGIC_BYTES] != _MAGIC:
        return None
    header = begin[_MAGIC_BYTES:] + file.read(int.from_bytes(begin[_MAGIC_BYTES:], "little"))
    shape, is_fortran, dtype = _parsed_header(header)
    if dtype.hasobject:
        return None
    array = np.fromfile(file, dtype, math.prod(shape))
    return array.reshape(shape[::-1]).T if is_fortran else array.reshape(shape)


@lru_cache(1 << 10)
def _parsed_header(header: bytes) -> "tuple[tuple[int, ...], bool, np.dtype[Any]]":
    return npy_format.read_array_header_1_0(BytesIO(header))


def _npz(path: str, allow_pickle: bool) -> Any:
    with open(path, "rb") as file, NpzFile(file, allow_pickle=allow_pickle) as opened:  # noqa: PTH123
        arrays = Arrays(opened)
    return arrays["arr_0"] if list(arrays) == ["arr_0"] else arrays


def _delimited(path: str, delimiter: str) -> Any:
    import pandas as pd

    frame = pd.read_csv(path, sep=delimiter)
    if frame.shape[1] != 1:
        return frame
    name = alf.parse_file_name(alf.without_uuid(path.rpartition("/")[2]))
    return frame if name and name.attribute == "table" else frame.iloc[:, 0]


def _parquet(path: str) -> Any:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        table = file.read(use_threads=True)
    return table.to_pandas(self_destruct=True)  # each column is freed once the frame has it


def _json(path: str) -> Any:
    with open(path, "rb") as file:  # noqa: PTH123
        return json.loads(file.read())


def _json_lines(path: str) -> list[Any]:
    with open(path, "rb") as file:  # noqa: PTH123
        return [json.loads(line) for line in file if not line.isspace()]


def _yaml(path: str) -> Any:
    import yaml

    with open(path, "rb") as file:  # noqa: PTH123
        try:
            return yaml.safe_load(file)
        except (yaml.YAMLError, LookupError, TypeError) as error:  # also of values that do not fit their tags
            raise ValueError(error) from error


def _sparse(path: str) -> Any:
    try:
        import sparse
    except ModuleNotFoundError:
        warnings.warn(f"{path} is not loaded: install the package sparse.", UserWarning, stacklevel=4)
        return ALFPath(path)
    return sparse.load_npz(path)


_OF_NUMPY: dict[str, Callable[[str, bool], Any]] = {"npy": _npy, "npz": _npz}
_OTHERS: dict[str, Callable[[str], Any]] = {
    "csv": partial(_delimited, delimiter=","),
    "tsv": partial(_delimited, delimiter="\t"),
    "htsv": partial(_delimited, delimiter="\t"),
    "ssv": partial(_delimited, delimiter=" "),
    "pqt": _parquet,
    "parquet": _parquet,
    "json": _json,
    "jsonable": _json_lines,
    "yml": _yaml,
    "yaml": _yaml,
    "sparse_npz": _sparse,
}
